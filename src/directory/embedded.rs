//! The directory in the embedded store's file.
//!
//! It writes through the ledger's one writing thread, so that a change of the directory is
//! durable by the same group commit.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{ReadableTable, StorageError};

use super::{AppRecord, Directory, DirectoryError, document};
use crate::domain::id::AppId;
use crate::ledger::embedded::Embedded;
use crate::ledger::embedded::writer::{Unit, Writer, WriterError};

/// What stands before the app's id in the key of its document.
const APP_PREFIX: &str = "app/";
/// The first key after all apps: '0' follows '/'.
const APPS_END: &str = "app0";

/// Documents in the embedded store.
pub struct EmbeddedDirectory {
    writer: Arc<Writer>,
}

impl EmbeddedDirectory {
    /// The directory in the same file as that ledger.
    #[must_use]
    pub fn beside(ledger: &Embedded) -> Self {
        Self { writer: ledger.writer() }
    }
}

fn key(app: &AppId) -> String {
    format!("{APP_PREFIX}{app}")
}

type Documents<'txn> = redb::Table<'txn, &'static str, &'static [u8]>;
type Decoded<T> = Result<T, DirectoryError>;

fn get(documents: &Documents<'_>, app: &AppId) -> Result<Decoded<Option<AppRecord>>, StorageError> {
    let row = documents.get(key(app).as_str())?;
    Ok(row.map(|row| document::decode(app.as_str(), row.value())).transpose())
}

fn put(unit: &mut Unit<'_, '_>, record: &AppRecord) -> Result<Decoded<()>, StorageError> {
    let there = match get(&unit.tables.documents, &record.app)? {
        Ok(there) => there,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    if there.map_or(0, |there| there.revision) + 1 != record.revision {
        return Ok(Err(DirectoryError::Conflict(record.app.clone())));
    }
    let bytes = document::encode(record);
    unit.tables.documents.insert(key(&record.app).as_str(), bytes.as_slice())?;
    unit.wrote = true;
    Ok(Ok(()))
}

fn list(
    documents: &Documents<'_>,
    after: Option<&AppId>,
    limit: usize,
) -> Result<Decoded<Vec<AppRecord>>, StorageError> {
    let after = after.map_or_else(|| APP_PREFIX.to_owned(), key);
    let range = (Bound::Excluded(after.as_str()), Bound::Excluded(APPS_END));
    let mut records = Vec::new();
    for row in documents.range::<&str>(range)?.take(limit) {
        let (key, value) = row?;
        match document::decode(key.value().trim_start_matches(APP_PREFIX), value.value()) {
            Ok(record) => records.push(record),
            Err(unreadable) => return Ok(Err(unreadable)),
        }
    }
    Ok(Ok(records))
}

#[async_trait]
impl Directory for EmbeddedDirectory {
    async fn app(&self, app: &AppId) -> Result<Option<AppRecord>, DirectoryError> {
        let app = app.clone();
        self.writer.submit_patiently(move |unit| get(&unit.tables.documents, &app)).await?
    }

    async fn put(&self, record: &AppRecord) -> Result<(), DirectoryError> {
        let record = record.clone();
        self.writer.submit_patiently(move |unit| put(unit, &record)).await?
    }

    async fn apps(
        &self,
        after: Option<&AppId>,
        limit: usize,
    ) -> Result<Vec<AppRecord>, DirectoryError> {
        let after = after.cloned();
        let work =
            move |unit: &mut Unit<'_, '_>| list(&unit.tables.documents, after.as_ref(), limit);
        self.writer.submit_patiently(work).await?
    }
}

impl From<WriterError> for DirectoryError {
    fn from(error: WriterError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
