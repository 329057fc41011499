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
    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("imquota.binpb");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::StrictCodec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
