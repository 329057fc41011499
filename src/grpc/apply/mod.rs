//! The Apply stream: concurrent operations, answered as they complete.
//!
//! At most `in_flight_max` operations are in flight, and the memory of operations and answers is
//! bounded for the stream, its connection and the process; beyond a bound the stream is not read,
//! so that HTTP/2's flow control stops the caller until the answers are read. A bad request gets an
//! error with its tag. Only bytes of which not even the tag can be read end the stream, after the
//! answers to the earlier requests.
//!
//! One task reads the stream and carries out all its operations (`running`), those about one
//! subject in order (`order`); its answers wait for HTTP/2 in one queue (`answers`). A panic ends
//! its operation alone.
//!
//! When the server shuts down, or the connection has reached its age (`stops`), the stream is soon
//! not read any more; requests that were read are answered, and then it ends as UNAVAILABLE.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream as _;
use futures_util::future::BoxFuture;
use prost::Message as _;
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};
use tracing::{Instrument as _, Span};

use super::answer::FromDecision;
use super::connection_age::ConnectionAge;
use super::deadline::{Bound, Deadline, timeout};
use super::error_reply::ErrorReply;
use super::fields::Invalid;
use super::holds::CheckEnd;
use super::pb;
use super::pb::apply_request::Operation;
use super::pb::apply_response::Answer;
use super::quota::QuotaApi;
use super::request::{Check, Checked, Ids};
use super::room::{Reservation, Size, StreamMemory};
use super::status::Failure;
use crate::access::ForceRefused;
use crate::clock::Stopwatch;
use crate::engine::Decision;
use crate::telemetry::trace;

mod answers;
mod order;
mod running;
mod stops;

pub use answers::Answers;
use answers::{ChargedAnswer, Sender};
use order::{Order, Subject};
use running::Running;
use stops::Stops;

/// Violation of a request that has no operation, or one that could not be decoded.
const UNREADABLE: &str = "must be given, as a message whose strings are UTF-8";
/// Most requests that are read before other tasks have their turn.
const READ_AT_ONCE_MAX: usize = 128;

/// Carries out a stream of operations and returns the stream of answers.
pub fn answer_stream(
    api: QuotaApi,
    request: Request<Streaming<pb::ApplyRequest>>,
    in_flight_max: usize,
    shutdown: CancellationToken,
) -> Answers {
    let (sender, answers) = answers::queue();
    let may_force = api.may_force(request.extensions());
    let is_traced = !Span::current().is_none();
    let mut stream = Stream {
        timeout: timeout(request.metadata()),
        age: Stopwatch::start(),
        caller: Arc::new(Caller { api, may_force, is_traced }),
        answer,
        memory: StreamMemory::new(request.extensions().get().cloned()),
        stops: Stops::new(ConnectionAge::of(request.extensions()), shutdown),
        requests: request.into_inner(),
        in_flight_max,
        waiting: None,
        read: 0,
        order: Order::default(),
        blocked: HashMap::new(),
        ready: VecDeque::new(),
        running: Running::new(),
        timer: None,
        end: None,
        ended: VecDeque::new(),
        sender,
    };
    let work = async move { poll_fn(|context| stream.poll(context)).await };
    tokio::spawn(work.in_current_span());
    answers
}

/// The caller of the stream's operations.
struct Caller {
    api: QuotaApi,
    /// Error of mode FORCE, if the stream's caller may not use it.
    may_force: Result<(), ForceRefused>,
    is_traced: bool,
}

/// An operation that has not ended.
struct InFlight {
    tag: u64,
    /// Its number in the stream.
    number: u64,
    subjects: Vec<Subject>,
    bound: Bound,
    /// The age of the stream at which the operation is ended without a decision.
    due: Duration,
    reservation: Reservation,
}

/// A request that was read and waits for memory.
struct Waiting {
    request: pb::ApplyRequest,
    reservation: BoxFuture<'static, Option<Reservation>>,
}

