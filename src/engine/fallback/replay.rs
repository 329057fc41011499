//! Replays the journal to the store, as concurrently as the order of users and groups allows, and
//! reports the subjects that it takes over a limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::queue::Batch;
use super::void::VoidEntries;
use super::{Fallback, empty_decision, mode_of_replay};
use crate::clock::Stopwatch;
use crate::domain::decision::{Mode, Outcome};
use crate::domain::event::{Count, Event, EventKind};
use crate::domain::hold::HoldEnd;
use crate::domain::id::AppId;
use crate::engine::holds::EndRequest;
use crate::engine::{Decision, Engine, Request};
use crate::journal::Accepted;
use crate::ledger::{LedgerError, TakeOptions};
use crate::store::StoreError;
use crate::telemetry::Replayed;

/// Most operations of the journal in flight, so that callers find room between them: about a
/// millisecond of Redis.
const IN_FLIGHT_MAX: usize = 64;
/// Most multiples of [`IN_FLIGHT_MAX`]: one for each millisecond that an operation takes at least,
/// if the store is that far away.
const IN_FLIGHT_TIMES_MAX: u128 = 4;
/// Timeout of one operation.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Most entries that are prepared for the store, or removed, before the task yields to callers:
/// some hundred microseconds.
const BEFORE_YIELD_MAX: usize = 256;
/// Interval at which entries that could not be replayed are checked again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longest time at shutdown for entries that can still be replayed.
const SHUTDOWN_REPLAY_MAX: Duration = Duration::from_secs(5);

/// Result of replaying one app's entries.
#[derive(Default)]
struct Report {
    facts: u64,
    over: u64,
    failed: u64,
    sample: Option<Count>,
}

/// Results since the last report.
#[derive(Default)]
struct Reports {
    by_app: HashMap<AppId, Report>,
    void: VoidEntries,
}

/// Outcome of replaying entries.
enum ReplayOutcome {
    /// They are in the store.
    Done,
    /// They cannot be done any more, for this reason: their group or app does not exist any more,
    /// say.
    Void(LedgerError),
    /// The store is unavailable.
    Later,
    /// The store is available, and cannot carry them out.
    Failed(String),
}

/// A replayed batch, its outcome, and what it was.
type ReplayedBatch = (Vec<u64>, ReplayOutcome, Option<ReplayedWork>);

/// What was replayed, and the decision about it.
struct ReplayedWork {
    app: AppId,
    mode: Mode,
    /// The name of the operation.
    name: &'static str,
    decision: Decision,
}

/// Returns the most operations in flight, by the shortest time that one has taken. While some are
/// on their way to a distant store, it could carry out others.
fn in_flight_max(shortest: Option<Duration>) -> usize {
    let times = shortest.map_or(1, |time| time.as_millis().clamp(1, IN_FLIGHT_TIMES_MAX));
    IN_FLIGHT_MAX * usize::try_from(times).unwrap_or(1)
}

