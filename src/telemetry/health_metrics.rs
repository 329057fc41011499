//! Metrics of the sidecar's health: readiness, the store, load, the journal, and operations decided
//! without the store.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::replication::ReplicationMetrics;
use crate::domain::hold::HoldEnd;
use crate::domain::operation::{Change, OperationKind};
use crate::store::fair::Load;
use crate::store::{Overload, ServerState};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabel {
    node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DegradedLabels {
    operation: &'static str,
    answer: &'static str,
}

/// Gauges and counters of the sidecar's health.
#[derive(Default)]
pub struct Condition {
    ready: Family<ServiceLabel, Gauge>,
    store_up: Gauge,
    store_lost: Gauge,
    store_silent: Gauge<f64, AtomicU64>,
    breaker_open: Family<NodeLabel, Gauge>,
    store_refuses: Family<NodeLabel, Gauge>,
    replication: ReplicationMetrics,
    clock_skew: Family<NodeLabel, Gauge<f64, AtomicU64>>,
    in_flight: Gauge<i64, AtomicI64>,
    store_in_work: Family<NodeLabel, Gauge>,
    store_waiting: Family<NodeLabel, Gauge>,
    store_window: Family<NodeLabel, Gauge>,
    shed: Family<ReasonLabel, Counter>,
    journal_entries: Gauge,
    journal_blocked: Gauge,
    journal_oldest: Gauge<f64, AtomicU64>,
    journal_replayed: Family<OutcomeLabel, Counter>,
    degraded: Family<DegradedLabels, Counter>,
    apps_unpublished: Gauge,
    apps_unreadable: Gauge,
}

/// Decision made without the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degraded {
    /// Admitted; counted later from the journal.
    Admitted,
    /// Denied, because it was denied recently (denial cache).
    Denied,
    /// Refused: the budget is exhausted, or the journal accepts no more.
    Refused,
    /// A release; applied later from the journal.
    Released,
}

/// Outcome of a fact that was replayed from the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// Applied and counted.
    Applied,
    /// Already held, or nothing was to do.
    Held,
    /// Applied and counted, over a limit.
    Over,
    /// Can no longer be applied.
    Failed,
}

impl Condition {
    pub(super) fn register(&self, registry: &mut Registry) {
        let ready = self.ready.clone();
        registry.register("ready", "1 if the health of a service is SERVING, by service", ready);
        let up = self.store_up.clone();
        registry.register("store_up", "1 if the store has responded within its tolerance", up);
        registry.register(
            "store_lost",
            "1 if the store lost its facts, or is another one, so that no call is served",
            self.store_lost.clone(),
        );
        registry.register(
            "store_silent_seconds",
            "Time since the store last responded",
            self.store_silent.clone(),
        );
        registry.register(
            "breaker_open",
            "1 if a server of the store does not respond to its probe, by address",
            self.breaker_open.clone(),
        );
        registry.register(
            "store_refuses",
            "1 if a server of the store responds, but refused a call within 10 s, by address",
            self.store_refuses.clone(),
        );
        self.replication.register(registry);
        registry.register(
            "clock_skew_seconds",
            "Difference in seconds between this machine's clock and that of a server, by address; \
             for a store in this process, between its time of day and the monotonic clock",
            self.clock_skew.clone(),
        );
        self.register_load(registry);
        self.register_journal(registry);
        registry.register(
            "apps_unpublished",
            "Apps whose latest limits could not be published to every part of the store yet",
            self.apps_unpublished.clone(),
        );
        registry.register(
            "apps_unreadable",
            "Apps whose stored documents cannot be read",
            self.apps_unreadable.clone(),
        );
        for shed in [Overload::Full, Overload::Late] {
            // The series exist from the start, so that the first increment is an increase.
            self.shed.get_or_create(&label_of(shed)).inc_by(0);
        }
        for outcome in [Replayed::Applied, Replayed::Held, Replayed::Over, Replayed::Failed] {
            self.replayed(outcome, 0);
        }
        let kinds = || OperationKind::ALL.into_iter();
        for kind in kinds().filter(|kind| kind.takes()) {
            for answer in [Degraded::Admitted, Degraded::Denied, Degraded::Refused] {
                self.degraded_by(kind.name(), answer, 0);
            }
        }
        for kind in kinds().filter(|kind| kind.change() == Change::Release) {
            self.degraded_by(kind.name(), Degraded::Released, 0);
        }
        self.degraded_by(HoldEnd::Confirm.name(), Degraded::Admitted, 0);
        self.degraded_by(HoldEnd::Release.name(), Degraded::Released, 0);
    }

    /// Registers the metrics of load.
    fn register_load(&self, registry: &mut Registry) {
        registry.register("in_flight", "Operations in flight", self.in_flight.clone());
        registry.register(
            "store_in_work_subjects",
            "Users and groups in calls that a server of the store is processing, by address",
            self.store_in_work.clone(),
        );
        registry.register(
            "store_waiting_subjects",
            "Users and groups in calls that wait for a server of the store, by address",
            self.store_waiting.clone(),
        );
        registry.register(
            "store_window_subjects",
            "Window of users and groups in flight to a server, adapted to its latency, by address",
            self.store_window.clone(),
        );
        registry.register(
            "shed",
            "Calls of the store that were rejected, by reason: full (the queue is full), or late \
             (the deadline passed in the queue)",
            self.shed.clone(),
        );
    }

