//! The only thread that writes, with group commit.
//!
//! All waiting work goes into one durable transaction, and a result is returned only after that
//! transaction is on disk. A unit of work that fails fails its whole transaction, so nothing is
//! ever half-written. A batch without writes needs no commit.
//!
//! After a failure of the store the thread ends: the file's content is certain again only when it
//! is opened anew. [`Writer::failed`] returns then, so that the process can end and be restarted.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use redb::{Database, Durability, StorageError, WriteTransaction};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::store_clock::StoreClock;
use super::tables::Tables;
use crate::clock::Stopwatch;
use crate::domain::schedule::Schedule;
use crate::redb::file::{Purpose, work_and_close};
use crate::store::fair::{Load, Turn, Turns};
use crate::store::fingerprint::AppKey;
use crate::store::{Overload, StoreError};

/// The default for the highest number of subjects whose work the thread has at once.
const SUBJECTS_IN_FLIGHT_MAX: usize = 4096;
/// The highest number of units of work in one transaction, so that the first of them does not wait
/// for ever.
const BATCH_MAX: usize = 1024;
/// The part of a commit's duration during which the thread waits for the callers whose results it
/// has just returned, so that the next commit includes their next calls.
const GATHERING_PART: u32 = 8;
/// The interval between checks for them.
const GATHERING_STEP: Duration = Duration::from_micros(20);
/// In memory, every commit of this number frees pages that are no longer needed.
const MEMORY_COMMITS_MAX: u64 = 256;
/// The highest number of decoded schedules kept; beyond that they are read again.
const SCHEDULES_MAX: usize = 10_000;

/// Decoded schedules by app. Only the writer changes schedules, so they cannot be stale.
pub type Schedules = HashMap<AppKey, Arc<Schedule>>;

/// The data that a unit of work can use.
pub struct Unit<'a, 'txn> {
    /// The tables of the transaction.
    pub tables: &'a mut Tables<'txn>,
    /// Decoded schedules.
    pub schedules: &'a mut Schedules,
    /// True if the unit has written; set by every writer.
    pub wrote: bool,
}

/// The reason why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriterError {
    /// Too much work waits.
    #[error("{0}")]
    Overloaded(Overload),
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
    /// The store failed; whether the work was done is unknown.
    #[error("{0}")]
    Failed(String),
}

impl From<WriterError> for StoreError {
    fn from(error: WriterError) -> Self {
        match error {
            WriterError::Overloaded(why) => Self::Overloaded(why),
            WriterError::Closing => Self::Closing,
            WriterError::Failed(reason) => Self::Unavailable(reason),
        }
    }
}

/// Reports to the caller that the transaction was committed, or why not.
type Finish = Box<dyn FnOnce(Result<(), String>) + Send>;
/// Does the work, or reports to the caller why it is not done.
type Work = Box<dyn for<'a, 'txn> FnOnce(Attempt<'_, 'a, 'txn>) -> Result<Finish, String> + Send>;
/// A transaction to work in, or an error.
type Attempt<'u, 'a, 'txn> = Result<&'u mut Unit<'a, 'txn>, String>;

/// The place where commits are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// In a file: each commit is on disk before its results are returned.
    File,
    /// In memory, where nothing has to be prepared for a restart after a crash.
    Memory,
}

impl Backing {
    /// Returns the durability of the commit with that number.
    fn of_commit(self, number: u64) -> Durability {
        if self == Self::Memory && !number.is_multiple_of(MEMORY_COMMITS_MAX) {
            return Durability::None;
        }
        Durability::Immediate
    }
}

enum Message {
    Work(Work),
    Stop,
}

/// Passes work to the writing thread, in fair turns.
pub struct Writer {
    // Bounded by the turns: each unit of work holds its permits.
    queue: mpsc::UnboundedSender<Message>,
    turns: ArcSwap<Turns>,
    /// Owned by the thread; gone when that has ended.
    database: Weak<Database>,
    closing: AtomicBool,
    ended: CancellationToken,
}

