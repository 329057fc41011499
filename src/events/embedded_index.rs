//! The index of the embedded event log, by which it applies a [`Retention`]. Events appended by a
//! version without an index are indexed by the next append; such a version keeps at most 10,000.

use redb::{ReadableTable as _, StorageError};

use super::Retention;
use super::codec::{self, Outline};
use crate::domain::time::Timestamp;
use crate::redb::tables::{EventIndexKey, Tables};

// The kinds of index rows, which are the first part of their keys.

/// A change that is kept, by number.
const CHANGE: u8 = 0;
/// A limit event that is kept, by number; the value is its app.
const LIMIT: u8 = 1;
/// A limit event that is kept, by app and number.
const LIMIT_OF_APP: u8 = 2;
/// The kinds of the events that were dropped right before that number.
const DROPPED: u8 = 3;
/// The number of limit events of an app that are kept.
const COUNT_OF_APP: u8 = 4;
/// Totals, by the numbers below.
const TOTAL: u8 = 5;

/// The number of changes that are kept.
const CHANGES: u64 = 0;
/// The number of limit events that are kept.
const LIMITS: u64 = 1;
/// The last number that is indexed.
const INDEXED: u64 = 2;

/// The highest number of events that are dropped for one change, so that a backlog is dropped
/// gradually.
const DROPPED_PER_CHANGE: usize = 2;

/// The index during an append.
pub(super) struct Index<'a, 'txn> {
    tables: &'a mut Tables<'txn>,
    retention: Retention,
    /// The instant before which changes are old; `None`: the time cannot be trusted, so none is
    /// old.
    kept_since: Option<Timestamp>,
    changes: u64,
    limits: u64,
}

impl<'a, 'txn> Index<'a, 'txn> {
    /// Opens the index and adds missing events up to the event `head`.
    pub fn open(
        tables: &'a mut Tables<'txn>,
        retention: Retention,
        kept_since: Option<Timestamp>,
        head: u64,
    ) -> Result<Self, StorageError> {
        let changes = number(tables, (TOTAL, "", CHANGES))?;
        let limits = number(tables, (TOTAL, "", LIMITS))?;
        let indexed = number(tables, (TOTAL, "", INDEXED))?;
        let mut index = Self { tables, retention, kept_since, changes, limits };
        if indexed < head {
            let rows = index.tables.events.range(indexed + 1..)?;
            let rows: Result<Vec<_>, StorageError> = rows
                .map(|row| row.map(|(number, bytes)| (number.value(), outline(bytes.value()))))
                .collect();
            for (number, outline) in rows? {
                index.keep(number, &outline)?;
            }
        }
        Ok(index)
    }

    /// Appends an event and indexes it.
    pub fn append(
        &mut self,
        number: u64,
        event: &[u8],
        outline: &Outline,
    ) -> Result<(), StorageError> {
        self.tables.events.insert(number, event)?;
        self.keep(number, outline)
    }

    /// Writes the totals; `head` is the last event.
    pub fn close(self, head: u64) -> Result<(), StorageError> {
        for (total, count) in [(CHANGES, self.changes), (LIMITS, self.limits), (INDEXED, head)] {
            self.tables.event_index.insert((TOTAL, "", total), count.to_string().as_str())?;
        }
        Ok(())
    }

    /// Indexes an event, and drops events beyond the bounds.
    fn keep(&mut self, number: u64, outline: &Outline) -> Result<(), StorageError> {
        let Some(app) = &outline.limited_app else {
            self.tables.event_index.insert((CHANGE, "", number), "")?;
            self.changes += 1;
            return self.drop_changes();
        };
        self.tables.event_index.insert((LIMIT, "", number), app.as_str())?;
        self.tables.event_index.insert((LIMIT_OF_APP, app.as_str(), number), "")?;
        let of_app = self.count(app, 1)?;
        self.limits += 1;
        if of_app > self.retention.limit_events_per_app_max
            && let Some((first, _)) = self.first(LIMIT_OF_APP, app)?
        {
            self.drop_limit(first, app)?;
        }
        if self.limits > self.retention.limit_events_max
            && let Some((first, app)) = self.first(LIMIT, "")?
        {
            self.drop_limit(first, &app)?;
        }
        Ok(())
    }

