//! Metrics of operations, with cached handles of the series: a decision costs an array index and no
//! look-up by labels.

use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::known_series::{OPERATIONS, STORE_CALLS, decisions};
use crate::clock::Stopwatch;
use crate::domain::decision::{Mode, Outcome, Reason};
use crate::domain::metering::MeterOutcome;
use crate::domain::operation::OperationKind;
use crate::ledger::LedgerError;

/// Operations that meter.
const METERED: [&str; 3] = ["record_logins", "report_bandwidth", "report_gauge"];
/// Outcome of a successful call of the store.
const OK: &str = "ok";
/// Reason of an operation whose caller's deadline passed.
const ABANDONED: &str = "abandoned";
const MODES: usize = 4;
const OUTCOMES: usize = 6;
/// Number of reasons, and one for "none".
const REASONS: usize = Reason::ALL.len() + 1;

/// Buckets of times in seconds: from 50 us, a decision in memory, to 2 s, the default timeout.
const SECONDS: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_5, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1,
    0.25, 0.5, 2.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    operation: &'static str,
    mode: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

impl DecisionLabels {
    fn of(operation: &'static str, mode: Mode, outcome: Outcome, reason: Option<Reason>) -> Self {
        let (mode, outcome) = (mode_name(mode).1, outcome_name(outcome).1);
        Self { operation, mode, outcome, reason: reason.map_or("", |reason| reason.row().label) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    operation: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
    outcome: &'static str,
}

/// Counters and histograms of operations.
pub struct Operations {
    decisions: Family<DecisionLabels, Counter>,
    metered: Family<OutcomeLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    seconds: Family<OperationLabel, Histogram>,
    store_calls: Family<CallLabels, Counter>,
    store_seconds: Family<CallLabel, Histogram>,
    handles: [Handles; OPERATIONS.len()],
    store_handles: [OnceLock<(Counter, Histogram)>; STORE_CALLS.len()],
}

/// Handles of the series of one operation, each cached at its first use.
struct Handles {
    seconds: OnceLock<Histogram>,
    decisions: Box<[OnceLock<Counter>]>,
}

impl Default for Handles {
    fn default() -> Self {
        let decisions = (0..MODES * OUTCOMES * REASONS).map(|_| OnceLock::new()).collect();
        Self { seconds: OnceLock::new(), decisions }
    }
}

impl Operations {
    /// Creates the metrics, with every series of `known_series` at 0.
    pub(super) fn new() -> Self {
        let seconds = || Histogram::new(SECONDS);
        let operations = Self {
            decisions: Family::default(),
            metered: Family::default(),
            errors: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            store_calls: Family::default(),
            store_seconds: Family::new_with_constructor(seconds),
            handles: std::array::from_fn(|_| Handles::default()),
            store_handles: std::array::from_fn(|_| OnceLock::new()),
        };
        operations.start_at_zero();
        operations
    }

    fn start_at_zero(&self) {
        for (operation, mode, outcome, reason) in decisions() {
            let labels = DecisionLabels::of(operation, mode, outcome, reason);
            drop(self.decisions.get_or_create(&labels));
        }
        for operation in OPERATIONS {
            drop(self.seconds.get_or_create(&OperationLabel { operation }));
            for reason in LedgerError::NAMES.into_iter().chain([ABANDONED]) {
                drop(self.errors.get_or_create(&ErrorLabels { operation, reason }));
            }
        }
        for operation in METERED {
            for outcome in MeterOutcome::ALL.map(meter_outcome_name) {
                drop(self.metered.get_or_create(&OutcomeLabels { operation, outcome }));
            }
        }
        for call in STORE_CALLS {
            drop(self.store_seconds.get_or_create(&CallLabel { call }));
            for outcome in LedgerError::NAMES.into_iter().chain([OK]) {
                drop(self.store_calls.get_or_create(&CallLabels { call, outcome }));
            }
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "decisions",
            "Subjects decided, by operation, mode, outcome and the first reason of a denial",
            self.decisions.clone(),
        );
        registry.register(
            "metered",
            "Logins and samples, by operation and outcome",
            self.metered.clone(),
        );
        registry.register(
            "errors",
            "Operations without a decision, by reason; abandoned: the caller's deadline passed",
            self.errors.clone(),
        );
        registry.register(
            "operation_seconds",
            "Time from request to durable decision or error",
            self.seconds.clone(),
        );
        registry.register(
            "store_calls",
            "Calls of the store, by call and outcome: ok or the error",
            self.store_calls.clone(),
        );
        registry.register(
            "store_call_seconds",
            "Duration of calls of the store",
            self.store_seconds.clone(),
        );
    }

    /// Measures an operation that begins now.
    #[must_use]
    pub(super) fn measure(&self, operation: &'static str, mode: Mode) -> Measure<'_> {
        self.measure_at(OPERATIONS.iter().position(|name| *name == operation), operation, mode)
    }

    /// Measures an operation that decides and begins now.
    #[must_use]
    pub(super) fn measure_operation(&self, kind: OperationKind, mode: Mode) -> Measure<'_> {
        // The names begin with those of these kinds.
        let index = OperationKind::ALL.iter().position(|of| *of == kind);
        self.measure_at(index, kind.name(), mode)
    }

    fn measure_at(&self, index: Option<usize>, operation: &'static str, mode: Mode) -> Measure<'_> {
        let watch = Stopwatch::start();
        Measure { operations: self, operation, index, mode, watch, ended: false }
    }

    /// Counts a call of the store that began with `watch`; `error` is the error's name, if it
    /// failed.
    pub(super) fn store_called(
        &self,
        call: &'static str,
        watch: Stopwatch,
        error: Option<&'static str>,
    ) {
        let make = || {
            let calls = self.store_calls.get_or_create(&CallLabels { call, outcome: OK }).clone();
            (calls, self.store_seconds.get_or_create(&CallLabel { call }).clone())
        };
        let took = watch.elapsed().as_secs_f64();
        let index = STORE_CALLS.iter().position(|name| *name == call);
        let cached = index.map(|index| self.store_handles[index].get_or_init(make));
        let uncached = cached.is_none().then(make);
        let Some((calls, seconds)) = cached.or(uncached.as_ref()) else { return };
        seconds.observe(took);
        match error {
            None => {
                calls.inc();
            }
            Some(outcome) => {
                self.store_calls.get_or_create(&CallLabels { call, outcome }).inc();
            }
        }
    }
}

/// An operation in flight. If it is dropped before its end is recorded, it counts as abandoned.
pub struct Measure<'a> {
    operations: &'a Operations,
    operation: &'static str,
    index: Option<usize>,
    mode: Mode,
    watch: Stopwatch,
    ended: bool,
}

impl Measure<'_> {
    /// Returns the name of the operation.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Records the end of the operation with these outcomes, each with the first reason of its
    /// denial.
    pub fn decided(mut self, results: impl IntoIterator<Item = (Outcome, Option<Reason>)>) {
        self.end();
        for (outcome, reason) in results {
            self.count(outcome, reason);
        }
    }

    fn count(&self, outcome: Outcome, reason: Option<Reason>) {
        let (mode_at, outcome_at) = (mode_name(self.mode).0, outcome_name(outcome).0);
        let labels = || DecisionLabels::of(self.operation, self.mode, outcome, reason);
        let decisions = &self.operations.decisions;
        let Some(index) = self.index else {
            decisions.get_or_create(&labels()).inc();
            return;
        };
        let reason_at = reason.map_or(0, |reason| reason as usize + 1);
        let at = (mode_at * OUTCOMES + outcome_at) * REASONS + reason_at;
        let handle = &self.operations.handles[index].decisions[at];
        handle.get_or_init(|| decisions.get_or_create(&labels()).clone()).inc();
    }

    /// Records the end of the operation with these outcomes of metering.
    pub fn metered(mut self, outcomes: &[MeterOutcome]) {
        self.end();
        for outcome in outcomes {
            let outcome = meter_outcome_name(*outcome);
            let labels = OutcomeLabels { operation: self.operation, outcome };
            self.operations.metered.get_or_create(&labels).inc();
        }
    }

    /// Records the end of the operation without a decision.
    pub fn failed(mut self, reason: &'static str) {
        self.end();
        self.count_error(reason);
    }

    fn end(&mut self) {
        self.ended = true;
        let took = self.watch.elapsed().as_secs_f64();
        let seconds = &self.operations.seconds;
        let label = OperationLabel { operation: self.operation };
        let Some(index) = self.index else {
            seconds.get_or_create(&label).observe(took);
            return;
        };
        let handle = &self.operations.handles[index].seconds;
        handle.get_or_init(|| seconds.get_or_create(&label).clone()).observe(took);
    }

    fn count_error(&self, reason: &'static str) {
        let labels = ErrorLabels { operation: self.operation, reason };
        self.operations.errors.get_or_create(&labels).inc();
    }
}

impl Drop for Measure<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
            self.count_error(ABANDONED);
        }
    }
}

