//! The CreateBackup stream: the store as of one instant in pieces, followed by the hash of all.

use std::fs::File;
use std::io::Read as _;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::domain::text::hex;
use crate::grpc::caller::Authorization;
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::pb;
use crate::grpc::permits::Permit;
use crate::grpc::status::of_reason;

/// Most concurrent backups: each is a whole copy of the store.
pub const BACKUPS_MAX: usize = 1;
/// Length of a piece: well below the bound of a message, and few pieces for a large store.
const PIECE_BYTES: usize = 256 * 1024;
/// Most pieces that wait for a reader.
const PIECES_MAX: usize = 4;

/// The answers of one stream.
pub type Answers = ReceiverStream<Result<pb::CreateBackupResponse, Status>>;
type Sender = mpsc::Sender<Result<pb::CreateBackupResponse, Status>>;

/// Sends a file. Sending ends when all is sent, the caller has gone away, or the caller loses the
/// right to it.
pub fn send(file: File, authorization: Authorization, permit: Permit) -> Answers {
    let (answers, receiver) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if let Err(status) = read_all(file, &authorization, &answers) {
            // A caller who has gone away does not need the status.
            let _ = answers.blocking_send(Err(status));
        }
    });
    ReceiverStream::new(receiver)
}

fn read_all(mut file: File, authorization: &Authorization, answers: &Sender) -> Result<(), Status> {
    let mut hasher = Sha256::new();
    loop {
        authorization.check()?;
        let mut content = Vec::with_capacity(PIECE_BYTES);
        let piece = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
        let read = file.by_ref().take(piece).read_to_end(&mut content);
        let failed = |error: std::io::Error| {
            let message = format!("the copy could not be read: {error}");
            of_reason(ErrorReason::BackupFailed, &message)
        };
        let read = read.map_err(failed)?;
        hasher.update(&content);
        let last = read == 0;
        let sha256 = if last { hex(&hasher.clone().finalize()) } else { String::new() };
        let answer = pb::CreateBackupResponse { content, sha256 };
        if answers.blocking_send(Ok(answer)).is_err() || last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::watch;
    use tokio_stream::StreamExt as _;
    use tonic::{Code, Request};

    use super::*;
    use crate::access::{Principal, Role, Validity};
    use crate::domain::audit::Actor;
    use crate::grpc::caller::{CallerKey, require_lasting};
    use crate::grpc::permits::Permits;

    #[tokio::test]
    async fn a_copy_ends_early_when_the_caller_loses_the_right_to_it() {
        let is_valid = Arc::new(AtomicBool::new(true));
        let valid = is_valid.clone();
        let role = move || valid.load(Ordering::SeqCst).then_some(Role::Owner);
        let changes = watch::Sender::new(());
        let validity = Validity::changing(changes.subscribe(), role);
        let actor = Actor { name: "ann".into(), from: "here".into() };
        let mut request = Request::new(());
        request.extensions_mut().insert(Principal {
            actor,
            role: Role::Owner,
            validity,
            has_credentials: true,
        });
        let (_, authorization) = require_lasting(&request, Role::Owner, "CreateBackup").unwrap();
        let file = tempfile::tempfile().unwrap();
        let pieces = 4 * PIECES_MAX;
        file.set_len((pieces * PIECE_BYTES) as u64).unwrap();
        let permit = Permits::new("CreateBackup", 1).try_acquire(&CallerKey::of("ann", ""));
        let permit = permit.unwrap();
        let mut answers = send(file, authorization, permit);
        assert!(answers.next().await.unwrap().is_ok());
        is_valid.store(false, Ordering::SeqCst);
        let mut sent = 1;
        let end = loop {
            match answers.next().await.expect("an error is last") {
                Ok(_) => sent += 1,
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), Code::Unauthenticated, "{end}");
        assert!(sent < pieces, "{sent} of {pieces}");
    }
}
