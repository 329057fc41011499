//! The stores of a sidecar, in one Redis or one file, and how they are opened.

use std::sync::Arc;

use tracing::warn;

use super::{ServeError, run_blocking};
use crate::clock::Clock;
use crate::config::{Config, Store};
use crate::directory::Directory;
use crate::directory::embedded::EmbeddedDirectory;
use crate::directory::redis::RedisDirectory;
use crate::events::EventLog;
use crate::events::embedded::EmbeddedEvents;
use crate::events::redis::RedisEvents;
use crate::ledger::Ledger;
use crate::ledger::callback_notes::CallbackNotes;
use crate::ledger::embedded::Embedded;
use crate::ledger::embedded::callback_notes::EmbeddedNotes;
use crate::ledger::memory::Memory;
use crate::ledger::redis::Redis;
use crate::ledger::redis::callback_notes::RedisNotes;

/// The open stores of a sidecar.
#[derive(Clone)]
pub struct Stores {
    /// The facts.
    pub ledger: Arc<dyn Ledger>,
    /// The apps, their purchases and the audit log.
    pub directory: Arc<dyn Directory>,
    /// The event log.
    pub events: Arc<dyn EventLog>,
    /// What callbacks leave for later ones.
    pub callback_notes: Arc<dyn CallbackNotes>,
}

impl Stores {
    /// Opens the stores of a configuration.
    pub(super) async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        let embedded = match &config.store {
            Store::Embedded(directory) => {
                let directory = directory.clone();
                run_blocking(move || Embedded::open(&directory, clock)).await?
            }
            Store::Memory => {
                warn!("store is in memory, everything is lost when the process ends");
                let memory = Memory::open(clock)?;
                memory.store().bound(config.subjects_in_flight_max);
                return Ok(memory.into());
            }
            Store::Redis(options) => {
                let memory = config.store_memory.clone();
                let redis = Redis::open_known((**options).clone(), clock, memory).await?;
                return Ok(redis.into());
            }
        };
        Ok(embedded.bounded(config.subjects_in_flight_max).into())
    }
}

impl From<Embedded> for Stores {
    fn from(ledger: Embedded) -> Self {
        let directory = Arc::new(EmbeddedDirectory::over(ledger.store()));
        let events = Arc::new(EmbeddedEvents::over(ledger.store()));
        let callback_notes = Arc::new(EmbeddedNotes::over(ledger.store()));
        Self { ledger: Arc::new(ledger), directory, events, callback_notes }
    }
}

impl From<Memory> for Stores {
    fn from(ledger: Memory) -> Self {
        let directory = Arc::new(EmbeddedDirectory::over(ledger.store()));
        let events = Arc::new(EmbeddedEvents::over(ledger.store()));
        let callback_notes = Arc::new(EmbeddedNotes::over(ledger.store()));
        Self { ledger: Arc::new(ledger), directory, events, callback_notes }
    }
}

impl From<Redis> for Stores {
    fn from(ledger: Redis) -> Self {
        let directory = Arc::new(RedisDirectory::over(ledger.store()));
        let events = Arc::new(RedisEvents::over(ledger.store()));
        let callback_notes = Arc::new(RedisNotes::over(ledger.store()));
        Self { ledger: Arc::new(ledger), directory, events, callback_notes }
    }
}