fn meter_outcome_name(outcome: MeterOutcome) -> &'static str {
    match outcome {
        MeterOutcome::Counted => "counted",
        MeterOutcome::AlreadyCounted => "already_counted",
        MeterOutcome::TooLate => "too_late",
        MeterOutcome::InFuture => "in_future",
        MeterOutcome::Denied => "denied",
    }
}

fn outcome_name(outcome: Outcome) -> (usize, &'static str) {
    match outcome {
        Outcome::Applied => (0, "applied"),
        Outcome::AlreadyHeld => (1, "already_held"),
        Outcome::NotHeld => (2, "not_held"),
        Outcome::Denied => (3, "denied"),
        Outcome::Aborted => (4, "aborted"),
        Outcome::Repeated => (5, "repeated"),
    }
}

fn mode_name(mode: Mode) -> (usize, &'static str) {
    match mode {
        Mode::Enforce => (0, "enforce"),
        Mode::CheckOnly => (1, "check_only"),
        Mode::Shadow => (2, "shadow"),
        Mode::Force => (3, "force"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_its_own_series() {
        let operations = Operations::new();
        let modes = [Mode::Enforce, Mode::CheckOnly, Mode::Shadow, Mode::Force];
        let outcomes = [
            Outcome::Applied,
            Outcome::AlreadyHeld,
            Outcome::NotHeld,
            Outcome::Denied,
            Outcome::Aborted,
        ];
        let reasons = [None].into_iter().chain(Reason::ALL.map(Some));
        let mut combinations = Vec::new();
        for operation in OPERATIONS.into_iter().chain(["another"]) {
            for mode in modes {
                for outcome in outcomes {
                    let each = reasons.clone().map(|reason| (operation, mode, outcome, reason));
                    combinations.extend(each);
                }
            }
        }
        for _ in 0..2 {
            for (operation, mode, outcome, reason) in &combinations {
                let measure = operations.measure(operation, *mode);
                measure.count(*outcome, *reason);
                measure.decided([]);
            }
        }
        for (operation, mode, outcome, reason) in combinations {
            let labels = DecisionLabels::of(operation, mode, outcome, reason);
            assert_eq!(operations.decisions.get_or_create(&labels).get(), 2, "{labels:?}");
        }
    }
}
