//! How long events are kept, and what a reader gets in place of those that were dropped.
//!
//! Two classes share one numbering. Events about limits come as often as callers like, also for
//! apps that do not exist; so they have bounds of their own and displace nothing else.

use std::time::Duration;

use crate::domain::event::{Event, Happening, NumberedEvent};
use crate::domain::time::Timestamp;

/// Bounds of a log. Each is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Most events about limits, of all apps.
    pub limit_events_max: u64,
    /// Most events about limits of one app.
    pub limit_events_per_app_max: u64,
    /// So many of the other events are kept however old they are.
    pub changes_min: u64,
    /// Most of the other events.
    pub changes_max: u64,
    /// The other events are kept for so long after they happened.
    pub changes_for: Duration,
}

impl Default for Retention {
    /// A few megabytes for limits, and the changes of a month for a watcher who was away.
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
    /// Changes that happened before this instant are old.
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
    /// For a reader who has read up to that number.
    pub fn after(read: u64) -> Self {
        Self { events: Vec::new(), read }
    }

    /// Adds the next event that is kept. `dropped` are the kinds of those that were dropped right
    /// before it, separated by spaces; empty where none were.
    pub fn push(&mut self, numbered: NumberedEvent, dropped: &str) {
        let (first, last) = (self.read.saturating_add(1), numbered.number.saturating_sub(1));
        if first <= last && !dropped.is_empty() {
            let mut kinds: Vec<_> = dropped.split(' ').map(str::to_owned).collect();
            kinds.sort_unstable();
            let what = Happening::EventsDropped { first, last, kinds };
            // Of the next event's time, so that each reader gets the same.
            let event = Event { at: numbered.event.at, app: None, what };
            self.events.push(NumberedEvent { number: last, event });
        }
        self.read = numbered.number;
        self.events.push(numbered);
    }

    /// The events in their order.
    pub fn finish(self) -> Vec<NumberedEvent> {
        self.events
    }
}
