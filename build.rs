//! Compiles `proto/` with protox, so that a build needs no `protoc`, and writes the descriptor
//! set that server reflection serves.

use std::{env, error::Error, fs, path::PathBuf};

const PROTOS: [&str; 4] = [
    "proto/imquota/v1/common.proto",
    "proto/imquota/v1/metering_service.proto",
    "proto/imquota/v1/quota_service.proto",
    "proto/imquota/v1/admin_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("imquota.binpb"), compiler.encode_file_descriptor_set())?;
    let (messages, services) = (out.join("messages"), out.join("services"));
    fs::create_dir_all(&messages)?;
    fs::create_dir_all(&services)?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .out_dir(messages)
        .compile_fds(compiler.file_descriptor_set())?;
    // The stubs are in a room above the messages, since they use the codec of the services.
    tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::StrictCodec")
        .extern_path(".imquota.v1", "crate::proto::pb")
        .out_dir(services)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
