//! Room for the operations of an Apply stream and their answers.
//!
//! An operation takes room for the largest answer that it can get before it is begun, and gives it
//! back when the answer is handed to HTTP/2. So a caller who does not read answers is not read any
//! more once the stream, the connection or the process has no room, whatever comes of the
//! operations.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::memory::{Charge, ConnectionMemory, Use};
use super::pb;
use super::pb::apply_request::Operation;

/// Most that the operations and answers of one stream may hold.
const STREAM_ANSWERS_MAX_BYTES: usize = 2 * 1024 * 1024;
/// What an operation holds beside its ids: its task, and an answer's frame.
const OPERATION_BYTES: usize = 1024;
/// What a denied id holds in an answer: reason, limit, sentence and offer.
const ANSWER_BYTES_PER_ID: usize = 512;
/// What an id holds in a request that was read, beside its text.
const BYTES_PER_ID: usize = 48;
/// What HTTP/2 may keep of a stream that is not read: its part of the connection's window.
const UNREAD_BYTES: usize = 32 * 1024;
/// How often a stream that waits for the memory of the process looks again.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(20);

/// The memory of one stream's operations, from when they are read until their answers are sent.
pub struct Rooms {
    of_stream: Arc<Semaphore>,
    /// `None` where there is no connection, as in tests.
    connection: Option<Arc<ConnectionMemory>>,
}

/// What one operation and its answer hold.
#[allow(dead_code, reason = "held, not read")]
pub struct Room {
    of_stream: OwnedSemaphorePermit,
    of_connection: Option<(OwnedSemaphorePermit, Charge)>,
}

impl Rooms {
    /// Of a stream of that connection.
    pub fn new(connection: Option<Arc<ConnectionMemory>>) -> Self {
        Self { of_stream: Arc::new(Semaphore::new(STREAM_ANSWERS_MAX_BYTES)), connection }
    }

    /// Room for an operation, as soon as there is some; `None` where the semaphores were closed,
    /// which they never are.
    pub async fn room(&self, request: &pb::ApplyRequest) -> Option<Room> {
        let bytes = bytes_held(request).min(STREAM_ANSWERS_MAX_BYTES);
        if let Some(room) = self.try_room(bytes) {
            return Some(room);
        }
        // Meanwhile HTTP/2 keeps what the caller goes on sending.
        let unread_bytes = UNREAD_BYTES + bytes_read(request);
        let _unread = self.connection.as_ref().map(|connection| connection.charge(unread_bytes));
        let of_stream = self.of_stream.clone().acquire_many_owned(units(bytes)).await.ok()?;
        let Some(connection) = &self.connection else {
            return Some(Room { of_stream, of_connection: None });
        };
        let answers = connection.answers().acquire_many_owned(units(bytes)).await.ok()?;
        let charge = loop {
            match connection.try_charge(Use::Answer, bytes) {
                Some(charge) => break charge,
                None => tokio::time::sleep(LOOK_AGAIN_EVERY).await,
            }
        };
        Some(Room { of_stream, of_connection: Some((answers, charge)) })
    }

    fn try_room(&self, bytes: usize) -> Option<Room> {
        let of_stream = self.of_stream.clone().try_acquire_many_owned(units(bytes)).ok()?;
        let of_connection = match &self.connection {
            Some(connection) => {
                let answers = connection.answers().try_acquire_many_owned(units(bytes)).ok()?;
                Some((answers, connection.try_charge(Use::Answer, bytes)?))
            }
            None => None,
        };
        Some(Room { of_stream, of_connection })
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes of a request that was read.
fn bytes_read(request: &pb::ApplyRequest) -> usize {
    2 * request.encoded_len() + ids(request) * BYTES_PER_ID
}

/// Most bytes that an operation and its answer hold.
fn bytes_held(request: &pb::ApplyRequest) -> usize {
    OPERATION_BYTES + 2 * request.encoded_len() + ids(request) * ANSWER_BYTES_PER_ID
}

fn ids(request: &pb::ApplyRequest) -> usize {
    match &request.operation {
        Some(Operation::CreateAccounts(it)) => it.user_ids.len(),
        Some(Operation::DeleteAccounts(it)) => it.user_ids.len(),
        Some(Operation::AddFriends(it)) => it.friend_ids.len(),
        Some(Operation::RemoveFriends(it)) => it.friend_ids.len(),
        Some(Operation::CreateGroup(it)) => it.member_ids.len() + 1,
        Some(Operation::JoinGroup(it)) => it.user_ids.len(),
        Some(Operation::LeaveGroup(it)) => it.user_ids.len(),
        Some(Operation::RecordLogins(it)) => it.logins.len(),
        _ => 1,
    }
}
