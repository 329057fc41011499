//! The directory in the ledger's Redis: one hash of documents and an index in the order of ids.

use std::sync::Arc;

use async_trait::async_trait;
use redis::Value;

use super::{AppRecord, Directory, DirectoryError, document};
use crate::domain::id::AppId;
use crate::ledger::LedgerError;
use crate::ledger::redis::Redis;
use crate::ledger::redis::keys::{DOCUMENTS, INDEX};
use crate::ledger::redis::reply::{array, bytes, integer};
use crate::ledger::redis::scripts::ScriptId;
use crate::ledger::redis::store::{PATIENCE, Store};

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
        let keys = [DOCUMENTS.to_vec(), INDEX.to_vec()];
        let answer = self.store.raw(script, &keys, arguments, PATIENCE).await;
        answer.map_err(|error| DirectoryError::Unavailable(reason(error)))
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

    async fn put(&self, record: &AppRecord) -> Result<(), DirectoryError> {
        let arguments = [
            record.app.as_str().as_bytes().to_vec(),
            record.revision.to_string().into_bytes(),
            document::encode(record),
        ];
        let answer = self.call(ScriptId::PutApp, &arguments).await?;
        if integer(&answer) == Some(1) {
            return Ok(());
        }
        Err(DirectoryError::Conflict(record.app.clone()))
    }

    async fn apps(
        &self,
        after: Option<&AppId>,
        limit: usize,
    ) -> Result<Vec<AppRecord>, DirectoryError> {
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let found = self.list(from, limit).await?;
        found.iter().map(|(id, stored)| record(id, stored)).collect()
    }
}
