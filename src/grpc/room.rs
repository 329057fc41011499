//! Memory for the operations of an Apply stream and their answers.
//!
//! Before an operation is started, memory is reserved for its largest possible answer; it is
//! released when the answer is passed to HTTP/2. So a stream whose answers are not read is not read
//! any more once the stream, the connection or the process has no memory left, whatever the
//! decisions are. Only of ends of holds the largest answer is unknown before: what it needs beyond
//! the reservation is added when there is an answer.

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
/// Bytes of a denied id in an answer: reason, limit, sentence and offer, with ids of up to
/// [`SHORT_ID_BYTES`].
const ANSWER_BYTES_PER_ID: usize = 640;
/// Bytes of an id that are part of [`ANSWER_BYTES_PER_ID`].
const SHORT_ID_BYTES: usize = 48;
/// How often an answer repeats a user or group for one denied id: the subject and the sentence of
/// two denials.
const ID_REPETITIONS: usize = 4;
/// Results for which memory is reserved before holds are ended. Most holds have fewer subjects; the
/// request does not have the number, which is at most 500 for each of four kinds of takes.
const HOLD_RESULTS: usize = 8;
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
    /// Memory of an answer that is larger than was reserved.
    beyond: Option<Charge>,
}

impl Reservation {
    /// Adds the memory of an answer of that length about a hold, if it needs more. It cannot be
    /// refused any more: beyond the bound of the process a connection is closed.
    pub fn add_hold_answer(&mut self, encoded: usize) {
        let beyond = (2 * encoded).saturating_sub(HOLD_RESULTS * ANSWER_BYTES_PER_ID);
        if beyond > 0
            && let Some((_, charge)) = &self.of_connection
        {
            self.beyond = Some(charge.beside(beyond));
        }
    }
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
        Some(Reservation { stream_bytes, of_connection, beyond: None })
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
            return Some(Reservation { stream_bytes, of_connection: None, beyond: None });
        };
        let answers = connection.answers().acquire_many_owned(units(bytes)).await.ok()?;
        let charge = loop {
            match connection.try_charge(Use::Answer, bytes) {
                Some(charge) => break charge,
                None => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        };
        Some(Reservation { stream_bytes, of_connection: Some((answers, charge)), beyond: None })
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
        let (encoded, (ids, longest)) = (request.encoded_len(), ids(request));
        let beyond = longest.saturating_sub(SHORT_ID_BYTES);
        let held =
            OPERATION_BYTES + 2 * encoded + ids * (ANSWER_BYTES_PER_ID + ID_REPETITIONS * beyond);
        Self { read: 2 * encoded + ids * BYTES_PER_ID, held: held.min(STREAM_ANSWERS_MAX_BYTES) }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Returns how many ids the answer of a request can have, and the length of the longest.
fn ids(request: &pb::ApplyRequest) -> (usize, usize) {
    let longest = |ids: &[String]| ids.iter().map(String::len).max().unwrap_or(0);
    let list = |of: &str, ids: &[String]| (ids.len(), longest(ids).max(of.len()));
    match &request.operation {
        Some(Operation::CreateAccounts(it)) => list("", &it.user_ids),
        Some(Operation::DeleteAccounts(it)) => list("", &it.user_ids),
        Some(Operation::AddFriends(it)) => list(&it.user_id, &it.friend_ids),
        Some(Operation::RemoveFriends(it)) => list(&it.user_id, &it.friend_ids),
        Some(Operation::CreateGroup(it)) => {
            let (members, longest) = list(&it.group_id, &it.member_ids);
            (members + 1, longest.max(it.owner_id.as_ref().map_or(0, String::len)))
        }
        Some(Operation::JoinGroup(it)) => list(&it.group_id, &it.user_ids),
        Some(Operation::LeaveGroup(it)) => list(&it.group_id, &it.user_ids),
        Some(Operation::RecordLogins(it)) => (it.logins.len(), 0),
        Some(Operation::ConfirmHold(_) | Operation::ReleaseHold(_)) => (HOLD_RESULTS, 0),
        _ => (1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::im_code::IM_NAME_MAX_BYTES;

    fn denied(id: &str, group: &str) -> pb::Result {
        let denial = |kind| {
            let subject = pb::Subject { kind: Some(kind) };
            let id = id.max(group);
            pb::Denial {
                reason: i32::MAX,
                limit_id: "groups_per_app/AVChatRoom".to_owned(),
                subject: Some(subject),
                used: u64::MAX,
                limit: u64::MAX,
                requested: u64::MAX,
                message: format!("group \"{id}\" has {0} of at most {0} members", u64::MAX),
                im_error_code: i32::MAX,
                im_error_name: "n".repeat(IM_NAME_MAX_BYTES),
                ..pb::Denial::default()
            }
        };
        let denials = vec![
            denial(pb::subject::Kind::UserId(id.to_owned())),
            denial(pb::subject::Kind::GroupId(group.to_owned())),
        ];
        pb::Result { id: id.to_owned(), outcome: i32::MAX, denials, repeated: true }
    }

    #[test]
    fn the_reservation_fits_denials_of_the_longest_ids() {
        for length in [1, 48, 49, 255] {
            let (group, user) = ("g".repeat(length), "u".repeat(length));
            let user_ids = vec![user.clone(); 500];
            let results = user_ids.iter().map(|id| denied(id, &group)).collect();
            let join = pb::JoinGroupRequest { group_id: group, user_ids, ..Default::default() };
            let answer = pb::JoinGroupResponse { results, decision: None }.encoded_len();
            let operation = Some(Operation::JoinGroup(join));
            let request = pb::ApplyRequest { operation, ..Default::default() };
            let held = Size::of(&request).held;
            assert!(held >= answer, "{length}: {held} for an answer of {answer}");
        }
    }
}
