//! The stores under test, each without a counted app.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use imquota::clock::SystemClock;
use imquota::ledger::Ledger;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::memory::Memory;
use imquota::ledger::redis::Redis;
use tempfile::TempDir;

use crate::support::redis::{Cluster, Sentinels, Server, Standalone};
use crate::support::redis_options;

/// The key with the unknown apps in Redis.
pub const KEY: &str = "q1{directory}unknown";
/// The number of further sidecars.
const OTHERS: usize = 4;

/// Deployments of these tests alone: those that other suites share count their apps as well.
static STANDALONE: LazyLock<Standalone> = LazyLock::new(Standalone::start);
static SENTINELS: LazyLock<Sentinels> = LazyLock::new(Sentinels::start);
static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::start);

/// An open store.
pub struct Store {
    pub ledger: Arc<dyn Ledger>,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn memory() -> Store {
    let ledger = Memory::open(Arc::new(SystemClock)).expect("opens");
    Store { ledger: Arc::new(ledger), _kept: None }
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn embedded() -> Store {
    let folder = TempDir::new().expect("a temporary folder");
    let ledger = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("opens");
    Store { ledger: Arc::new(ledger), _kept: Some(Box::new(folder)) }
}

pub async fn standalone() -> Store {
    empty(&STANDALONE.server, &STANDALONE.url()).await
}

pub async fn sentinel() -> Store {
    empty(SENTINELS.server(SENTINELS.master()), &SENTINELS.url()).await
}

/// The count is in one slot, that of the directory.
pub async fn cluster() -> Store {
    let node = CLUSTER.node(CLUSTER.master_of(CLUSTER.slot_of(KEY)));
    empty(node, &CLUSTER.url()).await
}

async fn empty(server: &Server, url: &str) -> Store {
    server.cli(&["DEL", KEY]);
    Store { ledger: redis(url).await, _kept: None }
}

async fn redis(url: &str) -> Arc<dyn Ledger> {
    Arc::new(Redis::open(redis_options(url), Arc::new(SystemClock)).await.expect("opens"))
}

/// The handles of several sidecars on the store; a store in this process has one.
pub async fn beside(store: &Store, name: &str) -> Vec<Arc<dyn Ledger>> {
    let url = match name {
        "standalone" => STANDALONE.url(),
        "sentinel" => SENTINELS.url(),
        "cluster" => CLUSTER.url(),
        _ => return vec![store.ledger.clone()],
    };
    let mut ledgers = vec![store.ledger.clone()];
    for _ in 0..OTHERS {
        ledgers.push(redis(&url).await);
    }
    ledgers
}
