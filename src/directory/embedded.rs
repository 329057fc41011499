//! The directory in the embedded store's file.
//!
//! It writes through the store's writing thread, so a change of the directory is durable by the
//! same group commit.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{ReadableTable, StorageError};
use serde_json::json;

use super::{
    AcceptClockError, AppPage, AppRecord, Directory, DirectoryError, StoredCatalogs, audit_codec,
    document,
};
use crate::domain::audit::{Action, Actor, Entry, Event, Head};
use crate::domain::clock_guard::AcceptedClock;
use crate::domain::id::{AppId, RequestId};
use crate::domain::month::Month;
use crate::domain::time::Timestamp;
use crate::redb::RedbStore;
use crate::redb::store_clock::{StoreClock, accepted_by};
use crate::redb::writer::{Unit, Writer, WriterError};

/// The prefix of the key of an app's document; the app's id follows.
const APP_PREFIX: &str = "app/";
/// The first key after all apps: '0' follows '/'.
const APPS_END: &str = "app0";

/// Documents in the embedded store.
pub struct EmbeddedDirectory {
    writer: Arc<Writer>,
    clock: Arc<StoreClock>,
}

impl EmbeddedDirectory {
    /// Returns the directory in that store.
    #[must_use]
    pub fn over(store: &RedbStore) -> Self {
        Self { writer: store.writer.clone(), clock: store.clock.clone() }
    }
}

fn key(app: &AppId) -> String {
    format!("{APP_PREFIX}{app}")
}

/// The prefix of the key of an audit entry; its number follows, padded to the length of the highest
/// one, so that keys are in numeric order.
const AUDIT_PREFIX: &str = "audit/";
/// The first key after all entries.
const AUDIT_END: &str = "audit0";

fn entry_key(number: u64) -> String {
    format!("{AUDIT_PREFIX}{number:020}")
}

/// The prefix of the key of a statement; app and month follow.
const STATEMENT_PREFIX: &str = "statement/";

fn statement_key(app: &AppId, month: Month) -> String {
    format!("{STATEMENT_PREFIX}{app}/{month}")
}

/// The prefix of the key of a catalog record; its number follows, padded to the length of the
/// highest one.
const CATALOG_PREFIX: &str = "catalog/";
/// The first key after all catalog records.
const CATALOGS_END: &str = "catalog0";

fn catalog_key(number: u64) -> String {
    format!("{CATALOG_PREFIX}{number:020}")
}

type Documents<'txn> = redb::Table<'txn, &'static str, &'static [u8]>;
type Decoded<T> = Result<T, DirectoryError>;

fn get(documents: &Documents<'_>, app: &AppId) -> Result<Decoded<Option<AppRecord>>, StorageError> {
    let row = documents.get(key(app).as_str())?;
    Ok(row.map(|row| document::decode(app.as_str(), row.value())).transpose())
}

fn number_of(key: &str) -> u64 {
    key.trim_start_matches(AUDIT_PREFIX).parse().unwrap_or(0)
}

fn head(documents: &Documents<'_>) -> Result<Decoded<Head>, StorageError> {
    let Some(row) = documents.range::<&str>(AUDIT_PREFIX..AUDIT_END)?.next_back() else {
        return Ok(Ok(Head::default()));
    };
    let (key, value) = row?;
    Ok(audit_codec::decode(number_of(key.value()), value.value()).map(|entry| entry.head))
}