    fn drop_changes(&mut self) -> Result<(), StorageError> {
        for _ in 0..DROPPED_PER_CHANGE {
            if self.changes <= self.retention.changes_min {
                break;
            }
            let Some((first, _)) = self.first(CHANGE, "")? else { break };
            if self.changes <= self.retention.changes_max && !self.is_old(first)? {
                break;
            }
            self.tables.event_index.remove((CHANGE, "", first))?;
            self.changes -= 1;
            self.drop_event(first)?;
        }
        Ok(())
    }

    fn is_old(&self, number: u64) -> Result<bool, StorageError> {
        let Some(since) = self.kept_since else { return Ok(false) };
        let event = self.tables.events.get(number)?;
        Ok(event.is_none_or(|event| outline(event.value()).at_ms < since.as_millis()))
    }

    fn drop_limit(&mut self, number: u64, app: &str) -> Result<(), StorageError> {
        self.tables.event_index.remove((LIMIT, "", number))?;
        self.tables.event_index.remove((LIMIT_OF_APP, app, number))?;
        self.count(app, -1)?;
        self.limits -= 1;
        self.drop_event(number)
    }

    /// Drops an event, and records its kind before the next event that is kept.
    fn drop_event(&mut self, number: u64) -> Result<(), StorageError> {
        let kind = self.tables.events.remove(number)?.map(|event| outline(event.value()).kind);
        let next = self.tables.events.range(number..)?.next().transpose()?;
        let Some(next) = next.map(|(next, _)| next.value()) else { return Ok(()) };
        let index = &mut self.tables.event_index;
        let before = index.remove((DROPPED, "", number))?.map(|kinds| kinds.value().to_owned());
        let there = index.get((DROPPED, "", next))?.map(|kinds| kinds.value().to_owned());
        let texts = [kind, before, there];
        let mut kinds: Vec<&str> =
            texts.iter().flatten().flat_map(|text| text.split(' ')).collect();
        kinds.sort_unstable();
        kinds.dedup();
        index.insert((DROPPED, "", next), kinds.join(" ").as_str())?;
        Ok(())
    }

    /// Changes the number of limit events of an app, and returns it.
    fn count(&mut self, app: &str, more: i64) -> Result<u64, StorageError> {
        let key = (COUNT_OF_APP, app, 0);
        let count = number(self.tables, key)?.saturating_add_signed(more);
        if count == 0 {
            self.tables.event_index.remove(key)?;
        } else {
            self.tables.event_index.insert(key, count.to_string().as_str())?;
        }
        Ok(count)
    }

    /// Returns the first number of a kind of rows, and its value.
    fn first(&self, rows: u8, app: &str) -> Result<Option<(u64, String)>, StorageError> {
        let mut rows = self.tables.event_index.range((rows, app, 0)..=(rows, app, u64::MAX))?;
        let first = rows.next().transpose()?;
        Ok(first.map(|(key, value)| (key.value().2, value.value().to_owned())))
    }
}

/// Returns the kinds of the events that were dropped right before that number; empty if none were.
pub(super) fn dropped_before(tables: &Tables<'_>, number: u64) -> Result<String, StorageError> {
    let kinds = tables.event_index.get((DROPPED, "", number))?;
    Ok(kinds.map(|kinds| kinds.value().to_owned()).unwrap_or_default())
}

fn number(tables: &Tables<'_>, key: EventIndexKey<'_>) -> Result<u64, StorageError> {
    let value = tables.event_index.get(key)?;
    Ok(value.and_then(|value| value.value().parse().ok()).unwrap_or(0))
}

/// Returns the outline of a stored event. An unreadable one counts as a change of an unknown kind.
fn outline(event: &[u8]) -> Outline {
    let unknown = || Outline { kind: "?".to_owned(), at_ms: i64::MAX, limited_app: None };
    codec::outline(event).unwrap_or_else(unknown)
}
