//! The Prometheus metrics of the process. No label contains the id of an app, a user or a group.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::calls::CallMetrics;
use super::exposition::{Exposition, prometheus_text};
use super::operations::{Measure, Operations};
use super::process::Process;
use super::{CallbackMetrics, Condition, panics};
use crate::clock::Stopwatch;
use crate::domain::decision::Mode;
use crate::domain::event::{EventKind, StorePart};
use crate::domain::hold::{HoldEnd, HoldOutcome};
use crate::domain::operation::OperationKind;

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DiffersLabels {
    loaded: String,
    loaded_content: String,
    in_force: String,
    in_force_content: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HoldLabels {
    end: &'static str,
    outcome: &'static str,
}

/// The outcomes that each end of a hold may have.
const HOLD_OUTCOMES: [(HoldEnd, &[HoldOutcome]); 2] = [
    (
        HoldEnd::Confirm,
        &[
            HoldOutcome::Confirmed,
            HoldOutcome::Retaken,
            HoldOutcome::Denied,
            HoldOutcome::EndedOtherwise,
        ],
    ),
    (HoldEnd::Release, &[HoldOutcome::Released, HoldOutcome::EndedOtherwise]),
];

impl HoldLabels {
    fn of(end: HoldEnd, outcome: HoldOutcome) -> Self {
        let end = match end {
            HoldEnd::Confirm => "confirm",
            HoldEnd::Release => "release",
        };
        let outcome = match outcome {
            HoldOutcome::Confirmed => "confirmed",
            HoldOutcome::Retaken => "retaken",
            HoldOutcome::Released => "released",
            HoldOutcome::EndedOtherwise => "ended_otherwise",
            HoldOutcome::Denied => "denied",
        };
        Self { end, outcome }
    }
}

/// All metrics.
pub struct Metrics {
    /// Metrics of the sidecar's health.
    pub condition: Condition,
    /// Metrics of callbacks.
    pub callbacks: CallbackMetrics,
    registry: Registry,
    operations: Operations,
    calls: CallMetrics,
    catalog: Family<VersionLabel, Gauge<i64, AtomicI64>>,
    catalog_differs: Family<DiffersLabels, Gauge<i64, AtomicI64>>,
    catalog_reloads: Family<ResultLabel, Counter>,
    credential_reloads: Family<ReloadLabels, Counter>,
    callers_refused: Counter,
    events_appended: Family<KindLabel, Counter>,
    events_dropped: Counter,
    webhook_posts: Family<ResultLabel, Counter>,
    webhook_missed: Counter,
    facts_lost: Family<PartLabel, Counter>,
    holds_ended: Family<HoldLabels, Counter>,
    holds_swept: Counter,
}

impl Metrics {
    /// Creates all metrics, at 0.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            condition: Condition::default(),
            callbacks: CallbackMetrics::default(),
            registry: Registry::with_prefix("imquota"),
            operations: Operations::new(),
            calls: CallMetrics::new(),
            catalog: Family::default(),
            catalog_differs: Family::default(),
            catalog_reloads: Family::default(),
            credential_reloads: Family::default(),
            callers_refused: Counter::default(),
            events_appended: Family::default(),
            events_dropped: Counter::default(),
            webhook_posts: Family::default(),
            webhook_missed: Counter::default(),
            facts_lost: Family::default(),
            holds_ended: Family::default(),
            holds_swept: Counter::default(),
        };
        for (end, outcomes) in HOLD_OUTCOMES {
            for outcome in outcomes {
                metrics.holds_ended.get_or_create(&HoldLabels::of(end, *outcome)).inc_by(0);
            }
        }
        for part in StorePart::ALL.map(StorePart::name) {
            metrics.facts_lost.get_or_create(&PartLabel { part }).inc_by(0);
        }
        for result in [ACCEPTED, REFUSED] {
            // The series exist from the start, so that the first increment is an increase.
            metrics.catalog_reloads.get_or_create(&ResultLabel { result }).inc_by(0);
        }
        for kind in EventKind::APPENDED_KINDS {
            metrics.events_appended.get_or_create(&KindLabel { kind }).inc_by(0);
        }
        for result in [DELIVERED, FAILED] {
            metrics.webhook_posts.get_or_create(&ResultLabel { result }).inc_by(0);
        }
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.registry.register("build", "The running version", build);
        self.operations.register(&mut self.registry);
        self.calls.register(&mut self.registry);
        self.registry.register("catalog", "1 for the catalog in force", self.catalog.clone());
        self.registry.register(
            "catalog_differs",
            "1 if the catalog that this sidecar loaded was replaced by the one in force, else 0",
            self.catalog_differs.clone(),
        );
        self.registry.register(
            "catalog_reloads",
            "Changed catalogs that were found, by result: accepted or refused",
            self.catalog_reloads.clone(),
        );
        self.registry.register(
            "credential_reloads",
            "Changed files of tokens and certificates that were found, by result",
            self.credential_reloads.clone(),
        );
        self.registry.register(
            "admin_callers_refused",
            "Calls of the admin service without valid credentials",
            self.callers_refused.clone(),
        );
        self.register_events();
        self.condition.register(&mut self.registry);
        self.callbacks.register(&mut self.registry);
        panics::register(&mut self.registry);
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
            "Events and denials that were dropped before they were written to the store",
            self.events_dropped.clone(),
        );
        self.registry.register(
            "webhook_posts",
            "Posts of events to the webhook, by result: delivered or failed",
            self.webhook_posts.clone(),
        );
        self.registry.register(
            "webhook_missed",
            "Events that the bounded log dropped before they were posted to the webhook",
            self.webhook_missed.clone(),
        );
        self.registry.register(
            "holds_ended",
            "Subjects of holds that callers confirmed or released, by end and outcome",
            self.holds_ended.clone(),
        );
        self.registry.register(
            "holds_swept_facts",
            "Facts of expired holds that this sidecar removed in the background",
            self.holds_swept.clone(),
        );
        self.registry.register(
            "facts_lost",
            "Detected losses of acknowledged writes, by part of the store",
            self.facts_lost.clone(),
        );
    }

    /// Returns the counters of calls.
    #[must_use]
    pub fn calls(&self) -> &CallMetrics {
        &self.calls
    }

    /// Counts an event that was appended to the log.
    pub fn event_appended(&self, kind: &'static str) {
        self.events_appended.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts events that were dropped before they were appended to the log.
    pub fn events_dropped(&self, count: usize) {
        self.events_dropped.inc_by(count.try_into().unwrap_or(u64::MAX));
    }

    /// Counts a post to the webhook.
    pub fn webhook_posted(&self, delivered: bool) {
        let result = if delivered { DELIVERED } else { FAILED };
        self.webhook_posts.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts events that will never be posted to the webhook.
    pub fn webhook_missed(&self, count: u64) {
        self.webhook_missed.inc_by(count);
    }

    /// Counts a subject of a hold that a caller has ended.
    pub fn hold_ended(&self, end: HoldEnd, outcome: HoldOutcome) {
        self.holds_ended.get_or_create(&HoldLabels::of(end, outcome)).inc();
    }

    /// Counts facts of expired holds that were removed in the background.
    pub fn holds_swept(&self, facts: u64) {
        self.holds_swept.inc_by(facts);
    }

    /// Counts a loss of acknowledged writes of a part of the store.
    pub fn facts_lost(&self, part: &'static str) {
        self.facts_lost.get_or_create(&PartLabel { part }).inc();
    }

    /// Measures an operation that begins now.
    #[must_use]
    pub fn measure(&self, operation: &'static str, mode: Mode) -> Measure<'_> {
        self.operations.measure(operation, mode)
    }

    /// Measures an operation that decides and begins now.
    #[must_use]
    pub fn measure_operation(&self, kind: OperationKind, mode: Mode) -> Measure<'_> {
        self.operations.measure_operation(kind, mode)
    }

    /// Counts a call of the store that began with `watch`; `error` is the error's name, if it
    /// failed.
    pub fn store_called(&self, call: &'static str, watch: Stopwatch, error: Option<&'static str>) {
        self.operations.store_called(call, watch, error);
    }

    /// Sets the catalog in force, and the one that this sidecar loaded, if they differ. Each is a
    /// version and the hash of its content.
    pub fn catalog_in_force(&self, in_force: (&str, &str), differing: Option<(&str, &str)>) {
        let loaded = differing.unwrap_or(in_force);
        let owned = |(version, content): (&str, &str)| (version.to_owned(), content.to_owned());
        let ((loaded, loaded_content), (version, in_force_content)) =
            (owned(loaded), owned(in_force));
        let in_force = version.clone();
        let labels = DiffersLabels { loaded, loaded_content, in_force, in_force_content };
        self.catalog_differs.clear();
        let differs = self.catalog_differs.get_or_create_owned(&labels);
        differs.set(i64::from(differing.is_some()));
        self.catalog.clear();
        self.catalog.get_or_create(&VersionLabel { version }).set(1);
    }

    /// Counts a changed catalog.
    pub fn catalog_reloaded(&self, accepted: bool) {
        let result = if accepted { ACCEPTED } else { REFUSED };
        self.catalog_reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// Creates the series for reloads of these files, so that the first increment is an increase.
    pub fn credentials_followed(&self, of: &'static str) {
        for result in [ACCEPTED, REFUSED] {
            self.credential_reloads.get_or_create(&ReloadLabels { of, result }).inc_by(0);
        }
    }

    /// Counts changed files of tokens or certificates.
    pub fn credentials_reloaded(&self, of: &'static str, accepted: bool) {
        let result = if accepted { ACCEPTED } else { REFUSED };
        self.credential_reloads.get_or_create(&ReloadLabels { of, result }).inc();
    }

    /// Counts a call of the admin service without valid credentials.
    pub fn caller_refused(&self) {
        self.callers_refused.inc();
    }

    /// Formats all metrics.
    #[must_use]
    pub fn text(&self, format: Exposition) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut text, &self.registry);
        let mut process = Registry::default();
        process.register_collector(Box::new(Process));
        let _ = encode_registry(&mut text, &process);
        let _ = encode_eof(&mut text);
        match format {
            Exposition::OpenMetrics => text,
            Exposition::Text => prometheus_text(&text),
        }
    }
}

const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";
const DELIVERED: &str = "delivered";
const FAILED: &str = "failed";

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
