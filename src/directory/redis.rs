//! The directory in the ledger's Redis: one hash of documents, an index in the order of ids, the
//! audit log as a list, one hash of final statements, and one of the catalogs that were in force.

use std::sync::Arc;

use async_trait::async_trait;
use redis::Value;

use super::{AppPage, AppRecord, Directory, DirectoryError, StoredCatalogs, audit_codec, document};
use crate::domain::audit::{Entry, Event, Head};
use crate::domain::id::AppId;
use crate::domain::month::Month;
use crate::ledger::LedgerError;
use crate::ledger::redis::Redis;
use crate::ledger::redis::keys::{AUDIT, CATALOGS, DOCUMENTS, INDEX, STATEMENTS};
use crate::ledger::redis::reply::{array, bytes, integer};
use crate::ledger::redis::scripts::ScriptId;
use crate::ledger::redis::store::{PATIENCE, Store};

/// Most tries to log a change while other sidecars log theirs.
const LOG_ATTEMPTS_MAX: usize = 64;

/// What became of writing a record and an entry; anything else is a conflict of records.
const WRITTEN: i64 = 1;
/// Another entry was logged meanwhile.
const OVERTAKEN: i64 = 2;

/// Documents in Redis.
pub struct RedisDirectory {
    store: Arc<Store>,
}

impl RedisDirectory {
    /// The directory in the same Redis as that ledger.
    #[must_use]
    pub fn beside(ledger: &Redis) -> Self {
        Self { store: ledger.store() }
    }

    async fn call(&self, script: ScriptId, arguments: &[Vec<u8>]) -> Result<Value, DirectoryError> {
        self.call_on(&[DOCUMENTS, INDEX, AUDIT, STATEMENTS], script, arguments).await
    }

    async fn call_catalogs(
        &self,
        script: ScriptId,
        arguments: &[Vec<u8>],
    ) -> Result<Value, DirectoryError> {
        self.call_on(&[CATALOGS, AUDIT], script, arguments).await
    }

    async fn call_on(
        &self,
        keys: &[&[u8]],
        script: ScriptId,
        arguments: &[Vec<u8>],
    ) -> Result<Value, DirectoryError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
        let answer = self.store.raw(script, &keys, arguments, PATIENCE).await;
        answer.map_err(|error| match error {
            LedgerError::ClockSkew(seconds) => DirectoryError::ClockSkew(seconds),
            LedgerError::StoreLost(why) => DirectoryError::StoreLost(why),
            other => DirectoryError::Unavailable(reason(other)),
        })
    }

    /// Writes a document, where there is one, together with the entry that follows the last one.
    async fn put_logged(
        &self,
        app: &[u8],
        revision: u64,
        document: &[u8],
        statement: Option<(String, &[u8])>,
        event: &Event,
    ) -> Result<i64, DirectoryError> {
        let (field, statement) = statement.unwrap_or_default();
        for _ in 0..LOG_ATTEMPTS_MAX {
            let head = self.head().await?;
            let entry = event.clone().follow(&head);
            let arguments = [
                app.to_vec(),
                revision.to_string().into_bytes(),
                document.to_vec(),
                head.number.to_string().into_bytes(),
                audit_codec::encode(&entry),
                field.clone().into_bytes(),
                statement.to_vec(),
            ];
            match integer(&self.call(ScriptId::PutApp, &arguments).await?) {
                Some(OVERTAKEN) => {}
                Some(answer) => return Ok(answer),
                None => break,
            }
        }
        Err(DirectoryError::Unavailable("the audit log takes no entry".to_owned()))
    }

    /// Ids and records as they are stored.
    async fn list(
        &self,
        from: String,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, DirectoryError> {
        let arguments = [from.into_bytes(), limit.to_string().into_bytes()];
        let answer = self.call(ScriptId::ListApps, &arguments).await?;
        let senseless = || DirectoryError::Unavailable("a list that makes no sense".to_owned());
        let flat = array(answer).ok_or_else(senseless)?;
        let pairs = flat.chunks_exact(2);
        let pair = |pair: &[Value]| {
            (String::from_utf8_lossy(&text(&pair[0])).into_owned(), text(&pair[1]))
        };
        Ok(pairs.map(pair).collect())
    }
}

