//! What decisions tell, until it is appended.
//!
//! A decision that has nothing to tell takes no lock. Nothing here waits: what does not fit is
//! dropped and counted.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::decision::{Mode, Outcome, Reason};
use crate::domain::event::{Count, Event, Happening};
use crate::domain::id::AppId;
use crate::domain::limit::LimitId;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::engine::{Decision, Denial};
use crate::events::APPENDED_MAX;
use crate::telemetry::Metrics;

/// Most events about limits that wait for the store, and most of the others: as many as the log
/// keeps of the first.
const WAITING_MAX: usize = 10_000;
/// Most events about limits that are appended at once: about a millisecond of Redis, which drops as
/// many meanwhile.
const LIMITS_APPENDED_MAX: usize = 64;
/// Most apps, limits and reasons whose denials are counted at once: 10,000 apps with one each.
const DENIALS_MAX: usize = 10_000;

/// What decisions have to tell.
pub struct Notices {
    pending: Mutex<Pending>,
    waiting: Notify,
    changed: Notify,
    appended: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Pending {
    /// Events about limits, of which there may be as many as callers like; the oldest first.
    limits: VecDeque<Event>,
    /// The others, which are appended first.
    changes: VecDeque<Event>,
    denials: HashMap<Key, Tally>,
}

/// What denials are counted by.
type Key = (AppId, LimitId, Reason);

struct Tally {
    sample: Count,
    last_at: Timestamp,
    denials: u64,
}

impl Pending {
    /// Where an event waits.
    fn of(&mut self, event: &Event) -> &mut VecDeque<Event> {
        if event.what.is_about_limit() { &mut self.limits } else { &mut self.changes }
    }
}

impl Notices {
    /// Nothing to tell yet.
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

