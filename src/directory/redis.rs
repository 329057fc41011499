//! The directory in Redis: one hash of documents, an index in the order of ids, the
//! audit log as a list, one hash of final statements, and one of activated catalogs.

use std::sync::Arc;

use async_trait::async_trait;
use redis::Value;

use super::{
    AppPage, AppRecord, Basis, Directory, DirectoryError, LostEnd, StoredCatalogs, audit_codec,
    document,
};
use crate::domain::audit::{Entry, Event, Head};
use crate::domain::id::AppId;
use crate::domain::month::Month;
use crate::domain::time::Timestamp;
use crate::redis::RedisStore;
use crate::redis::keys::{AUDIT, CATALOGS, DOCUMENTS, INDEX, STATEMENTS, UNKNOWN_APPS};
use crate::redis::known::{Before, Tail};
use crate::redis::reply::{array, bytes, integer};
use crate::redis::scripts::ScriptId;
use crate::redis::store::{Store, UNWATCHED_CALL_TIMEOUT};
use crate::store::StoreError;

/// The highest number of attempts to log a change while other sidecars log theirs.
const LOG_ATTEMPTS_MAX: usize = 64;

/// The number of entries that are searched for the one of a loss: it follows directly on the
/// remaining entries.
const SEARCHED_MAX: usize = 256;

/// The script's reply if record and entry were written; an unlisted reply is a conflict of records.
const WRITTEN: i64 = 1;
/// The script's reply if another entry was logged meanwhile.
const OVERTAKEN: i64 = 2;
/// The script's reply if an entry that was seen is lost.
const LOST: i64 = 3;

