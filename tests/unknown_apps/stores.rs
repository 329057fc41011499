//! The stores under test, each without an app that counts.

use std::any::Any;
use std::sync::Arc;

use imquota::clock::SystemClock;
use imquota::ledger::Ledger;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::redis::Redis;
use tempfile::TempDir;

use crate::support::redis::{Server, shared_cluster, shared_sentinels, shared_standalone};
use crate::support::redis_options;

/// Where Redis counts unknown apps.
pub const KEY: &str = "q1{directory}unknown";
/// Sidecars beside the first.
const OTHERS: usize = 4;

/// An open store.
pub struct Store {
    pub ledger: Arc<dyn Ledger>,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn memory() -> Store {
    let ledger = Embedded::in_memory(Arc::new(SystemClock)).expect("opens");
    Store { ledger: Arc::new(ledger), _kept: None }
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
pub async fn embedded() -> Store {
    let folder = TempDir::new().expect("a temporary folder");
    let ledger = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("opens");
    Store { ledger: Arc::new(ledger), _kept: Some(Box::new(folder)) }
}

pub async fn standalone() -> Store {
    let redis = shared_standalone();
    empty(&redis.server, &redis.url()).await
}

pub async fn sentinel() -> Store {
    let sentinels = shared_sentinels();
    empty(sentinels.server(sentinels.master()), &sentinels.url()).await
}

/// The count lies in one slot, that of the directory.
pub async fn cluster() -> Store {
    let cluster = shared_cluster();
    let node = cluster.node(cluster.master_of(cluster.slot_of(KEY)));
    empty(node, &cluster.url()).await
}

async fn empty(server: &Server, url: &str) -> Store {
    server.cli(&["DEL", KEY]);
    Store { ledger: redis(url).await, _kept: None }
}

async fn redis(url: &str) -> Arc<dyn Ledger> {
    Arc::new(Redis::open(redis_options(url), Arc::new(SystemClock)).await.expect("opens"))
}

/// The store as several sidecars have it; a store in this process has one.
pub async fn beside(store: &Store, name: &str) -> Vec<Arc<dyn Ledger>> {
    let url = match name {
        "standalone" => shared_standalone().url(),
        "sentinel" => shared_sentinels().url(),
        "cluster" => shared_cluster().url(),
        _ => return vec![store.ledger.clone()],
    };
    let mut ledgers = vec![store.ledger.clone()];
    for _ in 0..OTHERS {
        ledgers.push(redis(&url).await);
    }
    ledgers
}
