//! Brings the journal to the store, in order, not too fast, and says who is over a limit by it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::{Fallback, is_absence, mode_of_replay};
use crate::domain::decision::Outcome;
use crate::domain::event::{Count, Event, Happening};
use crate::domain::id::AppId;
use crate::engine::{Decision, Engine, Request};
use crate::events::backoff::backoff;
use crate::journal::Entry;
use crate::ledger::LedgerError;
use crate::telemetry::Replayed;

/// Entries that are struck out of the journal together.
const BATCH_MAX: usize = 64;
/// Time between two batches: at most 2,000 entries a second, a fraction of what a store does, so
/// that those who wait for their answers do not wait for this.
const BATCH_EVERY: Duration = Duration::from_millis(32);
/// Longest time for one entry, where decisions wait for the store less long: a store that is too
/// slow for them is away for the journal too, and the other way round.
const ENTRY_TIMEOUT_MIN: Duration = Duration::from_millis(500);
/// Pauses while the store does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Longest time at the end for what can still be brought to the store.
const LAST_TRY_MAX: Duration = Duration::from_secs(5);

/// What became of one app's entries.
#[derive(Default)]
struct Report {
    facts: u64,
    over: u64,
    failed: u64,
    sample: Option<Count>,
}

type Reports = HashMap<AppId, Report>;

impl Fallback {
    /// Brings what waits to the store until `stopped` turns true, and then what is left, as far as
    /// the store answers at once.
    pub async fn replay(self: Arc<Self>, engine: Arc<Engine>, mut stopped: watch::Receiver<bool>) {
        let mut reports = Reports::new();
        let mut pace = interval(BATCH_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut attempts = 0;
        let mut changes = engine.ledger.identity_changes();
        // A journal that cannot be written says so by itself.
        let _ = self.follow_generation(&engine).await;
        loop {
            let waiting = !self.pending().is_empty();
            if !waiting {
                tell(&engine, &mut reports);
            }
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                () = self.appended.notified(), if !waiting => {}
                () = changed(&mut changes) => {}
                _ = pace.tick(), if waiting => {}
            }
            if self.batch(&engine, &mut reports).await {
                attempts = 0;
                continue;
            }
            attempts += 1;
            tokio::select! {
                () = sleep(backoff(attempts, FIRST_PAUSE, LONGEST_PAUSE)) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        let rest = async {
            while !self.pending().is_empty() && self.batch(&engine, &mut reports).await {}
        };
        // What is left is on disk, and is brought to the store after the next start.
        let _ = tokio::time::timeout(LAST_TRY_MAX, rest).await;
        tell(&engine, &mut reports);
        let left = self.pending().len();
        if left > 0 {
            warn!(entries = left, "the store does not have all of the journal; it is kept");
        }
    }

    /// Brings the oldest entries to the store; `false` where it does not answer.
    async fn batch(&self, engine: &Engine, reports: &mut Reports) -> bool {
        // What is brought is of the generation that it is brought to.
        let _kept = engine.ledger.keep_generation().await;
        if engine.ledger.is_lost() || self.follow_generation(engine).await.is_err() {
            return false;
        }
        let oldest = self.pending().oldest(BATCH_MAX);
        let mut done = Vec::with_capacity(oldest.len());
        let mut answers = true;
        for (number, entry) in oldest {
            if !self.bring(engine, &entry, reports).await {
                answers = false;
                break;
            }
            done.push(number);
        }
        if !done.is_empty() && !self.strike_out(done).await {
            return false;
        }
        self.away.send_replace(!answers);
        answers
    }

    /// Forgets entries that are in the store; `false` where the journal fails. Only what is struck
    /// out on disk is forgotten here: it could be brought there once more, after what comes later.
    async fn strike_out(&self, done: Vec<u64>) -> bool {
        if let Err(error) = self.journal.remove(done.clone()).await {
            self.told(&error);
            return false;
        }
        for number in done {
            self.pending().remove(number);
        }
        self.metrics.condition.journal(self.journal.len());
        true
    }

    /// Brings one entry to the store; `false` where that does not answer.
    async fn bring(&self, engine: &Engine, entry: &Entry, reports: &mut Reports) -> bool {
        let Entry { app, mode, operation, .. } = entry.clone();
        let mode = mode_of_replay(mode);
        let deadline = engine.local_now() + self.store_timeout.max(ENTRY_TIMEOUT_MIN);
        let request = Request { app: app.clone(), mode, deadline, operation };
        let report = reports.entry(app).or_default();
        match engine.replay(request).await {
            Ok(decision) => {
                let at = engine.plausible(decision.decided_at);
                engine.notices().note(&entry.app, mode, at, &decision);
                self.count(entry, &decision, report);
                true
            }
            Err(error) if is_absence(&error) || matches!(error, LedgerError::Overloaded) => false,
            Err(LedgerError::Closing | LedgerError::StoreLost(_)) => false,
            // What goes by the time waits until the clocks agree.
            Err(error) if error.is_clock_skew() => false,
            Err(error) => {
                let operation = entry.operation.name();
                warn!(app = %entry.app, operation, %error, "an entry of the journal is void");
                report.failed += 1;
                self.metrics.condition.replayed(Replayed::Failed, 1);
                true
            }
        }
    }

    fn count(&self, entry: &Entry, decision: &Decision, report: &mut Report) {
        for ruling in decision.rulings() {
            report.facts += 1;
            let over = ruling.denials.first();
            let outcome = match (ruling.outcome, over) {
                (_, Some(_)) => Replayed::Over,
                (Outcome::Applied, None) => Replayed::Applied,
                _ => Replayed::Held,
            };
            self.metrics.condition.replayed(outcome, 1);
            let Some(denial) = over else { continue };
            report.over += 1;
            let breach = &denial.breach;
            report.sample.get_or_insert_with(|| Count {
                limit_id: breach.limit_id.to_string(),
                subject: breach.subject.clone(),
                // The breach tells what there was before this one.
                used: breach.used + 1,
                limit: breach.bound.limit.finite().unwrap_or(u64::MAX),
            });
            self.lately.over(&entry.app, breach);
        }
    }
}

/// Ready when the store's identity has changed.
async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Tells what became of the entries, by app.
fn tell(engine: &Engine, reports: &mut Reports) {
    for (app, Report { facts, over, failed, sample }) in reports.drain() {
        info!(%app, facts, over, failed, "the journal is in the store");
        let at = engine.local_now();
        let what = Happening::JournalReplayed { facts, over, failed, sample };
        engine.notices().tell(Event { at, app: Some(app), what });
    }
}
