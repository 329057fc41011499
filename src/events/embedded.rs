//! The event log in the embedded store's file, through its writing thread.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redb::{ReadableTable as _, StorageError};

use super::codec::{self, Outline};
use super::embedded_index::{Index, dropped_before};
use super::retention::PageEvents;
use super::{Claim, EventLog, EventsError, LEASE_MAX, Lease, Move, Page, Retention, TIME_CURSOR};
use crate::domain::event::Event;
use crate::domain::time::Timestamp;
use crate::redb::RedbStore;
use crate::redb::store_clock::StoreClock;
use crate::redb::writer::{Unit, Writer, WriterError};

/// Events in the embedded store.
pub struct EmbeddedEvents {
    writer: Arc<Writer>,
    clock: Arc<StoreClock>,
    retention: Retention,
}

impl EmbeddedEvents {
    /// Returns the event log in that store.
    #[must_use]
    pub fn over(store: &RedbStore) -> Self {
        let retention = Retention::default();
        Self { writer: store.writer.clone(), clock: store.clock.clone(), retention }
    }

    /// Returns the log with other bounds.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }
}

/// Returns the numbers of the oldest event and of the last one; the last one is never dropped.
fn ends(unit: &Unit<'_, '_>) -> Result<(u64, u64), StorageError> {
    let head = unit.tables.events.last()?.map_or(0, |(number, _)| number.value());
    let oldest = unit.tables.events.first()?.map_or(head + 1, |(number, _)| number.value());
    Ok((oldest, head))
}

/// An event as it is stored, with its outline for the index.
type Encoded = (Vec<u8>, Outline);

fn append(
    unit: &mut Unit<'_, '_>,
    events: &[Encoded],
    moved: Option<&Move>,
    retention: Retention,
    kept_since: Option<Timestamp>,
) -> Result<bool, StorageError> {
    if let Some(Move { cursor, from, to, beside }) = moved {
        for (cursor, expected) in
            [(cursor, from)].into_iter().chain(beside.iter().map(|it| (&it.0, &it.1)))
        {
            let there = unit.tables.cursors.get(cursor)?.map(|at| at.value().to_owned());
            if there != *expected {
                return Ok(false);
            }
        }
        unit.tables.cursors.insert(cursor, to.as_str())?;
    }
    let (_, mut head) = ends(unit)?;
    let mut index = Index::open(unit.tables, retention, kept_since, head)?;
    for (event, outline) in events {
        head += 1;
        index.append(head, event, outline)?;
    }
    index.close(head)?;
    unit.wrote = true;
    Ok(true)
}

fn read(
    unit: &Unit<'_, '_>,
    after: u64,
    limit: usize,
) -> Result<Result<Page, EventsError>, StorageError> {
    let (oldest, head) = ends(unit)?;
    let mut events = PageEvents::after(after);
    for row in unit.tables.events.range(after.saturating_add(1)..)?.take(limit) {
        let (number, bytes) = row?;
        match codec::decode(number.value(), bytes.value()) {
            Ok(event) => events.push(event, &dropped_before(unit.tables, number.value())?),
            Err(unreadable) => return Ok(Err(unreadable)),
        }
    }
    Ok(Ok(Page { events: events.finish(), oldest, head }))
}

/// Position, holder, and expiry in milliseconds.
type Held = (Option<u64>, String, i64);

fn held(unit: &Unit<'_, '_>, lease: &Lease) -> Result<Held, StorageError> {
    let row = unit.tables.leases.get(lease.name)?;
    Ok(row.map_or((None, String::new(), i64::MIN), |row| {
        let (position, holder, until) = row.value();
        (position, holder.to_owned(), until)
    }))
}

fn claim(
    unit: &mut Unit<'_, '_>,
    lease: &Lease,
    now: Timestamp,
    keep: Duration,
) -> Result<Claim, StorageError> {
    let (position, holder, until) = held(unit, lease)?;
    let (least, most) = (now.as_millis(), (now + LEASE_MAX).as_millis());
    if holder != lease.holder && least < until && until <= most {
        return Ok(Claim::Refused);
    }
    let until = (now + keep.min(LEASE_MAX)).as_millis();
    unit.tables.leases.insert(lease.name, (position, lease.holder.as_str(), until))?;
    unit.wrote = true;
    Ok(Claim::Granted { position })
}

fn advance(
    unit: &mut Unit<'_, '_>,
    lease: &Lease,
    now: Timestamp,
    position: u64,
) -> Result<bool, StorageError> {
    let (_, holder, until) = held(unit, lease)?;
    if holder != lease.holder || until <= now.as_millis() {
        return Ok(false);
    }
    unit.tables.leases.insert(lease.name, (Some(position), lease.holder.as_str(), until))?;
    unit.wrote = true;
    Ok(true)
}

#[async_trait]
impl EventLog for EmbeddedEvents {
    async fn append(&self, events: &[Event], moved: Option<Move>) -> Result<bool, EventsError> {
        let events: Vec<_> =
            events.iter().map(|event| (codec::encode(event), Outline::of(event))).collect();
        let (clock, retention) = (self.clock.clone(), self.retention);
        let by_time =
            moved.as_ref().is_some_and(|it| it.cursor == TIME_CURSOR && it.from.is_some());
        let work = move |unit: &mut Unit<'_, '_>| {
            let reading = clock.reading();
            match reading.selling() {
                Err(refusal) if by_time => Ok(Err(refusal.into())),
                _ => {
                    // Dropped events cannot be recovered.
                    let may_drop = reading.closing().is_ok();
                    let kept_since = may_drop.then(|| retention.kept_since(reading.now));
                    append(unit, &events, moved.as_ref(), retention, kept_since).map(Ok)
                }
            }
        };
        self.writer.submit_without_timeout(work).await?
    }

    async fn cursor(&self, name: &'static str) -> Result<Option<String>, EventsError> {
        let work = move |unit: &mut Unit<'_, '_>| {
            Ok(unit.tables.cursors.get(name)?.map(|at| at.value().to_owned()))
        };
        Ok(self.writer.submit_without_timeout(work).await?)
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Page, EventsError> {
        self.writer.submit_without_timeout(move |unit| read(unit, after, limit)).await?
    }

    async fn claim(&self, lease: &Lease, keep: Duration) -> Result<Claim, EventsError> {
        let (lease, clock) = (lease.clone(), self.clock.clone());
        let work = move |unit: &mut Unit<'_, '_>| {
            let reading = clock.reading();
            match reading.metering() {
                Ok(()) => claim(unit, &lease, reading.now, keep).map(Ok),
                Err(refusal) => Ok(Err(refusal.into())),
            }
        };
        self.writer.submit_without_timeout(work).await?
    }

    async fn advance(&self, lease: &Lease, position: u64) -> Result<bool, EventsError> {
        let (lease, clock) = (lease.clone(), self.clock.clone());
        let work = move |unit: &mut Unit<'_, '_>| {
            let reading = clock.reading();
            match reading.metering() {
                Ok(()) => advance(unit, &lease, reading.now, position).map(Ok),
                Err(refusal) => Ok(Err(refusal.into())),
            }
        };
        self.writer.submit_without_timeout(work).await?
    }
}

impl From<WriterError> for EventsError {
    fn from(error: WriterError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
