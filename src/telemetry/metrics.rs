//! What is counted for Prometheus. No label carries the id of an app, a user or a group.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::exposition::{Exposition, prometheus_text};
use super::operations::{Measure, Operations};
use super::process::Process;
use super::{Condition, panics};
use crate::clock::Stopwatch;
use crate::domain::decision::Mode;
use crate::domain::event::{EventKind, StorePart};

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

/// Everything that is counted.
pub struct Metrics {
    /// In what condition the sidecar is.
    pub condition: Condition,
    registry: Registry,
    operations: Operations,
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
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            condition: Condition::default(),
            registry: Registry::with_prefix("imquota"),
            operations: Operations::new(),
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
        };
        for part in StorePart::ALL.map(StorePart::name) {
            metrics.facts_lost.get_or_create(&PartLabel { part }).inc_by(0);
        }
        for result in [ACCEPTED, REFUSED] {
            // There from the beginning, so that the first one is an increase.
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
        self.registry.register("catalog", "1 for the catalog in force", self.catalog.clone());
        self.registry.register(
            "catalog_differs",
            "1 where the catalog that this sidecar loaded was replaced by the one in force, else 0",
            self.catalog_differs.clone(),
        );
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
        self.registry.register(
            "facts_lost",
            "Times that a part of the store was found to have lost acknowledged writes",
            self.facts_lost.clone(),
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
        let result = if delivered { DELIVERED } else { FAILED };
        self.webhook_posts.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts events that the webhook will never be told.
    pub fn webhook_missed(&self, count: u64) {
        self.webhook_missed.inc_by(count);
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

    /// Counts a call of the store that began with the watch; `error` is its name, if it failed.
    pub fn store_called(&self, call: &'static str, watch: Stopwatch, error: Option<&'static str>) {
        self.operations.store_called(call, watch, error);
    }

    /// Says which catalog is in force, and which one this sidecar loaded where that is another.
    /// Each is a version and the hash of its content.
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

    /// Everything, in that format.
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