    /// Registers the metrics of the journal and of degraded decisions.
    fn register_journal(&self, registry: &mut Registry) {
        registry.register(
            "journal_entries",
            "Operations that were accepted without the store and wait for it",
            self.journal_entries.clone(),
        );
        registry.register(
            "journal_blocked",
            "Entries of the journal that the store cannot apply although it responds",
            self.journal_blocked.clone(),
        );
        registry.register(
            "journal_oldest_seconds",
            "Time for which the oldest operation of the journal has waited although its server \
             responds, without blocked ones",
            self.journal_oldest.clone(),
        );
        registry.register(
            "journal_replayed",
            "Facts replayed to the store from the journal, by outcome",
            self.journal_replayed.clone(),
        );
        registry.register(
            "degraded",
            "Operations decided without the store, by operation and answer",
            self.degraded.clone(),
        );
    }

    /// Sets whether the health of a service, such as `imquota.v1.QuotaService`, is SERVING.
    pub fn ready(&self, service: &'static str, ready: bool) {
        let service = service_label(service);
        self.ready.get_or_create(&ServiceLabel { service }).set(i64::from(ready));
    }

    /// Sets the time since the store last responded, and whether that is within its tolerance.
    pub fn store(&self, silent: Duration, up: bool) {
        self.store_silent.set(silent.as_secs_f64());
        self.store_up.set(i64::from(up));
    }

    /// Sets whether the store lost its facts.
    pub fn store_lost(&self, lost: bool) {
        self.store_lost.set(i64::from(lost));
    }

    /// Sets for each server whether it is absent, whether it refuses calls, and its replication.
    pub fn servers(&self, servers: &[ServerState]) {
        self.breaker_open.clear();
        self.store_refuses.clear();
        self.replication.set(servers);
        for server in servers {
            let label = NodeLabel { node: server.address.clone() };
            self.breaker_open.get_or_create(&label).set(i64::from(server.is_absent));
            self.store_refuses.get_or_create(&label).set(i64::from(server.refusal.is_some()));
        }
    }

    /// Sets the number of apps whose latest limits are not published yet.
    pub fn apps_unpublished(&self, apps: usize) {
        self.apps_unpublished.set(i64::try_from(apps).unwrap_or(i64::MAX));
    }

    /// Sets the number of apps whose documents cannot be read.
    pub fn apps_unreadable(&self, apps: usize) {
        self.apps_unreadable.set(i64::try_from(apps).unwrap_or(i64::MAX));
    }

    /// Sets how far this machine's time of day is ahead of each clock of the store, in seconds.
    pub fn clock_skews(&self, skews: &[(String, f64)]) {
        self.clock_skew.clear();
        for (node, seconds) in skews {
            let label = NodeLabel { node: node.clone() };
            self.clock_skew.get_or_create(&label).set(*seconds);
        }
    }

    /// Counts an operation as in flight until the returned value is dropped.
    #[must_use]
    pub fn in_work(&self) -> InWork {
        self.in_flight.inc();
        InWork(self.in_flight.clone())
    }

    /// Sets the load of each server of the store: in flight, waiting, and the window.
    pub fn loads(&self, loads: &[(String, Load)]) {
        let gauges = [&self.store_in_work, &self.store_waiting, &self.store_window];
        for gauge in gauges {
            gauge.clear();
        }
        for (node, Load { in_work, waiting, window }) in loads {
            let label = NodeLabel { node: node.clone() };
            for (gauge, subjects) in gauges.into_iter().zip([in_work, waiting, window]) {
                let subjects = i64::try_from(*subjects).unwrap_or(i64::MAX);
                gauge.get_or_create(&label).set(subjects);
            }
        }
    }

    /// Counts a rejected operation.
    pub fn shed(&self, why: Overload) {
        self.shed.get_or_create(&label_of(why)).inc();
    }

    /// Sets the number of entries that wait in the journal.
    pub fn journal(&self, entries: usize) {
        self.journal_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Sets the number of blocked entries of the journal.
    pub fn journal_blocked(&self, entries: usize) {
        self.journal_blocked.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Sets the time for which the oldest operation of the journal has waited although its server
    /// responds.
    pub fn journal_oldest(&self, waited: Duration) {
        self.journal_oldest.set(waited.as_secs_f64());
    }

    /// Counts facts replayed from the journal.
    pub fn replayed(&self, outcome: Replayed, facts: u64) {
        let outcome = match outcome {
            Replayed::Applied => "applied",
            Replayed::Held => "held",
            Replayed::Over => "over",
            Replayed::Failed => "failed",
        };
        self.journal_replayed.get_or_create(&OutcomeLabel { outcome }).inc_by(facts);
    }

    /// Counts an operation that was decided without the store.
    pub fn degraded(&self, operation: &'static str, answer: Degraded) {
        self.degraded_by(operation, answer, 1);
    }

    fn degraded_by(&self, operation: &'static str, answer: Degraded, operations: u64) {
        let answer = match answer {
            Degraded::Admitted => "admitted",
            Degraded::Denied => "denied",
            Degraded::Refused => "refused",
            Degraded::Released => "released",
        };
        self.degraded.get_or_create(&DegradedLabels { operation, answer }).inc_by(operations);
    }
}

/// Returns the name of a service without its package, in the style of other labels.
fn service_label(service: &str) -> String {
    let name = service.rsplit('.').next().unwrap_or(service);
    let mut label = String::with_capacity(name.len() + 1);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(letter.to_ascii_lowercase());
    }
    label
}

fn label_of(why: Overload) -> ReasonLabel {
    let reason = match why {
        Overload::Full => "full",
        Overload::Late => "late",
    };
    ReasonLabel { reason }
}

/// An operation in flight.
pub struct InWork(Gauge<i64, AtomicI64>);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.dec();
    }
}
