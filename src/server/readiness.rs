//! Whether the sidecar can decide, for everybody who asks: health over gRPC, probes over HTTP, and
//! metrics.
//!
//! The process is alive as long as it answers. It has started once the store was opened. It is
//! ready for decisions while the store has answered within `store_tolerance`, so that a blink turns
//! nobody away, or while the failure policy admits without it; for metering and administration only
//! the store will do. From the signal to end on, nothing is ready.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use self::checks::Check;
use super::routes::SERVICES;
use super::startup::changed;
use crate::clock::Stopwatch;
use crate::engine::Engine;
use crate::engine::fallback::JournalCondition;
use crate::grpc::QUOTA_SERVICE;
use crate::ledger::Ledger;
use crate::store::ServerState;
use crate::telemetry::Metrics;

mod checks;

/// How often the store is asked for a sign of life, or more often where the tolerance is short.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// So often at least within the tolerance.
const ASKED_PER_TOLERANCE: u32 = 4;
/// How often at most.
const ASK_EVERY_MIN: Duration = Duration::from_millis(20);

/// What is known, and who is told.
pub(super) struct Readiness {
    health: HealthReporter,
    metrics: Arc<Metrics>,
    tolerance: Duration,
    state: Mutex<State>,
}

/// What readiness follows from.
#[derive(Debug, Clone, Default)]
struct State {
    /// When the store last answered; `None` before it was opened.
    answered: Option<Stopwatch>,
    /// Whether the failure policy admits anything without the store.
    opens: bool,
    /// Why the store is lost, where it is.
    lost: Option<String>,
    /// The servers of the store.
    servers: Vec<ServerState>,
    /// Since when each server is absent, of those that are, by address.
    absent: HashMap<String, Stopwatch>,
    /// By how many seconds each clock of the store and this machine's differ, by address.
    clock_skews: Vec<(String, f64)>,
    /// The journal.
    journal: JournalCondition,
    /// The oldest entry of the journal whose server answers, and since when it is that.
    oldest: Option<(u64, Stopwatch)>,
    stopping: bool,
    /// What was told last: ready to decide, and whether the store is there.
    told: Option<(bool, bool)>,
}

/// How a probe is answered.
pub(super) struct Probe {
    /// Whether it succeeds.
    pub(super) good: bool,
    /// What was looked at, a line each, for people.
    pub(super) checks: Vec<Check>,
}

impl Readiness {
    /// Of a sidecar that has not opened its store.
    pub(super) async fn new(metrics: Arc<Metrics>, tolerance: Duration) -> Arc<Self> {
        let health = HealthReporter::new();
        let state = Mutex::default();
        let readiness = Self { health, metrics, tolerance, state };
        readiness.tell().await;
        Arc::new(readiness)
    }

    /// What health over gRPC is served from.
    pub(super) fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// The store was opened, or has answered.
    pub(super) async fn answered(&self) {
        self.state().answered = Some(Stopwatch::start());
        self.tell().await;
    }

    /// Takes in whether the store is lost.
    pub(super) async fn lost(&self, ledger: &dyn Ledger) {
        let loss = ledger.is_lost().then(|| ledger.identity().loss).flatten();
        self.metrics.condition.store_lost(ledger.is_lost());
        self.state().lost = loss.map(|loss| loss.why);
        self.tell().await;
    }

    /// The process is about to end.
    pub(super) async fn stopping(&self) {
        self.state().stopping = true;
        self.tell().await;
    }

    /// Asks the store for signs of life until `stopped` turns true.
    pub(super) async fn follow(
        self: Arc<Self>,
        engine: Arc<Engine>,
        ledger: Arc<dyn Ledger>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let every = (self.tolerance / ASKED_PER_TOLERANCE).clamp(ASK_EVERY_MIN, ASK_EVERY);
        let mut pace = interval(every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = ledger.identity_changes();
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                () = changed(&mut changes) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
            self.lost(ledger.as_ref()).await;
            self.state().opens = engine.admits_without_store();
            match timeout(every, ledger.now()).await {
                Ok(Ok(_)) => self.answered().await,
                _ => self.tell().await,
            }
            let servers = ledger.servers();
            self.metrics.condition.servers(&servers);
            self.metrics.condition.loads(&ledger.loads());
            self.servers(servers, ledger.clock_skews());
            self.journal(engine.journal_condition());
        }
    }

