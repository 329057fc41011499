//! A start does not wait for an unavailable server of a cluster, or for a store that takes long to
//! open. Deferred tasks run as soon as they can.

use std::mem::forget;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::binary::{Binary, embedded};
use crate::support::redis::{Cluster, wait_for};
use crate::support::{Place, Service, app, order};
use imquota::catalog::builtin;
use imquota::clock::SystemClock;
use imquota::domain::id::AppId;
use imquota::ledger::embedded::Embedded;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

const DOCUMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("documents");
/// Rows for which opening takes several times the allowed silence of a start.
const LARGE_ROWS: usize = 4000;
const LARGE_ROW_BYTES: usize = 64 * 1024;
/// Enough apps that each master has a part of some of them.
const APPS: usize = 12;
const START_MAX: Duration = Duration::from_secs(30);
/// The pause between two rounds of publishing, with a margin.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// A cluster that serves the slots of available masters.
fn cluster() -> Cluster {
    Cluster::start_with(&["cluster-require-full-coverage no"])
}

async fn service(cluster: &Cluster) -> Service {
    Service::open_any(&Place::Redis(cluster.url()), Arc::new(SystemClock), builtin()).await
}

/// Ends the master of a slot and its replica; returns the handle that restarts both.
fn kill_master_and_replica(cluster: &Cluster, slot: usize) -> [u16; 2] {
    let master = cluster.master_of(slot);
    let replica = cluster.nodes.iter().find(|node| {
        let of = node.info("replication", "master_port");
        of.is_some_and(|port| port == master.to_string())
    });
    let replica = replica.expect("it has a replica").port();
    for port in [replica, master] {
        cluster.node(port).kill9();
    }
    [master, replica]
}

fn restart_both(cluster: &Cluster, ports: [u16; 2]) {
    for port in ports {
        cluster.node(port).restart();
    }
    cluster.wait_until_ok();
}

/// The slots of the keys that every start needs, and of the event log.
fn slots(cluster: &Cluster) -> ([usize; 2], usize) {
    let of = |key| cluster.slot_of(key);
    ([of("imquota:identity"), of("q1{directory}documents")], of("q1{events}log"))
}

fn apps() -> Vec<AppId> {
    (0..APPS).map(|number| app(&format!("app-{number}"))).collect()
}

async fn is_pending(service: &Service, app: &AppId) -> bool {
    service.administration.app(app).await.is_ok_and(|view| view.pending)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_starts_without_a_server_and_finishes_deferred_publishing() {
    let cluster = cluster();
    let by_hand = service(&cluster).await;
    for app in apps() {
        by_hand.register(&app, "r0").await.expect("registered");
    }
    let (needed, events) = slots(&cluster);
    let other = cluster.masters().into_iter().find(|port| {
        let serves = |slot: &usize| cluster.master_of(*slot) == *port;
        !needed.iter().chain([&events]).any(serves)
    });
    let other = other.expect("a master without them");
    let slot = (0..16_384).step_by(512).find(|slot| cluster.master_of(*slot) == other);
    let away = kill_master_and_replica(&cluster, slot.expect("it serves slots"));

    let mut sidecar = Binary::start(&cluster.url(), &["--journal", "off"]);
    sidecar.wait_until("serving", START_MAX, |it| it.log().contains(" serving "));
    sidecar.wait_until("ready", START_MAX, Binary::is_ready);
    let unpublished = |sidecar: &Binary| sidecar.metric("imquota_apps_unpublished");
    sidecar.wait_until("it counts", START_MAX, |it| unpublished(it).is_some_and(|apps| apps > 0.0));

    // Recorded sales that do not reach the unavailable part; they are not retried.
    let mut cut_off = 0;
    for app in apps() {
        if let Err(error) = by_hand.buy(&app, "r1", order("professional"), 1).await {
            assert!(error.contains("recorded, but not in force yet"), "{error}");
            cut_off += 1;
        }
    }
    assert!(cut_off > 0, "no app has a part on that master");
    by_hand.close().await;
    restart_both(&cluster, away);
    sidecar.wait_until("published", ROUND_MAX, |it| unpublished(it) == Some(0.0));
    let after = service(&cluster).await;
    for app in apps() {
        assert!(!is_pending(&after, &app).await, "{app}");
        let record = after.administration.app(&app).await.expect("registered").record;
        assert_eq!(record.sales.purchases.len(), 1, "{app}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_starts_without_the_event_log_and_publishes_events_after_the_start() {
    let cluster = cluster();
    let by_hand = service(&cluster).await;
    for app in &apps()[..3] {
        by_hand.register(app, "r0").await.expect("registered");
    }
    let (needed, events) = slots(&cluster);
    assert!(needed.iter().all(|slot| cluster.master_of(*slot) != cluster.master_of(events)));
    let away = kill_master_and_replica(&cluster, events);
    let mut sidecar = Binary::start(&cluster.url(), &["--journal", "off"]);
    sidecar.wait_until("serving", START_MAX, |it| it.log().contains(" serving "));
    // Recorded, whether or not a part of the app is unavailable.
    let _ = by_hand.register(&app("later"), "r0").await;
    restart_both(&cluster, away);
    let cursors = || {
        let node = cluster.node(cluster.master_of(events));
        let read = |field| node.try_cli(&["HGET", "q1{events}cursors", field]).ok();
        Some((read("cursor/audit")?, read("head")?))
    };
    sidecar.wait_until("the event", ROUND_MAX, |_| {
        cursors() == Some(("4".to_owned(), "1".to_owned()))
    });
    sidecar.wait_until("still ready", START_MAX, Binary::is_ready);
}

/// A store that was not closed, so that opening it reads all of it.
fn large_store(directory: &Path) {
    let made = TempDir::new().expect("a directory");
    drop(Embedded::open(made.path(), Arc::new(SystemClock)).expect("opens"));
    let file = made.path().join("imquota.redb");
    let database = wait_for("its end", || Database::open(&file).ok());
    let txn = database.begin_write().expect("begins");
    {
        let mut documents = txn.open_table(DOCUMENTS).expect("is there");
        let row = vec![7; LARGE_ROW_BYTES];
        for number in 0..LARGE_ROWS {
            documents.insert(format!("zz{number}").as_str(), row.as_slice()).expect("writes");
        }
    }
    txn.commit().expect("commits");
    std::fs::copy(&file, directory.join("imquota.redb")).expect("copied");
    forget(database);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_get_responses_while_a_large_store_is_opened() {
    let directory = TempDir::new().expect("a directory");
    large_store(directory.path());
    let mut sidecar = Binary::start(&embedded(directory.path()), &["--worker-threads", "1"]);
    sidecar.wait_until("an answer", START_MAX, |it| it.page("/livez").is_some());
    let started = sidecar.page("/startupz").expect("an answer");
    assert_eq!(started.0, 503, "the first answer came after the store was open");
    sidecar.wait_until("ready", START_MAX, Binary::is_ready);
}
