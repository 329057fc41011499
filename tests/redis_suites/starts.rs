//! A start does not wait for what is away: one server of a cluster, or a store that takes long to
//! open. What could not be done meanwhile is done once it can be.

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
/// Enough that opening takes several times as long as a start may stay silent.
const LARGE_ROWS: usize = 4000;
const LARGE_ROW_BYTES: usize = 64 * 1024;
/// Apps, so many that each master has a part of some of them.
const APPS: usize = 12;
const START_MAX: Duration = Duration::from_secs(30);
/// A pause between two rounds of publishing, and some.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// A cluster that serves the slots of those masters that are there.
fn cluster() -> Cluster {
    Cluster::start_with(&["cluster-require-full-coverage no"])
}

async fn service(cluster: &Cluster) -> Service {
    Service::open_any(&Place::Redis(cluster.url()), Arc::new(SystemClock), builtin()).await
}

/// Ends the master of a slot and its replica; answers what brings both back.
fn take_away(cluster: &Cluster, slot: usize) -> [u16; 2] {
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

fn bring_back(cluster: &Cluster, ports: [u16; 2]) {
    for port in ports {
        cluster.node(port).restart();
    }
    cluster.wait_until_ok();
}

/// The slots of what every start needs, and of the log of events.
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
async fn a_sidecar_starts_while_a_server_is_away_and_finishes_what_could_not_be_published() {
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
    let away = take_away(&cluster, slot.expect("it serves slots"));

    let mut sidecar = Binary::start(&cluster.url(), &["--journal", "off"]);
    sidecar.wait_until("serving", START_MAX, |it| it.log().contains(" serving "));
    sidecar.wait_until("ready", START_MAX, Binary::is_ready);
    let unpublished = |sidecar: &Binary| sidecar.metric("imquota_apps_unpublished");
    sidecar.wait_until("it counts", START_MAX, |it| unpublished(it).is_some_and(|apps| apps > 0.0));

    // Sales that are recorded, and reach no part that is away; no one repeats them.
    let mut cut_off = 0;
    for app in apps() {
        if let Err(error) = by_hand.buy(&app, "r1", order("professional"), 1).await {
            assert!(error.contains("recorded, but not in force yet"), "{error}");
            cut_off += 1;
        }
    }
    assert!(cut_off > 0, "no app has a part there");
    by_hand.close().await;
    bring_back(&cluster, away);
    sidecar.wait_until("published", ROUND_MAX, |it| unpublished(it) == Some(0.0));
    let after = service(&cluster).await;
    for app in apps() {
        assert!(!is_pending(&after, &app).await, "{app}");
        let record = after.administration.app(&app).await.expect("registered").record;
        assert_eq!(record.sales.purchases.len(), 1, "{app}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_starts_while_the_log_of_events_is_away_and_tells_what_came_after_the_start() {
    let cluster = cluster();
    let by_hand = service(&cluster).await;
    for app in &apps()[..3] {
        by_hand.register(app, "r0").await.expect("registered");
    }
    let (needed, events) = slots(&cluster);
    assert!(needed.iter().all(|slot| cluster.master_of(*slot) != cluster.master_of(events)));
    let away = take_away(&cluster, events);
    let mut sidecar = Binary::start(&cluster.url(), &["--journal", "off"]);
    sidecar.wait_until("serving", START_MAX, |it| it.log().contains(" serving "));
    // Recorded, whether or not a part of the app is away.
    let _ = by_hand.register(&app("later"), "r0").await;
    bring_back(&cluster, away);
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

/// A store that was not closed, so that opening it goes through all of it.
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
async fn probes_are_answered_while_a_large_store_is_opened() {
    let directory = TempDir::new().expect("a directory");
    large_store(directory.path());
    let mut sidecar = Binary::start(&embedded(directory.path()), &["--worker-threads", "1"]);
    sidecar.wait_until("an answer", START_MAX, |it| it.page("/livez").is_some());
    let started = sidecar.page("/startupz").expect("an answer");
    assert_eq!(started.0, 503, "the first answer came after the store was open");
    sidecar.wait_until("ready", START_MAX, Binary::is_ready);
}