/// A change that is written in one step.
struct Change<'a> {
    /// The record, and the revision that it replaces; `None`: only the log grows.
    record: Option<(&'a AppRecord, u64)>,
    statement: Option<(Month, &'a [u8])>,
    event: &'a Event,
}

/// Documents in Redis.
pub struct RedisDirectory {
    store: Arc<Store>,
}

impl RedisDirectory {
    /// Returns the directory in that store.
    #[must_use]
    pub fn over(store: &RedisStore) -> Self {
        Self { store: store.calls() }
    }

    async fn call(&self, script: ScriptId, arguments: &[Vec<u8>]) -> Result<Value, DirectoryError> {
        self.call_on(&[DOCUMENTS, INDEX, AUDIT, STATEMENTS, UNKNOWN_APPS], script, arguments).await
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
        let answer = self.store.call_script(script, &keys, arguments, UNWATCHED_CALL_TIMEOUT).await;
        answer.map_err(|error| match error {
            StoreError::ClockSkew(seconds) => DirectoryError::ClockSkew(seconds),
            StoreError::StoreLost(why) => DirectoryError::StoreLost(why),
            other => DirectoryError::Unavailable(reason(other)),
        })
    }

    /// Writes a document, if there is one, together with the entry that follows the last one.
    ///
    /// `read`: the last entry, if the caller has read it. The script writes only behind the last
    /// one.
    async fn put_logged(
        &self,
        change: &Change<'_>,
        mut read: Option<Head>,
    ) -> Result<(), DirectoryError> {
        for _ in 0..LOG_ATTEMPTS_MAX {
            let before = self.store.known.audit.before();
            let head = match read.take() {
                Some(head) => head,
                None => self.head().await?,
            };
            let answer = self.try_put(change, &head, &before).await?;
            match (answer, change.record) {
                (Some(OVERTAKEN), _) => {}
                (Some(LOST), _) => return Err(self.lost(&before).await?),
                (Some(WRITTEN), _) | (Some(_), None) => return Ok(()),
                (Some(_), Some((record, _))) => {
                    return Err(DirectoryError::Conflict(record.app.clone()));
                }
                (None, _) => break,
            }
        }
        Err(DirectoryError::Unavailable(
            "every attempt to append to the audit log failed".to_owned(),
        ))
    }

    /// Makes one attempt at [`Self::put_logged`], if `head` is the last entry.
    async fn try_put(
        &self,
        change: &Change<'_>,
        head: &Head,
        before: &Before,
    ) -> Result<Option<i64>, DirectoryError> {
        let entry = change.event.clone().follow(head);
        let record = change.record;
        let text = |bytes: Option<Vec<u8>>| bytes.unwrap_or_default();
        let field = record.zip(change.statement);
        let field = field.map(|((record, _), (month, _))| statement_field(&record.app, month));
        let arguments = [
            text(record.map(|(record, _)| record.app.as_str().as_bytes().to_vec())),
            decimal(record.map_or(0, |(record, _)| record.revision)),
            text(record.map(|(record, _)| document::encode(record))),
            decimal(head.number),
            audit_codec::encode(&entry),
            text(field.map(String::into_bytes)),
            text(change.statement.map(|(_, statement)| statement.to_vec())),
            decimal(record.map_or(0, |(_, after)| after)),
            decimal(before.seen.number),
            before.seen.hash.clone().into_bytes(),
        ];
        let answer = integer(&self.call(ScriptId::PutApp, &arguments).await?);
        if answer == Some(WRITTEN) {
            self.store.known.audit.raise(before, entry.head.number, &entry.head.hash);
        }
        Ok(answer)
    }

    /// Returns the loss as an error, after the script reported that a seen entry is lost.
    async fn lost(&self, before: &Before) -> Result<DirectoryError, DirectoryError> {
        let (found, known) = (self.head().await?.number, before.seen.number);
        let found = found.min(known.saturating_sub(1));
        // The hash of the entry in its place was not read; by its number alone it is lost too.
        self.store.known.audit_ends(before, found, "");
        Ok(DirectoryError::Lost { found, known })
    }

    /// Returns the head of the log's last entry, empty if it has none, and notes that it was
    /// observed.
    fn observe_last(&self, before: &Before, entry: &[u8]) -> Result<Head, DirectoryError> {
        let head = match entry {
            [] => Head::default(),
            entry => audit_codec::decode(0, entry)?.head,
        };
        self.store.known.audit_ends(before, head.number, &head.hash);
        Ok(head)
    }

    /// Returns the most recent entries that report a loss of entries before them.
    async fn losses(&self, head: u64) -> Result<Vec<(u64, LostEnd)>, DirectoryError> {
        let from = head.saturating_sub(SEARCHED_MAX as u64);
        let entries = self.entries(from, SEARCHED_MAX).await?;
        let lost = |(place, entry): (u64, Entry)| Some((place, LostEnd::of(&entry.event)?));
        // A loss entry of an app is about revisions of its record.
        let of_log = entries.into_iter().filter(|(_, entry)| entry.event.app.is_none());
        Ok(of_log.filter_map(lost).collect())
    }

    /// Returns ids and records as they are stored.
    async fn list(
        &self,
        from: String,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, DirectoryError> {
        let arguments = [from.into_bytes(), limit.to_string().into_bytes()];
        let answer = self.call(ScriptId::ListApps, &arguments).await?;
        let flat = array(answer).ok_or_else(malformed)?;
        let pairs = flat.chunks_exact(2);
        let pair = |pair: &[Value]| {
            (String::from_utf8_lossy(&text(&pair[0])).into_owned(), text(&pair[1]))
        };
        Ok(pairs.map(pair).collect())
    }
}

/// Returns the field of a month's statement.
fn statement_field(app: &AppId, month: Month) -> String {
    format!("{app}/{month}")
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn reason(error: StoreError) -> String {
    match error {
        StoreError::Unavailable(reason) | StoreError::Refused(reason) => reason,
        other => other.to_string(),
    }
}

fn text(value: &Value) -> Vec<u8> {
    bytes(value.clone()).unwrap_or_default()
}

fn malformed() -> DirectoryError {
    DirectoryError::Unavailable("malformed reply".to_owned())
}

/// Decodes the records of catalogs, each behind its number.
fn catalogs(answer: Value) -> Result<StoredCatalogs, DirectoryError> {
    let flat = array(answer).ok_or_else(malformed)?;
    let number = |field: &Value| String::from_utf8(text(field)).ok()?.parse::<u64>().ok();
    let pairs = flat.chunks_exact(2);
    let mut records: StoredCatalogs =
        pairs.filter_map(|pair| Some((number(&pair[0])?, text(&pair[1])))).collect();
    records.sort_unstable_by_key(|(number, _)| *number);
    Ok(records)
}

/// Decodes a record as it is stored: its revision, a space, its document.
fn record(app: &str, stored: &[u8]) -> Result<AppRecord, DirectoryError> {
    let space = stored.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
    document::decode(app, &stored[space..])
}

#[async_trait]
impl Directory for RedisDirectory {
    async fn app(&self, app: &AppId) -> Result<Option<AppRecord>, DirectoryError> {
        // If the app is missing, the script returns the one after it.
        let found = self.list(format!("[{app}"), 1).await?;
        let found = found.iter().find(|(id, _)| id == app.as_str());
        found.map(|(id, stored)| record(id, stored)).transpose()
    }

    async fn basis(&self, app: &AppId, catalog: u64) -> Result<Basis, DirectoryError> {
        let before = self.store.known.audit.before();
        let arguments = [app.as_str().as_bytes().to_vec(), decimal(catalog)];
        let keys: [&[u8]; 3] = [DOCUMENTS, AUDIT, CATALOGS];
        let answer = self.call_on(&keys, ScriptId::ReadBasis, &arguments).await?;
        let fields = array(answer).and_then(|fields| <[Value; 4]>::try_from(fields).ok());
        let [document, entry, stored, now] = fields.ok_or_else(malformed)?;
        let head = self.observe_last(&before, &text(&entry))?;
        let document = text(&document);
        let record = (!document.is_empty()).then(|| record(app.as_str(), &document)).transpose()?;
        let catalogs = if integer(&stored).is_some() { None } else { Some(catalogs(stored)?) };
        let now = integer(&now).map(Timestamp::from_millis);
        Ok(Basis { record, catalogs, head: Some(head), now: Some(now.ok_or_else(malformed)?) })
    }

    async fn put_after(
        &self,
        after: u64,
        record: &AppRecord,
        event: Event,
        head: Option<Head>,
    ) -> Result<(), DirectoryError> {
        let record = Some((record, after));
        self.put_logged(&Change { record, statement: None, event: &event }, head).await
    }

    async fn put_statement(
        &self,
        record: &AppRecord,
        month: Month,
        statement: &[u8],
        event: Event,
    ) -> Result<(), DirectoryError> {
        let record = Some((record, record.revision.saturating_sub(1)));
        let statement = Some((month, statement));
        self.put_logged(&Change { record, statement, event: &event }, None).await
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
        catalogs(answer).map(Some)
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
        Err(DirectoryError::Unavailable(
            "every attempt to append to the audit log failed".to_owned(),
        ))
    }

    async fn log(&self, event: Event) -> Result<(), DirectoryError> {
        self.put_logged(&Change { record: None, statement: None, event: &event }, None).await
    }

    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, DirectoryError> {
        let arguments = [after.to_string().into_bytes(), limit.to_string().into_bytes()];
        let answer = self.call(ScriptId::ListAudit, &arguments).await?;
        let entries = array(answer).ok_or_else(malformed)?;
        let placed = (after + 1..).zip(&entries);
        placed
            .map(|(place, entry)| Ok((place, audit_codec::decode(place, &text(entry))?)))
            .collect()
    }

    async fn head(&self) -> Result<Head, DirectoryError> {
        let before = self.store.known.audit.before();
        let arguments = [b"-1".to_vec(), b"1".to_vec()];
        let answer = self.call(ScriptId::ListAudit, &arguments).await?;
        let last = array(answer).ok_or_else(malformed)?.pop();
        self.observe_last(&before, &last.map(|last| text(&last)).unwrap_or_default())
    }

    async fn lost_end(&self, published: u64) -> Result<Option<LostEnd>, DirectoryError> {
        let audit = &self.store.known.audit;
        audit.had(published);
        let before = audit.before();
        let known = before.seen.number;
        let head = self.head().await?;
        let place = known.saturating_sub(1);
        let seen = if known == 0 { Vec::new() } else { self.entries(place, 1).await? };
        let seen = seen.first().map(|(_, entry)| &entry.head.hash);
        let hash = &before.seen.hash;
        if known == 0 || seen.is_some_and(|there| hash.is_empty() || there == hash) {
            audit.raise(&before, head.number, &head.hash);
            if audit.last_loss().is_none() {
                audit.lost_last(Some(self.losses(head.number).await?.last().map_or(0, |it| it.0)));
            }
            return Ok(None);
        }
        let found = head.number.min(place);
        self.store.known.audit_ends(&before, found, "");
        // Another process may have logged it. An entry that existed before reports another loss.
        let last = audit.last_loss().unwrap_or(0);
        let losses = self.losses(head.number).await?;
        let logged = losses.iter().rfind(|(place, lost)| *place > last && lost.known >= known);
        if let Some((place, _)) = logged {
            audit.heal(head.number, &head.hash, Some(*place));
            return Ok(None);
        }
        Ok(Some(LostEnd { found, known }))
    }

    async fn log_lost_end(&self, lost: LostEnd, event: Event) -> Result<(), DirectoryError> {
        let head = self.head().await?;
        if head.number.min(lost.known.saturating_sub(1)) != lost.found {
            return Ok(());
        }
        let change = Change { record: None, statement: None, event: &event };
        // The seen entry is lost, so the script must not check for it.
        let unseen = Tail::default().before();
        if self.try_put(&change, &head, &unseen).await? == Some(WRITTEN) {
            let entry = event.follow(&head);
            let Head { number, hash } = entry.head;
            self.store.known.audit.heal(number, &hash, Some(number));
        }
        Ok(())
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
