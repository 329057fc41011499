//! The embedded store: exact facts in one file, without a server.
//!
//! redb stores the facts; one thread writes, and groups all waiting work into one durable
//! transaction (`writer`). An operation reads what it needs, decides, and only then writes
//! (`facts`). The memory store is the same code over redb's in-memory backend.
//!
//! The file is locked while it is open, so that no second process can count in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database};
use tracing::{error, warn};

use super::crossings::{Crossings, UnreportedAnswer};
use super::holdings::{Holdings, UsageScope};
use super::reconcile::{
    Comparison, Difference, ExpectedState, PageToken, Section, Subjects, Tracking,
};
use super::{Answer, Call, Ledger, LedgerError, Operation, Reading, SnapshotError, TypesInUse};
use crate::clock::Clock;
use crate::domain::clock_guard::ClockRefusal;
use crate::domain::decision::Subject;
use crate::domain::id::{AppId, Name};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::private_file;
use crate::redb::file::{self, Failure, Purpose, guarded};
use crate::redb::snapshot;
use crate::redb::store_clock::{StoreClock, recorded};
use crate::redb::tables::{Identity, identify, open_clock};
use crate::redb::writer::{Backing, Unit, Writer, WriterError};
use crate::store::backlog::Backlog;
use crate::store::fair::{Load, Turn};
use crate::store::fingerprint::KEY_BYTES;
use crate::store::{Fingerprints, Identified};

mod accounts;
mod counts;
mod facts;
mod friends;
mod group_types;
mod groups;
mod holdings;
mod members;
mod metering;
mod reconcile;
mod step;
mod thresholds;
mod tracking;
#[cfg(test)]
mod unanswered_tests;
mod unknown_apps;

/// The name of the file in the store's directory.
const FILE_NAME: &str = "imquota.redb";
/// The name of the only clock of an embedded store, in the place of a server's address.
const MACHINE: &str = "machine";
/// The highest number of facts compared in one unit of work, so that other work does not wait long;
/// a single user or group is never split.
const COMPARED_MAX: usize = 2048;
/// The size of the page cache: the hot part of some million facts, and small compared with an IM
/// pod.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The reason why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be created.
    #[error("cannot create the directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process has the store open.
    #[error("{path} is in use by another process; only one imquota at a time can open a store")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is not readable as a store.
    #[error("cannot open {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file was written by another version of the product.
    #[error("{path} cannot be used: {reason}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The system's random number generator failed.
    #[error("cannot generate the store's fingerprint key: {0}")]
    Random(getrandom::Error),
    /// The writing thread cannot be started.
    #[error("cannot start the writing thread: {0}")]
    Thread(std::io::Error),
}

/// The embedded ledger.
pub struct Embedded {
    writer: Arc<Writer>,
    /// The path of the file, for messages.
    path: PathBuf,
    /// The directory for copies: the store's own, or the one for temporary files.
    directory: PathBuf,
    clock: Arc<StoreClock>,
    ids: Fingerprints,
    /// Thresholds of results that did not reach their callers.
    crossings: Arc<Backlog<Crossings>>,
}

impl Embedded {
    /// Opens the store in a directory, creating both if they are missing.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        private_file::create_directory(directory)
            .map_err(|source| OpenError::Directory { path: directory.to_owned(), source })?;
        let path = directory.join(FILE_NAME);
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(OpenError::Random)?;
        let mut first = None;
        let opened = file::open(&path, Purpose::Store, &builder(), |database| {
            first = Some(first_transaction(database, &key)?);
            Ok(())
        });
        let database = opened.map_err(|failure| match failure {
            Failure::InUse => OpenError::InUse { path: path.clone() },
            Failure::Unusable(reason) => OpenError::Unreadable { path: path.clone(), reason },
        })?;
        let first = first.unwrap_or((Identity::New, Ok(None)));
        Self::over(database, (first, key), Backing::File, path, directory.to_owned(), clock)
    }

    /// Opens a store that lives as long as the process.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let path = PathBuf::from("memory");
        let database = builder().create_with_backend(InMemoryBackend::new()).map_err(|error| {
            OpenError::Unreadable { path: path.clone(), reason: error.to_string() }
        })?;
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(OpenError::Random)?;
        let first = first_transaction(&database, &key)
            .map_err(|reason| OpenError::Unreadable { path: path.clone(), reason })?;
        let directory = std::env::temp_dir();
        Self::over(database, (first, key), Backing::Memory, path, directory, clock)
    }

    fn over(
        database: Database,
        ((identity, recorded), new_key): (Opened, [u8; KEY_BYTES]),
        backing: Backing,
        path: PathBuf,
        directory: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let key = match identity {
            Identity::Known(key) => key,
            Identity::New => new_key,
            Identity::Foreign(reason) => return Err(OpenError::Foreign { path, reason }),
        };
        let recorded =
            recorded.map_err(|reason| OpenError::Foreign { path: path.clone(), reason })?;
        let clock = Arc::new(StoreClock::start(clock, recorded));
        if let Some(refusal @ ClockRefusal::Behind { .. }) = clock.reading().refusal() {
            warn!(%refusal, "clock behind the recorded instant, sales and statements are refused");
        }
        let writer = Writer::start(database, backing, clock.clone(), path.clone())
            .map_err(OpenError::Thread)?;
        let writer = Arc::new(writer);
        let (ids, crossings) = (Fingerprints::new(key), Arc::default());
        Ok(Self { writer, path, directory, clock, ids, crossings })
    }

    /// Returns the writing thread, for the directory, which is in the same file.
    pub(crate) fn writer(&self) -> Arc<Writer> {
        self.writer.clone()
    }

    /// Returns its clock, for other data in the same file.
    pub(crate) fn clock(&self) -> Arc<StoreClock> {
        self.clock.clone()
    }

    /// Bounds the number of users and groups that are in flight at once.
    #[must_use]
    pub fn bounded(self, subjects_in_flight_max: usize) -> Self {
        self.writer.bound(subjects_in_flight_max);
        self
    }

    /// Returns the turn of a call with that number of subjects, and how long it may wait for it.
    fn turn(&self, call: &Call, subjects: usize) -> (Turn, Duration) {
        let turn = Turn { app: self.ids.app(&call.app), subjects };
        (turn, call.deadline - self.clock.now())
    }

    /// Returns the call with its deadline by the store's clock.
    fn by_store(&self, call: Call) -> Call {
        Call { deadline: self.clock.deadline(call.deadline), ..call }
    }
}

pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The identity of a store, and the instant recorded in it.
type Opened = (Identity, Result<Option<Timestamp>, String>);

fn first_transaction(database: &Database, new_key: &[u8; KEY_BYTES]) -> Result<Opened, String> {
    let txn = database.begin_write().map_err(|error| error.to_string())?;
    let identity = identify(&txn, new_key).map_err(|error| error.to_string())?;
    let clock = open_clock(&txn).map_err(|error| error.to_string())?;
    let recorded = recorded(&clock).map_err(|error| error.to_string())?;
    drop(clock);
    match identity {
        Identity::New => txn.commit().map_err(|error| error.to_string())?,
        Identity::Known(_) | Identity::Foreign(_) => {
            txn.abort().map_err(|error| error.to_string())?;
        }
    }
    Ok((identity, recorded))
}

impl Identified for Embedded {}

#[async_trait]
impl Ledger for Embedded {
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError> {
        let (clock, ids, call) = (self.clock.clone(), self.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, operation.subjects());
        let crossings = self.crossings.clone();
        let work = move |unit: &mut Unit<'_, '_>| {
            let answer = step::answer(step::apply(unit, &ids, &call, clock.reading(), &operation))?;
            Ok(answer.map(|answer| UnreportedAnswer::new(answer, call.app, crossings)))
        };
        let answer = self.writer.submit(turn, within, work).await??.into_answer();
        answer.ok_or_else(|| LedgerError::Unavailable("the answer is missing".to_owned()))
    }

