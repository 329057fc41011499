//! The Reconcile stream: receives parts of an export and sends differences, in the same order.
//!
//! A few parts are compared concurrently. While those are in flight the stream is not read, so that
//! HTTP/2's flow control stops the caller. A part that is not valid ends the stream, after the
//! answers to the earlier parts, whose repairs remain. So does a caller who loses the right to
//! reconcile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt as _};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::warn;

use super::exported;
use super::found::found as shown;
use crate::domain::audit::Actor;
use crate::engine::admin::Administration;
use crate::engine::admin::reconcile::{self, Compared, ReconcileError, Reconciliation};
use crate::grpc::admin_status::of_reconcile;
use crate::grpc::caller::Authorization;
use crate::grpc::error_reason::ErrorReason;
use crate::grpc::error_reply::of_gone;
use crate::grpc::fields::Invalid;
use crate::grpc::pb;
use crate::grpc::pb::reconcile_request::Part;
use crate::grpc::permits::Permit;
use crate::grpc::status::{of_invalid, of_reason, of_shutdown};
use crate::ledger::LedgerError;
use crate::proto::timestamp;
use crate::store::StoreError;

/// Parts of one stream that are compared concurrently. A durable commit of the embedded store
/// contains them all: the more rows it writes, the more of them share a page.
const IN_FLIGHT_MAX: usize = 64;
/// Bytes of the parts of one stream that are compared concurrently beyond which no further one is
/// read.
const IN_FLIGHT_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Facts and messages that are read in one slice.
const READ_MAX: usize = 4096;
/// Most answers that wait for a caller who does not read them: each may repeat the longest id of a
/// group in every one of its differences.
const ANSWERS_MAX: usize = 4;
/// A stream without messages for this time, and without an answer due, is ended.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The answers of one stream.
pub type Answers = ReceiverStream<Result<pb::ReconcileResponse, Status>>;

/// A stream of parts with its context.
pub struct Stream {
    /// The administration that compares.
    pub administration: Administration,
    /// The caller.
    pub actor: Actor,
    /// The parts.
    pub requests: Streaming<pb::ReconcileRequest>,
    /// The caller's right to continue.
    pub authorization: Authorization,
    /// Cancelled when the server shuts down.
    pub shutdown: CancellationToken,
    /// The permit of this stream.
    pub permit: Permit,
}

impl Stream {
    /// Starts the comparison and returns its answers.
    pub fn answer(self) -> Answers {
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        let authorization = self.authorization.clone();
        let sender = Sender { answers: answers.clone(), authorization };
        tokio::spawn(async move {
            if let Err(status) = self.run(&sender).await {
                // A caller who has gone away does not need the status.
                let _ = answers.send(Err(status)).await;
            }
        });
        ReceiverStream::new(receiver)
    }

    async fn run(mut self, answers: &Sender) -> Result<(), Status> {
        let reconciliation = Arc::new(self.begin().await?);
        if let Err(status) = self.compare(&reconciliation, answers).await {
            if let Err(error) = reconciliation.cut_off().await {
                warn!(%error, "reconciliation cut off, audit entry missing");
            }
            return Err(status);
        }
        reconciliation.finish().await.map_err(of_reconcile)?;
        let finished = pb::ReconcileResponse { finished: true, ..Default::default() };
        answers.send(finished).await?;
        drop(self.permit);
        Ok(())
    }

