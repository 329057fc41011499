//! The journal: operations decided without the store, on disk until the store has them.
//!
//! Entries are numbered in the order in which they were accepted. [`Journal::append`] returns once
//! the entry is on disk, and [`Journal::remove`] once it is no longer there. So after a crash the
//! journal contains exactly the accepted operations that are not confirmed to be in the store. An
//! entry is an operation, and operations may be repeated.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::decision::Mode;
use crate::domain::hold::HoldEnd;
use crate::domain::id::{AppId, OperationId};
use crate::domain::limits::Part;
use crate::domain::time::Timestamp;
use crate::ledger::Operation;

// Public only for the fuzz targets.
#[doc(hidden)]
pub mod codec;
mod file;

use file::{File, Message};

/// The highest number of entries.
pub const ENTRIES_MAX: usize = 200_000;
/// The highest total size of all entries in bytes, in memory and, up to three times as much, on
/// disk.
pub const BYTES_MAX: usize = 32 << 20;

/// An operation that was accepted without the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The app.
    pub app: AppId,
    /// The mode of the request.
    pub mode: Mode,
    /// The time when it was accepted, by this machine's clock.
    pub at: Timestamp,
    /// What was accepted.
    pub accepted: Accepted,
}

/// The content of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The accepted part of an operation.
    Operation(Operation),
    /// The accepted part of a take with a hold of that id. It is permanent: the time of a hold
    /// would begin only when it is in the store.
    Held(Operation, OperationId),
    /// A confirmation of the holds with that id in a part of the app, at the time of the entry.
    Confirmation(OperationId, Part),
}

impl Accepted {
    /// Returns the operation; `None` for a confirmation.
    #[must_use]
    pub fn operation(&self) -> Option<&Operation> {
        match self {
            Self::Operation(operation) | Self::Held(operation, _) => Some(operation),
            Self::Confirmation(..) => None,
        }
    }

    /// Returns the operation, to be changed; `None` for a confirmation.
    pub fn operation_mut(&mut self) -> Option<&mut Operation> {
        match self {
            Self::Operation(operation) | Self::Held(operation, _) => Some(operation),
            Self::Confirmation(..) => None,
        }
    }

    /// Returns the id of the take with a hold, or of the hold that is confirmed.
    #[must_use]
    pub fn operation_id(&self) -> Option<&OperationId> {
        match self {
            Self::Operation(_) => None,
            Self::Held(_, id) | Self::Confirmation(id, _) => Some(id),
        }
    }

    /// Returns the name in messages and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.operation().map_or(HoldEnd::Confirm.name(), Operation::name)
    }

    /// Returns the parts of the app that it is about.
    #[must_use]
    pub fn parts(&self) -> &'static [Part] {
        Part::or_all(self.part())
    }

    /// Returns the part of the app that it is about; `None`: all parts.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        match self {
            Self::Operation(operation) | Self::Held(operation, _) => operation.kind().part(),
            Self::Confirmation(_, part) => Some(*part),
        }
    }
}

/// An entry and its number.
pub type Numbered = (u64, Entry);

/// An entry as it is stored: much smaller than decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(Box<[u8]>);

impl Encoded {
    /// Decodes the entry.
    pub fn decode(&self) -> Result<Entry, String> {
        codec::decode(&self.0)
    }

    /// Returns the entry as JSON, as the journal's file stores it.
    #[must_use]
    pub fn json(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// Decodes an entry from that JSON.
    pub fn parse(json: &str) -> Result<Entry, String> {
        codec::decode(json.as_bytes())
    }

    /// Returns its size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.0.len()
    }
}

impl From<&Entry> for Encoded {
    fn from(entry: &Entry) -> Self {
        Self(codec::encode(entry).into_boxed_slice())
    }
}

/// An entry of a journal that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its number.
    pub number: u64,
    /// The decoded entry.
    pub entry: Entry,
    /// The entry as it is stored.
    pub encoded: Encoded,
}

/// The reason why the journal cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened.
    #[error(
        "the journal {path}: {why}; name another directory by the setting `journal`, or \"off\""
    )]
    Open {
        /// Its directory.
        path: String,
        /// The cause.
        why: String,
    },
    /// A write failed; the last entries may be on disk. No entry is accepted until the journal is
    /// opened anew.
    #[error("the journal failed: {0}")]
    Failed(String),
    /// The journal has failed earlier, or is closed; nothing was written.
    #[error("the journal has failed or is closed")]
    Ended,
}

/// An open journal.
pub struct Journal {
    file: File,
    next: AtomicU64,
    entries: AtomicUsize,
    set_aside: AtomicUsize,
    /// The generation of the store that entries are accepted for, if one was recorded.
    generation: Mutex<Option<String>>,
}

