//! Readiness of the sidecar for decisions, reported by health over gRPC, probes over HTTP, and
//! metrics.
//!
//! The process is alive if it answers at all. It has started once the store was opened. It is ready
//! for decisions while the store has answered within `store_tolerance`, so that a short
//! interruption refuses no calls, or while the failure policy admits without the store; metering
//! and the admin service need the store. From the signal to end on, nothing is ready.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
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

/// Interval of store probes, which is shorter if the tolerance is short.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Fewest probes within the tolerance.
const PROBES_PER_TOLERANCE: u32 = 4;
/// Shortest interval of probes.
const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// State of the sidecar, and its reporters.
pub(super) struct Readiness {
    health: HealthReporter,
    metrics: Arc<Metrics>,
    tolerance: Duration,
    state: Mutex<State>,
}

/// Inputs of readiness.
#[derive(Debug, Clone, Default)]
struct State {
    /// The last answer of the store; `None` before it was opened.
    answered: Option<Stopwatch>,
    /// True if the failure policy admits anything without the store.
    fails_open: bool,
    /// The reason why the store is lost, if it is.
    lost: Option<String>,
    /// The servers of the store.
    servers: Vec<ServerState>,
    /// Absent servers by address, each with the time of its absence.
    absent: HashMap<String, Stopwatch>,
    /// Differences in seconds between each clock of the store and this machine's, by address.
    clock_skews: Vec<(String, f64)>,
    /// The journal.
    journal: JournalCondition,
    /// The oldest entry of the journal whose server answers, and the time since it became that.
    oldest: Option<(u64, Stopwatch)>,
    stopping: bool,
    /// The last reported state: ready to decide, and whether the store is available.
    reported: Option<(bool, bool)>,
}

/// Result of a probe.
pub(super) struct Probe {
    /// True if it succeeds.
    pub(super) good: bool,
    /// The checks, a line each, for people.
    pub(super) checks: Vec<Check>,
}

impl Readiness {
    /// Creates the readiness of a sidecar that has not opened its store.
    pub(super) async fn new(metrics: Arc<Metrics>, tolerance: Duration) -> Arc<Self> {
        let health = HealthReporter::new();
        let state = Mutex::default();
        let readiness = Self { health, metrics, tolerance, state };
        readiness.report().await;
        Arc::new(readiness)
    }

    /// Returns the reporter that health over gRPC serves from.
    pub(super) fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Records that the store was opened, or has answered.
    pub(super) async fn answered(&self) {
        self.state().answered = Some(Stopwatch::start());
        self.report().await;
    }

    /// Records whether the store is lost.
    pub(super) async fn lost(&self, ledger: &dyn Ledger) {
        let loss = ledger.is_lost().then(|| ledger.identity().loss).flatten();
        self.metrics.condition.store_lost(ledger.is_lost());
        self.state().lost = loss.map(|loss| loss.why);
        self.report().await;
    }

    /// Records that the process is about to end.
    pub(super) async fn stopping(&self) {
        self.state().stopping = true;
        self.report().await;
    }

    /// Probes the store until `stopped` is cancelled.
    pub(super) async fn follow(
        self: Arc<Self>,
        engine: Arc<Engine>,
        ledger: Arc<dyn Ledger>,
        stopped: CancellationToken,
    ) {
        let every =
            (self.tolerance / PROBES_PER_TOLERANCE).clamp(PROBE_INTERVAL_MIN, PROBE_INTERVAL);
        let mut pace = interval(every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = ledger.identity_changes();
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                () = changed(&mut changes) => {}
                () = stopped.cancelled() => return,
            }
            self.lost(ledger.as_ref()).await;
            self.state().fails_open = engine.admits_without_store();
            match timeout(every, ledger.now()).await {
                Ok(Ok(_)) => self.answered().await,
                _ => self.report().await,
            }
            let servers = ledger.servers();
            self.metrics.condition.servers(&servers);
            self.metrics.condition.loads(&ledger.loads());
            self.servers(servers, ledger.clock_skews());
            self.journal(engine.journal_condition());
        }
    }

    /// Records the servers of the store and their clocks.
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

    /// Records the condition of the journal.
    fn journal(&self, journal: JournalCondition) {
        let mut state = self.state();
        state.oldest = match (journal.oldest_due, state.oldest.take()) {
            (Some(due), Some((before, since))) if due == before => Some((due, since)),
            (due, _) => due.map(|due| (due, Stopwatch::start())),
        };
        state.journal = journal;
        self.metrics.condition.journal_oldest(state.journal_waits());
    }

    /// Probes liveness: the process is alive if it can answer.
    pub(super) fn live() -> Probe {
        Probe { good: true, checks: vec![Check::ok("process")] }
    }

    /// Probes the start: the store was opened once.
    pub(super) fn started(&self) -> Probe {
        let started = checks::started(&self.state());
        Probe { good: started.good, checks: vec![started] }
    }

    /// Probes readiness for calls.
    pub(super) fn ready(&self) -> Probe {
        let state = self.state().clone();
        let (ready, _) = state.conclude(self.tolerance);
        Probe { good: ready, checks: checks::of_state(&state, self.tolerance) }
    }

    async fn report(&self) {
        let (ready, store, stopping, before, silent, lost, started) = {
            let mut state = self.state();
            let (ready, store) = state.conclude(self.tolerance);
            let before = state.reported.replace((ready, store));
            let silent = state.answered.map(|last| last.elapsed()).unwrap_or_default();
            let (lost, started) = (state.lost.is_some(), state.answered.is_some());
            (ready, store, state.stopping, before, silent, lost, started)
        };
        // A store that answers and is lost has its own alert.
        let answers = started && silent < self.tolerance;
        self.metrics.condition.store(silent, answers);
        if before == Some((ready, store)) {
            return;
        }
        match (before, store) {
            (Some((_, true)), false) if lost => {}
            (Some((_, true)), false) => warn!(?silent, ready, "store unavailable"),
            (Some((_, false)), true) => info!("store available"),
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
        self.state.lock()
    }
}

impl State {
    /// Returns for how long the oldest entry of the journal has waited although its server answers.
    fn journal_waits(&self) -> Duration {
        self.oldest.as_ref().map(|(_, since)| since.elapsed()).unwrap_or_default()
    }

    /// Returns whether decisions can be made, and whether the store is available.
    fn conclude(&self, tolerance: Duration) -> (bool, bool) {
        let answers = self.answered.is_some_and(|last| last.elapsed() < tolerance);
        let store = answers && self.lost.is_none();
        let started = self.answered.is_some();
        (started && !self.stopping && (store || self.admits_without_store()), store)
    }

    /// Returns whether the failure policy admits calls now: not while a server answers and refuses
    /// them, and not if the journal is full.
    fn admits_without_store(&self) -> bool {
        let refuses = |server: &ServerState| !server.is_absent && server.refusal.is_some();
        let has_room = self.journal.fill_percent < 100;
        self.fails_open && self.lost.is_none() && has_room && !self.servers.iter().any(refuses)
    }
}