fn log(unit: &mut Unit<'_, '_>, event: Event) -> Result<Decoded<()>, StorageError> {
    let entry = match head(&unit.tables.documents)? {
        Ok(head) => event.follow(&head),
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let bytes = audit_codec::encode(&entry);
    unit.tables.documents.insert(entry_key(entry.head.number).as_str(), bytes.as_slice())?;
    unit.wrote = true;
    Ok(Ok(()))
}

fn entries(
    documents: &Documents<'_>,
    after: u64,
    limit: usize,
) -> Result<Decoded<Vec<(u64, Entry)>>, StorageError> {
    let after = entry_key(after);
    let range = (Bound::Excluded(after.as_str()), Bound::Excluded(AUDIT_END));
    let mut entries = Vec::new();
    for row in documents.range::<&str>(range)?.take(limit) {
        let (key, value) = row?;
        let place = number_of(key.value());
        match audit_codec::decode(place, value.value()) {
            Ok(entry) => entries.push((place, entry)),
            Err(unreadable) => return Ok(Err(unreadable)),
        }
    }
    Ok(Ok(entries))
}

fn put(
    unit: &mut Unit<'_, '_>,
    (after, record): (u64, &AppRecord),
    statement: Option<(Month, &[u8])>,
    event: Event,
) -> Result<Decoded<()>, StorageError> {
    let there = match get(&unit.tables.documents, &record.app)? {
        Ok(there) => there,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    if there.map_or(0, |there| there.revision) != after {
        return Ok(Err(DirectoryError::Conflict(record.app.clone())));
    }
    if let Err(unreadable) = log(unit, event)? {
        return Ok(Err(unreadable));
    }
    let bytes = document::encode(record);
    unit.tables.documents.insert(key(&record.app).as_str(), bytes.as_slice())?;
    if let Some((month, statement)) = statement {
        let key = statement_key(&record.app, month);
        unit.tables.documents.insert(key.as_str(), statement)?;
    }
    unit.wrote = true;
    Ok(Ok(()))
}

/// Accepts the machine's time of day. An unreadable log leaves the clock as it is.
fn accept_clock(
    unit: &mut Unit<'_, '_>,
    clock: &StoreClock,
    request_id: &RequestId,
    actor: Actor,
) -> Result<Result<AcceptedClock, AcceptClockError>, StorageError> {
    if let Some(accepted) = accepted_by(&unit.tables.clock, request_id)? {
        return Ok(Ok(accepted));
    }
    if let Err(unreadable) = head(&unit.tables.documents)? {
        return Ok(Err(unreadable.into()));
    }
    let accepted = clock.accept(unit, request_id)?;
    let clock = |at: Timestamp| json!({"clock_ms": at.as_millis()}).to_string();
    let event = Event {
        at: accepted.after,
        actor,
        action: Action::AcceptClock.name().to_owned(),
        request: "{}".to_owned(),
        app: None,
        request_id: request_id.to_string(),
        before: clock(accepted.before),
        after: clock(accepted.after),
    };
    Ok(log(unit, event)?.map(|()| accepted).map_err(AcceptClockError::from))
}

fn catalogs(documents: &Documents<'_>, known: u64) -> Result<Option<StoredCatalogs>, StorageError> {
    if last_catalog(documents)? == known {
        return Ok(None);
    }
    let rows = documents.range::<&str>(CATALOG_PREFIX..CATALOGS_END)?;
    rows.map(|row| row.map(|(key, value)| (catalog_number(key.value()), value.value().to_vec())))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn catalog_number(key: &str) -> u64 {
    key.trim_start_matches(CATALOG_PREFIX).parse().unwrap_or(0)
}

fn last_catalog(documents: &Documents<'_>) -> Result<u64, StorageError> {
    let last = documents.range::<&str>(CATALOG_PREFIX..CATALOGS_END)?.next_back();
    Ok(last.transpose()?.map_or(0, |(key, _)| catalog_number(key.value())))
}

fn put_catalog(
    unit: &mut Unit<'_, '_>,
    last: u64,
    record: &[u8],
    removed: &[u64],
    event: Option<Event>,
) -> Result<Decoded<bool>, StorageError> {
    if last_catalog(&unit.tables.documents)? != last {
        return Ok(Ok(false));
    }
    if let Some(event) = event
        && let Err(unreadable) = log(unit, event)?
    {
        return Ok(Err(unreadable));
    }
    for number in removed {
        unit.tables.documents.remove(catalog_key(*number).as_str())?;
    }
    unit.tables.documents.insert(catalog_key(last + 1).as_str(), record)?;
    unit.wrote = true;
    Ok(Ok(true))
}

fn list(documents: &Documents<'_>, after: &str, limit: usize) -> Result<AppPage, StorageError> {
    let after = format!("{APP_PREFIX}{after}");
    let range = (Bound::Excluded(after.as_str()), Bound::Excluded(APPS_END));
    let mut page = AppPage::default();
    for row in documents.range::<&str>(range)?.take(limit) {
        let (key, value) = row?;
        let app = key.value().trim_start_matches(APP_PREFIX);
        page.add(app, document::decode(app, value.value()));
    }
    Ok(page)
}

#[async_trait]
impl Directory for EmbeddedDirectory {
    async fn app(&self, app: &AppId) -> Result<Option<AppRecord>, DirectoryError> {
        let app = app.clone();
        self.writer.submit_without_timeout(move |unit| get(&unit.tables.documents, &app)).await?
    }

    async fn put_after(
        &self,
        after: u64,
        record: &AppRecord,
        event: Event,
        _head: Option<Head>,
    ) -> Result<(), DirectoryError> {
        let record = record.clone();
        let clock = self.clock.clone();
        let work = move |unit: &mut Unit<'_, '_>| match clock.reading().selling() {
            Ok(()) => put(unit, (after, &record), None, event.clone()),
            Err(refusal) => Ok(Err(refusal.into())),
        };
        self.writer.submit_without_timeout(work).await?
    }

    async fn put_statement(
        &self,
        record: &AppRecord,
        month: Month,
        statement: &[u8],
        event: Event,
    ) -> Result<(), DirectoryError> {
        let (record, statement) = (record.clone(), statement.to_vec());
        let (clock, after) = (self.clock.clone(), record.revision.saturating_sub(1));
        let work = move |unit: &mut Unit<'_, '_>| match clock.reading().closing() {
            Ok(()) => put(unit, (after, &record), Some((month, &statement)), event.clone()),
            Err(refusal) => Ok(Err(refusal.into())),
        };
        self.writer.submit_without_timeout(work).await?
    }

    async fn statement(
        &self,
        app: &AppId,
        month: Month,
    ) -> Result<Option<Vec<u8>>, DirectoryError> {
        let key = statement_key(app, month);
        let work = move |unit: &mut Unit<'_, '_>| {
            let row = unit.tables.documents.get(key.as_str())?;
            Ok(row.map(|row| row.value().to_vec()))
        };
        Ok(self.writer.submit_without_timeout(work).await?)
    }

    async fn catalogs(&self, known: u64) -> Result<Option<StoredCatalogs>, DirectoryError> {
        let work = move |unit: &mut Unit<'_, '_>| catalogs(&unit.tables.documents, known);
        Ok(self.writer.submit_without_timeout(work).await?)
    }

    async fn put_catalog(
        &self,
        last: u64,
        record: &[u8],
        removed: &[u64],
        event: Option<Event>,
    ) -> Result<bool, DirectoryError> {
        let (record, removed) = (record.to_vec(), removed.to_vec());
        let clock = self.clock.clone();
        let work = move |unit: &mut Unit<'_, '_>| match clock.reading().selling() {
            Ok(()) => put_catalog(unit, last, &record, &removed, event.clone()),
            Err(refusal) => Ok(Err(refusal.into())),
        };
        self.writer.submit_without_timeout(work).await?
    }

    async fn log(&self, event: Event) -> Result<(), DirectoryError> {
        self.writer.submit_without_timeout(move |unit| log(unit, event.clone())).await?
    }

    async fn accept_clock(
        &self,
        request_id: &RequestId,
        actor: Actor,
    ) -> Result<AcceptedClock, AcceptClockError> {
        let (clock, request_id) = (self.clock.clone(), request_id.clone());
        let work =
            move |unit: &mut Unit<'_, '_>| accept_clock(unit, &clock, &request_id, actor.clone());
        self.writer.submit_without_timeout(work).await.map_err(DirectoryError::from)?
    }

    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, DirectoryError> {
        let work = move |unit: &mut Unit<'_, '_>| entries(&unit.tables.documents, after, limit);
        self.writer.submit_without_timeout(work).await?
    }

    async fn head(&self) -> Result<Head, DirectoryError> {
        self.writer.submit_without_timeout(|unit| head(&unit.tables.documents)).await?
    }

    async fn apps(&self, after: Option<&str>, limit: usize) -> Result<AppPage, DirectoryError> {
        let after = after.unwrap_or_default().to_owned();
        let work = move |unit: &mut Unit<'_, '_>| list(&unit.tables.documents, &after, limit);
        Ok(self.writer.submit_without_timeout(work).await?)
    }
}

impl From<WriterError> for DirectoryError {
    fn from(error: WriterError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
