//! What is counted for Prometheus. No label carries the id of an app, a user or a group.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Condition;
use crate::clock::Stopwatch;
use crate::domain::decision::{Mode, Outcome};
use crate::domain::metering::MeterOutcome;
use crate::engine::Ruling;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    operation: &'static str,
    mode: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MeteredLabels {
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
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    of: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: String,
}

/// Everything that is counted.
pub struct Metrics {
    /// In what condition the sidecar is.
    pub condition: Condition,
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    metered: Family<MeteredLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    seconds: Family<OperationLabel, Histogram>,
    catalog: Family<VersionLabel, Gauge<i64, AtomicI64>>,
    catalog_reloads: Family<ResultLabel, Counter>,
    credential_reloads: Family<ReloadLabels, Counter>,
    callers_refused: Counter,
    events_appended: Family<KindLabel, Counter>,
    events_dropped: Counter,
    webhook_posts: Family<ResultLabel, Counter>,
    webhook_missed: Counter,
}

/// From 50 us, a decision from memory, to 2 s, the longest that one may take by default.
const SECONDS: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_5, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1,
    0.25, 0.5, 2.0,
];

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            condition: Condition::default(),
            registry: Registry::with_prefix("imquota"),
            decisions: Family::default(),
            metered: Family::default(),
            errors: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            catalog: Family::default(),
            catalog_reloads: Family::default(),
            credential_reloads: Family::default(),
            callers_refused: Counter::default(),
            events_appended: Family::default(),
            events_dropped: Counter::default(),
            webhook_posts: Family::default(),
            webhook_missed: Counter::default(),
        };
        for result in [ACCEPTED, REFUSED] {
            // There from the beginning, so that the first one is an increase.
            metrics.catalog_reloads.get_or_create(&ResultLabel { result }).inc_by(0);
        }
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.registry.register("build", "The running version", build);
        self.registry.register(
            "decisions",
            "Subjects decided, by operation, mode, outcome and the first reason of a denial",
            self.decisions.clone(),
        );
        self.registry.register(
            "metered",
            "Logins and samples of bandwidth, by operation and outcome",
            self.metered.clone(),
        );
        self.registry.register(
            "errors",
            "Operations without a decision, by reason; abandoned: the caller's time was up",
            self.errors.clone(),
        );
        self.registry.register(
            "operation_seconds",
            "Time from request to durable decision or error",
            self.seconds.clone(),
        );
        self.registry.register("catalog", "1 for the catalog in force", self.catalog.clone());
        self.registry.register(
            "catalog_reloads",
            "Catalogs found changed, by whether they were accepted or refused",
            self.catalog_reloads.clone(),
        );
        self.registry.register(
            "credential_reloads",
            "Files of tokens and certificates found changed, by whether they were accepted",
            self.credential_reloads.clone(),
        );
        self.registry.register(
            "admin_callers_refused",
            "Calls of the admin service without valid credentials",
            self.callers_refused.clone(),
        );
        self.register_events();
        self.condition.register(&mut self.registry);
        self
    }

    fn register_events(&mut self) {
        self.registry.register(
            "events_appended",
            "Events appended to the log by this sidecar, by kind",
            self.events_appended.clone(),
        );
        self.registry.register(
            "events_dropped",
            "Events, and denials to be counted, that were dropped before the store took them",
            self.events_dropped.clone(),
        );
        self.registry.register(
            "webhook_posts",
            "Posts of events to the webhook, by whether they were delivered or failed",
            self.webhook_posts.clone(),
        );
        self.registry.register(
            "webhook_missed",
            "Events that the bounded log dropped before the webhook took them",
            self.webhook_missed.clone(),
        );
    }

    /// Counts an event that is in the log.
    pub fn event_appended(&self, kind: &'static str) {
        self.events_appended.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts events that never came into the log.
    pub fn events_dropped(&self, count: usize) {
        self.events_dropped.inc_by(count.try_into().unwrap_or(u64::MAX));
    }

    /// Counts a post to the webhook.
    pub fn webhook_posted(&self, delivered: bool) {
        let result = if delivered { "delivered" } else { "failed" };
        self.webhook_posts.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts events that the webhook will never be told.
    pub fn webhook_missed(&self, count: u64) {
        self.webhook_missed.inc_by(count);
    }

    /// Measures an operation that begins now.
    #[must_use]
    pub fn measure(&self, operation: &'static str, mode: Mode) -> Measure<'_> {
        Measure { metrics: self, operation, mode, watch: Stopwatch::start(), ended: false }
    }

    /// Says which catalog is in force.
    pub fn catalog_in_force(&self, version: &str) {
        self.catalog.clear();
        self.catalog.get_or_create(&VersionLabel { version: version.to_owned() }).set(1);
    }

    /// Counts a catalog that was found changed.
    pub fn catalog_reloaded(&self, accepted: bool) {
        let result = if accepted { ACCEPTED } else { REFUSED };
        self.catalog_reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// There will be reloads of these files: counted from the beginning, so that the first one is
    /// an increase.
    pub fn credentials_followed(&self, of: &'static str) {
        for result in [ACCEPTED, REFUSED] {
            self.credential_reloads.get_or_create(&ReloadLabels { of, result }).inc_by(0);
        }
    }

    /// Counts files of tokens or certificates that were found changed.
    pub fn credentials_reloaded(&self, of: &'static str, accepted: bool) {
        let result = if accepted { ACCEPTED } else { REFUSED };
        self.credential_reloads.get_or_create(&ReloadLabels { of, result }).inc();
    }

    /// Counts a call of the administration without valid credentials.
    pub fn caller_refused(&self) {
        self.callers_refused.inc();
    }

    /// Everything, in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// An operation in work. One that is dropped before it has ended counts as abandoned.
pub struct Measure<'a> {
    metrics: &'a Metrics,
    operation: &'static str,
    mode: Mode,
    watch: Stopwatch,
    ended: bool,
}

impl Measure<'_> {
    /// What is measured.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// It ended with these rulings.
    pub fn decided<'r>(mut self, rulings: impl IntoIterator<Item = &'r Ruling>) {
        self.end();
        for ruling in rulings {
            let labels = DecisionLabels {
                operation: self.operation,
                mode: mode_name(self.mode),
                outcome: outcome_name(ruling.outcome),
                reason: ruling.denials.first().map_or("", |denial| denial.breach.reason.name()),
            };
            self.metrics.decisions.get_or_create(&labels).inc();
        }
    }

    /// It ended with these outcomes.
    pub fn metered(mut self, outcomes: &[MeterOutcome]) {
        self.end();
        for outcome in outcomes {
            let outcome = match outcome {
                MeterOutcome::Counted => "counted",
                MeterOutcome::AlreadyCounted => "already_counted",
                MeterOutcome::TooLate => "too_late",
                MeterOutcome::InFuture => "in_future",
            };
            let labels = MeteredLabels { operation: self.operation, outcome };
            self.metrics.metered.get_or_create(&labels).inc();
        }
    }

    /// It ended without a decision.
    pub fn failed(mut self, reason: &'static str) {
        self.end();
        self.count_error(reason);
    }

    fn end(&mut self) {
        self.ended = true;
        let label = OperationLabel { operation: self.operation };
        let took = self.watch.elapsed().as_secs_f64();
        self.metrics.seconds.get_or_create(&label).observe(took);
    }

    fn count_error(&self, reason: &'static str) {
        let labels = ErrorLabels { operation: self.operation, reason };
        self.metrics.errors.get_or_create(&labels).inc();
    }
}

impl Drop for Measure<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
            self.count_error("abandoned");
        }
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::AlreadyHeld => "already_held",
        Outcome::NotHeld => "not_held",
        Outcome::Denied => "denied",
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::CheckOnly => "check_only",
        Mode::Shadow => "shadow",
        Mode::Force => "force",
    }
}