/// A stream whose operations are carried out by futures `F`, all polled by the stream's task.
struct Stream<F: Future<Output = pb::ApplyResponse>> {
    timeout: Option<Duration>,
    age: Stopwatch,
    caller: Arc<Caller>,
    answer: fn(Arc<Caller>, pb::ApplyRequest, Bound) -> F,
    requests: Streaming<pb::ApplyRequest>,
    memory: StreamMemory,
    stops: Stops,
    in_flight_max: usize,
    waiting: Option<Waiting>,
    /// The number of requests that were read.
    read: u64,
    order: Order,
    /// Operations that wait for those before them about the same subjects, by number.
    blocked: HashMap<u64, (pb::ApplyRequest, InFlight)>,
    /// Of these, those that may start.
    ready: VecDeque<u64>,
    running: Running<F, InFlight>,
    /// Ends when an operation is due or earlier; and the stream's age at that time.
    timer: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Set once the stream is not read any more: an error if it ends with one.
    end: Option<Result<(), Status>>,
    /// Answers that are not sent yet.
    ended: VecDeque<ChargedAnswer>,
    sender: Sender,
}

impl<F: Future<Output = pb::ApplyResponse>> Stream<F> {
    /// Continues; ready once the stream has ended and all its operations have been answered.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { running, order, ready, ended, .. } = self;
        running.poll(context, |operation, answer| {
            order.leave(operation.number, &operation.subjects, ready);
            complete(ended, operation, answer);
        });
        self.start_ready();
        if self.end.is_none()
            && let Poll::Ready(end) = self.poll_requests(context)
        {
            self.end = Some(end);
        }
        self.end_due(context);
        let is_over = self.end.is_some() && self.running.is_empty() && self.blocked.is_empty();
        if is_over && let Some(Err(status)) = self.end.take() {
            self.ended.push_back((Err(status), None));
        }
        if !self.ended.is_empty() {
            self.sender.send(&mut self.ended);
        }
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Reads requests and starts their operations. Ready once the stream is not to be read any
    /// more, with an error if it ends with one.
    fn poll_requests(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.stops.poll(context);
        let age = self.age.elapsed();
        let stream_left = self.timeout.map(|timeout| timeout.saturating_sub(age));
        for _ in 0..READ_AT_ONCE_MAX {
            if self.running.len() + self.blocked.len() >= self.in_flight_max {
                return Poll::Pending;
            }
            // If the caller has gone away, nothing is to be sent.
            if !ready!(self.sender.poll_room(context, self.in_flight_max)) {
                return Poll::Ready(Ok(()));
            }
            let Some((request, reservation)) = ready!(self.poll_next(context))? else {
                return Poll::Ready(Ok(()));
            };
            let own = (request.timeout_ms > 0)
                .then(|| Duration::from_millis(u64::from(request.timeout_ms)));
            let bound = self.caller.api.bound(own.into_iter().chain(stream_left).min());
            let (tag, due) = (request.tag, age + bound.left);
            let (number, subjects) = (self.read, self.order.subjects(&request));
            self.read += 1;
            let may_start = self.order.enter(number, &subjects);
            let operation = InFlight { tag, number, subjects, bound, due, reservation };
            if may_start {
                self.start(request, operation);
                self.start_ready();
            } else {
                self.blocked.insert(number, (request, operation));
            }
            let is_open = self.running.len() + self.blocked.len() > 0;
            if is_open && self.timer.as_ref().is_none_or(|(at, _)| due < *at) {
                self.timer = Some((due, Box::pin(sleep(bound.left))));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Starts an operation.
    fn start(&mut self, request: pb::ApplyRequest, operation: InFlight) {
        let bound = operation.bound.with_left(operation.due.saturating_sub(self.age.elapsed()));
        let future = (self.answer)(self.caller.clone(), request, bound);
        if let Some((operation, answer)) = self.running.start(future, operation) {
            self.order.leave(operation.number, &operation.subjects, &mut self.ready);
            complete(&mut self.ended, operation, answer);
        }
    }

    /// Starts the operations that waited for others, which have ended.
    fn start_ready(&mut self) {
        while let Some(number) = self.ready.pop_front() {
            if let Some((request, operation)) = self.blocked.remove(&number) {
                self.start(request, operation);
            }
        }
    }

    /// Reads the next request and reserves memory for it; `None` if there are no more.
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<(pb::ApplyRequest, Reservation)>, Status>> {
        let mut waiting = if let Some(waiting) = self.waiting.take() {
            waiting
        } else {
            let Some(request) = ready!(self.poll_request(context))? else {
                return Poll::Ready(Ok(None));
            };
            let size = Size::of(&request);
            if let Some(reservation) = self.memory.try_reserve(size) {
                return Poll::Ready(Ok(Some((request, reservation))));
            }
            Waiting { request, reservation: Box::pin(self.memory.clone().reserve(size)) }
        };
        let Poll::Ready(reservation) = waiting.reservation.as_mut().poll(context) else {
            self.waiting = Some(waiting);
            return Poll::Pending;
        };
        Poll::Ready(Ok(reservation.map(|reservation| (waiting.request, reservation))))
    }

    /// Reads the next request; `None` if there are no more, an error if the stream is to end.
    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<pb::ApplyRequest>, Status>> {
        self.stops.check()?;
        match Pin::new(&mut self.requests).poll_next(context) {
            Poll::Ready(message) => {
                self.stops.pause = None;
                Poll::Ready(message.transpose())
            }
            Poll::Pending => self.stops.poll_pause(context).map(Err),
        }
    }

    /// Ends the operations that are due.
    fn end_due(&mut self, context: &mut Context<'_>) {
        while let Some((_, timer)) = &mut self.timer {
            if pin!(unconstrained(timer.as_mut())).poll(context).is_pending() {
                return;
            }
            let age = self.age.elapsed();
            let mut due: Vec<InFlight> = self
                .blocked
                .extract_if(|_, (_, it)| it.due <= age)
                .map(|(_, (_, it))| it)
                .collect();
            self.running.end(|operation| operation.due <= age, |operation| due.push(operation));
            for operation in due {
                self.order.leave(operation.number, &operation.subjects, &mut self.ready);
                let answer = response(operation.tag, Err(operation.bound.exceeded()));
                complete(&mut self.ended, operation, Some(answer));
            }
            self.start_ready();
            let blocked = self.blocked.values().map(|(_, operation)| operation);
            let next = self.running.in_flight().chain(blocked).map(|it| it.due).min();
            self.timer = next.map(|due| (due, Box::pin(sleep(due.saturating_sub(age)))));
            self.running.shrink();
            // There may be room for more requests.
            context.waker().wake_by_ref();
        }
    }
}

/// Keeps the answer of an operation for sending. An operation that panicked has none.
fn complete(
    ended: &mut VecDeque<ChargedAnswer>,
    mut operation: InFlight,
    answer: Option<pb::ApplyResponse>,
) {
    match answer.as_ref().and_then(|it| it.answer.as_ref()) {
        Some(Answer::ConfirmHold(it)) => operation.reservation.add_hold_answer(it.encoded_len()),
        Some(Answer::ReleaseHold(it)) => operation.reservation.add_hold_answer(it.encoded_len()),
        _ => {}
    }
    ended.extend(answer.map(|answer| (Ok(answer), Some(operation.reservation))));
}

fn response(tag: u64, answer: Result<Answer, Failure>) -> pb::ApplyResponse {
    let answer = answer.unwrap_or_else(|failure| Answer::Error(ErrorReply::from(failure).into()));
    pb::ApplyResponse { tag, answer: Some(answer) }
}

/// Carries out the operation of a request, which the stream ends at its bound.
fn answer(
    caller: Arc<Caller>,
    request: pb::ApplyRequest,
    bound: Bound,
) -> impl Future<Output = pb::ApplyResponse> {
    let is_traced = caller.is_traced;
    let span = if is_traced { trace::of_operation("Apply operation") } else { Span::none() };
    let work = async move {
        let Caller { api, may_force, .. } = &*caller;
        let answer = match request.operation {
            Some(operation) => carry_out(api, operation, api.begin(bound), *may_force).await,
            None => Err(Invalid::field("operation", UNREADABLE).into()),
        };
        response(request.tag, answer)
    };
    work.instrument(span)
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
            let recording = Box::pin(api.record_logins(it, deadline, may_force));
            return recording.await.map(Answer::RecordLogins);
        }
        Operation::ConfirmHold(it) => {
            let ending = Box::pin(api.end_hold(it.check()?, deadline, || may_force));
            return Ok(Answer::ConfirmHold(ending.await?.into()));
        }
        Operation::ReleaseHold(it) => {
            let ending = Box::pin(api.end_hold(it.check()?, deadline, || may_force));
            return Ok(Answer::ReleaseHold(ending.await?.into()));
        }
        Operation::GetUsage(it) => {
            return Box::pin(api.usage(it, deadline)).await.map(Answer::GetUsage);
        }
    };
    let (decision, ids) = api.decide(checked, deadline, || may_force).await?;
    Ok(to_answer(decision, ids))
}