impl Fallback {
    /// Replays the queue until `stopped` is cancelled, and then the remaining entries that the
    /// store accepts immediately.
    pub async fn replay(self: Arc<Self>, engine: Arc<Engine>, stopped: CancellationToken) {
        let mut reports = Reports::default();
        let mut in_flight = FuturesUnordered::new();
        let mut shortest: Option<Duration> = None;
        let mut removals = FuturesUnordered::new();
        let mut changes = engine.ledger.identity_changes();
        let mut ends: Option<Stopwatch> = None;
        loop {
            // A journal that cannot be written reports its own failure.
            let may_go = !engine.ledger.is_lost() && self.follow_generation(&engine).await.is_ok();
            let mut prepared = 0;
            while may_go && in_flight.len() < in_flight_max(shortest) && prepared < BEFORE_YIELD_MAX
            {
                let absent = |app: &AppId, accepted: &Accepted| {
                    engine.ledger.is_absent(app, accepted.parts())
                };
                let Some(batch) = self.queue().take(absent) else { break };
                prepared += batch.numbers.len();
                in_flight.push(timed(self.replay_batch(&engine, batch)));
            }
            if removals.is_empty() {
                let done = self.queue().to_strike_out();
                if !done.is_empty() {
                    removals.push(self.remove_done(done));
                }
            }
            let waiting = self.queue().len() > 0;
            if !waiting {
                report(&engine, &mut reports);
                shortest = None;
            }
            reports.void.log_if_due();
            let is_idle = in_flight.is_empty() && removals.is_empty();
            let is_late = ends.as_ref().is_some_and(|since| since.elapsed() > SHUTDOWN_REPLAY_MAX);
            if ends.is_some() && (is_idle || is_late) {
                break;
            }
            // Work that is always ready must not keep callers waiting.
            tokio::task::yield_now().await;
            tokio::select! {
                Some((replayed, time)) = in_flight.next() => {
                    shortest = Some(shortest.map_or(time, |shortest| shortest.min(time)));
                    self.settle_batch(replayed, &engine, &mut reports);
                }
                Some(()) = removals.next() => {}
                () = std::future::ready(()), if prepared >= BEFORE_YIELD_MAX => {}
                () = self.changed.notified() => {}
                () = changed(&mut changes) => {}
                () = sleep(POLL_INTERVAL), if waiting => {}
                () = stopped.cancelled(), if ends.is_none() => {
                    ends = Some(Stopwatch::start());
                }
            }
        }
        report(&engine, &mut reports);
        // The remaining entries are on disk, and are replayed after the next start.
        let left = self.queue().len();
        if left > 0 {
            warn!(entries = left, "journal kept: entries are left to replay");
        }
    }

    /// Removes entries that are in the store. An entry leaves the queue only once it is removed on
    /// disk: otherwise it could be replayed once more, after later ones.
    async fn remove_done(&self, done: Vec<u64>) {
        if let Err(error) = self.journal.remove(done.clone()).await {
            self.report(&error);
            // The process ends when its journal has failed.
            return std::future::pending().await;
        }
        for chunk in done.chunks(BEFORE_YIELD_MAX) {
            self.queue().remove(chunk);
            tokio::task::yield_now().await;
        }
        self.metrics.condition.journal(self.journal.len());
    }

    /// Replays a batch to the store.
    async fn replay_batch(&self, engine: &Engine, batch: Batch) -> ReplayedBatch {
        let Batch { numbers, merged } = batch;
        // The entries must belong to the generation that they are replayed to.
        let kept = engine.ledger.keep_generation().await;
        if engine.ledger.is_lost() || !self.is_of(&kept.generation) {
            return (numbers, ReplayOutcome::Later, None);
        }
        let mode = mode_of_replay(merged.mode);
        let deadline = engine.local_now() + OPERATION_TIMEOUT;
        let (app, name) = (merged.app, merged.accepted.name());
        let replayed = match merged.accepted {
            Accepted::Operation(operation) | Accepted::Held(operation, _) => {
                let request = Request {
                    app: app.clone(),
                    mode,
                    take: TakeOptions::default(),
                    deadline,
                    operation,
                };
                engine.replay(request).await
            }
            Accepted::Confirmation(id, part) => {
                let (app, end, of) = (app.clone(), HoldEnd::Confirm, Some(part));
                let request = EndRequest { app, id, part: of, end, mode: Mode::Force, deadline };
                let replayed = engine.replay_confirmation(&request, part, merged.at).await;
                replayed.map(|()| empty_decision(engine))
            }
        };
        let (outcome, decision) = match replayed {
            Ok(decision) => (ReplayOutcome::Done, decision),
            Err(error) => (after(error), empty_decision(engine)),
        };
        (numbers, outcome, Some(ReplayedWork { app, mode, name, decision }))
    }

