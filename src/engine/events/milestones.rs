//! Scheduled events, which follow from time passing.
//!
//! The cursor is an instant, up to which everything is published; or an instant and an app, if many
//! apps have events at the same instant: most of them at midnight of the first day of a month.
//!
//! An app's purchases count as far as the audit log is published, and the cursor moves only while
//! that of the audit log is where it was read: so an end follows either from time or from a change,
//! never from both and never from neither.

use std::fmt;
use std::str::FromStr;

use tracing::warn;

use super::{EventPublisher, PumpError, from_audit_log};
use crate::domain::event::Event;
use crate::domain::id::AppId;
use crate::domain::milestone::milestones;
use crate::domain::time::Timestamp;
use crate::events::{APPENDED_MAX, Move, TIME_CURSOR};
use crate::store::CLOCK_SKEW_MAX;

/// Name of the cursor.
pub(super) const CURSOR: &str = TIME_CURSOR;
/// Apps read at a time.
const PAGE: usize = 256;

/// Position up to which all scheduled events are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Everything before this instant is published.
    at: Timestamp,
    /// Of the instant itself, the events of this app and those before it; `None`: all of them.
    app: Option<AppId>,
}

impl Cursor {
    fn has(&self, event: &Event) -> bool {
        match &event.app {
            Some(app) => self.has_passed(event.at, app),
            None => event.at <= self.at,
        }
    }

    /// Returns whether an app's events at an instant are published.
    pub(super) fn has_passed(&self, at: Timestamp, app: &AppId) -> bool {
        at < self.at || at == self.at && self.app.as_ref().is_none_or(|last| app <= last)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.at.as_millis())?;
        self.app.iter().try_for_each(|app| write!(out, " {app}"))
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, app) = text.split_once(' ').map_or((text, None), |(at, app)| (at, Some(app)));
        let at = Timestamp::from_millis(at.parse().map_err(drop)?);
        let app = app.map(|app| AppId::try_from(app).map_err(drop)).transpose()?;
        Ok(Self { at, app })
    }
}

impl EventPublisher {
    /// Sets the cursor to now if it is not set, so that no past event is published.
    pub(super) async fn begin_clockwork(&self) -> Result<(), PumpError> {
        let from = self.log.cursor(CURSOR).await?;
        if from.as_deref().is_none_or(|published| published.parse::<Cursor>().is_err()) {
            let to = Cursor { at: self.engine.agreed_now().await?, app: None }.to_string();
            // If it was set meanwhile, another sidecar has done so.
            self.log.append(&[], Some(Move { cursor: CURSOR, from, to, beside: None })).await?;
        }
        Ok(())
    }

    /// Publishes the milestones that have passed since the cursor.
    pub(super) async fn publish_milestones(&self) -> Result<(), PumpError> {
        let now = self.engine.agreed_now().await?;
        loop {
            self.publish_audit().await?;
            let audit = self.log.cursor(from_audit_log::CURSOR).await?;
            let from = self.log.cursor(CURSOR).await?;
            let published = from.as_deref().and_then(|published| published.parse::<Cursor>().ok());
            let Some(published) = published else { return self.begin_clockwork().await };
            if published.at > now + CLOCK_SKEW_MAX {
                self.move_back(from, &published, now).await?;
                continue;
            }
            if now <= published.at {
                return Ok(());
            }
            let mut events = self.due(&published, now, audit.as_deref()).await?;
            let left = truncate(&mut events);
            let last = events.last().filter(|_| left);
            let to = last.map_or(Cursor { at: now, app: None }, |last| Cursor {
                at: last.at,
                app: last.app.clone(),
            });
            let beside = Some((from_audit_log::CURSOR, audit));
            let moved = Move { cursor: CURSOR, from, to: to.to_string(), beside };
            if self.log.append(&events, Some(moved)).await? {
                self.appended(&events);
            }
        }
    }

