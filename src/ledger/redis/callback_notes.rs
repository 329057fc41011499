//! Notes of callbacks in Redis: a hash of them and their expiries, in the slot of the app's groups.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::verdict::unreadable;
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::callback_notes::{CallbackNotes, NOTES_MAX, TEXTS_MAX, check, full};
use crate::redis::RedisStore;
use crate::redis::client::CallTimeout;
use crate::redis::keys::Keys;
use crate::redis::reply::{array, bytes, integer, text};
use crate::redis::scripts::ScriptId;
use crate::redis::store::Store;
use crate::store::StoreError;

/// Notes in Redis.
pub struct RedisNotes(Arc<Store>);

impl RedisNotes {
    /// Returns the notes in that store.
    #[must_use]
    pub fn over(store: &RedisStore) -> Self {
        Self(store.calls())
    }

    async fn call(
        &self,
        app: &AppId,
        script: ScriptId,
        arguments: &[Vec<u8>],
        deadline: Timestamp,
    ) -> Result<Value, LedgerError> {
        let within = deadline - self.0.clock.now();
        if within.is_zero() {
            return Err(StoreError::DeadlinePassed.into());
        }
        let keys = Keys::new(self.0.ids, app);
        let keys = [keys.notes(), keys.note_ends()];
        let timeout = CallTimeout::of(within, true);
        Ok(self.0.call_script(script, &keys, arguments, timeout).await?)
    }

    /// Calls a script that writes unless there is no room.
    async fn write(
        &self,
        app: &AppId,
        script: ScriptId,
        arguments: &[Vec<u8>],
        deadline: Timestamp,
    ) -> Result<(), LedgerError> {
        match integer(&self.call(app, script, arguments, deadline).await?) {
            Some(1) => Ok(()),
            Some(_) => Err(full(app).into()),
            None => Err(malformed_reply()),
        }
    }

    async fn oldest(
        &self,
        app: &AppId,
        script: ScriptId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        check([queue], "")?;
        match self.call(app, script, &[of_queue(queue)], deadline).await? {
            Value::Nil => Ok(None),
            found => bytes(found).and_then(text).map(Some).ok_or_else(malformed_reply),
        }
    }
}

/// Queues and instants have names of their own.
fn of_queue(name: &str) -> Vec<u8> {
    [b"q", name.as_bytes()].concat()
}

fn of_instant(name: &String) -> Vec<u8> {
    [b"i", name.as_bytes()].concat()
}

fn decimal(number: &impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn malformed_reply() -> LedgerError {
    unreadable("malformed reply")
}

#[async_trait]
impl CallbackNotes for RedisNotes {
    async fn push(
        &self,
        app: &AppId,
        queue: &str,
        text: &str,
        lasting: Duration,
        deadline: Timestamp,
    ) -> Result<(), LedgerError> {
        check([queue], text)?;
        let arguments = [
            of_queue(queue),
            text.as_bytes().to_vec(),
            decimal(&lasting.as_millis()),
            decimal(&NOTES_MAX),
            decimal(&TEXTS_MAX),
        ];
        self.write(app, ScriptId::PushNote, &arguments, deadline).await
    }

    async fn pop(
        &self,
        app: &AppId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        self.oldest(app, ScriptId::PopNote, queue, deadline).await
    }

    async fn peek(
        &self,
        app: &AppId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError> {
        self.oldest(app, ScriptId::ReadNote, queue, deadline).await
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
        let mut arguments =
            vec![decimal(&instant.as_millis()), decimal(&lasting.as_millis()), decimal(&NOTES_MAX)];
        arguments.extend(names.iter().map(of_instant));
        self.write(app, ScriptId::RaiseInstants, &arguments, deadline).await
    }

    async fn instants(
        &self,
        app: &AppId,
        names: &[String],
        deadline: Timestamp,
    ) -> Result<Vec<Option<Timestamp>>, LedgerError> {
        check(names.iter().map(String::as_str), "")?;
        let names: Vec<_> = names.iter().map(of_instant).collect();
        let answer = self.call(app, ScriptId::ReadInstants, &names, deadline).await?;
        let found = array(answer).filter(|found| found.len() == names.len());
        let instants = found.ok_or_else(malformed_reply)?.into_iter().map(|found| match found {
            Value::BulkString(none) if none.is_empty() => Ok(None),
            found => {
                integer(&found).map(Timestamp::from_millis).map(Some).ok_or_else(malformed_reply)
            }
        });
        instants.collect()
    }
}