impl Writer {
    /// Starts the thread, which owns the database from then on.
    pub fn start(
        database: Database,
        backing: Backing,
        clock: Arc<StoreClock>,
        path: PathBuf,
    ) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let turns = ArcSwap::new(Turns::of_batches(SUBJECTS_IN_FLIGHT_MAX));
        let ended = CancellationToken::new();
        // It also signals the end if the thread panics.
        let end = ended.clone().drop_guard();
        let database = Arc::new(database);
        let shared = Arc::downgrade(&database);
        std::thread::Builder::new().name("imquota-writer".into()).spawn(move || {
            let closed = work_and_close(&path, Purpose::Store, database, |database| {
                write_all(database, (backing, &clock), waiting);
            });
            if let Err(reason) = closed {
                error!(path = %path.display(), %reason, "store failed");
            }
            drop(end);
        })?;
        Ok(Self { queue, turns, database: shared, closing: AtomicBool::new(false), ended })
    }

    /// Returns the thread's database, for concurrent reads; `None` when the thread has ended.
    pub fn database(&self) -> Option<Arc<Database>> {
        self.database.upgrade()
    }

    /// Sets the highest number of subjects whose work the thread has at once.
    pub fn bound(&self, subjects_in_flight_max: usize) {
        self.turns.store(Turns::of_batches(subjects_in_flight_max));
    }

    /// Returns the load: the thread's work, and the work that waits.
    pub fn load(&self) -> Load {
        self.turns.load().load()
    }

    /// Does the work in the next transaction once its turn has come, within that time; returns its
    /// result once the transaction is durable. Work whose caller has stopped waiting before it
    /// began is not done.
    pub async fn submit<T, F>(
        &self,
        turn: Turn,
        within: Duration,
        work: F,
    ) -> Result<T, WriterError>
    where
        T: Send + 'static,
        F: for<'a, 'txn> FnOnce(&mut Unit<'a, 'txn>) -> Result<T, StorageError> + Send + 'static,
    {
        self.check_open()?;
        let turns = self.turns.load_full();
        let places = turns.places(turn, within).await.map_err(WriterError::Overloaded)?;
        let (work, result) = package(work);
        self.check_open()?;
        self.queue.send(Message::Work(work)).map_err(|_| self.gone())?;
        let result = self.result(result).await;
        places.answered();
        result
    }

    /// Does work for administration, which waits for its turn without a time limit.
    pub async fn submit_without_timeout<T, F>(&self, work: F) -> Result<T, WriterError>
    where
        T: Send + 'static,
        F: for<'a, 'txn> FnOnce(&mut Unit<'a, 'txn>) -> Result<T, StorageError> + Send + 'static,
    {
        self.submit(Turn::SHARED, Duration::MAX, work).await
    }

    async fn result<T>(
        &self,
        result: oneshot::Receiver<Result<T, String>>,
    ) -> Result<T, WriterError> {
        match result.await {
            Ok(result) => result.map_err(WriterError::Failed),
            Err(_) => Err(self.gone()),
        }
    }

    /// Finishes waiting work and closes the database.
    pub async fn close(&self) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            // Sending fails only if the thread has ended already.
            let _ = self.queue.send(Message::Stop);
        }
        self.wait_for_end().await;
    }

    /// Waits until the thread has ended without a call of [`Writer::close`].
    pub async fn failed(&self) {
        self.wait_for_end().await;
        if self.closing.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }

    async fn wait_for_end(&self) {
        self.ended.cancelled().await;
    }

    fn check_open(&self) -> Result<(), WriterError> {
        if self.closing.load(Ordering::Acquire) { Err(WriterError::Closing) } else { Ok(()) }
    }

    fn gone(&self) -> WriterError {
        self.check_open().err().unwrap_or_else(|| {
            WriterError::Failed("the store failed earlier and is not open".to_owned())
        })
    }
}

fn package<T, F>(work: F) -> (Work, oneshot::Receiver<Result<T, String>>)
where
    T: Send + 'static,
    F: for<'a, 'txn> FnOnce(&mut Unit<'a, 'txn>) -> Result<T, StorageError> + Send + 'static,
{
    let (sender, result) = oneshot::channel();
    let work: Work = Box::new(move |attempt| {
        if sender.is_closed() {
            return Ok(Box::new(|_| {}));
        }
        let done = attempt.and_then(|unit| work(unit).map_err(|failure| failure.to_string()));
        match done {
            Ok(value) => Ok(Box::new(move |committed| {
                // The caller may have stopped waiting.
                let _ = sender.send(committed.map(|()| value));
            })),
            Err(failure) => {
                let _ = sender.send(Err(failure.clone()));
                Err(failure)
            }
        }
    });
    (work, result)
}

