//! Memory for the operations of an Apply stream and their answers.
//!
//! Before an operation is started, memory is reserved for its largest possible answer; it is
//! released when the answer is passed to HTTP/2. So a stream whose answers are not read is not read
//! any more once the stream, the connection or the process has no memory left, whatever the
//! decisions are.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::memory::{Charge, ConnectionMemory, Use};
use super::pb;
use super::pb::apply_request::Operation;

/// Most bytes that the operations and answers of one stream may hold.
const STREAM_ANSWERS_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of an operation beside its ids: its task, and an answer's frame.
const OPERATION_BYTES: usize = 1024;
/// Bytes of a denied id in an answer: reason, limit, sentence and offer.
const ANSWER_BYTES_PER_ID: usize = 512;
/// Bytes of an id in a request that was read, beside its text.
const BYTES_PER_ID: usize = 48;
/// Bytes that HTTP/2 may keep of a stream that is not read: its part of the connection's window.
const UNREAD_BYTES: usize = 32 * 1024;
/// Interval at which a stream that waits for the memory of the process tries again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The memory of one stream's operations, from when they are read until their answers are sent.
#[derive(Clone)]
pub struct StreamMemory {
    stream_bytes: Arc<Semaphore>,
    /// `None` without a connection, as in tests.
    connection: Option<Arc<ConnectionMemory>>,
}

/// Memory of one operation and its answer.
#[allow(dead_code, reason = "held, not read")]
pub struct Reservation {
    stream_bytes: OwnedSemaphorePermit,
    of_connection: Option<(OwnedSemaphorePermit, Charge)>,
}

impl StreamMemory {
    /// Creates the memory of a stream of that connection.
    pub fn new(connection: Option<Arc<ConnectionMemory>>) -> Self {
        Self { stream_bytes: Arc::new(Semaphore::new(STREAM_ANSWERS_MAX_BYTES)), connection }
    }

    /// Reserves memory for an operation of that size; `None` if there is not enough.
    pub fn try_reserve(&self, size: Size) -> Option<Reservation> {
        let bytes = size.held;
        let stream_bytes = self.stream_bytes.clone().try_acquire_many_owned(units(bytes)).ok()?;
        let of_connection = match &self.connection {
            Some(connection) => {
                let answers = connection.answers().try_acquire_many_owned(units(bytes)).ok()?;
                Some((answers, connection.try_charge(Use::Answer, bytes)?))
            }
            None => None,
        };
        Some(Reservation { stream_bytes, of_connection })
    }

    /// Reserves memory for an operation of that size, as soon as there is some; `None` if the
    /// semaphores were closed, which never happens.
    pub async fn reserve(self, size: Size) -> Option<Reservation> {
        let bytes = size.held;
        // Meanwhile HTTP/2 keeps what the caller continues to send.
        let unread_bytes = UNREAD_BYTES + size.read;
        let _unread = self.connection.as_ref().map(|connection| connection.charge(unread_bytes));
        let stream_bytes = self.stream_bytes.clone().acquire_many_owned(units(bytes)).await.ok()?;
        let Some(connection) = &self.connection else {
            return Some(Reservation { stream_bytes, of_connection: None });
        };
        let answers = connection.answers().acquire_many_owned(units(bytes)).await.ok()?;
        let charge = loop {
            match connection.try_charge(Use::Answer, bytes) {
                Some(charge) => break charge,
                None => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        };
        Some(Reservation { stream_bytes, of_connection: Some((answers, charge)) })
    }
}

/// Memory of a request and its operation.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// The bytes of the request that was read.
    read: usize,
    /// The most bytes that the operation and its answer hold.
    held: usize,
}

impl Size {
    /// Returns the size of a request.
    pub fn of(request: &pb::ApplyRequest) -> Self {
        let (encoded, ids) = (request.encoded_len(), ids(request));
        let held = OPERATION_BYTES + 2 * encoded + ids * ANSWER_BYTES_PER_ID;
        Self { read: 2 * encoded + ids * BYTES_PER_ID, held: held.min(STREAM_ANSWERS_MAX_BYTES) }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
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
