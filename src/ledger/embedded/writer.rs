//! The one thread that writes, with group commit.
//!
//! Everything that waits goes into one durable transaction, and an answer leaves only after that
//! transaction is on disk. A unit of work that fails fails its whole transaction, so that nothing
//! is ever half-written. Where a batch wrote nothing there is nothing to commit.
//!
//! After a failure of the store the thread ends: what the file holds is known again only when it
//! is opened anew. [`Writer::failed`] tells, so that the process can end and be started again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use redb::{Database, Durability, StorageError, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use super::store_clock::StoreClock;
use super::tables::Tables;
use crate::clock::Stopwatch;
use crate::domain::schedule::Schedule;
use crate::ledger::Overload;
use crate::ledger::fair::{Load, Turn, Turns};
use crate::ledger::fingerprint::AppKey;
use crate::ledger::redb_file::{Purpose, work_and_close};

/// Most subjects of the work that the thread is given at once, where no more is said.
const SUBJECTS_IN_FLIGHT_MAX: usize = 4096;
/// Most units of work in one transaction, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 1024;
/// Callers who have just been answered get this part of the time that their commit took to come
/// back with what they do next, so that the next commit carries it too.
const GATHERING_PART: u32 = 8;
/// How often it is looked whether they have.
const GATHERING_STEP: Duration = Duration::from_micros(20);
/// In memory, pages that are not needed any more are given back by every commit of this number.
const MEMORY_COMMITS_MAX: u64 = 256;
/// Most decoded schedules kept; beyond that they are read again.
const SCHEDULES_MAX: usize = 10_000;

/// Decoded schedules by app. Only the writer changes schedules, so they cannot be stale.
pub type Schedules = HashMap<AppKey, Arc<Schedule>>;

/// What a unit of work has at hand.
pub struct Unit<'a, 'txn> {
    /// The tables of the transaction.
    pub tables: &'a mut Tables<'txn>,
    /// Decoded schedules.
    pub schedules: &'a mut Schedules,
    /// To be set by whoever writes.
    pub wrote: bool,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriterError {
    /// Too much waits.
    #[error("{0}")]
    Overloaded(Overload),
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
    /// The store failed; whether the work was done is unknown.
    #[error("{0}")]
    Failed(String),
}

/// Tells the caller that the transaction was committed, or why not.
type Finish = Box<dyn FnOnce(Result<(), String>) + Send>;
/// Does the work, or tells the caller why it is not done.
type Work = Box<dyn for<'a, 'txn> FnOnce(Attempt<'_, 'a, 'txn>) -> Result<Finish, String> + Send>;
/// A transaction to work in, or why there is none.
type Attempt<'u, 'a, 'txn> = Result<&'u mut Unit<'a, 'txn>, String>;

/// Where commits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// In a file: each commit is on disk before anybody is told of it.
    File,
    /// In memory, where nothing has to be made ready for a start after a crash.
    Memory,
}

impl Keeping {
    /// How much that commit has to outlive.
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

/// Hands work to the writing thread, in fair turns.
pub struct Writer {
    // Bounded by the turns: each unit of work has its places.
    queue: mpsc::UnboundedSender<Message>,
    turns: ArcSwap<Turns>,
    /// The thread's; gone when that has ended.
    database: Weak<Database>,
    closing: AtomicBool,
    ended: watch::Receiver<bool>,
}

impl Writer {
    /// Starts the thread, which owns the database from then on.
    pub fn start(
        database: Database,
        keeping: Keeping,
        clock: Arc<StoreClock>,
        path: PathBuf,
    ) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let turns = ArcSwap::new(Turns::of_batches(SUBJECTS_IN_FLIGHT_MAX));
        let (end, ended) = watch::channel(false);
        let database = Arc::new(database);
        let shared = Arc::downgrade(&database);
        std::thread::Builder::new().name("imquota-writer".into()).spawn(move || {
            // Whoever waits for the end is told even if the thread panics.
            let end = Told(end);
            let closed = work_and_close(&path, Purpose::Store, database, |database| {
                write_all(database, (keeping, &clock), waiting);
            });
            if let Err(reason) = closed {
                error!(path = %path.display(), %reason, "store failed");
            }
            drop(end);
        })?;
        Ok(Self { queue, turns, database: shared, closing: AtomicBool::new(false), ended })
    }

