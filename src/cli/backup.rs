//! `imquota backup`: the embedded store as a file, while the sidecar goes on.
//!
//! The file has its name only once it is whole, checked and on disk.

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
use super::session::{Calling, Session};
use crate::domain::text::hex;
use crate::grpc::pb::CreateBackupRequest;
use crate::grpc::pb::admin_service_client::AdminServiceClient;
use crate::private_file;

/// Arguments of `imquota backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
To restore: stop the sidecar, and put the file in the place of imquota.redb in its directory.

Example:
  imquota backup --out imquota-2026-01-31.redb")]
pub struct Backup {
    /// The file to write, readable by you alone; an existing one is left alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    to: AdminAddress,
    #[command(flatten)]
    calling: Calling,
}

impl Backup {
    /// How the answer is printed.
    pub fn format(&self) -> Format {
        self.calling.format()
    }
}

/// Makes the call and writes the file.
pub async fn run(args: Backup) -> Result<Exit, Error> {
    let failed = |error| Error::WriteFile { path: args.out.clone(), error };
    if args.out.exists() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let session = Session::open(args.to.target()?, args.calling).await?;
    let part = part_of(&args.out);
    let mut file = private_file::create_new(&part).map_err(failed)?;
    let written = receive(&session, &mut file, &args.out).await;
    let whole = written.and_then(|bytes| {
        file.sync_all().map_err(failed)?;
        // Unlike a renaming, this does not replace what has come there meanwhile.
        std::fs::hard_link(&part, &args.out).map_err(failed)?;
        Ok(bytes)
    });
    // What is left of a failure is of no use; after a success the name alone is gone.
    let _ = std::fs::remove_file(&part);
    let (bytes, sha256) = whole?;
    let file = args.out.display().to_string();
    let object = json!({"file": file, "bytes": bytes, "sha256": sha256});
    let text = format!("{file}: {bytes} bytes, sha256 {sha256}\n");
    output::show_other(&text, &object, session.format())?;
    Ok(Exit::Done)
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

async fn receive(session: &Session, file: &mut File, path: &Path) -> Result<(u64, String), Error> {
    let mut client = AdminServiceClient::new(session.channel());
    let answers = client.create_backup(session.endless(CreateBackupRequest {})).await;
    let mut answers = answers.map_err(|status| session.explained(status))?.into_inner();
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let broken = |why: &str| Error::WriteFile {
        path: path.to_owned(),
        error: std::io::Error::new(std::io::ErrorKind::InvalidData, why),
    };
    while let Some(answer) = answers.message().await.map_err(|status| session.explained(status))? {
        hasher.update(&answer.content);
        bytes += answer.content.len() as u64;
        file.write_all(&answer.content)
            .map_err(|error| Error::WriteFile { path: path.to_owned(), error })?;
        if answer.sha256.is_empty() {
            continue;
        }
        let sha256 = hex(&hasher.finalize());
        let same = sha256 == answer.sha256;
        return if same { Ok((bytes, sha256)) } else { Err(broken("it was changed on the way")) };
    }
    Err(broken("it ended early"))
}
