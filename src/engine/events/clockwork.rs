//! Events that follow from the passing of time.
//!
//! The cursor is an instant, up to which everything is told; or an instant and an app, where many
//! apps have something at the same instant: midnight of the first day of a month has most of them.
//!
//! An app's purchases count as far as the audit log is told, and the cursor moves only while the
//! one of the audit log stands where it was read: so an end follows either from time or from a
//! change, never from both and never from neither.

use std::fmt;
use std::str::FromStr;

use tracing::warn;

use super::{Pump, PumpError, audited};
use crate::domain::event::Event;
use crate::domain::id::AppId;
use crate::domain::milestone::milestones;
use crate::domain::time::Timestamp;
use crate::events::{APPENDED_MAX, Move, TIME_CURSOR};
use crate::ledger::CLOCK_SKEW_MAX;

/// The cursor.
pub(super) const CURSOR: &str = TIME_CURSOR;
/// Apps read at a time.
const PAGE: usize = 256;

/// Up to where everything is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Everything before this instant.
    at: Timestamp,
    /// Of the instant itself what this app and those before it have; `None`: all of it.
    app: Option<AppId>,
}

impl Told {
    fn has(&self, event: &Event) -> bool {
        match &event.app {
            Some(app) => self.has_passed(event.at, app),
            None => event.at <= self.at,
        }
    }

    /// Whether what an app has at an instant is told.
    pub(super) fn has_passed(&self, at: Timestamp, app: &AppId) -> bool {
        at < self.at || at == self.at && self.app.as_ref().is_none_or(|last| app <= last)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.at.as_millis())?;
        self.app.iter().try_for_each(|app| write!(out, " {app}"))
    }
}

impl FromStr for Told {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, app) = text.split_once(' ').map_or((text, None), |(at, app)| (at, Some(app)));
        let at = Timestamp::from_millis(at.parse().map_err(drop)?);
        let app = app.map(|app| AppId::try_from(app).map_err(drop)).transpose()?;
        Ok(Self { at, app })
    }
}

impl Pump {
    /// Nothing that lies in the past is told.
    pub(super) async fn begin_clockwork(&self) -> Result<(), PumpError> {
        let from = self.log.cursor(CURSOR).await?;
        if from.as_deref().is_none_or(|told| told.parse::<Told>().is_err()) {
            let to = Told { at: self.engine.agreed_now().await?, app: None }.to_string();
            // Where it was set meanwhile, another sidecar has done so.
            self.log.append(&[], Some(Move { cursor: CURSOR, from, to, beside: None })).await?;
        }
        Ok(())
    }

    /// Tells what has come to pass since the cursor.
    pub(super) async fn tell_milestones(&self) -> Result<(), PumpError> {
        let now = self.engine.agreed_now().await?;
        loop {
            self.tell_audit().await?;
            let audit = self.log.cursor(audited::CURSOR).await?;
            let from = self.log.cursor(CURSOR).await?;
            let told = from.as_deref().and_then(|told| told.parse::<Told>().ok());
            let Some(told) = told else { return self.begin_clockwork().await };
            if told.at > now + CLOCK_SKEW_MAX {
                self.set_back(from, &told, now).await?;
                continue;
            }
            if now <= told.at {
                return Ok(());
            }
            let mut events = self.due(&told, now, audit.as_deref()).await?;
            let left = cut(&mut events);
            let last = events.last().filter(|_| left);
            let to = last.map_or(Told { at: now, app: None }, |last| Told {
                at: last.at,
                app: last.app.clone(),
            });
            let beside = Some((audited::CURSOR, audit));
            let moved = Move { cursor: CURSOR, from, to: to.to_string(), beside };
            if self.log.append(&events, Some(moved)).await? {
                self.appended(&events);
            }
        }
    }

    /// Sets back a cursor that a clock which was ahead has moved into the future: what lies before
    /// now is not told again, and what comes is told in time.
    async fn set_back(
        &self,
        from: Option<String>,
        told: &Told,
        now: Timestamp,
    ) -> Result<(), PumpError> {
        let (at_ms, now_ms) = (told.at.as_millis(), now.as_millis());
        warn!(at_ms, now_ms, "events told too early: a clock was ahead; their cursor is set back");
        let to = Told { at: now, app: None }.to_string();
        self.log.append(&[], Some(Move { cursor: CURSOR, from, to, beside: None })).await?;
        Ok(())
    }

    /// The next events in their order; somewhat more than can be appended where there are more.
    async fn due(
        &self,
        told: &Told,
        now: Timestamp,
        audit: Option<&str>,
    ) -> Result<Vec<Event>, PumpError> {
        let catalog = self.engine.catalog();
        // Of a partly told instant the rest is looked for too.
        let partly = i64::from(told.app.is_some());
        let after = Timestamp::from_millis(told.at.as_millis().saturating_sub(partly));
        let (mut due, mut last): (Vec<Event>, Option<String>) = (Vec::new(), None);
        loop {
            // Of an app whose document cannot be read nothing is known to be due.
            let page = self.directory.apps(last.as_deref(), PAGE).await?;
            last = page.last;
            if last.is_none() {
                return Ok(due);
            }
            // Read after the records, so that it has every change that they have.
            let untold = self.untold_sales(audit).await?;
            for record in page.records {
                let first = untold.get(&record.app);
                let before = first.and_then(|request| record.sales.around(request));
                let sales = before.map_or(record.sales, |(before, _)| before);
                for (at, what) in milestones(&catalog, &sales, after, now) {
                    let event = Event { at, app: Some(record.app.clone()), what };
                    if !told.has(&event) {
                        due.push(event);
                    }
                }
            }
            due.sort_by(|one, other| (one.at, &one.app).cmp(&(other.at, &other.app)));
            due.truncate(2 * APPENDED_MAX);
        }
    }
}

/// Leaves as many events as can be appended at once, and says whether there are more. What one app
/// has at one instant stays together, since the cursor cannot stand in between.
fn cut(events: &mut Vec<Event>) -> bool {
    if events.len() <= APPENDED_MAX {
        return false;
    }
    let place = |event: &Event| (event.at, event.app.clone());
    let next = place(&events[APPENDED_MAX]);
    let whole = events.iter().take_while(|event| place(event) < next).count();
    events.truncate(if whole == 0 { APPENDED_MAX } else { whole });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Happening;

    fn event(at: i64, app: &str) -> Event {
        let what = Happening::AppCreated { request_id: String::new() };
        let app = AppId::try_from(app).expect("an id");
        Event { at: Timestamp::from_millis(at), app: Some(app), what }
    }

    #[test]
    fn a_cursor_is_read_back_and_knows_what_is_told() {
        for text in ["1549900800000", "1549900800000 demo"] {
            assert_eq!(text.parse::<Told>().expect(text).to_string(), text);
        }
        for text in ["", "x", "7 ", "7 no app", " demo"] {
            assert_eq!(text.parse::<Told>(), Err(()), "{text:?}");
        }
        let partly: Told = "7 b".parse().expect("good");
        let wholly: Told = "7".parse().expect("good");
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
    fn what_an_app_has_at_one_instant_is_appended_together() {
        let mut few = vec![event(1, "a"); APPENDED_MAX];
        assert!(!cut(&mut few));
        assert_eq!(few.len(), APPENDED_MAX);
        let mut many: Vec<_> = (0..250).map(|at| event(at, "a")).collect();
        many.extend(vec![event(300, "b"); 10]);
        many.push(event(300, "c"));
        assert!(cut(&mut many));
        assert_eq!(many.len(), 250);
    }
}