    async fn next_crossings(&self) -> Crossings {
        self.crossings.next().await
    }

    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError> {
        let (clock, ids, call) = (self.clock.clone(), self.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, 1);
        let work = move |unit: &mut Unit<'_, '_>| {
            step::answer(step::read(unit, &ids, &call, clock.now(), &subject))
        };
        self.writer.submit(turn, within, work).await?
    }

    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        let app = self.ids.app(app);
        let schedule = Arc::new(schedule.clone());
        let clock = self.clock.clone();
        let work = move |unit: &mut Unit<'_, '_>| match clock.reading().metering() {
            Ok(()) => step::put_schedule(unit, app, revision, &schedule).map(Ok),
            Err(refusal) => Ok(Err(refusal.into())),
        };
        self.writer.submit_without_timeout(work).await?
    }

    async fn review_unknown_apps(&self, empty_for: Duration) -> Result<u64, LedgerError> {
        let (mut removed, mut from) = (0, Some(0));
        while let Some(first) = from {
            let clock = self.clock.clone();
            let work = move |unit: &mut Unit<'_, '_>| {
                let now = clock.now();
                let ago = i64::try_from(empty_for.as_millis()).unwrap_or(i64::MAX);
                let used_before = Timestamp::from_millis(now.as_millis().saturating_sub(ago));
                unknown_apps::review(unit, first, used_before, now)
            };
            let (more, next) = self.writer.submit_without_timeout(work).await?;
            removed += more;
            from = next;
        }
        Ok(removed)
    }

    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        let app = self.ids.app(app);
        let work = move |unit: &mut Unit<'_, '_>| step::schedule_revision(unit, app);
        Ok(self.writer.submit_without_timeout(work).await?)
    }

    fn fingerprints(&self) -> Fingerprints {
        self.ids
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        mut claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, LedgerError> {
        let mut differences = Vec::new();
        while !claims.is_empty() {
            let rest = claims.split_off(ExpectedState::fitting(&claims, COMPARED_MAX));
            let (clock, ids, mut comparison) = (self.clock.clone(), self.ids, comparison.clone());
            comparison.call = self.by_store(comparison.call);
            let work = move |unit: &mut Unit<'_, '_>| {
                let now = clock.now();
                step::answer(reconcile::compare(unit, &ids, &comparison, now, &claims))
            };
            differences.append(&mut self.writer.submit_without_timeout(work).await??);
            claims = rest;
        }
        Ok(differences)
    }

    async fn subjects(
        &self,
        call: &Call,
        section: Section,
        from: Option<PageToken>,
    ) -> Result<Subjects, LedgerError> {
        let app = self.ids.app(&call.app);
        let work =
            move |unit: &mut Unit<'_, '_>| reconcile::subjects(unit, app, section, from.as_ref());
        Ok(self.writer.submit_without_timeout(work).await?)
    }

    async fn holdings(
        &self,
        call: &Call,
        of: UsageScope,
        from: Option<PageToken>,
    ) -> Result<Holdings, LedgerError> {
        let (clock, app) = (self.clock.clone(), self.ids.app(&call.app));
        let call = self.by_store(call.clone());
        let work = move |unit: &mut Unit<'_, '_>| {
            let now = clock.now();
            step::answer(holdings::holdings(unit, app, &call, now, of, from.as_ref()))
        };
        self.writer.submit_without_timeout(work).await?
    }

    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError> {
        let (clock, app) = (self.clock.clone(), self.ids.app(app));
        let work = move |unit: &mut Unit<'_, '_>| tracking::begin(unit, app, clock.now(), keep_for);
        Ok(self.writer.submit_without_timeout(work).await?)
    }

    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError> {
        let (clock, app) = (self.clock.clone(), self.ids.app(app));
        let work = move |unit: &mut Unit<'_, '_>| tracking::current(unit.tables, app, clock.now());
        Ok(self.writer.submit_without_timeout(work).await?)
    }

    fn keeps_order(&self) -> bool {
        true
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        Ok(self.clock.now())
    }

    async fn types_in_use(&self) -> Result<TypesInUse, LedgerError> {
        let database = self.writer.database().ok_or(LedgerError::Closing)?;
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let read = guarded(&path, Purpose::Store, || group_types::in_use(&database));
            read.and_then(|types| types.map_err(|error| error.to_string()))
        });
        let read = reading.await.unwrap_or_else(|error| Err(error.to_string()));
        let types = read.map_err(LedgerError::Refused)?;
        Ok(TypesInUse { types, is_complete: true })
    }

    async fn recheck_types(
        &self,
        wanted: Option<&BTreeSet<Name>>,
    ) -> Result<BTreeSet<Name>, LedgerError> {
        let mut types = self.types_in_use().await?.types;
        types.retain(|name| wanted.is_none_or(|wanted| wanted.contains(name)));
        Ok(types)
    }

    async fn snapshot(&self) -> Result<File, SnapshotError> {
        let database = self.writer.database().ok_or(SnapshotError::Closing)?;
        let (path, directory) = (self.path.clone(), self.directory.clone());
        let copying = tokio::task::spawn_blocking(move || {
            let copied = guarded(&path, Purpose::Store, || snapshot::copy(&database, &directory));
            copied.unwrap_or_else(|reason| {
                error!(path = %path.display(), %reason, "copying the store failed");
                Err(format!("{}: {reason}", path.display()))
            })
        });
        let copied = copying.await.map_err(|error| SnapshotError::Failed(error.to_string()))?;
        copied.map_err(SnapshotError::Failed)
    }

    fn clock_skews(&self) -> Vec<(String, f64)> {
        vec![(MACHINE.to_owned(), self.clock.skew_s())]
    }

    fn loads(&self) -> Vec<(String, Load)> {
        vec![("embedded".to_owned(), self.writer.load())]
    }

    async fn record_clock(&self) -> Result<(), LedgerError> {
        if !self.clock.is_due() {
            return Ok(());
        }
        let clock = self.clock.clone();
        let work = move |unit: &mut Unit<'_, '_>| clock.record(unit);
        Ok(self.writer.submit_without_timeout(work).await?)
    }

    async fn failed(&self) {
        self.writer.failed().await;
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

impl From<WriterError> for LedgerError {
    fn from(error: WriterError) -> Self {
        match error {
            WriterError::Overloaded(why) => Self::Overloaded(why),
            WriterError::Closing => Self::Closing,
            WriterError::Failed(reason) => Self::Unavailable(reason),
        }
    }
}
