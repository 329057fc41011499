//! The Apply stream: concurrent operations, answered as they complete.
//!
//! At most `in_flight_max` operations are in flight, and the memory of operations and answers is
//! bounded for the stream, its connection and the process; beyond a bound the stream is not read,
//! so that HTTP/2's flow control stops the caller until the answers are read. A bad request gets an
//! error with its tag. Only bytes of which not even the tag can be read end the stream, after the
//! answers to the earlier requests.
//!
//! When the server shuts down, the stream is read until its first pause, for [`READ_AT_SHUTDOWN`]
//! at most; requests that were read are answered, and then the stream ends as UNAVAILABLE. When its
//! connection has reached its age, it is not read any more, and ends in the same way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::Map;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};

use super::answer::FromDecision;
use super::connection_age::ConnectionAge;
use super::deadline::{Deadline, timeout};
use super::error_reply::ErrorReply;
use super::fields::Invalid;
use super::pb;
use super::pb::apply_request::Operation;
use super::pb::apply_response::Answer;
use super::quota::QuotaApi;
use super::request::{Check, Checked, Ids};
use super::room::{Reservation, StreamMemory};
use super::status::{Failure, of_shutdown};
use tracing::Instrument as _;

use crate::access::ForceRefused;
use crate::clock::Stopwatch;
use crate::engine::Decision;
use crate::telemetry::trace;

/// Violation of a request that has no operation, or one that could not be decoded.
const UNREADABLE: &str = "must be given, as a message whose strings are UTF-8";
/// Advice for the caller of a stream that ends because of its connection's age.
const AFTER_AGE: &str = "requests without an answer were not done; begin a new stream";
/// A stream that pauses for this time is not read any more once the server shuts down.
const PAUSE_AT_SHUTDOWN: Duration = Duration::from_millis(100);
/// Longest time for which a stream is read once the server shuts down.
const READ_AT_SHUTDOWN: Duration = Duration::from_secs(1);

/// An answer, with the memory that it holds until it is sent.
type ChargedAnswer = (Result<pb::ApplyResponse, Status>, Option<Reservation>);

/// The answers of one stream.
pub type Answers =
    Map<ReceiverStream<ChargedAnswer>, fn(ChargedAnswer) -> Result<pb::ApplyResponse, Status>>;

/// Carries out a stream of operations and returns the stream of answers.
pub fn answer_stream(
    api: QuotaApi,
    request: Request<Streaming<pb::ApplyRequest>>,
    in_flight_max: usize,
    shutdown: CancellationToken,
) -> Answers {
    let stream = Stream {
        timeout: timeout(request.metadata()),
        memory: StreamMemory::new(request.extensions().get().cloned()),
        age: Stopwatch::start(),
        may_force: api.may_force(request.extensions()),
        connection_age: ConnectionAge::of(request.extensions()),
        requests: request.into_inner(),
        in_flight_max,
        shutdown_began: None,
    };
    let (answers, receiver) = mpsc::channel(in_flight_max);
    tokio::spawn(stream.run(api, answers, shutdown).in_current_span());
    ReceiverStream::new(receiver).map(|(answer, _)| answer)
}

struct Stream {
    timeout: Option<Duration>,
    age: Stopwatch,
    /// Error of mode FORCE, if the stream's caller may not use it.
    may_force: Result<(), ForceRefused>,
    requests: Streaming<pb::ApplyRequest>,
    memory: StreamMemory,
    in_flight_max: usize,
    connection_age: ConnectionAge,
    shutdown_began: Option<Stopwatch>,
}

type Sender = mpsc::Sender<ChargedAnswer>;