impl Journal {
    /// Opens the journal in a directory, which is created if it is missing, and returns its entries
    /// in order.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Opened>), JournalError> {
        let failed =
            |why: String| JournalError::Open { path: directory.display().to_string(), why };
        let (file, held) = File::open(directory).map_err(failed)?;
        let entries: Result<Vec<_>, _> = held.entries.into_iter().map(opened).collect();
        let entries = entries.map_err(failed)?;
        let journal = Self {
            file,
            next: AtomicU64::new(held.next),
            entries: AtomicUsize::new(entries.len()),
            set_aside: AtomicUsize::new(held.set_aside),
            generation: Mutex::new(held.generation),
        };
        Ok((journal, entries))
    }

    /// Returns whether entries are accepted for that generation of the store.
    #[must_use]
    pub fn is_of(&self, generation: &str) -> bool {
        self.generation().as_deref() == Some(generation)
    }

    /// Returns whether no generation of the store is recorded yet.
    #[must_use]
    pub fn is_of_none(&self) -> bool {
        self.generation().is_none()
    }

    /// Accepts entries for that generation of the store from now on, and sets aside entries of an
    /// earlier generation. Returns the number of entries set aside. Entries of a version that
    /// recorded no generation count as entries of this one.
    pub async fn follow(&self, generation: &str) -> Result<usize, JournalError> {
        let (done, answer) = oneshot::channel();
        let set_aside = self.generation().is_some_and(|before| before != generation);
        let message = Message::Follow { generation: generation.to_owned(), set_aside, done };
        let moved = self.request(message, answer).await?;
        self.entries.fetch_sub(moved, Ordering::Relaxed);
        self.set_aside.fetch_add(moved, Ordering::Relaxed);
        *self.generation.lock() = Some(generation.to_owned());
        Ok(moved)
    }

    /// Returns the number of entries set aside; of more than [`ENTRIES_MAX`] the oldest are
    /// dropped.
    #[must_use]
    pub fn set_aside(&self) -> usize {
        self.set_aside.load(Ordering::Relaxed).min(ENTRIES_MAX)
    }

    /// Returns up to `limit` entries that were set aside, with numbers higher than `after`.
    pub async fn read_set_aside(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Numbered>, JournalError> {
        let (done, answer) = oneshot::channel();
        let message = Message::ReadSetAside { after, limit, done };
        decode(self.request(message, answer).await?).map_err(JournalError::Failed)
    }

    /// Deletes the entries set aside up to that number, and returns how many those were.
    pub async fn delete_set_aside(&self, through: u64) -> Result<usize, JournalError> {
        let (done, answer) = oneshot::channel();
        let deleted = self.request(Message::DeleteSetAside { through, done }, answer).await?;
        self.set_aside.fetch_sub(deleted, Ordering::Relaxed);
        Ok(deleted)
    }

    fn generation(&self) -> Option<String> {
        self.generation.lock().clone()
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Returns whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last number that was given; 0 before the first.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.next.load(Ordering::Relaxed) - 1
    }

    /// Returns the number for the next entry; each call returns another one.
    pub fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes an entry under a number from [`Journal::next_number`]; returns once it is on disk.
    pub async fn append(&self, number: u64, entry: &Encoded) -> Result<(), JournalError> {
        self.entries.fetch_add(1, Ordering::Relaxed);
        let (done, answer) = oneshot::channel();
        let message = Message::Append { number, bytes: entry.0.clone(), done };
        let written = self.request(message, answer).await;
        if written.is_err() {
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
        written
    }

    /// Removes entries. Those that are already removed are ignored.
    pub async fn remove(&self, numbers: Vec<u64>) -> Result<(), JournalError> {
        let (done, answer) = oneshot::channel();
        let removed = self.request(Message::Remove(numbers, done), answer).await?;
        self.entries.fetch_sub(removed, Ordering::Relaxed);
        Ok(())
    }

    async fn request<T>(
        &self,
        message: Message,
        answer: oneshot::Receiver<Result<T, String>>,
    ) -> Result<T, JournalError> {
        self.file.send(message).await.map_err(|()| JournalError::Ended)?;
        answer.await.map_err(|_| JournalError::Ended)?.map_err(JournalError::Failed)
    }

    /// Waits until all entries are on disk and the file is closed.
    pub async fn close(&self) {
        self.file.close().await;
    }
}

fn opened((number, bytes): (u64, Vec<u8>)) -> Result<Opened, String> {
    let entry = codec::decode(&bytes)?;
    Ok(Opened { number, entry, encoded: Encoded(bytes.into_boxed_slice()) })
}

fn decode(stored: file::Stored) -> Result<Vec<Numbered>, String> {
    let read = |(number, bytes): (u64, Vec<u8>)| Ok((number, codec::decode(&bytes)?));
    stored.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::UserId;

    fn entry(user: &str) -> Entry {
        let users = vec![UserId::try_from(user).expect("an id")];
        Entry {
            app: AppId::try_from("demo").expect("an id"),
            mode: Mode::Enforce,
            at: Timestamp::from_millis(1),
            accepted: Accepted::Operation(Operation::CreateAccounts { users }),
        }
    }

    async fn append(journal: &Journal, user: &str) -> u64 {
        let number = journal.next_number();
        journal.append(number, &Encoded::from(&entry(user))).await.expect("written");
        number
    }

    #[tokio::test]
    async fn an_entry_removed_twice_is_counted_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = Journal::open(folder.path()).expect("opens");
        let numbers = vec![append(&journal, "a").await, append(&journal, "b").await];
        assert_eq!(journal.remove(vec![numbers[0]]).await, Ok(()));
        assert_eq!(journal.remove(numbers).await, Ok(()));
        assert!(journal.is_empty());
        journal.close().await;
    }

    #[tokio::test]
    async fn entries_of_the_longest_ids_are_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = Journal::open(folder.path()).expect("opens");
        let longest = ["u".repeat(255), "三".repeat(85)];
        for user in &longest {
            append(&journal, user).await;
        }
        journal.close().await;
        drop(journal);

        let (journal, opened) = Journal::open(folder.path()).expect("opens");
        let entries: Vec<_> = opened.into_iter().map(|it| it.entry).collect();
        assert_eq!(entries, longest.map(|user| entry(&user)));
        journal.close().await;
    }

    #[tokio::test]
    async fn entries_of_an_earlier_generation_are_set_aside_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = Journal::open(folder.path()).expect("opens");
        append(&journal, "before").await;
        // The previous version recorded no generation.
        assert_eq!(journal.follow("g1").await, Ok(0));
        let second = append(&journal, "of g1").await;
        assert!(journal.is_of("g1") && journal.len() == 2);
        assert_eq!(journal.follow("g1").await, Ok(0));
        assert_eq!(journal.follow("g2").await, Ok(2));
        assert_eq!((journal.len(), journal.set_aside()), (0, 2));
        journal.close().await;
        drop(journal);

        let (journal, entries) = Journal::open(folder.path()).expect("opens");
        assert!(entries.is_empty() && journal.is_of("g2"));
        let third = append(&journal, "of g2").await;
        assert!(third > second, "a number is not assigned twice");
        let aside = journal.read_set_aside(0, 10).await.expect("read");
        assert_eq!(
            aside.iter().map(|(_, it)| it.clone()).collect::<Vec<_>>(),
            [entry("before"), entry("of g1")]
        );
        assert_eq!(journal.read_set_aside(second, 10).await, Ok(Vec::new()));
        assert_eq!((journal.len(), journal.set_aside()), (1, 2));
        journal.close().await;
    }
    #[tokio::test]
    async fn entries_set_aside_are_deleted_up_to_a_number_and_no_number_is_assigned_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = Journal::open(folder.path()).expect("opens");
        assert_eq!(journal.follow("g1").await, Ok(0));
        let mut numbers = Vec::new();
        for user in ["a", "b", "c"] {
            numbers.push(append(&journal, user).await);
        }
        assert_eq!(journal.follow("g2").await, Ok(3));
        assert_eq!(journal.delete_set_aside(numbers[1]).await, Ok(2));
        assert_eq!(journal.set_aside(), 1);
        let aside = journal.read_set_aside(0, 10).await;
        assert_eq!(aside, Ok(vec![(numbers[2], entry("c"))]));
        assert_eq!(journal.delete_set_aside(numbers[2]).await, Ok(1));
        assert_eq!(journal.delete_set_aside(u64::MAX).await, Ok(0));
        journal.close().await;
        drop(journal);

        let (journal, entries) = Journal::open(folder.path()).expect("opens");
        assert_eq!((entries.len(), journal.set_aside()), (0, 0));
        let next = append(&journal, "d").await;
        assert!(next > numbers[2], "{next} was assigned before");
        assert_eq!(journal.remove(vec![next]).await, Ok(()));
        journal.close().await;
        drop(journal);
        let (journal, _) = Journal::open(folder.path()).expect("opens");
        assert!(append(&journal, "e").await > next);
        journal.close().await;
    }

    #[test]
    fn an_entry_is_read_back_from_its_json() {
        let encoded = Encoded::from(&entry("a"));
        assert!(encoded.json().starts_with(r#"{"v":1,"app_id":"demo""#), "{}", encoded.json());
        assert_eq!(Encoded::parse(encoded.json()), Ok(entry("a")));
    }
}