    /// Moves back a cursor that a clock which was ahead has moved into the future: milestones
    /// before now are not published again, and later ones are published in time.
    async fn move_back(
        &self,
        from: Option<String>,
        published: &Cursor,
        now: Timestamp,
    ) -> Result<(), PumpError> {
        let (at_ms, now_ms) = (published.at.as_millis(), now.as_millis());
        warn!(at_ms, now_ms, "events published too early: a clock was ahead; cursor moved back");
        let to = Cursor { at: now, app: None }.to_string();
        self.log.append(&[], Some(Move { cursor: CURSOR, from, to, beside: None })).await?;
        Ok(())
    }

    /// Returns the next events in order; somewhat more than can be appended, if there are that
    /// many.
    async fn due(
        &self,
        published: &Cursor,
        now: Timestamp,
        audit: Option<&str>,
    ) -> Result<Vec<Event>, PumpError> {
        let catalog = self.engine.catalog();
        // Of a partly published instant the remaining events are searched too.
        let partly = i64::from(published.app.is_some());
        let after = Timestamp::from_millis(published.at.as_millis().saturating_sub(partly));
        let (mut due, mut last): (Vec<Event>, Option<String>) = (Vec::new(), None);
        loop {
            // An app whose document cannot be read has no events.
            let page = self.directory.apps(last.as_deref(), PAGE).await?;
            last = page.last;
            if last.is_none() {
                return Ok(due);
            }
            // Read after the records, so that it includes every change that they do.
            let unpublished = self.unpublished_sales(audit).await?;
            for record in page.records {
                let first = unpublished.get(&record.app);
                let before = first.and_then(|request| record.sales.around(request));
                let sales = before.map_or(record.sales, |(before, _)| before);
                for (at, what) in milestones(&catalog, &sales, after, now) {
                    let event = Event { at, app: Some(record.app.clone()), what };
                    if !published.has(&event) {
                        due.push(event);
                    }
                }
            }
            due.sort_by(|one, other| (one.at, &one.app).cmp(&(other.at, &other.app)));
            due.truncate(2 * APPENDED_MAX);
        }
    }
}

/// Truncates the events to those that can be appended at once, and returns whether there are more.
/// An app's events at one instant stay together, since the cursor cannot be between them.
fn truncate(events: &mut Vec<Event>) -> bool {
    if events.len() <= APPENDED_MAX {
        return false;
    }
    let position = |event: &Event| (event.at, event.app.clone());
    let next = position(&events[APPENDED_MAX]);
    let whole = events.iter().take_while(|event| position(event) < next).count();
    events.truncate(if whole == 0 { APPENDED_MAX } else { whole });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventKind;

    fn event(at: i64, app: &str) -> Event {
        let what = EventKind::AppCreated { request_id: String::new() };
        let app = AppId::try_from(app).expect("an id");
        Event { at: Timestamp::from_millis(at), app: Some(app), what }
    }

    #[test]
    fn a_cursor_round_trips_and_covers_what_is_published() {
        for text in ["1549900800000", "1549900800000 demo"] {
            assert_eq!(text.parse::<Cursor>().expect(text).to_string(), text);
        }
        for text in ["", "x", "7 ", "7 no app", " demo"] {
            assert_eq!(text.parse::<Cursor>(), Err(()), "{text:?}");
        }
        let partly: Cursor = "7 b".parse().expect("good");
        let wholly: Cursor = "7".parse().expect("good");
        for (at, app, in_part, in_whole) in
            [(6, "z", true, true), (7, "a", true, true), (7, "b", true, true)]
                .into_iter()
                .chain([(7, "c", false, true), (8, "a", false, false)])
        {
            assert_eq!(partly.has(&event(at, app)), in_part, "{at} {app}");
            assert_eq!(wholly.has(&event(at, app)), in_whole, "{at} {app}");
        }
    }

    #[test]
    fn an_apps_events_at_one_instant_are_appended_together() {
        let mut few = vec![event(1, "a"); APPENDED_MAX];
        assert!(!truncate(&mut few));
        assert_eq!(few.len(), APPENDED_MAX);
        let mut many: Vec<_> = (0..250).map(|at| event(at, "a")).collect();
        many.extend(vec![event(300, "b"); 10]);
        many.push(event(300, "c"));
        assert!(truncate(&mut many));
        assert_eq!(many.len(), 250);
    }
}
