//! The event log in Redis: a hash of events by number, one of cursors, and one that
//! indexes the events that are kept.
//!
//! Hashes, since they need no command beyond those of the ledger: a user of an older version then
//! has no permission to add. Events appended by a version without an index are read as they are,
//! and indexed by the next append.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::retention::PageEvents;
use super::{Claim, EventLog, EventsError, Lease, Move, Page, Retention, codec};
use crate::domain::event::{Event, EventKind, StorePart};
use crate::redis::RedisStore;
use crate::redis::keys::{CURSORS, EVENT_INDEX, EVENTS};
use crate::redis::reply::{array, bytes, integer, text};
use crate::redis::scripts::ScriptId;
use crate::redis::store::{Store, UNWATCHED_CALL_TIMEOUT};
use crate::store::StoreError;

/// The prefix of the fields of cursors, which separates them from other fields of the hash.
const CURSOR_PREFIX: &str = "cursor/";
/// The prefix of the fields of leases.
const LEASE_PREFIX: &str = "lease/";

/// The script's reply if events that were seen are lost; nothing was appended.
const LOST: u64 = 2;
/// The script's reply if there are events without an index; some were indexed, and nothing was
/// appended.
const INDEXING: u64 = 3;
/// The highest number of attempts to append, while other sidecars find the same loss, and while up
/// to 10,000 events of a version without an index are indexed, 1000 at a time.
const APPEND_ATTEMPTS_MAX: usize = 32;
/// The number of event numbers that are skipped after a loss: other sidecars may have seen later
/// events than this one, of the last moments before the loss.
const NUMBERS_LEFT_OUT: u64 = 1000;

/// The script's reply if another holder has the lease.
const REFUSED: i64 = -2;

/// Events in Redis.
pub struct RedisEvents {
    store: Arc<Store>,
    retention: Retention,
}

impl RedisEvents {
    /// Returns the event log in that store.
    #[must_use]
    pub fn over(store: &RedisStore) -> Self {
        Self { store: store.calls(), retention: Retention::default() }
    }

    /// Returns the log with other bounds.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    async fn call(&self, script: ScriptId, arguments: &[Vec<u8>]) -> Result<Value, EventsError> {
        let keys = [EVENTS.to_vec(), CURSORS.to_vec(), EVENT_INDEX.to_vec()];
        let answer = self.store.call_script(script, &keys, arguments, UNWATCHED_CALL_TIMEOUT).await;
        answer.map_err(|error| match error {
            StoreError::ClockSkew(seconds) => EventsError::ClockSkew(seconds),
            StoreError::StoreLost(why) => EventsError::StoreLost(why),
            other => EventsError::Unavailable(reason(other)),
        })
    }
}

impl RedisEvents {
    /// Returns the arguments of an append, if the log once had events up to `seen`; after a loss
    /// `found` is the last event that it has instead.
    fn arguments(
        &self,
        events: &[Event],
        moved: Option<&Move>,
        seen: u64,
        found: Option<u64>,
    ) -> Vec<Vec<u8>> {
        let mut arguments = vec![bounds(&self.retention)];
        match moved {
            // The position of a cursor is never the empty string.
            Some(Move { cursor, from, to, beside }) => {
                let field = |cursor: &str| format!("{CURSOR_PREFIX}{cursor}").into_bytes();
                let at = |at: &Option<String>| at.clone().unwrap_or_default().into_bytes();
                arguments.extend([field(cursor), at(from), to.clone().into_bytes()]);
                let beside = beside.as_ref();
                let beside = beside.map(|(beside, expected)| [field(beside), at(expected)]);
                arguments.extend(beside.unwrap_or_default());
            }
            None => arguments.extend([const { Vec::new() }; 5]),
        }
        arguments.push(decimal(seen));
        match found {
            Some(found) => {
                let at = self.store.clock.now();
                let what = EventKind::FactsLost { part: StorePart::Events, found, known: seen };
                let lost = Event { at, app: None, what };
                let on = seen.saturating_add(NUMBERS_LEFT_OUT);
                arguments.extend([decimal(found), decimal(on), codec::encode(&lost)]);
            }
            None => arguments.extend([Vec::new(), Vec::new(), Vec::new()]),
        }
        arguments.extend(events.iter().map(codec::encode));
        arguments
    }
}

