//! Changes that are no loss: planned failovers, moved slots, and a store of the previous version.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::decision::Mode;
use imquota::domain::id::AppId;
use imquota::engine::Request;
use imquota::ledger::{Operation, TakeOptions};
use tokio_util::sync::CancellationToken;

use super::keys;
use super::servers::{accounts_key, blocking};
use super::sidecar::Sidecar;
use crate::support::redis::{Cluster, Sentinels, Standalone, wait_for};
use crate::support::{app, user};

/// The number of failovers: `IMQUOTA_FAILOVERS`, or a few.
fn failovers() -> usize {
    let wanted = std::env::var("IMQUOTA_FAILOVERS").ok();
    wanted.map_or(2, |text| text.parse().expect("IMQUOTA_FAILOVERS is a whole number"))
}

/// Takes accounts through both sidecars, one after another, during a change of the servers.
async fn while_both_take(sidecars: [&Sidecar; 2], app: &AppId, work: impl Future<Output = ()>) {
    let done = CancellationToken::new();
    let taking = sidecars.map(|sidecar| async {
        let mut taken = 0;
        while !done.is_cancelled() {
            // The outcome of an interrupted call is unknown.
            taken += usize::from(sidecar.try_take(app, &format!("u{}", taken % 50)).await.is_ok());
            let operation = Operation::DeleteAccount { user: user(format!("u{}", taken % 50)) };
            let deadline = SystemClock.now() + Duration::from_secs(5);
            let request = Request {
                app: app.clone(),
                mode: Mode::Enforce,
                take: TakeOptions::default(),
                deadline,
                operation,
            };
            let _ = sidecar.engine.apply(request).await;
        }
        assert!(taken > 0, "nothing was taken during the change");
    });
    let [one, other] = taking;
    let work = async {
        work.await;
        done.cancel();
    };
    tokio::join!(one, other, work);
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_failovers_and_moved_slots_that_lose_nothing_are_no_loss() {
    let redis = Arc::new(blocking(Cluster::start).await);
    let (one, other) = (Sidecar::start(&redis.url()).await, Sidecar::start(&redis.url()).await);
    let demo = app("demo");
    one.take(&demo, "u0").await;
    let key = accounts_key(&redis).await;
    let cluster = redis.clone();
    let slot = blocking(move || cluster.slot_of(&key)).await;
    let work = async {
        for _ in 0..failovers() {
            let cluster = redis.clone();
            blocking(move || {
                cluster.fail_over(slot);
                cluster.wait_until_ok();
            })
            .await;
        }
        for step in 0..8 {
            let cluster = redis.clone();
            blocking(move || {
                let from = cluster.master_of(slot);
                let masters = cluster.masters().into_iter().filter(|port| *port != from);
                cluster.move_slot(slot, masters.collect::<Vec<_>>()[step % 2]);
            })
            .await;
        }
    };
    while_both_take([&one, &other], &demo, work).await;
    one.expect_losses(&[]).await;
    assert_eq!((one.counted("accounts").as_str(), other.counted("accounts").as_str()), ("0", "0"));
    one.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_failovers_under_sentinels_that_lose_nothing_are_no_loss() {
    let redis = Arc::new(blocking(Sentinels::start).await);
    let (one, other) = (Sidecar::start(&redis.url()).await, Sidecar::start(&redis.url()).await);
    let demo = app("demo");
    one.take(&demo, "u0").await;
    let work = async {
        for _ in 0..failovers() {
            let servers = redis.clone();
            blocking(move || {
                let old = servers.master();
                let master = servers.server(old);
                // Writes stop until the other server has all of them.
                master.cli(&["CLIENT", "PAUSE", "8000", "WRITE"]);
                master.wait_until_replicated(2);
                wait_for("a failover", || {
                    let ask = ["SENTINEL", "FAILOVER", "imquota"];
                    servers.sentinels[0].try_cli(&ask).ok()
                });
                servers.wait_for_new_master(old);
                wait_for("the old master to follow", || {
                    let role = master.info("replication", "role")?;
                    let link = master.info("replication", "master_link_status");
                    (role == "slave" && link.as_deref() == Some("up")).then_some(())
                });
                master.cli(&["CLIENT", "UNPAUSE"]);
            })
            .await;
        }
    };
    while_both_take([&one, &other], &demo, work).await;
    one.expect_losses(&[]).await;
    assert_eq!((one.counted("accounts").as_str(), other.counted("accounts").as_str()), ("0", "0"));
    one.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_the_previous_version_has_no_counters_and_loses_nothing() {
    let redis = Standalone::start();
    let before = Sidecar::start(&redis.url()).await;
    let demo = app("demo");
    before.take_each(&demo, 0..5).await;
    before.end().await;
    for key in keys(&redis.server, "q1{*}writes") {
        redis.server.cli(&["DEL", &key]);
    }
    let (one, other) = (Sidecar::start(&redis.url()).await, Sidecar::start(&redis.url()).await);
    one.take(&demo, "u0").await;
    other.take_each(&demo, 5..8).await;
    // A process of the previous version takes without counting writes.
    let bucket = keys(&redis.server, "q1{*/accounts}a*").remove(0);
    redis.server.cli(&["SADD", &bucket, "12345"]);
    one.take_each(&demo, 8..10).await;
    other.take(&demo, "u20").await;
    one.expect_losses(&[]).await;
    let counter = keys(&redis.server, "q1{*/accounts}writes").remove(0);
    assert_eq!(redis.server.cli(&["GET", &counter]), "6");
    one.end().await;
    other.end().await;
}
