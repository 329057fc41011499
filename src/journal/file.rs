//! The journal's file and the one thread that writes it: all that waits goes into one durable
//! transaction.

use std::path::Path;

use redb::{
    Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, TableDefinition,
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use super::ENTRIES_MAX;
use crate::ledger::redb_file::{self, Failure, Purpose, work_and_close};
use crate::private_file;

/// The version of the tables and of what is in them. A journal with another one is refused.
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
/// The highest number that was given to an entry; absent where an earlier version wrote the file.
const LAST_KEY: &str = "last_number";
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// Entries of an earlier generation of the store, which are not brought to it.
const SET_ASIDE: TableDefinition<u64, &[u8]> = TableDefinition::new("set_aside");
/// The generation of the store that entries were accepted for. Both tables came with format 1.
const TEXTS: TableDefinition<&str, &str> = TableDefinition::new("texts");
const GENERATION_KEY: &str = "generation";
const NAME: &str = "journal.redb";
/// Pages kept in memory: entries are written once and read once.
const CACHE_BYTES: usize = 1 << 20;

/// Messages that wait; who sends more waits too.
const QUEUE_MAX: usize = 1024;
/// Most messages of one transaction, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 1024;

/// What the thread is asked.
pub(super) enum Message {
    /// Write this down under that number.
    Append { number: u64, bytes: Box<[u8]>, done: oneshot::Sender<Result<(), String>> },
    /// Strike these out, and say how many of them were there.
    Remove(Vec<u64>, oneshot::Sender<Result<usize, String>>),
    /// Note the generation of the store, set all entries aside where they may be of an earlier
    /// one, and say how many those were.
    Follow { generation: String, set_aside: bool, done: oneshot::Sender<Result<usize, String>> },
    /// Read what was set aside: from the one after that number on, at most so many.
    ReadSetAside { after: u64, limit: usize, done: oneshot::Sender<Result<Stored, String>> },
    /// Delete what was set aside, up to that number, and say how much that was.
    DeleteSetAside { through: u64, done: oneshot::Sender<Result<usize, String>> },
    /// End.
    Stop,
}

/// Hands messages to the thread.
pub(super) struct File {
    queue: mpsc::Sender<Message>,
    ended: watch::Receiver<()>,
}

/// Numbers and bytes of what is stored, in order.
pub(super) type Stored = Vec<(u64, Vec<u8>)>;

/// What a file holds when it is opened.
pub(super) struct Held {
    /// What waits for the store.
    pub(super) entries: Stored,
    /// How much was set aside.
    pub(super) set_aside: usize,
    /// The generation of the store that entries were accepted for, where one was noted.
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
        let opened = redb_file::open(&path, Purpose::Journal, &builder, |database| {
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
            // Whoever waits for the end is told even if the thread panics.
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
        // Where it has ended already, there is nobody to tell.
        let _ = self.queue.send(Message::Stop).await;
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// What it holds.
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

/// Rows from the one after that number on.
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

/// Writes until it is stopped or fails. After a failure what the file holds is known again only
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
            // A caller that has gone away does not want to know.
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
            error!(%error, "the journal failed; nothing is admitted without the store any more");
            return;
        }
        if stops {
            return;
        }
    }
}

/// Writes a batch; returns how many entries each [`Message::Remove`] took out, each
/// [`Message::Follow`] set aside and each [`Message::DeleteSetAside`] deleted.
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
