//! Retention of events, and the reports that a reader gets in place of dropped ones.
//!
//! Two classes share one numbering. Callers can cause any number of events about limits, also for
//! apps that do not exist; so these have bounds of their own and displace no other events.

use std::time::Duration;

use crate::domain::event::{Event, EventKind, NumberedEvent};
use crate::domain::time::Timestamp;

/// The bounds of a log. Each is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The highest number of events about limits, of all apps.
    pub limit_events_max: u64,
    /// The highest number of events about limits of one app.
    pub limit_events_per_app_max: u64,
    /// The number of the other events that are kept regardless of age.
    pub changes_min: u64,
    /// The highest number of the other events.
    pub changes_max: u64,
    /// The time for which the other events are kept.
    pub changes_for: Duration,
}

impl Default for Retention {
    /// Returns bounds of a few megabytes for events about limits, and of a month for the others, so
    /// that a watcher can be away that long.
    fn default() -> Self {
        Self {
            limit_events_max: 10_000,
            limit_events_per_app_max: 500,
            changes_min: 10_000,
            changes_max: 1_000_000,
            changes_for: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Retention {
    /// Returns the instant before which changes are old.
    pub(super) fn kept_since(&self, now: Timestamp) -> Timestamp {
        let ms = i64::try_from(self.changes_for.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_sub(ms))
    }
}

/// A page of events under construction.
pub(super) struct PageEvents {
    events: Vec<NumberedEvent>,
    /// The number up to which the reader has read.
    read: u64,
}

impl PageEvents {
    /// Starts a page for a reader who has read up to that number.
    pub fn after(read: u64) -> Self {
        Self { events: Vec::new(), read }
    }

    /// Adds the next event that is kept. `dropped` are the kinds of the events that were dropped
    /// right before it, separated by spaces; empty if none were.
    pub fn push(&mut self, numbered: NumberedEvent, dropped: &str) {
        let (first, last) = (self.read.saturating_add(1), numbered.number.saturating_sub(1));
        if first <= last && !dropped.is_empty() {
            let mut kinds: Vec<_> = dropped.split(' ').map(str::to_owned).collect();
            kinds.sort_unstable();
            let what = EventKind::EventsDropped { first, last, kinds };
            // The time of the next event, so that each reader gets the same event.
            let event = Event { at: numbered.event.at, app: None, what };
            self.events.push(NumberedEvent { number: last, event });
        }
        self.read = numbered.number;
        self.events.push(numbered);
    }

    /// Returns the events in their order.
    pub fn finish(self) -> Vec<NumberedEvent> {
        self.events
    }
}