    /// What the thread writes, to be read beside it; `None` when it has ended.
    pub fn database(&self) -> Option<Arc<Database>> {
        self.database.upgrade()
    }

    /// Bounds the subjects of the work that the thread is given at once.
    pub fn bound(&self, subjects_in_flight_max: usize) {
        self.turns.store(Turns::of_batches(subjects_in_flight_max));
    }

    /// How much the thread is given at once, and how much waits.
    pub fn load(&self) -> Load {
        self.turns.load().load()
    }

    /// Does the work in the next transaction once its turn has come, within that time; its result
    /// comes once that is durable. Work whose caller has gone away before it began is not done.
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

    /// The same for administration, which waits for its turn without a limit of time.
    pub async fn submit_patiently<T, F>(&self, work: F) -> Result<T, WriterError>
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

    /// Finishes what waits and closes the database.
    pub async fn close(&self) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            // It fails only when the thread has ended already.
            let _ = self.queue.send(Message::Stop);
        }
        self.wait_for_end().await;
    }

    /// Ready when the thread has ended although nobody closed it.
    pub async fn failed(&self) {
        self.wait_for_end().await;
        if self.closing.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }

    async fn wait_for_end(&self) {
        let mut ended = self.ended.clone();
        // An error means that the sender is gone, which is the end too.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    fn check_open(&self) -> Result<(), WriterError> {
        if self.closing.load(Ordering::Acquire) { Err(WriterError::Closing) } else { Ok(()) }
    }

    fn gone(&self) -> WriterError {
        self.check_open()
            .err()
            .unwrap_or_else(|| WriterError::Failed("it failed before and is not open".to_owned()))
    }
}

/// Says that the thread has ended, when dropped.
struct Told(watch::Sender<bool>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(true);
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
                // A caller that has gone away does not want to know.
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
    (keeping, clock): (Keeping, &StoreClock),
    mut waiting: mpsc::UnboundedReceiver<Message>,
) {
    let mut schedules = Schedules::new();
    let mut commits = 0;
    let mut batch = Vec::new();
    while let Some(message) = waiting.blocking_recv() {
        take_in(message, &mut batch, &mut waiting);
        take_in_waiting(&mut batch, &mut waiting);
        while !batch.is_empty() {
            if schedules.len() > SCHEDULES_MAX {
                schedules.clear();
            }
            commits += 1;
            let several = batch.len();
            let work = std::mem::take(&mut batch);
            let began = Stopwatch::start();
            let durability = keeping.of_commit(commits);
            let target = (database, durability, clock);
            if let Err(failure) = write_batch(target, &mut schedules, work) {
                error!(error = %failure, "the store failed; nothing can be decided until it is \
                    opened anew");
                return refuse_all(&failure, waiting);
            }
            if several > 1 {
                gather(several, began.elapsed() / GATHERING_PART, &mut batch, &mut waiting);
            }
        }
    }
}

fn take_in(
    message: Message,
    batch: &mut Vec<Work>,
    waiting: &mut mpsc::UnboundedReceiver<Message>,
) {
    match message {
        Message::Work(work) => batch.push(work),
        Message::Stop => waiting.close(),
    }
}

/// Takes what waits, up to a full batch.
fn take_in_waiting(batch: &mut Vec<Work>, waiting: &mut mpsc::UnboundedReceiver<Message>) {
    while batch.len() < BATCH_MAX
        && let Ok(message) = waiting.try_recv()
    {
        take_in(message, batch, waiting);
    }
}

/// Waits so long at most for as much work as there was before.
fn gather(
    several: usize,
    longest: Duration,
    batch: &mut Vec<Work>,
    waiting: &mut mpsc::UnboundedReceiver<Message>,
) {
    let began = Stopwatch::start();
    loop {
        take_in_waiting(batch, waiting);
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

/// Works off a batch and tells everybody. An error means that the store failed.
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