impl Stream {
    async fn run(mut self, api: QuotaApi, answers: Sender, shutdown: CancellationToken) {
        let in_flight = Arc::new(Semaphore::new(self.in_flight_max));
        let age = self.connection_age.clone();
        let end = loop {
            // The semaphore is never closed.
            let Ok(permit) = in_flight.clone().acquire_owned().await else { break None };
            let request = tokio::select! {
                biased;
                status = age.reached(AFTER_AGE) => Err(status),
                request = self.next(&shutdown) => request,
            };
            let request = match request {
                Ok(Some(request)) => request,
                Ok(None) => break None,
                Err(status) => break Some(status),
            };
            let reservation = tokio::select! {
                reservation = self.memory.reserve(&request) => reservation,
                () = answers.closed() => None,
            };
            // The caller has gone away: nothing is to be sent.
            let Some(reservation) = reservation else { break None };
            let (api, answers, may_force) = (api.clone(), answers.clone(), self.may_force);
            let stream_left =
                self.timeout.map(|timeout| timeout.saturating_sub(self.age.elapsed()));
            let work = async move {
                let answer = answer(&api, request, stream_left, may_force).await;
                let _ = answers.send((Ok(answer), Some(reservation))).await;
                drop(permit);
            };
            tokio::spawn(work.instrument(trace::of_operation("Apply operation")));
        };
        if let Some(status) = end {
            // With all permits back, every request that was read has been answered.
            let all = u32::try_from(self.in_flight_max).unwrap_or(u32::MAX);
            let _settled = in_flight.acquire_many(all).await;
            let _ = answers.send((Err(status), None)).await;
        }
    }

    /// Reads the next request; `None` if there are no more, an error if the stream is to end.
    async fn next(
        &mut self,
        shutdown: &CancellationToken,
    ) -> Result<Option<pb::ApplyRequest>, Status> {
        if self.shutdown_began.is_none() {
            tokio::select! {
                message = self.requests.message() => return message,
                () = shutdown.cancelled() => {}
            }
        }
        let began = self.shutdown_began.get_or_insert_with(Stopwatch::start);
        let ends = || Err(of_shutdown("begin a new stream"));
        if began.elapsed() > READ_AT_SHUTDOWN {
            return ends();
        }
        let message = tokio::time::timeout(PAUSE_AT_SHUTDOWN, self.requests.message());
        message.await.unwrap_or_else(|_| ends())
    }
}

async fn answer(
    api: &QuotaApi,
    request: pb::ApplyRequest,
    stream_left: Option<Duration>,
    may_force: Result<(), ForceRefused>,
) -> pb::ApplyResponse {
    let own =
        (request.timeout_ms > 0).then(|| Duration::from_millis(u64::from(request.timeout_ms)));
    let deadline = api.deadline_after(own.into_iter().chain(stream_left).min());
    let answer = match request.operation {
        Some(operation) => carry_out(api, operation, deadline, may_force).await,
        None => Err(Invalid::field("operation", UNREADABLE).into()),
    };
    let answer = answer.unwrap_or_else(|failure| Answer::Error(ErrorReply::from(failure).into()));
    pb::ApplyResponse { tag: request.tag, answer: Some(answer) }
}

/// Makes the stream's answer of a decision.
type ToAnswer = fn(Decision, Ids) -> Answer;

/// Carries out an operation. One future for all kinds: its size is that of the largest kind, and
/// there are many in flight.
async fn carry_out(
    api: &QuotaApi,
    operation: Operation,
    deadline: Deadline,
    may_force: Result<(), ForceRefused>,
) -> Result<Answer, Failure> {
    let catalog = api.catalog();
    macro_rules! checked {
        ($request:expr, $answer:ident) => {
            ($request.check(&catalog)?, |decision, ids| {
                Answer::$answer(FromDecision::from_decision(decision, ids))
            })
        };
    }
    let (checked, to_answer): (Checked, ToAnswer) = match operation {
        Operation::CreateAccounts(it) => checked!(it, CreateAccounts),
        Operation::DeleteAccounts(it) => checked!(it, DeleteAccounts),
        Operation::AddFriends(it) => checked!(it, AddFriends),
        Operation::RemoveFriends(it) => checked!(it, RemoveFriends),
        Operation::CreateGroup(it) => checked!(it, CreateGroup),
        Operation::UpdateGroup(it) => checked!(it, UpdateGroup),
        Operation::JoinGroup(it) => checked!(it, JoinGroup),
        Operation::LeaveGroup(it) => checked!(it, LeaveGroup),
        Operation::DissolveGroup(it) => checked!(it, DissolveGroup),
        Operation::RecordLogins(it) => {
            return Box::pin(api.record_logins(it, deadline)).await.map(Answer::RecordLogins);
        }
        Operation::GetUsage(it) => {
            return Box::pin(api.usage(it, deadline)).await.map(Answer::GetUsage);
        }
    };
    let (decision, ids) = api.decide(checked, deadline, || may_force).await?;
    Ok(to_answer(decision, ids))
}
