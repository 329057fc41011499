//! The log of events in the ledger's Redis: a hash of events by number, one of cursors, and one
//! that indexes which events are kept.
//!
//! Hashes, since they need no command that the ledger does not need too: who runs an older version
//! has no permission to add. Events that a version without an index has appended are read as they
//! are, and indexed by the next append.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::retention::PageEvents;
use super::{Claim, EventLog, EventsError, Lease, Move, Page, Retention, codec};
use crate::domain::event::{Event, Happening, StorePart};
use crate::ledger::LedgerError;
use crate::ledger::redis::Redis;
use crate::ledger::redis::keys::{CURSORS, EVENT_INDEX, EVENTS};
use crate::ledger::redis::reply::{array, bytes, integer, text};
use crate::ledger::redis::scripts::ScriptId;
use crate::ledger::redis::store::{PATIENCE, Store};

/// What stands before the name of a cursor that moves with what is appended, so that it is not
/// taken for another field of the hash.
const CURSOR_PREFIX: &str = "cursor/";
/// The same of leases.
const LEASE_PREFIX: &str = "lease/";

/// Events are lost that were seen; nothing was appended.
const LOST: u64 = 2;
/// Events without an index are there; some were indexed, and nothing was appended.
const INDEXING: u64 = 3;
/// Most tries to append, while other sidecars find the same loss, and while up to 10,000 events of
/// a version without an index are indexed, 1000 at a time.
const APPEND_ATTEMPTS_MAX: usize = 32;
/// Numbers that are left out after a loss: other sidecars may have seen later events than this one
/// by then, of the last moments.
const NUMBERS_LEFT_OUT: u64 = 1000;

/// Somebody else holds the lease.
const REFUSED: i64 = -2;

/// Events in Redis.
pub struct RedisEvents {
    store: Arc<Store>,
    retention: Retention,
}

impl RedisEvents {
    /// The log in the same Redis as that ledger.
    #[must_use]
    pub fn beside(ledger: &Redis) -> Self {
        Self { store: ledger.store(), retention: Retention::default() }
    }

    /// The same log with other bounds.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    async fn call(&self, script: ScriptId, arguments: &[Vec<u8>]) -> Result<Value, EventsError> {
        let keys = [EVENTS.to_vec(), CURSORS.to_vec(), EVENT_INDEX.to_vec()];
        let answer = self.store.raw(script, &keys, arguments, PATIENCE).await;
        answer.map_err(|error| match error {
            LedgerError::ClockSkew(seconds) => EventsError::ClockSkew(seconds),
            LedgerError::StoreLost(why) => EventsError::StoreLost(why),
            other => EventsError::Unavailable(reason(other)),
        })
    }
}

impl RedisEvents {
    /// What is appended, where the log once had events up to `seen`; `found`: the last one that it
    /// has instead.
    fn arguments(
        &self,
        events: &[Event],
        moved: Option<&Move>,
        seen: u64,
        found: Option<u64>,
    ) -> Vec<Vec<u8>> {
        let mut arguments = vec![bounds(&self.retention)];
        match moved {
            // Where a cursor is, is never the empty text.
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
                let what = Happening::FactsLost { part: StorePart::Events, found, known: seen };
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

/// Bounds as the script reads them.
fn bounds(retention: &Retention) -> Vec<u8> {
    let Retention { limit_events_max, limit_events_per_app_max, changes_min, changes_max, .. } =
        retention;
    let changes_ms = retention.changes_for.as_millis();
    let text = format!(
        "{limit_events_max} {limit_events_per_app_max} {changes_min} {changes_max} {changes_ms}"
    );
    text.into_bytes()
}

fn reason(error: LedgerError) -> String {
    match error {
        LedgerError::Unavailable(reason) | LedgerError::Refused(reason) => reason,
        other => other.to_string(),
    }
}

fn senseless() -> EventsError {
    EventsError::Unavailable("an answer that makes no sense".to_owned())
}

fn number(value: &Value) -> Result<u64, EventsError> {
    integer(value).and_then(|number| u64::try_from(number).ok()).ok_or_else(senseless)
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

#[async_trait]
impl EventLog for RedisEvents {
    /// Where the log has lost events that were seen, it goes on beyond them with an event that says
    /// so.
    async fn append(&self, events: &[Event], moved: Option<Move>) -> Result<bool, EventsError> {
        let known = &self.store.known;
        let mut found = None;
        for _ in 0..APPEND_ATTEMPTS_MAX {
            let before = known.events.before();
            let arguments = self.arguments(events, moved.as_ref(), before.seen.number, found);
            let answer = self.call(ScriptId::AppendEvents, &arguments).await?;
            let mut parts = array(answer).ok_or_else(senseless)?.into_iter();
            let mut next = || number(&parts.next().ok_or_else(senseless)?);
            let (outcome, head) = (next()?, next()?);
            known.events_end(&before, head);
            match outcome {
                LOST => found = Some(head),
                INDEXING => {}
                _ => return Ok(outcome == 1),
            }
        }
        Err(EventsError::Unavailable("the log loses its end again and again".to_owned()))
    }

    async fn cursor(&self, name: &'static str) -> Result<Option<String>, EventsError> {
        let field = format!("{CURSOR_PREFIX}{name}").into_bytes();
        let answer = self.call(ScriptId::EventCursor, &[field]).await?;
        let at = bytes(answer).and_then(text).ok_or_else(senseless)?;
        Ok(Some(at).filter(|at| !at.is_empty()))
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Page, EventsError> {
        let before = self.store.known.events.before();
        let arguments = [decimal(after), decimal(limit as u64)];
        let answer = self.call(ScriptId::ReadEvents, &arguments).await?;
        let mut parts = array(answer).ok_or_else(senseless)?.into_iter();
        let mut next = || parts.next().ok_or_else(senseless);
        let (oldest, head) = (number(&next()?)?, number(&next()?)?);
        self.store.known.events_end(&before, head);
        let mut events = PageEvents::after(after);
        while let (Some(place), Some(event), Some(kinds)) =
            (parts.next(), parts.next(), parts.next())
        {
            let event = bytes(event).ok_or_else(senseless)?;
            let kinds = bytes(kinds).and_then(text).ok_or_else(senseless)?;
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
        match integer(&answer).ok_or_else(senseless)? {
            REFUSED => Ok(Claim::Refused),
            // Below 0: it has no position yet.
            position => Ok(Claim::Granted { position: u64::try_from(position).ok() }),
        }
    }

    async fn advance(&self, lease: &Lease, position: u64) -> Result<bool, EventsError> {
        let name = format!("{LEASE_PREFIX}{}", lease.name).into_bytes();
        let arguments = [name, lease.holder.clone().into_bytes(), decimal(position)];
        Ok(number(&self.call(ScriptId::AdvanceLease, &arguments).await?)? == 1)
    }
}