/// Returns the bounds as the script parses them.
fn bounds(retention: &Retention) -> Vec<u8> {
    let Retention { limit_events_max, limit_events_per_app_max, changes_min, changes_max, .. } =
        retention;
    let changes_ms = retention.changes_for.as_millis();
    let text = format!(
        "{limit_events_max} {limit_events_per_app_max} {changes_min} {changes_max} {changes_ms}"
    );
    text.into_bytes()
}

fn reason(error: StoreError) -> String {
    match error {
        StoreError::Unavailable(reason) | StoreError::Refused(reason) => reason,
        other => other.to_string(),
    }
}

fn malformed_reply() -> EventsError {
    EventsError::Unavailable("malformed reply".to_owned())
}

fn number(value: &Value) -> Result<u64, EventsError> {
    integer(value).and_then(|number| u64::try_from(number).ok()).ok_or_else(malformed_reply)
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

#[async_trait]
impl EventLog for RedisEvents {
    /// Appends events. If the log has lost events that were seen, it continues after their numbers
    /// with an event that reports the loss.
    async fn append(&self, events: &[Event], moved: Option<Move>) -> Result<bool, EventsError> {
        let known = &self.store.known;
        let mut found = None;
        for _ in 0..APPEND_ATTEMPTS_MAX {
            let before = known.events.before();
            let arguments = self.arguments(events, moved.as_ref(), before.seen.number, found);
            let answer = self.call(ScriptId::AppendEvents, &arguments).await?;
            let mut parts = array(answer).ok_or_else(malformed_reply)?.into_iter();
            let mut next = || number(&parts.next().ok_or_else(malformed_reply)?);
            let (outcome, head) = (next()?, next()?);
            known.events_end(&before, head);
            match outcome {
                LOST => found = Some(head),
                INDEXING => {}
                _ => return Ok(outcome == 1),
            }
        }
        Err(EventsError::Unavailable(
            "the end of the log was lost on every attempt to append".to_owned(),
        ))
    }

    async fn cursor(&self, name: &'static str) -> Result<Option<String>, EventsError> {
        let field = format!("{CURSOR_PREFIX}{name}").into_bytes();
        let answer = self.call(ScriptId::EventCursor, &[field]).await?;
        let at = bytes(answer).and_then(text).ok_or_else(malformed_reply)?;
        Ok(Some(at).filter(|at| !at.is_empty()))
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Page, EventsError> {
        let before = self.store.known.events.before();
        let arguments = [decimal(after), decimal(limit as u64)];
        let answer = self.call(ScriptId::ReadEvents, &arguments).await?;
        let mut parts = array(answer).ok_or_else(malformed_reply)?.into_iter();
        let mut next = || parts.next().ok_or_else(malformed_reply);
        let (oldest, head) = (number(&next()?)?, number(&next()?)?);
        self.store.known.events_end(&before, head);
        let mut events = PageEvents::after(after);
        while let (Some(place), Some(event), Some(kinds)) =
            (parts.next(), parts.next(), parts.next())
        {
            let event = bytes(event).ok_or_else(malformed_reply)?;
            let kinds = bytes(kinds).and_then(text).ok_or_else(malformed_reply)?;
            events.push(codec::decode(number(&place)?, &event)?, &kinds);
        }
        Ok(Page { events: events.finish(), oldest, head })
    }

    async fn claim(&self, lease: &Lease, keep: Duration) -> Result<Claim, EventsError> {
        let name = format!("{LEASE_PREFIX}{}", lease.name).into_bytes();
        let arguments = [
            name,
            lease.holder.clone().into_bytes(),
            decimal(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)),
        ];
        let answer = self.call(ScriptId::ClaimLease, &arguments).await?;
        match integer(&answer).ok_or_else(malformed_reply)? {
            REFUSED => Ok(Claim::Refused),
            // A negative reply means that there is no position yet.
            position => Ok(Claim::Granted { position: u64::try_from(position).ok() }),
        }
    }

    async fn advance(&self, lease: &Lease, position: u64) -> Result<bool, EventsError> {
        let name = format!("{LEASE_PREFIX}{}", lease.name).into_bytes();
        let arguments = [name, lease.holder.clone().into_bytes(), decimal(position)];
        Ok(number(&self.call(ScriptId::AdvanceLease, &arguments).await?)? == 1)
    }
}
