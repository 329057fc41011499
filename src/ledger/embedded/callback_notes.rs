//! Notes of callbacks in the embedded store's file, through its writing thread.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redb::StorageError;

use super::note_rows::{INSTANT, Note, QUEUE, has_room, keep, note, remove};
use super::note_texts::Texts;
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::callback_notes::{CallbackNotes, TEXTS_MAX, check, full};
use crate::redb::RedbStore;
use crate::redb::store_clock::StoreClock;
use crate::redb::writer::{Unit, Writer};
use crate::store::fair::Turn;
use crate::store::{Fingerprints, StoreError};

/// Notes in the embedded store.
pub struct EmbeddedNotes {
    writer: Arc<Writer>,
    clock: Arc<StoreClock>,
    ids: Fingerprints,
}

impl EmbeddedNotes {
    /// Returns the notes in that store.
    #[must_use]
    pub fn over(store: &RedbStore) -> Self {
        Self { writer: store.writer.clone(), clock: store.clock.clone(), ids: store.ids }
    }

    /// Does a step with the store's time in milliseconds.
    async fn step<T: Send + 'static>(
        &self,
        app: &AppId,
        subjects: usize,
        deadline: Timestamp,
        work: impl FnOnce(&mut Unit<'_, '_>, u64, i64) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (reading, deadline) = self.clock.reading_before(deadline);
        let within = deadline - reading.now;
        if within.is_zero() {
            return Err(StoreError::DeadlinePassed.into());
        }
        let (app, clock) = (self.ids.app(app), self.clock.clone());
        let step = move |unit: &mut Unit<'_, '_>| {
            let now = clock.now();
            if now > deadline {
                return Ok(None);
            }
            work(unit, app, now.as_millis()).map(Some)
        };
        let done = self.writer.submit(Turn { app, subjects }, within, step).await?;
        Ok(done.ok_or(StoreError::DeadlinePassed)?)
    }
}

/// Milliseconds at which something expires that is kept for that long from now on.
fn till(now: i64, lasting: Duration) -> i64 {
    now.saturating_add(i64::try_from(lasting.as_millis()).unwrap_or(i64::MAX))
}

fn texts(unit: &Unit<'_, '_>, app: u64, queue: &str, now: i64) -> Result<Texts, StorageError> {
    let found = note(unit, (app, QUEUE, queue), now)?;
    Ok(found.map(|found| Texts::decode(&found.value, now)).unwrap_or_default())
}

fn keep_texts(
    unit: &mut Unit<'_, '_>,
    app: u64,
    queue: &str,
    texts: &Texts,
) -> Result<(), StorageError> {
    match texts.last_till() {
        None => remove(unit, (app, QUEUE, queue)),
        Some(till) => keep(unit, (app, QUEUE, queue), &texts.encode(), till),
    }
}

#[async_trait]
impl CallbackNotes for EmbeddedNotes {
    async fn push(
        &self,
        app: &AppId,
        queue: &str,
        text: &str,
        lasting: Duration,
        deadline: Timestamp,
    ) -> Result<(), LedgerError> {
        check([queue], text)?;
        let (queue, text) = (queue.to_owned(), text.to_owned());
        let work = move |unit: &mut Unit<'_, '_>, key: u64, now: i64| {
            let mut kept = texts(unit, key, &queue, now)?;
            if kept.len() >= TEXTS_MAX || !has_room(unit, key, 1, now)? {
                return Ok(false);
            }
            kept.push(till(now, lasting), text);
            keep_texts(unit, key, &queue, &kept)?;
            Ok(true)
        };
        let is_kept = self.step(app, 1, deadline, work).await?;
        if is_kept { Ok(()) } else { Err(full(app).into()) }
    }

    async fn pop(
        &self,
        app: &AppId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        check([queue], "")?;
        let queue = queue.to_owned();
        let work = move |unit: &mut Unit<'_, '_>, key: u64, now: i64| {
            let mut kept = texts(unit, key, &queue, now)?;
            let oldest = kept.pop();
            if oldest.is_some() {
                keep_texts(unit, key, &queue, &kept)?;
            }
            Ok(oldest)
        };
        self.step(app, 1, deadline, work).await
    }

    async fn peek(
        &self,
        app: &AppId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        check([queue], "")?;
        let queue = queue.to_owned();
        let work = move |unit: &mut Unit<'_, '_>, key: u64, now: i64| {
            Ok(texts(unit, key, &queue, now)?.pop())
        };
        self.step(app, 1, deadline, work).await
    }

    async fn raise_instants(
        &self,
        app: &AppId,
        names: &[String],
        instant: Timestamp,
        lasting: Duration,
        deadline: Timestamp,
    ) -> Result<(), LedgerError> {
        check(names.iter().map(String::as_str), "")?;
        let names = names.to_vec();
        let subjects = names.len();
        let work = move |unit: &mut Unit<'_, '_>, key: u64, now: i64| {
            if !has_room(unit, key, names.len(), now)? {
                return Ok(false);
            }
            for name in &names {
                raise(unit, (key, name), (instant, till(now, lasting)), now)?;
            }
            Ok(true)
        };
        let is_kept = self.step(app, subjects, deadline, work).await?;
        if is_kept { Ok(()) } else { Err(full(app).into()) }
    }

    async fn instants(
        &self,
        app: &AppId,
        names: &[String],
        deadline: Timestamp,
    ) -> Result<Vec<Option<Timestamp>>, LedgerError> {
        check(names.iter().map(String::as_str), "")?;
        let names = names.to_vec();
        let subjects = names.len();
        let work = move |unit: &mut Unit<'_, '_>, key: u64, now: i64| {
            names.iter().map(|name| instant_of(unit, (key, name), now)).collect()
        };
        self.step(app, subjects, deadline, work).await
    }
}

fn instant_of(
    unit: &Unit<'_, '_>,
    (app, name): (u64, &str),
    now: i64,
) -> Result<Option<Timestamp>, StorageError> {
    Ok(note(unit, (app, INSTANT, name), now)?.and_then(|found| decoded(&found)))
}

fn decoded(found: &Note) -> Option<Timestamp> {
    let millis = <[u8; 8]>::try_from(found.value.as_slice()).ok()?;
    Some(Timestamp::from_millis(i64::from_le_bytes(millis)))
}

/// Raises one instant, which is kept until then at least.
fn raise(
    unit: &mut Unit<'_, '_>,
    (app, name): (u64, &str),
    (instant, till): (Timestamp, i64),
    now: i64,
) -> Result<(), StorageError> {
    let found = note(unit, (app, INSTANT, name), now)?;
    let standing_till = found.as_ref().map_or(0, |found| found.till);
    let standing = found.as_ref().and_then(decoded);
    let instant = standing.map_or(instant, |standing| standing.max(instant));
    let value = instant.as_millis().to_le_bytes();
    keep(unit, (app, INSTANT, name), &value, till.max(standing_till))
}