    /// Takes in what a decision tells. Of a mode that only asks, nothing was denied to anybody.
    pub(in crate::engine) fn note(
        &self,
        app: &AppId,
        mode: Mode,
        at: Timestamp,
        decision: &Decision,
    ) {
        let denied = decision.rulings().any(|ruling| ruling.outcome == Outcome::Denied);
        let denied = denied && mode.denies() && mode.writes();
        if decision.warnings.is_empty() && !denied {
            return;
        }
        self.add_crossings(app, at, &decision.warnings);
        if denied {
            let mut pending = self.pending();
            let rulings = decision.rulings().filter(|ruling| ruling.outcome == Outcome::Denied);
            for denial in rulings.flat_map(|ruling| &ruling.denials) {
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

    /// Takes in an event that is written down nowhere else.
    pub fn tell(&self, event: Event) {
        self.push(&mut self.pending(), event);
        self.waiting.notify_one();
    }

    /// The audit log has grown.
    pub fn audit_grew(&self) {
        self.changed.notify_one();
    }

    /// Ready once this sidecar has appended something.
    pub async fn appended_more(&self) {
        self.appended.notified().await;
    }

    pub(super) async fn waiting(&self) {
        self.waiting.notified().await;
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What was denied since the last time becomes events, as far as there is room.
    pub(super) fn sum_up(&self) {
        let mut pending = self.pending();
        let Pending { limits, denials, .. } = &mut *pending;
        let room = WAITING_MAX.saturating_sub(limits.len()).min(denials.len());
        let keys: Vec<Key> = denials.keys().take(room).cloned().collect();
        for key in keys {
            let Some(Tally { sample, last_at, denials }) = denials.remove(&key) else { continue };
            let (app, _, reason) = key;
            let what = Happening::Denied { sample, reason, denials };
            limits.push_back(Event { at: last_at, app: Some(app), what });
        }
        self.waiting.notify_one();
    }

    /// Some events to be appended; `None` where there are none.
    pub(super) fn take(&self) -> Option<Vec<Event>> {
        let Pending { changes, limits, .. } = &mut *self.pending();
        let first = changes.len().min(APPENDED_MAX);
        let rest = limits.len().min(APPENDED_MAX - first).min(LIMITS_APPENDED_MAX);
        (first + rest > 0).then(|| changes.drain(..first).chain(limits.drain(..rest)).collect())
    }

    /// What was taken and not appended.
    pub(super) fn put_back(&self, batch: Vec<Event>) {
        let mut pending = self.pending();
        for event in batch.into_iter().rev() {
            pending.of(&event).push_front(event);
        }
    }

    /// Drops everything and says how much that is.
    pub(super) fn give_up(&self) -> usize {
        let mut pending = self.pending();
        let lost = pending.changes.len() + pending.limits.len();
        pending.changes.clear();
        pending.limits.clear();
        drop(pending);
        self.metrics.events_dropped(lost);
        lost
    }

    /// Counts what was appended, and tells those who watch.
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
        let breach = &denial.breach;
        let key = (app.clone(), breach.limit_id.clone(), breach.reason);
        let there = pending.denials.len();
        if let Some(tally) = pending.denials.get_mut(&key) {
            tally.denials += 1;
            tally.last_at = tally.last_at.max(at);
        } else if there < DENIALS_MAX {
            let sample = Count {
                limit_id: breach.limit_id.to_string(),
                subject: breach.subject.clone(),
                used: breach.used,
                limit: breach.bound.limit.finite().unwrap_or(u64::MAX),
            };
            pending.denials.insert(key, Tally { sample, last_at: at, denials: 1 });
        } else {
            self.metrics.events_dropped(1);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn passed(warning: &Warning) -> Happening {
    let Warning { limit_id, subject, used, limit, percent } = warning.clone();
    let count = Count { limit_id: limit_id.to_string(), subject, used, limit };
    Happening::LimitPassed { count, percent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::{Breach, Subject};
    use crate::domain::id::UserId;
    use crate::domain::limit::{Bound, Limit, Source};
    use crate::engine::Ruling;
    use crate::telemetry::Exposition;

    fn event(days: u32) -> Event {
        let what = Happening::RetentionSet { days, request_id: String::new() };
        let app = AppId::try_from("demo").expect("an id");
        Event { at: Timestamp::from_millis(7), app: Some(app), what }
    }

    fn denied(subject: &Subject, used: u64) -> Ruling {
        let bound = Bound { limit: Limit::Finite(50), source: Source::App };
        let breach =
            Breach::check(Reason::GroupsPerUser, LimitId::GroupsPerUser, subject, used, &bound);
        let denial = Denial {
            breach: breach.expect("over the limit"),
            im_error_code: 10_037,
            message: String::new(),
            upgrades: Vec::new(),
        };
        Ruling { outcome: Outcome::Denied, denials: vec![denial] }
    }

    fn decision(at: i64, items: Vec<Ruling>, warnings: Vec<Warning>) -> Decision {
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
    fn thresholds_are_told_one_by_one_and_denials_are_counted() {
        let notices = Notices::new(Arc::new(Metrics::new()));
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
        notices.note(&app, Mode::Enforce, warned.decided_at, &warned);
        let at = Timestamp::from_millis;
        let both = || vec![denied(&user("ann"), 50), denied(&user("bob"), 51)];
        notices.note(&app, Mode::Enforce, at(5), &decision(5, both(), Vec::new()));
        notices.note(&app, Mode::Enforce, at(3), &decision(3, both(), Vec::new()));
        // Nobody was denied anything by these.
        for mode in [Mode::CheckOnly, Mode::Shadow, Mode::Force] {
            notices.note(&app, mode, at(9), &decision(9, both(), Vec::new()));
        }
        let count = |used| Count {
            limit_id: "groups_per_user".into(),
            subject: user("ann"),
            used,
            limit: 50,
        };
        let event =
            |at, what| Event { at: Timestamp::from_millis(at), app: Some(app.clone()), what };
        let told = [(35, 70), (45, 90)].map(|(used, percent)| {
            event(1, Happening::LimitPassed { count: count(used), percent })
        });
        assert_eq!(notices.take(), Some(told.to_vec()));
        assert_eq!(notices.take(), None, "denials are told once a minute");
        notices.sum_up();
        let (reason, denials) = (Reason::GroupsPerUser, 4);
        let sum = event(5, Happening::Denied { sample: count(50), reason, denials });
        assert_eq!(notices.take(), Some(vec![sum]));
        notices.sum_up();
        assert_eq!(notices.take(), None);
    }

    #[test]
    fn a_flood_of_limit_events_displaces_no_change() {
        let metrics = Arc::new(Metrics::new());
        let notices = Notices::new(metrics.clone());
        let subject = Subject::App;
        let count = Count { limit_id: "accounts_per_app".into(), subject, used: 70, limit: 100 };
        let passed = Happening::LimitPassed { count, percent: 70 };
        for _ in 0..10_003 {
            notices.tell(Event { what: passed.clone(), ..event(1) });
        }
        notices.tell(event(7));
        assert!(
            metrics.text(Exposition::Text).contains("imquota_events_dropped_total 3\n"),
            "{}",
            metrics.text(Exposition::Text)
        );
        let batch = notices.take().expect("there are some");
        assert_eq!((batch.len(), &batch[0]), (1 + LIMITS_APPENDED_MAX, &event(7)));
        notices.put_back(batch);
        assert_eq!(notices.take().expect("there are some")[0], event(7));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_what_was_taken_keeps_its_place() {
        let metrics = Arc::new(Metrics::new());
        let notices = Notices::new(metrics.clone());
        for days in 0..10_003 {
            notices.tell(event(days));
        }
        assert!(
            metrics.text(Exposition::Text).contains("imquota_events_dropped_total 3\n"),
            "{}",
            metrics.text(Exposition::Text)
        );
        let batch = notices.take().expect("there are some");
        assert_eq!(batch.len(), APPENDED_MAX);
        notices.put_back(batch);
        let batch = notices.take().expect("there are some");
        assert_eq!(batch, (0..256).map(event).collect::<Vec<_>>());
        assert_eq!(notices.give_up(), 10_000 - APPENDED_MAX);
        assert_eq!(notices.take(), None);
    }
}
