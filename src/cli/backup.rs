//! `imquota backup`: copies the embedded store to a file, while the sidecar keeps running.
//!
//! The file gets its name only after it is complete, verified and on disk.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Exit;
use super::connect::AdminAddress;
use super::error::Error;
use super::output;
use super::output::Format;
use super::session::{CallFlags, Session};
use crate::domain::text::hex;
use crate::grpc::pb::CreateBackupRequest;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::private_file;

/// Arguments of `imquota backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
To restore: stop the sidecar, and replace imquota.redb in its directory with the file.

Example:
  imquota backup --out imquota-2026-01-31.redb")]
pub struct Backup {
    /// The file to write, readable only by its owner; an existing file is not overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    to: AdminAddress,
    #[command(flatten)]
    flags: CallFlags,
}

impl Backup {
    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.flags.format()
    }
}

/// Makes the call and writes the file.
pub async fn run(args: Backup) -> Result<Exit, Error> {
    let failed = |error| Error::WriteFile { path: args.out.clone(), error };
    if args.out.exists() {
        return Err(Error::Exists { path: args.out });
    }
    let session = Session::open(args.to.target()?, args.flags).await?;
    let part = part_path(&args.out);
    let mut file = private_file::create_new(&part).map_err(failed)?;
    let written = receive(&session, &mut file, &args.out).await;
    let result = written.and_then(|bytes| {
        file.sync_all().map_err(failed)?;
        // Unlike a rename, this does not replace a file created meanwhile.
        std::fs::hard_link(&part, &args.out).map_err(failed)?;
        Ok(bytes)
    });
    // After a failure the partial file is useless; after a success only this name is removed.
    let _ = std::fs::remove_file(&part);
    let (bytes, sha256) = result?;
    let file = args.out.display().to_string();
    let object = json!({"file": file, "bytes": bytes, "sha256": sha256});
    let text = format!("{file}: {bytes} bytes, sha256 {sha256}\n");
    output::show_other(&text, &object, session.format())?;
    Ok(Exit::Done)
}

fn part_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

async fn receive(session: &Session, file: &mut File, path: &Path) -> Result<(u64, String), Error> {
    let mut client = AdminServiceClient::new(session.channel());
    let parts = client.create_backup(session.without_deadline(CreateBackupRequest {})).await;
    let mut parts = parts.map_err(|status| session.explain(status))?.into_inner();
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let invalid = |why: &str| Error::WriteFile {
        path: path.to_owned(),
        error: std::io::Error::new(std::io::ErrorKind::InvalidData, why),
    };
    while let Some(part) = parts.message().await.map_err(|status| session.explain(status))? {
        hasher.update(&part.content);
        bytes += part.content.len() as u64;
        file.write_all(&part.content)
            .map_err(|error| Error::WriteFile { path: path.to_owned(), error })?;
        if part.sha256.is_empty() {
            continue;
        }
        let sha256 = hex(&hasher.finalize());
        let same = sha256 == part.sha256;
        return if same { Ok((bytes, sha256)) } else { Err(invalid("checksum mismatch")) };
    }
    Err(invalid("the backup ended early"))
}
