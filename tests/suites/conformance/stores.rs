//! The stores under test, each newly opened for every case.

use std::any::Any;
use std::sync::Arc;

use imquota::clock::SystemClock;
use imquota::ledger::Ledger;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::memory::Memory;
use imquota::ledger::redis::Redis;
use imquota::redis::options::{Coalescing, Options};
use tempfile::TempDir;

use crate::support::redis::{shared_cluster, shared_sentinels, shared_standalone};
use crate::support::redis_options;

/// An open store.
pub struct Store {
    pub ledger: Arc<dyn Ledger>,
    /// True if every operation that can be decided with others is sent by a coalesced call.
    pub is_coalesced: bool,
    /// The guard of the store's files or servers.
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn memory() -> Store {
    let store = Memory::open(Arc::new(SystemClock)).expect("the store opens");
    Store { ledger: Arc::new(store), is_coalesced: false, _kept: None }
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn embedded() -> Store {
    let folder = TempDir::new().expect("a temporary folder");
    let store = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("the store opens");
    Store { ledger: Arc::new(store), is_coalesced: false, _kept: Some(Box::new(folder)) }
}

pub async fn standalone() -> Store {
    redis(&shared_standalone().url()).await
}

pub async fn coalesced_standalone() -> Store {
    let options = redis_options(&shared_standalone().url());
    open(Options { coalescing: Coalescing::Always, ..options }).await
}

pub async fn sentinel() -> Store {
    redis(&shared_sentinels().url()).await
}

pub async fn cluster() -> Store {
    redis(&shared_cluster().url()).await
}

async fn redis(url: &str) -> Store {
    open(redis_options(url)).await
}

async fn open(options: Options) -> Store {
    let is_coalesced = options.coalescing == Coalescing::Always;
    let store = Redis::open(options, Arc::new(SystemClock)).await.expect("the store opens");
    Store { ledger: Arc::new(store), is_coalesced, _kept: None }
}
