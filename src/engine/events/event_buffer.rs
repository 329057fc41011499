//! The event buffer: events of decisions, until they are appended.
//!
//! A decision without events takes no lock. Nothing here waits: events that do not fit are dropped
//! and counted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::domain::decision::{Mode, Outcome, Reason};
use crate::domain::event::{Count, Event, EventKind};
use crate::domain::id::AppId;
use crate::domain::limit::LimitId;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::engine::{Decision, Denial};
use crate::events::APPENDED_MAX;
use crate::telemetry::Metrics;

/// Most buffered events about limits, and most other ones: the number of events about limits that
/// the log keeps.
const WAITING_MAX: usize = 10_000;
/// Most events about limits in one append: about a millisecond of Redis, which drops as many in the
/// same step.
const LIMITS_APPENDED_MAX: usize = 64;
/// Most combinations of app, limit and reason whose denials are counted: 10,000 apps with one each.
const DENIALS_MAX: usize = 10_000;

/// Buffer of events that are not appended yet.
pub struct EventBuffer {
    pending: Mutex<Pending>,
    waiting: Notify,
    changed: Notify,
    appended: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Pending {
    /// Events about limits, of which callers can cause any number; the oldest first.
    limits: VecDeque<Event>,
    /// Other events, which are appended first.
    changes: VecDeque<Event>,
    denials: HashMap<Key, Tally>,
}

/// Key by which denials are counted.
type Key = (AppId, LimitId, Reason);

struct Tally {
    sample: Count,
    last_at: Timestamp,
    denials: u64,
}

impl Pending {
    /// Returns the queue for an event.
    fn of(&mut self, event: &Event) -> &mut VecDeque<Event> {
        if event.what.is_about_limit() { &mut self.limits } else { &mut self.changes }
    }
}

impl EventBuffer {
    /// Creates an empty buffer.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            pending: Mutex::default(),
            waiting: Notify::new(),
            changed: Notify::new(),
            appended: Notify::new(),
            metrics,
        }
    }

    /// Records the events of a decision. In a dry run, nothing was denied.
    pub(in crate::engine) fn record(
        &self,
        app: &AppId,
        mode: Mode,
        at: Timestamp,
        decision: &Decision,
    ) {
        let denied = decision.results().any(|result| result.outcome == Outcome::Denied);
        let denied = denied && mode.denies() && mode.writes();
        if decision.warnings.is_empty() && !denied {
            return;
        }
        self.add_crossings(app, at, &decision.warnings);
        if denied {
            let mut pending = self.pending();
            let results = decision.results().filter(|result| result.outcome == Outcome::Denied);
            for denial in results.flat_map(|result| &result.violations) {
                self.count(&mut pending, app, at, denial);
            }
        }
    }

    /// Adds an event for each threshold that was crossed.
    pub(in crate::engine) fn add_crossings(
        &self,
        app: &AppId,
        at: Timestamp,
        warnings: &[Warning],
    ) {
        if warnings.is_empty() {
            return;
        }
        let mut pending = self.pending();
        for warning in warnings {
            let event = Event { at, app: Some(app.clone()), what: passed(warning) };
            self.push(&mut pending, event);
        }
        drop(pending);
        self.waiting.notify_one();
    }

    /// Records an event that is not derived from stored records.
    pub fn record_event(&self, event: Event) {
        self.push(&mut self.pending(), event);
        self.waiting.notify_one();
    }

    /// Notifies the publisher that the audit log has grown.
    pub fn audit_grew(&self) {
        self.changed.notify_one();
    }

    /// Completes once this sidecar has appended more events.
    pub async fn appended_more(&self) {
        self.appended.notified().await;
    }

    pub(super) async fn waiting(&self) {
        self.waiting.notified().await;
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Turns the denials counted since the last call into events, as far as there is room.
    pub(super) fn flush_denials(&self) {
        let mut pending = self.pending();
        let Pending { limits, denials, .. } = &mut *pending;
        let room = WAITING_MAX.saturating_sub(limits.len()).min(denials.len());
        let keys: Vec<Key> = denials.keys().take(room).cloned().collect();
        for key in keys {
            let Some(Tally { sample, last_at, denials }) = denials.remove(&key) else { continue };
            let (app, _, reason) = key;
            let what = EventKind::Denied { sample, reason, denials };
            limits.push_back(Event { at: last_at, app: Some(app), what });
        }
        self.waiting.notify_one();
    }

    /// Removes and returns events to be appended; `None` if there are none.
    pub(super) fn drain(&self) -> Option<Vec<Event>> {
        let Pending { changes, limits, .. } = &mut *self.pending();
        let first = changes.len().min(APPENDED_MAX);
        let rest = limits.len().min(APPENDED_MAX - first).min(LIMITS_APPENDED_MAX);
        (first + rest > 0).then(|| changes.drain(..first).chain(limits.drain(..rest)).collect())
    }

    /// Returns drained events that could not be appended to the front of the buffer.
    pub(super) fn requeue(&self, batch: Vec<Event>) {
        let mut pending = self.pending();
        for event in batch.into_iter().rev() {
            pending.of(&event).push_front(event);
        }
    }

    /// Drops all events and returns their number.
    pub(super) fn discard(&self) -> usize {
        let mut pending = self.pending();
        let lost = pending.changes.len() + pending.limits.len();
        pending.changes.clear();
        pending.limits.clear();
        drop(pending);
        self.metrics.events_dropped(lost);
        lost
    }

    /// Counts appended events, and notifies watchers.
    pub(super) fn appended(&self, events: &[Event]) {
        for event in events {
            self.metrics.event_appended(event.what.kind());
        }
        self.appended.notify_waiters();
    }

    fn push(&self, pending: &mut Pending, event: Event) {
        let waiting = pending.of(&event);
        if waiting.len() < WAITING_MAX {
            waiting.push_back(event);
        } else {
            self.metrics.events_dropped(1);
        }
    }

    fn count(&self, pending: &mut Pending, app: &AppId, at: Timestamp, denial: &Denial) {
        let violation = &denial.violation;
        let key = (app.clone(), violation.limit_id.clone(), violation.reason);
        let count = pending.denials.len();
        if let Some(tally) = pending.denials.get_mut(&key) {
            tally.denials += 1;
            tally.last_at = tally.last_at.max(at);
        } else if count < DENIALS_MAX {
            let sample = Count {
                limit_id: violation.limit_id.to_string(),
                subject: violation.subject.clone(),
                used: violation.used,
                limit: violation.bound.limit.finite().unwrap_or(u64::MAX),
            };
            pending.denials.insert(key, Tally { sample, last_at: at, denials: 1 });
        } else {
            self.metrics.events_dropped(1);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }
}

fn passed(warning: &Warning) -> EventKind {
    let Warning { limit_id, subject, used, limit, percent } = warning.clone();
    let count = Count { limit_id: limit_id.to_string(), subject, used, limit };
    EventKind::LimitPassed { count, percent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::{ItemResult, Subject, Violation};
    use crate::domain::id::UserId;
    use crate::domain::limit::{Bound, Limit, Source};
    use crate::telemetry::Exposition;

    fn event(days: u32) -> Event {
        let what = EventKind::RetentionSet { days, request_id: String::new() };
        let app = AppId::try_from("demo").expect("an id");
        Event { at: Timestamp::from_millis(7), app: Some(app), what }
    }

    fn denied(subject: &Subject, used: u64) -> ItemResult<Denial> {
        let bound = Bound { limit: Limit::Finite(50), source: Source::App };
        let violation =
            Violation::check(Reason::GroupsPerUser, LimitId::GroupsPerUser, subject, used, &bound);
        let denial = Denial {
            violation: violation.expect("over the limit"),
            im_code: 10_037.into(),
            message: String::new(),
            upgrades: Vec::new(),
        };
        ItemResult { outcome: Outcome::Denied, violations: vec![denial] }
    }

    fn decision(at: i64, items: Vec<ItemResult<Denial>>, warnings: Vec<Warning>) -> Decision {
        Decision {
            decided_at: Timestamp::from_millis(at),
            whole: None,
            items,
            members_released: 0,
            group_reclaimed: false,
            warnings,
            degradation: None,
        }
    }

    #[test]
    fn thresholds_are_published_one_by_one_and_denials_are_counted() {
        let event_buffer = EventBuffer::new(Arc::new(Metrics::new()));
        let app = AppId::try_from("demo").expect("an id");
        let user = |id: &str| Subject::User(UserId::try_from(id).expect("an id"));
        let passed = |used, percent| Warning {
            limit_id: LimitId::GroupsPerUser,
            subject: user("ann"),
            used,
            limit: 50,
            percent,
        };
        let warned = decision(1, Vec::new(), vec![passed(35, 70), passed(45, 90)]);
        event_buffer.record(&app, Mode::Enforce, warned.decided_at, &warned);
        let at = Timestamp::from_millis;
        let both = || vec![denied(&user("ann"), 50), denied(&user("bob"), 51)];
        event_buffer.record(&app, Mode::Enforce, at(5), &decision(5, both(), Vec::new()));
        event_buffer.record(&app, Mode::Enforce, at(3), &decision(3, both(), Vec::new()));
        // These modes deny nothing.
        for mode in [Mode::CheckOnly, Mode::Shadow, Mode::Force] {
            event_buffer.record(&app, mode, at(9), &decision(9, both(), Vec::new()));
        }
        let count = |used| Count {
            limit_id: "groups_per_user".into(),
            subject: user("ann"),
            used,
            limit: 50,
        };
        let event =
            |at, what| Event { at: Timestamp::from_millis(at), app: Some(app.clone()), what };
        let expected = [(35, 70), (45, 90)].map(|(used, percent)| {
            event(1, EventKind::LimitPassed { count: count(used), percent })
        });
        assert_eq!(event_buffer.drain(), Some(expected.to_vec()));
        assert_eq!(event_buffer.drain(), None, "denials are published once a minute");
        event_buffer.flush_denials();
        let (reason, denials) = (Reason::GroupsPerUser, 4);
        let sum = event(5, EventKind::Denied { sample: count(50), reason, denials });
        assert_eq!(event_buffer.drain(), Some(vec![sum]));
        event_buffer.flush_denials();
        assert_eq!(event_buffer.drain(), None);
    }

    #[test]
    fn a_flood_of_limit_events_displaces_no_change() {
        let metrics = Arc::new(Metrics::new());
        let event_buffer = EventBuffer::new(metrics.clone());
        let subject = Subject::App;
        let count = Count { limit_id: "accounts_per_app".into(), subject, used: 70, limit: 100 };
        let passed = EventKind::LimitPassed { count, percent: 70 };
        for _ in 0..10_003 {
            event_buffer.record_event(Event { what: passed.clone(), ..event(1) });
        }
        event_buffer.record_event(event(7));
        assert!(
            metrics.text(Exposition::Text).contains("imquota_events_dropped_total 3\n"),
            "{}",
            metrics.text(Exposition::Text)
        );
        let batch = event_buffer.drain().expect("there are some");
        assert_eq!((batch.len(), &batch[0]), (1 + LIMITS_APPENDED_MAX, &event(7)));
        event_buffer.requeue(batch);
        assert_eq!(event_buffer.drain().expect("there are some")[0], event(7));
    }

    #[test]
    fn events_that_do_not_fit_are_dropped_and_counted_and_requeued_ones_keep_their_order() {
        let metrics = Arc::new(Metrics::new());
        let event_buffer = EventBuffer::new(metrics.clone());
        for days in 0..10_003 {
            event_buffer.record_event(event(days));
        }
        assert!(
            metrics.text(Exposition::Text).contains("imquota_events_dropped_total 3\n"),
            "{}",
            metrics.text(Exposition::Text)
        );
        let batch = event_buffer.drain().expect("there are some");
        assert_eq!(batch.len(), APPENDED_MAX);
        event_buffer.requeue(batch);
        let batch = event_buffer.drain().expect("there are some");
        assert_eq!(batch, (0..256).map(event).collect::<Vec<_>>());
        assert_eq!(event_buffer.discard(), 10_000 - APPENDED_MAX);
        assert_eq!(event_buffer.drain(), None);
    }
}
