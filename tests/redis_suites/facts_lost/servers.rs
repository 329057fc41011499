//! Real losses: a restored backup, and replicas that are cut off and promoted.

use std::sync::Arc;

use imquota::engine::admin::ChangeKind;
use imquota::ledger::Ledger as _;

use super::keys;
use super::sidecar::Sidecar;
use crate::support::app;
use crate::support::redis::{Cluster, Sentinels, Server, Standalone, run};

/// Runs a blocking function beside the tasks of the test.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it ends")
}

fn shell(command: &str) {
    run("sh", &["-c", command]).expect("it runs");
}

/// Stops the server, changes its data, and restarts it.
fn with_data_changed(server: &Server, change: impl Fn(&str)) {
    server.kill9();
    change(&server.folder().join("appendonlydir").display().to_string());
    server.restart();
}

/// The key of the write counter of accounts of the only app.
pub async fn accounts_key(redis: &Arc<Cluster>) -> String {
    let cluster = redis.clone();
    blocking(move || {
        let found = cluster
            .masters()
            .into_iter()
            .flat_map(|port| keys(cluster.node(port), "q1{*/accounts}writes"));
        found.last().expect("a counter")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_detected_in_every_part() {
    let redis = Arc::new(Standalone::start());
    let sidecar = Sidecar::start(&redis.url()).await;
    let (demo, paid) = (app("demo"), app("paid"));
    sidecar.take_each(&demo, 0..5).await;
    sidecar.change(&paid, "create", ChangeKind::Create).await.expect("created");
    sidecar.expect_events("app_created", 1).await;
    let server = redis.clone();
    blocking(move || {
        with_data_changed(&server.server, |data| shell(&format!("cp -a {data} {data}.old")));
    })
    .await;
    sidecar.take_each(&demo, 5..12).await;
    sidecar.buy_with_retries(&paid, "buy", "professional").await;
    sidecar.expect_events("purchased", 1).await;
    assert_eq!(sidecar.losses().await, [""; 0], "a restart loses nothing");
    let server = redis.clone();
    blocking(move || {
        with_data_changed(&server.server, |data| {
            shell(&format!("rm -r {data} && mv {data}.old {data}"));
        });
    })
    .await;
    let wanted = [
        "- directory 1 2",
        "- events 1 2",
        "demo accounts 5 12",
        "paid accounts 1 2",
        "paid friends 1 2",
        "paid groups 1 2",
    ];
    sidecar.expect_losses(&wanted).await;
    assert_eq!(sidecar.counted("accounts"), "2");
    assert_eq!(sidecar.counted("events"), "1");
    assert_eq!(sidecar.counted("directory"), "1");
    // No number is used twice, and the chain records its break.
    let numbers: Vec<_> = sidecar.events().await.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [1, 1003, 1004, 1005, 1006, 1007, 1008]);
    assert_eq!(sidecar.audit().await, ["CreateApp", "FactsLost"]);
    // Decisions and sales continue.
    sidecar.take(&demo, "u20").await;
    assert_eq!(sidecar.buy_with_retries(&paid, "again", "professional").await, [""; 0]);
    assert_eq!(sidecar.store.schedule_revision(&paid).await, Ok(2));
    sidecar.expect_events("purchased", 1).await;
    sidecar.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_promoted_replica_is_detected_by_each_sidecar_that_observed_more() {
    let redis = Arc::new(blocking(Sentinels::start).await);
    let (one, other) = (Sidecar::start(&redis.url()).await, Sidecar::start(&redis.url()).await);
    let demo = app("demo");
    one.take_each(&demo, 0..5).await;
    other.take(&demo, "u0").await;
    let servers = redis.clone();
    let master = blocking(move || {
        let master = servers.master();
        servers.server(master).wait_until_replicated(2);
        servers.cut_off_replicas(master);
        master
    })
    .await;
    one.take_each(&demo, 5..8).await;
    let servers = redis.clone();
    blocking(move || {
        servers.kill_master();
        servers.resume_replicas(master);
        servers.wait_for_new_master(master);
    })
    .await;
    one.take(&demo, "u20").await;
    other.take(&demo, "u21").await;
    one.expect_losses_of_apps(&["demo accounts 5 8"]).await;
    assert_eq!((one.counted("accounts").as_str(), other.counted("accounts").as_str()), ("1", "0"));
    one.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_of_one_part_of_a_cluster_is_detected_and_moved_slots_are_none() {
    let redis = Arc::new(blocking(Cluster::start).await);
    let sidecar = Sidecar::start(&redis.url()).await;
    let demo = app("demo");
    sidecar.take_each(&demo, 0..5).await;
    let key = accounts_key(&redis).await;
    let cluster = redis.clone();
    let slot = blocking(move || {
        // The serving master makes no difference.
        let slot = cluster.slot_of(&key);
        let from = cluster.master_of(slot);
        let to = cluster.masters().into_iter().find(|port| *port != from).expect("another");
        cluster.move_slot(slot, to);
        slot
    })
    .await;
    sidecar.take_each(&demo, 5..8).await;
    let cluster = redis.clone();
    let replica = blocking(move || {
        let port = cluster.master_of(slot);
        let master = cluster.node(port);
        master.wait_until_replicated(1);
        let replica = master.info("replication", "slave0").expect("it has a replica");
        let replica = replica.split("port=").nth(1).and_then(|rest| rest.split(',').next());
        let replica = replica.expect("a port").parse::<u16>().expect("a port");
        cluster.node(replica).stop();
        master.cli(&["CLIENT", "KILL", "TYPE", "replica"]);
        replica
    })
    .await;
    sidecar.take_each(&demo, 8..10).await;
    let cluster = redis.clone();
    blocking(move || {
        cluster.kill_master_of(slot);
        cluster.node(replica).resume();
        cluster.wait_until_ok();
    })
    .await;
    sidecar.take(&demo, "u20").await;
    sidecar.expect_losses_of_apps(&["demo accounts 8 10"]).await;
    sidecar.end().await;
}
