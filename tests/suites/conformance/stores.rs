//! The stores under test, each newly opened for every case.

use std::any::Any;
use std::sync::Arc;

use imquota::clock::SystemClock;
use imquota::ledger::Ledger;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::memory::Memory;
use imquota::ledger::redis::Redis;
use tempfile::TempDir;

use crate::support::redis::{shared_cluster, shared_sentinels, shared_standalone};
use crate::support::redis_options;

/// An open store.
pub struct Store {
    pub ledger: Arc<dyn Ledger>,
    /// The guard of the store's files or servers.
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn memory() -> Store {
    let store = Memory::open(Arc::new(SystemClock)).expect("the store opens");
    Store { ledger: Arc::new(store), _kept: None }
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn embedded() -> Store {
    let folder = TempDir::new().expect("a temporary folder");
    let store = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("the store opens");
    Store { ledger: Arc::new(store), _kept: Some(Box::new(folder)) }
}

pub async fn standalone() -> Store {
    redis(&shared_standalone().url()).await
}

pub async fn sentinel() -> Store {
    redis(&shared_sentinels().url()).await
}

pub async fn cluster() -> Store {
    redis(&shared_cluster().url()).await
}

async fn redis(url: &str) -> Store {
    let opened = Redis::open(redis_options(url), Arc::new(SystemClock)).await;
    Store { ledger: Arc::new(opened.expect("the store opens")), _kept: None }
}
