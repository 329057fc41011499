//! Opens the store's file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{Builder, Database};
use tracing::{error, warn};

use super::file::{self, Failure, Purpose, guarded};
use super::snapshot;
use super::store_clock::{StoreClock, recorded};
use super::tables::{Identity, identify, open_clock};
use super::writer::{Backing, Unit, Writer, WriterError};
use crate::clock::Clock;
use crate::domain::clock_guard::ClockRefusal;
use crate::domain::time::Timestamp;
use crate::private_file;
use crate::store::fingerprint::KEY_BYTES;
use crate::store::{Fingerprints, SnapshotError};

/// The name of the file in the store's directory.
const FILE_NAME: &str = "imquota.redb";
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

/// An open store in one file, or in memory.
pub struct RedbStore {
    /// The thread that writes.
    pub(crate) writer: Arc<Writer>,
    /// The path of the file, for messages.
    pub(crate) path: PathBuf,
    /// The directory for copies: the store's own, or the one for temporary files.
    directory: PathBuf,
    /// The store's clock.
    pub(crate) clock: Arc<StoreClock>,
    /// Computes fingerprints.
    pub(crate) ids: Fingerprints,
}

impl RedbStore {
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
        let ids = Fingerprints::new(key);
        Ok(Self { writer, path, directory, clock, ids })
    }

    /// Bounds the number of users and groups that are in flight at once.
    pub fn bound(&self, subjects_in_flight_max: usize) {
        self.writer.bound(subjects_in_flight_max);
    }

    /// Records the highest instant that the store has seen, if that is due.
    pub(crate) async fn record_clock(&self) -> Result<(), WriterError> {
        if !self.clock.is_due() {
            return Ok(());
        }
        let clock = self.clock.clone();
        let work = move |unit: &mut Unit<'_, '_>| clock.record(unit);
        self.writer.submit_without_timeout(work).await
    }

    /// Copies the whole store as of one instant into a file without a name.
    pub(crate) async fn snapshot(&self) -> Result<File, SnapshotError> {
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
}

pub(super) fn builder() -> Builder {
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