/// Where the statement of a month stands.
fn statement_field(app: &AppId, month: Month) -> String {
    format!("{app}/{month}")
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn reason(error: LedgerError) -> String {
    match error {
        LedgerError::Unavailable(reason) | LedgerError::Refused(reason) => reason,
        other => other.to_string(),
    }
}

fn text(value: &Value) -> Vec<u8> {
    bytes(value.clone()).unwrap_or_default()
}

/// A record as it is stored: its revision, a space, its document.
fn record(app: &str, stored: &[u8]) -> Result<AppRecord, DirectoryError> {
    let space = stored.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
    document::decode(app, &stored[space..])
}

#[async_trait]
impl Directory for RedisDirectory {
    async fn app(&self, app: &AppId) -> Result<Option<AppRecord>, DirectoryError> {
        // Where there is none, the one after it is found.
        let found = self.list(format!("[{app}"), 1).await?;
        let found = found.iter().find(|(id, _)| id == app.as_str());
        found.map(|(id, stored)| record(id, stored)).transpose()
    }

    async fn put(&self, record: &AppRecord, event: Event) -> Result<(), DirectoryError> {
        let app = record.app.as_str().as_bytes();
        let document = document::encode(record);
        match self.put_logged(app, record.revision, &document, None, &event).await? {
            WRITTEN => Ok(()),
            _ => Err(DirectoryError::Conflict(record.app.clone())),
        }
    }

    async fn put_statement(
        &self,
        record: &AppRecord,
        month: Month,
        statement: &[u8],
        event: Event,
    ) -> Result<(), DirectoryError> {
        let app = record.app.as_str().as_bytes();
        let document = document::encode(record);
        let statement = Some((statement_field(&record.app, month), statement));
        match self.put_logged(app, record.revision, &document, statement, &event).await? {
            WRITTEN => Ok(()),
            _ => Err(DirectoryError::Conflict(record.app.clone())),
        }
    }

    async fn statement(
        &self,
        app: &AppId,
        month: Month,
    ) -> Result<Option<Vec<u8>>, DirectoryError> {
        let arguments = [statement_field(app, month).into_bytes()];
        let found = text(&self.call(ScriptId::GetStatement, &arguments).await?);
        Ok((!found.is_empty()).then_some(found))
    }

    async fn catalogs(&self, known: u64) -> Result<Option<StoredCatalogs>, DirectoryError> {
        let arguments = [decimal(known)];
        let answer = self.call_catalogs(ScriptId::ListCatalogs, &arguments).await?;
        if integer(&answer).is_some() {
            return Ok(None);
        }
        let malformed = || DirectoryError::Unavailable("a malformed list of catalogs".to_owned());
        let flat = array(answer).ok_or_else(malformed)?;
        let number = |field: &Value| String::from_utf8(text(field)).ok()?.parse::<u64>().ok();
        let pairs = flat.chunks_exact(2);
        let mut records: Vec<_> =
            pairs.filter_map(|pair| Some((number(&pair[0])?, text(&pair[1])))).collect();
        records.sort_unstable_by_key(|(number, _)| *number);
        Ok(Some(records))
    }

    async fn put_catalog(
        &self,
        last: u64,
        record: &[u8],
        removed: &[u64],
        event: Option<Event>,
    ) -> Result<bool, DirectoryError> {
        for _ in 0..LOG_ATTEMPTS_MAX {
            let mut arguments = vec![decimal(last), decimal(last + 1), record.to_vec()];
            match &event {
                Some(event) => {
                    let head = self.head().await?;
                    let entry = event.clone().follow(&head);
                    arguments.extend([decimal(head.number), audit_codec::encode(&entry)]);
                }
                None => arguments.extend([Vec::new(), Vec::new()]),
            }
            arguments.extend(removed.iter().map(|number| decimal(*number)));
            match integer(&self.call_catalogs(ScriptId::PutCatalog, &arguments).await?) {
                Some(OVERTAKEN) => {}
                Some(answer) => return Ok(answer == WRITTEN),
                None => break,
            }
        }
        Err(DirectoryError::Unavailable("the audit log takes no entry".to_owned()))
    }

    async fn log(&self, event: Event) -> Result<(), DirectoryError> {
        self.put_logged(b"", 0, b"", None, &event).await.map(drop)
    }

    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, DirectoryError> {
        let arguments = [after.to_string().into_bytes(), limit.to_string().into_bytes()];
        let answer = self.call(ScriptId::ListAudit, &arguments).await?;
        let entries = array(answer).unwrap_or_default();
        let placed = (after + 1..).zip(&entries);
        placed
            .map(|(place, entry)| Ok((place, audit_codec::decode(place, &text(entry))?)))
            .collect()
    }

    async fn head(&self) -> Result<Head, DirectoryError> {
        let arguments = [b"-1".to_vec(), b"1".to_vec()];
        let answer = self.call(ScriptId::ListAudit, &arguments).await?;
        let last = array(answer).unwrap_or_default().pop();
        let Some(last) = last else { return Ok(Head::default()) };
        Ok(audit_codec::decode(0, &text(&last))?.head)
    }

    async fn apps(&self, after: Option<&str>, limit: usize) -> Result<AppPage, DirectoryError> {
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let mut page = AppPage::default();
        for (id, stored) in self.list(from, limit).await? {
            page.add(&id, record(&id, &stored));
        }
        Ok(page)
    }
}
