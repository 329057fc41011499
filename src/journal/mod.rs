//! What was decided without the store, on disk until the store has it.
//!
//! Entries are numbered in the order in which they were accepted. [`Journal::append`] answers once
//! the entry is on disk, and [`Journal::remove`] once it is gone from there, so that after a crash
//! exactly what was accepted and is not known to be in the store is found again. What an entry says
//! is an operation, and those may be repeated.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use crate::domain::decision::Mode;
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::ledger::Operation;

mod codec;
mod file;

use file::{File, Message};

/// Most entries: at a kilobyte each a few hundred megabytes at the very worst.
pub const ENTRIES_MAX: usize = 200_000;

/// An operation that was accepted without the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The app.
    pub app: AppId,
    /// How it was asked for.
    pub mode: Mode,
    /// When it was accepted, by this machine's clock.
    pub at: Timestamp,
    /// What was accepted of it.
    pub operation: Operation,
}

/// An entry and its number.
pub type Numbered = (u64, Entry);

/// Why the journal cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened.
    #[error(
        "the journal {path}: {why}; name another directory by the setting `journal`, or \"off\""
    )]
    Open {
        /// Its directory.
        path: String,
        /// What happened.
        why: String,
    },
    /// It holds as much as it may.
    #[error("the journal is full: {ENTRIES_MAX} operations wait for the store")]
    Full,
    /// It failed, and nothing more is accepted until it is opened anew.
    #[error("the journal failed: {0}")]
    Failed(String),
}

/// An open journal.
pub struct Journal {
    file: File,
    entries: AtomicUsize,
}

impl Journal {
    /// Opens the journal in a directory, which is made where there is none, and reads what it
    /// holds, in order.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Numbered>), JournalError> {
        let failed =
            |why: String| JournalError::Open { path: directory.display().to_string(), why };
        let (file, stored) = File::open(directory).map_err(failed)?;
        let read = |(number, bytes): (u64, Vec<u8>)| Ok((number, codec::decode(&bytes)?));
        let entries: Vec<Numbered> =
            stored.into_iter().map(read).collect::<Result<_, String>>().map_err(failed)?;
        Ok((Self { file, entries: AtomicUsize::new(entries.len()) }, entries))
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes an entry down; its number comes once it is on disk.
    pub async fn append(&self, entry: &Entry) -> Result<u64, JournalError> {
        if self.entries.fetch_add(1, Ordering::Relaxed) >= ENTRIES_MAX {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            return Err(JournalError::Full);
        }
        let (done, answer) = oneshot::channel();
        let written = self.ask(Message::Append(codec::encode(entry), done), answer).await;
        if written.is_err() {
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
        written
    }

    /// Strikes entries out.
    pub async fn remove(&self, numbers: Vec<u64>) -> Result<(), JournalError> {
        let count = numbers.len();
        let (done, answer) = oneshot::channel();
        self.ask(Message::Remove(numbers, done), answer).await?;
        self.entries.fetch_sub(count, Ordering::Relaxed);
        Ok(())
    }

    async fn ask<T>(
        &self,
        message: Message,
        answer: oneshot::Receiver<Result<T, String>>,
    ) -> Result<T, JournalError> {
        let ended = || JournalError::Failed("it has ended".to_owned());
        self.file.send(message).await.map_err(|()| ended())?;
        answer.await.map_err(|_| ended())?.map_err(JournalError::Failed)
    }

    /// Waits until everything is on disk and the file is closed.
    pub async fn close(&self) {
        self.file.close().await;
    }
}