    /// Compares the whole export. After an error nothing is in flight any more.
    async fn compare(
        &mut self,
        reconciliation: &Arc<Reconciliation>,
        answers: &Sender,
    ) -> Result<(), Status> {
        let tracked_since = reconciliation.tracked_since().map(timestamp);
        answers.send(pb::ReconcileResponse { tracked_since, ..Default::default() }).await?;
        self.parts(reconciliation, answers).await?;
        let mut rest = reconciliation.rest();
        while let Some((found, next)) =
            reconciliation.compare_rest(rest).await.map_err(of_reconcile)?
        {
            self.check_may_continue()?;
            answers.send(shown(&found)).await?;
            rest = next;
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<Reconciliation, Status> {
        let Some(Part::Begin(begin)) = self.next().await? else {
            return Err(invalid("begin", "must be the first message"));
        };
        let begin = exported::begin(begin)?;
        let reconciliation = self.administration.reconcile(begin, self.actor.clone()).await;
        reconciliation.map_err(of_reconcile)
    }

    /// Compares parts until the end of the export. Parts in flight are completed also after an
    /// error, so that all repairs are counted.
    async fn parts(
        &mut self,
        reconciliation: &Arc<Reconciliation>,
        answers: &Sender,
    ) -> Result<(), Status> {
        let mut in_flight = FuturesOrdered::new();
        let mut lengths = Lengths::default();
        let mut answered = Ok(());
        let mut slice = Slice::default();
        let end = loop {
            tokio::select! {
                Some(compared) = in_flight.next(), if !in_flight.is_empty() => {
                    lengths.pop();
                    answered = answer_part(reconciliation, answers, compared).await;
                    if answered.is_err() {
                        break Ok(());
                    }
                }
                part = self.next(), if lengths.have_room() => {
                    let facts = match part {
                        Ok(Some(Part::Facts(facts))) => facts,
                        Ok(Some(Part::End(_))) => break Ok(()),
                        Ok(Some(Part::Begin(_))) => {
                            break Err(invalid("begin", "must be the first message only"));
                        }
                        Ok(None) => break Err(invalid("end", "must be the last message")),
                        Err(status) => break Err(status),
                    };
                    if slice.is_full_with(&facts) {
                        self.administration.pace().next_slice().await;
                    }
                    lengths.push(facts.encoded_len());
                    match exported::part(facts, &self.administration.catalog(), reconciliation) {
                        Ok(part) => in_flight.push_back(compare_part(reconciliation.clone(), part)),
                        Err(status) => break Err(status),
                    }
                }
            }
        };
        while let Some(compared) = in_flight.next().await {
            // After an answer that could not be sent, no more are: the caller relies on their
            // order.
            if answered.is_ok() {
                answered = answer_part(reconciliation, answers, compared).await;
            }
        }
        answered.and(end)
    }

    /// Reads the next message; `None` if there are no more.
    async fn next(&mut self) -> Result<Option<Part>, Status> {
        let Self { requests, shutdown, authorization, .. } = self;
        tokio::select! {
            biased;
            status = authorization.revoked() => Err(status),
            () = shutdown.cancelled() => Err(shutting_down()),
            message = timeout(IDLE_MAX, requests.message()) => {
                let silent = |_| {
                    of_reason(ErrorReason::StreamSilent, "the caller sent nothing for too long")
                };
                let Some(message) = message.map_err(silent)?? else { return Ok(None) };
                message.part.map(Some).ok_or_else(|| invalid("part", "must be given"))
            }
        }
    }

    fn check_may_continue(&self) -> Result<(), Status> {
        self.authorization.check()?;
        if self.shutdown.is_cancelled() { Err(shutting_down()) } else { Ok(()) }
    }
}

/// Lengths of the messages in flight, in their order.
#[derive(Default)]
struct Lengths {
    each: VecDeque<usize>,
    total: usize,
}

impl Lengths {
    fn have_room(&self) -> bool {
        self.each.len() < IN_FLIGHT_MAX && self.total < IN_FLIGHT_MAX_BYTES
    }

    fn push(&mut self, bytes: usize) {
        self.each.push_back(bytes);
        self.total += bytes;
    }

    fn pop(&mut self) {
        self.total -= self.each.pop_front().unwrap_or(0);
    }
}

/// Facts and messages that were read since the last yield.
#[derive(Default)]
struct Slice {
    read: usize,
}

impl Slice {
    /// Adds a message. Returns whether the slice was full before it; then it begins the next one.
    fn is_full_with(&mut self, facts: &pb::ReconcileFacts) -> bool {
        let lists = facts.friends.iter().map(|it| it.friend_ids.len());
        let lists = lists.chain(facts.groups.iter().map(|it| it.member_ids.len()));
        let more = 1 + facts.account_user_ids.len() + lists.map(|length| 1 + length).sum::<usize>();
        self.read += more;
        let is_full = self.read > READ_MAX;
        if is_full {
            self.read = more;
        }
        is_full
    }
}

/// Sender of the answers of one stream.
struct Sender {
    answers: mpsc::Sender<Result<pb::ReconcileResponse, Status>>,
    authorization: Authorization,
}

impl Sender {
    /// Sends an answer as soon as the caller reads. Returns an error if they have gone away or lost
    /// the right to continue: then nothing more is repaired.
    async fn send(&self, answer: pb::ReconcileResponse) -> Result<(), Status> {
        let mut authorization = self.authorization.clone();
        tokio::select! {
            biased;
            sent = self.answers.send(Ok(answer)) => {
                sent.map_err(|_| of_gone())
            }
            status = authorization.revoked() => Err(status),
        }
    }
}

/// Compares a part in its own task: others that are paced with it must not wait for a caller who
/// does not read the answers.
async fn compare_part(
    reconciliation: Arc<Reconciliation>,
    part: reconcile::Part,
) -> Result<Compared, ReconcileError> {
    let compared = tokio::spawn(async move { reconciliation.compare(part).await });
    compared.await.unwrap_or_else(|ended| match ended.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(ended) => Err(LedgerError::Store(StoreError::Unavailable(ended.to_string())).into()),
    })
}

async fn answer_part(
    reconciliation: &Reconciliation,
    answers: &Sender,
    compared: Result<Compared, ReconcileError>,
) -> Result<(), Status> {
    let found = reconciliation.name(compared.map_err(of_reconcile)?);
    answers.send(shown(&found)).await
}

fn shutting_down() -> Status {
    of_shutdown("repairs that were made remain")
}

fn invalid(field: &str, description: &str) -> Status {
    of_invalid(Invalid::field(field, description))
}