fn write_all(
    database: &Database,
    (backing, clock): (Backing, &StoreClock),
    mut waiting: mpsc::UnboundedReceiver<Message>,
) {
    let mut schedules = Schedules::new();
    let mut commits = 0;
    let mut batch = Vec::new();
    while let Some(message) = waiting.blocking_recv() {
        push(message, &mut batch, &mut waiting);
        push_waiting(&mut batch, &mut waiting);
        while !batch.is_empty() {
            if schedules.len() > SCHEDULES_MAX {
                schedules.clear();
            }
            commits += 1;
            let several = batch.len();
            let work = std::mem::take(&mut batch);
            let began = Stopwatch::start();
            let durability = backing.of_commit(commits);
            let target = (database, durability, clock);
            if let Err(failure) = write_batch(target, &mut schedules, work) {
                error!(error = %failure, "store failed, every call is refused until the \
                    process is restarted");
                return refuse_all(&failure, waiting);
            }
            if several > 1 {
                gather(several, began.elapsed() / GATHERING_PART, &mut batch, &mut waiting);
            }
        }
    }
}

fn push(message: Message, batch: &mut Vec<Work>, waiting: &mut mpsc::UnboundedReceiver<Message>) {
    match message {
        Message::Work(work) => batch.push(work),
        Message::Stop => waiting.close(),
    }
}

/// Takes waiting work, up to a full batch.
fn push_waiting(batch: &mut Vec<Work>, waiting: &mut mpsc::UnboundedReceiver<Message>) {
    while batch.len() < BATCH_MAX
        && let Ok(message) = waiting.try_recv()
    {
        push(message, batch, waiting);
    }
}

/// Waits, at most that long, for as much work as there was before.
fn gather(
    several: usize,
    longest: Duration,
    batch: &mut Vec<Work>,
    waiting: &mut mpsc::UnboundedReceiver<Message>,
) {
    let began = Stopwatch::start();
    loop {
        push_waiting(batch, waiting);
        if batch.len() >= several || began.elapsed() >= longest || waiting.is_closed() {
            return;
        }
        std::thread::sleep(GATHERING_STEP);
    }
}

fn refuse_all(failure: &str, mut waiting: mpsc::UnboundedReceiver<Message>) {
    waiting.close();
    while let Some(message) = waiting.blocking_recv() {
        if let Message::Work(work) = message {
            let _ = work(Err(failure.to_owned()));
        }
    }
}

/// Does a batch and reports to all callers. An error means that the store failed.
fn write_batch(
    target: (&Database, Durability, &StoreClock),
    schedules: &mut Schedules,
    batch: Vec<Work>,
) -> Result<(), String> {
    let mut finished = Vec::with_capacity(batch.len());
    let mut batch = batch.into_iter();
    let end = transact(target, schedules, &mut batch, &mut finished);
    for finish in finished {
        finish(end.clone());
    }
    if let Err(failure) = &end {
        for work in batch {
            let _ = work(Err(failure.clone()));
        }
    }
    end
}

fn transact(
    (database, durability, clock): (&Database, Durability, &StoreClock),
    schedules: &mut Schedules,
    batch: &mut impl Iterator<Item = Work>,
    finished: &mut Vec<Finish>,
) -> Result<(), String> {
    let mut txn = database.begin_write().map_err(|failure| failure.to_string())?;
    txn.set_durability(durability).map_err(|failure| failure.to_string())?;
    let keeps_figures = clock.reading().closing().is_err();
    let wrote = work_all((&txn, keeps_figures), schedules, batch, finished)?;
    if wrote {
        txn.commit().map_err(|failure| failure.to_string())
    } else {
        txn.abort().map_err(|failure| failure.to_string())
    }
}

fn work_all(
    (txn, keeps_figures): (&WriteTransaction, bool),
    schedules: &mut Schedules,
    batch: &mut impl Iterator<Item = Work>,
    finished: &mut Vec<Finish>,
) -> Result<bool, String> {
    let mut tables = Tables::open(txn).map_err(|failure| failure.to_string())?;
    tables.keeps_figures = keeps_figures;
    let mut unit = Unit { tables: &mut tables, schedules, wrote: false };
    for work in batch {
        finished.push(work(Ok(&mut unit))?);
    }
    Ok(unit.wrote)
}