    /// Takes in the servers of the store and their clocks.
    fn servers(&self, servers: Vec<ServerState>, clock_skews: Vec<(String, f64)>) {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.absent);
        let absent = servers.iter().filter(|server| server.is_absent).map(|server| {
            let since = before.remove(&server.address).unwrap_or_else(Stopwatch::start);
            (server.address.clone(), since)
        });
        state.absent = absent.collect();
        state.servers = servers;
        state.clock_skews = clock_skews;
    }

    /// Takes in the condition of the journal.
    fn journal(&self, journal: JournalCondition) {
        let mut state = self.state();
        state.oldest = match (journal.oldest_due, state.oldest.take()) {
            (Some(due), Some((before, since))) if due == before => Some((due, since)),
            (due, _) => due.map(|due| (due, Stopwatch::start())),
        };
        state.journal = journal;
        self.metrics.condition.journal_oldest(state.journal_waits());
    }

    /// Whether the process is to be left alone. It is as long as it can say so.
    pub(super) fn live() -> Probe {
        Probe { good: true, checks: vec![Check::ok("process")] }
    }

    /// Whether the store was opened once.
    pub(super) fn started(&self) -> Probe {
        let started = checks::started(&self.state());
        Probe { good: started.good, checks: vec![started] }
    }

    /// Whether calls are to be sent here.
    pub(super) fn ready(&self) -> Probe {
        let state = self.state().clone();
        let (ready, _) = state.conclude(self.tolerance);
        Probe { good: ready, checks: checks::of_state(&state, self.tolerance) }
    }

    async fn tell(&self) {
        let (ready, store, stopping, known, silent, lost, started) = {
            let mut state = self.state();
            let (ready, store) = state.conclude(self.tolerance);
            let known = state.told.replace((ready, store));
            let silent = state.answered.map(|last| last.elapsed()).unwrap_or_default();
            let (lost, started) = (state.lost.is_some(), state.answered.is_some());
            (ready, store, state.stopping, known, silent, lost, started)
        };
        // A store that answers and is lost has an alert of its own.
        let answers = started && silent < self.tolerance;
        self.metrics.condition.store(silent, answers);
        if known == Some((ready, store)) {
            return;
        }
        match (known, store) {
            (Some((_, true)), false) if lost => {}
            (Some((_, true)), false) => warn!(?silent, ready, "the store does not answer"),
            (Some((_, false)), true) => info!("the store answers"),
            _ => {}
        }
        let status = |good| if good { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.health.set_service_status("", status(!stopping)).await;
        for service in SERVICES {
            let good = if service == QUOTA_SERVICE { ready } else { store && !stopping };
            self.metrics.condition.ready(service, good);
            self.health.set_service_status(service, status(good)).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// For how long the oldest entry of the journal has waited although its server answers.
    fn journal_waits(&self) -> Duration {
        self.oldest.as_ref().map(|(_, since)| since.elapsed()).unwrap_or_default()
    }

    /// Whether decisions can be made, and whether the store is there.
    fn conclude(&self, tolerance: Duration) -> (bool, bool) {
        let answers = self.answered.is_some_and(|last| last.elapsed() < tolerance);
        let store = answers && self.lost.is_none();
        let started = self.answered.is_some();
        (started && !self.stopping && (store || self.admits_without_store()), store)
    }

    /// Whether the failure policy admits calls now: not while a server answers and refuses them,
    /// and not if the journal is full.
    fn admits_without_store(&self) -> bool {
        let refuses = |server: &ServerState| !server.is_absent && server.refusal.is_some();
        let has_room = self.journal.fill_percent < 100;
        self.opens && self.lost.is_none() && has_room && !self.servers.iter().any(refuses)
    }
}
