//! The CreateBackup stream: the store as of one instant, piece by piece, and last the hash of all.

use std::fs::File;
use std::io::Read as _;

use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::domain::text::hex;
use crate::grpc::pb;

/// Backups at once: each is a whole copy of the store.
pub const BACKUPS_MAX: usize = 1;
/// Length of a piece: well below what a message may hold, and few for a large store.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for a reader.
const PIECES_MAX: usize = 4;

/// The answers of one stream.
pub type Answers = ReceiverStream<Result<pb::CreateBackupResponse, Status>>;
type Sender = mpsc::Sender<Result<pb::CreateBackupResponse, Status>>;

/// Sends a file, which is given up when all is sent or nobody reads it.
pub fn send(file: File, permit: OwnedSemaphorePermit) -> Answers {
    let (answers, receiver) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if let Err(error) = read_all(file, &answers) {
            let failed = Status::unavailable(format!("the copy could not be read: {error}"));
            // A reader who has gone away does not want to know.
            let _ = answers.blocking_send(Err(failed));
        }
    });
    ReceiverStream::new(receiver)
}

fn read_all(mut file: File, answers: &Sender) -> std::io::Result<()> {
    let mut hasher = Sha256::new();
    loop {
        let mut content = Vec::with_capacity(PIECE_BYTES);
        let piece = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
        let read = file.by_ref().take(piece).read_to_end(&mut content)?;
        hasher.update(&content);
        let last = read == 0;
        let sha256 = if last { hex(&hasher.clone().finalize()) } else { String::new() };
        let answer = pb::CreateBackupResponse { content, sha256 };
        if answers.blocking_send(Ok(answer)).is_err() || last {
            return Ok(());
        }
    }
}
