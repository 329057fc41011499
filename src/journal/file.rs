//! The journal's file and the one thread that writes it: all that waits goes into one durable
//! transaction.

use std::path::Path;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

/// The version of the tables and of what is in them. A journal with another one is refused.
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const NAME: &str = "journal.redb";
/// Pages kept in memory: entries are written once and read once.
const CACHE_BYTES: usize = 1 << 20;

/// Messages that wait; who sends more waits too.
const QUEUE_MAX: usize = 1024;
/// Most messages of one transaction, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 1024;

/// What the thread is asked.
pub(super) enum Message {
    /// Write this down, and say under which number.
    Append(Vec<u8>, oneshot::Sender<Result<u64, String>>),
    /// Strike these out.
    Remove(Vec<u64>, oneshot::Sender<Result<(), String>>),
    /// End.
    Stop,
}

/// Hands messages to the thread.
pub(super) struct File {
    queue: mpsc::Sender<Message>,
    ended: watch::Receiver<()>,
}

/// Numbers and bytes of what is stored, in order.
type Stored = Vec<(u64, Vec<u8>)>;

impl File {
    pub(super) fn open(directory: &Path) -> Result<(Self, Stored), String> {
        std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create(directory.join(NAME)).map_err(|error| error.to_string())?;
        let stored = prepare(&database)?;
        let next = stored.last().map_or(1, |(number, _)| number + 1);
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (end, ended) = watch::channel(());
        let thread = std::thread::Builder::new().name("imquota-journal".into());
        let spawned = thread.spawn(move || {
            // Whoever waits for the end is told even if the thread panics.
            let _end = end;
            write_all(&database, waiting, next);
        });
        spawned.map_err(|error| error.to_string())?;
        Ok((Self { queue, ended }, stored))
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

fn prepare(database: &Database) -> Result<Stored, String> {
    let prepared = || -> Result<Option<u64>, redb::Error> {
        let writing = database.begin_write()?;
        let format = {
            writing.open_table(ENTRIES)?;
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
    let read = || -> Result<Stored, redb::Error> {
        let entries = database.begin_read()?.open_table(ENTRIES)?;
        let mut stored = Vec::new();
        for row in entries.iter()? {
            let (number, bytes) = row?;
            stored.push((number.value(), bytes.value().to_vec()));
        }
        Ok(stored)
    };
    read().map_err(|error| error.to_string())
}

/// Writes until it is stopped or fails. After a failure what the file holds is known again only
/// when it is opened anew.
fn write_all(database: &Database, mut waiting: mpsc::Receiver<Message>, mut next: u64) {
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
        let written = write(database, &batch, next).map_err(|error| error.to_string());
        for message in batch.drain(..) {
            // A caller that has gone away does not want to know.
            match message {
                Message::Append(_, done) => {
                    let _ = done.send(written.clone().map(|()| next));
                    next += 1;
                }
                Message::Remove(_, done) => {
                    let _ = done.send(written.clone());
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

fn write(database: &Database, batch: &[Message], mut next: u64) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    {
        let mut entries = writing.open_table(ENTRIES)?;
        for message in batch {
            match message {
                Message::Append(bytes, _) => {
                    entries.insert(next, bytes.as_slice())?;
                    next += 1;
                }
                Message::Remove(numbers, _) => {
                    for number in numbers {
                        entries.remove(number)?;
                    }
                }
                Message::Stop => {}
            }
        }
    }
    writing.commit()?;
    Ok(())
}