    fn settle_batch(&self, replayed: ReplayedBatch, engine: &Engine, reports: &mut Reports) {
        let (numbers, outcome, decided) = replayed;
        match (outcome, decided) {
            (ReplayOutcome::Done, Some(ReplayedWork { app, mode, decision, .. })) => {
                let at = engine.plausible(decision.decided_at);
                engine.event_buffer().record(&app, mode, at, &decision);
                self.count(&app, &decision, reports);
                self.queue().done(&numbers);
            }
            (ReplayOutcome::Void(why), Some(ReplayedWork { app, .. })) => {
                let count = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
                reports.void.add(&app, numbers.first(), count, &why);
                reports.by_app.entry(app).or_default().failed += count;
                self.metrics.condition.replayed(Replayed::Failed, count);
                self.queue().done(&numbers);
            }
            (ReplayOutcome::Failed(why), Some(ReplayedWork { app, name: operation, .. })) => {
                let blocked = self.queue().failed(&numbers, &why);
                if let Some(entry) = blocked {
                    error!(%app, entry, operation, reason = why, "journal entry blocked");
                    self.report_blocked();
                    let what =
                        EventKind::JournalBlocked { entry, operation: operation.into(), why };
                    let at = engine.local_now();
                    engine.event_buffer().record_event(Event { at, app: Some(app), what });
                }
            }
            _ => self.queue().requeue(&numbers),
        }
    }

    fn count(&self, app: &AppId, decision: &Decision, reports: &mut Reports) {
        let report = reports.by_app.entry(app.clone()).or_default();
        for result in decision.results() {
            report.facts += 1;
            let over = result.violations.first();
            let outcome = match (result.outcome, over) {
                (_, Some(_)) => Replayed::Over,
                (Outcome::Applied, None) => Replayed::Applied,
                _ => Replayed::Held,
            };
            self.metrics.condition.replayed(outcome, 1);
            let Some(denial) = over else { continue };
            report.over += 1;
            let violation = &denial.violation;
            report.sample.get_or_insert_with(|| Count {
                limit_id: violation.limit_id.to_string(),
                subject: violation.subject.clone(),
                // The violation has the count before this fact.
                used: violation.used + 1,
                limit: violation.bound.limit.finite().unwrap_or(u64::MAX),
            });
            self.denial_cache.record_over_limit(app, violation);
        }
    }
}

/// Returns the outcome of an error for its entries.
fn after(error: LedgerError) -> ReplayOutcome {
    match error {
        LedgerError::Store(StoreError::Failed(why)) => ReplayOutcome::Failed(why),
        LedgerError::Store(_)
        | LedgerError::JournalBlocked { .. }
        // Replays are not bounded by this: answered operations have to reach the store.
        | LedgerError::UnknownAppsFull { .. } => ReplayOutcome::Later,
        LedgerError::Unfinished(why) => after(*why),
        LedgerError::UnknownApp(_)
        | LedgerError::GroupNotFound(_)
        | LedgerError::GroupReplaced(_)
        | LedgerError::GroupTypeDiffers { .. }
        | LedgerError::GroupTypeUnknown { .. }
        | LedgerError::MembersNotTracked { .. }
        | LedgerError::HoldDiffers(_)
        | LedgerError::HoldNotFound(_)
        | LedgerError::HoldsFull { .. }
        | LedgerError::CannotReplace { .. }
        | LedgerError::NotTracked(_) => ReplayOutcome::Void(error),
    }
}

/// Returns the result, and the time that it took.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let since = Stopwatch::start();
    (work.await, since.elapsed())
}

/// Completes when the store's identity has changed.
async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Reports the results by app.
fn report(engine: &Engine, reports: &mut Reports) {
    reports.void.log();
    for (app, Report { facts, over, failed, sample }) in reports.by_app.drain() {
        info!(%app, facts, over, failed, "journal replayed");
        let at = engine.local_now();
        let what = EventKind::JournalReplayed { facts, over, failed, sample };
        engine.event_buffer().record_event(Event { at, app: Some(app), what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distant_store_gets_more_operations_in_flight() {
        let table = [(0, 64), (999, 64), (1000, 64), (1999, 64), (2000, 128), (3300, 192)];
        for (micros, expected) in table.into_iter().chain([(4000, 256), (1_000_000, 256)]) {
            assert_eq!(in_flight_max(Some(Duration::from_micros(micros))), expected, "{micros} us");
        }
        assert_eq!(in_flight_max(None), 64, "before any was measured");
    }
}
