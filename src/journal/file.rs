//! The journal's file and the only thread that writes it, with group commit: all waiting messages
//! go into one durable transaction.

use std::path::Path;

use redb::{
    Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, TableDefinition,
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use super::ENTRIES_MAX;
use crate::private_file;
use crate::redb::file::{self, Failure, Purpose, work_and_close};

/// The version of the tables and their content. A journal with another one is refused.
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
/// The highest number that was assigned to an entry; absent in a file of an earlier version.
const LAST_KEY: &str = "last_number";
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// Entries of an earlier generation of the store, which are not replayed to it.
const SET_ASIDE: TableDefinition<u64, &[u8]> = TableDefinition::new("set_aside");
/// The generation of the store that entries were accepted for. This table and `SET_ASIDE` were
/// added within format 1.
const TEXTS: TableDefinition<&str, &str> = TableDefinition::new("texts");
const GENERATION_KEY: &str = "generation";
const NAME: &str = "journal.redb";
/// The size of the page cache; small, since entries are written once and read once.
const CACHE_BYTES: usize = 1 << 20;

/// The number of messages that may wait; further senders wait too.
const QUEUE_MAX: usize = 1024;
/// The highest number of messages in one transaction, so that the first of them does not wait for
/// ever.
const BATCH_MAX: usize = 1024;

/// A request to the thread.
pub(super) enum Message {
    /// Writes an entry under that number.
    Append { number: u64, bytes: Box<[u8]>, done: oneshot::Sender<Result<(), String>> },
    /// Removes entries, and returns how many of them existed.
    Remove(Vec<u64>, oneshot::Sender<Result<usize, String>>),
    /// Records the generation of the store, sets all entries aside if they may be of an earlier
    /// one, and returns how many those were.
    Follow { generation: String, set_aside: bool, done: oneshot::Sender<Result<usize, String>> },
    /// Returns up to `limit` entries that were set aside, with numbers higher than `after`.
    ReadSetAside { after: u64, limit: usize, done: oneshot::Sender<Result<Stored, String>> },
    /// Deletes entries set aside up to that number, and returns how many those were.
    DeleteSetAside { through: u64, done: oneshot::Sender<Result<usize, String>> },
    /// Ends the thread.
    Stop,
}

/// Sends messages to the thread.
pub(super) struct File {
    queue: mpsc::Sender<Message>,
    ended: watch::Receiver<()>,
}

/// Numbers and bytes of stored entries, in order.
pub(super) type Stored = Vec<(u64, Vec<u8>)>;

/// The content of a file when it is opened.
pub(super) struct Held {
    /// Entries that wait for the store.
    pub(super) entries: Stored,
    /// The number of entries set aside.
    pub(super) set_aside: usize,
    /// The generation of the store that entries were accepted for, if one was recorded.
    pub(super) generation: Option<String>,
    /// The number of the next entry.
    pub(super) next: u64,
}

impl File {
    pub(super) fn open(directory: &Path) -> Result<(Self, Held), String> {
        private_file::create_directory(directory).map_err(|error| error.to_string())?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let path = directory.join(NAME);
        let mut prepared = None;
        let opened = file::open(&path, Purpose::Journal, &builder, |database| {
            prepared = Some(prepare(database)?);
            Ok(())
        });
        let database = opened.map_err(|failure| match failure {
            Failure::InUse => format!("{NAME} is in use by another process"),
            Failure::Unusable(reason) => format!("{NAME}: {reason}"),
        })?;
        let held = prepared.ok_or("it was not read")?;
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (end, ended) = watch::channel(());
        let thread = std::thread::Builder::new().name("imquota-journal".into());
        let spawned = thread.spawn(move || {
            // The signal is also sent if the thread panics: dropping the sender is the signal.
            let _end = end;
            let closed = work_and_close(&path, Purpose::Journal, database, |database| {
                write_all(database, waiting);
            });
            if let Err(reason) = closed {
                error!(path = %path.display(), %reason, "journal failed");
            }
        });
        spawned.map_err(|error| error.to_string())?;
        Ok((Self { queue, ended }, held))
    }

    pub(super) async fn send(&self, message: Message) -> Result<(), ()> {
        self.queue.send(message).await.map_err(|_| ())
    }

    pub(super) async fn close(&self) {
        // Sending fails only if the thread has ended already.
        let _ = self.queue.send(Message::Stop).await;
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// Creates missing tables, checks the format, and reads the content.
fn prepare(database: &Database) -> Result<Held, String> {
    let prepared = || -> Result<Option<u64>, redb::Error> {
        let writing = database.begin_write()?;
        let format = {
            writing.open_table(ENTRIES)?;
            writing.open_table(SET_ASIDE)?;
            writing.open_table(TEXTS)?;
            let mut meta = writing.open_table(META)?;
            let format = meta.get(FORMAT_KEY)?.map(|format| format.value());
            if format.is_none() {
                meta.insert(FORMAT_KEY, FORMAT)?;
            }
            format
        };
        writing.commit()?;
        Ok(format)
    };
    let format = prepared().map_err(|error| error.to_string())?;
    if let Some(format) = format.filter(|format| *format != FORMAT) {
        return Err(format!("it has format {format}, and this version reads {FORMAT}"));
    }
    let read = || -> Result<Held, redb::Error> {
        let reading = database.begin_read()?;
        let aside = reading.open_table(SET_ASIDE)?;
        let last_aside = aside.last()?.map_or(0, |(number, _)| number.value());
        let set_aside = usize::try_from(aside.len()?).unwrap_or(usize::MAX);
        let generation = reading.open_table(TEXTS)?.get(GENERATION_KEY)?;
        let generation = generation.map(|text| text.value().to_owned());
        let entries = rows(&reading.open_table(ENTRIES)?, 0, usize::MAX)?;
        let last = entries.last().map_or(0, |(number, _)| *number);
        let given = reading.open_table(META)?.get(LAST_KEY)?.map_or(0, |last| last.value());
        Ok(Held { entries, set_aside, generation, next: last.max(last_aside).max(given) + 1 })
    };
    read().map_err(|error| error.to_string())
}

/// Returns up to `limit` rows with numbers higher than `after`.
fn rows(
    table: &impl ReadableTable<u64, &'static [u8]>,
    after: u64,
    limit: usize,
) -> Result<Stored, redb::Error> {
    let mut stored = Vec::new();
    for row in table.range(after.saturating_add(1)..)?.take(limit) {
        let (number, bytes) = row?;
        stored.push((number.value(), bytes.value().to_vec()));
    }
    Ok(stored)
}

fn read_set_aside(database: &Database, after: u64, limit: usize) -> Result<Stored, redb::Error> {
    rows(&database.begin_read()?.open_table(SET_ASIDE)?, after, limit)
}

/// Writes until it is stopped or fails. After a failure the file's content is certain again only
/// when it is opened anew.
fn write_all(database: &Database, mut waiting: mpsc::Receiver<Message>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        batch.clear();
        let Some(first) = waiting.blocking_recv() else { return };
        batch.push(first);
        while batch.len() < BATCH_MAX
            && let Ok(message) = waiting.try_recv()
        {
            batch.push(message);
        }
        let stops = batch.iter().any(|message| matches!(message, Message::Stop));
        let written = write(database, &batch).map_err(|error| error.to_string());
        let mut written = written.map(Vec::into_iter);
        for message in batch.drain(..) {
            // The caller may have stopped waiting.
            match message {
                Message::Append { done, .. } => {
                    let _ = done.send(written.as_ref().map(drop).map_err(Clone::clone));
                }
                Message::Remove(_, done)
                | Message::Follow { done, .. }
                | Message::DeleteSetAside { done, .. } => {
                    let count = written.as_mut().map(|counts| counts.next().unwrap_or(0));
                    let _ = done.send(count.map_err(|error| error.clone()));
                }
                Message::ReadSetAside { after, limit, done } => {
                    let read = read_set_aside(database, after, limit);
                    let _ = done.send(read.map_err(|error| error.to_string()));
                }
                Message::Stop => {}
            }
        }
        if let Err(error) = written {
            error!(%error, "journal failed, no operation is admitted without the store");
            return;
        }
        if stops {
            return;
        }
    }
}

/// Writes a batch; returns for each [`Message::Remove`] how many entries it removed, for each
/// [`Message::Follow`] how many it set aside, and for each [`Message::DeleteSetAside`] how many it
/// deleted.
fn write(database: &Database, batch: &[Message]) -> Result<Vec<usize>, redb::Error> {
    let writing = database.begin_write()?;
    let mut counts = Vec::new();
    {
        let mut entries = writing.open_table(ENTRIES)?;
        for message in batch {
            match message {
                Message::Append { number, bytes, .. } => {
                    entries.insert(number, &**bytes)?;
                }
                Message::Remove(numbers, _) => {
                    let mut removed = 0;
                    for number in numbers {
                        removed += usize::from(entries.remove(number)?.is_some());
                    }
                    counts.push(removed);
                }
                Message::Follow { generation, set_aside, .. } => {
                    writing.open_table(TEXTS)?.insert(GENERATION_KEY, generation.as_str())?;
                    let mut moved = 0;
                    if *set_aside {
                        let mut aside = writing.open_table(SET_ASIDE)?;
                        while let Some((number, bytes)) = entries.pop_first()? {
                            aside.insert(number.value(), bytes.value())?;
                            moved += 1;
                        }
                        while aside.len()? > ENTRIES_MAX as u64 {
                            aside.pop_first()?;
                        }
                    }
                    counts.push(moved);
                }
                Message::DeleteSetAside { through, .. } => {
                    let mut aside = writing.open_table(SET_ASIDE)?;
                    let before = aside.len()?;
                    aside.retain_in(..=*through, |_, _| false)?;
                    counts.push(usize::try_from(before - aside.len()?).unwrap_or(usize::MAX));
                }
                Message::ReadSetAside { .. } | Message::Stop => {}
            }
        }
        let last = batch.iter().filter_map(|message| match message {
            Message::Append { number, .. } => Some(*number),
            _ => None,
        });
        if let Some(last) = last.max() {
            let mut meta = writing.open_table(META)?;
            let known = meta.get(LAST_KEY)?.map_or(0, |last| last.value());
            meta.insert(LAST_KEY, last.max(known))?;
        }
    }
    writing.commit()?;
    Ok(counts)
}
