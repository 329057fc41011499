//! Nodes of a cluster with clocks some seconds apart: no operation is executed after its deadline
//! by the clock of its node, and no call is made twice to observe that clock.

use std::sync::Arc;
use std::time::Duration;

use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::decision::Mode;
use imquota::domain::id::AppId;
use imquota::engine::{Decision, Request};
use imquota::ledger::redis::Redis;
use imquota::ledger::{Ledger as _, LedgerError, TakeOptions};

use super::world::{create, join};
use crate::support::moved_clock::MovedClock;
use crate::support::redis::{Cluster, wait_for};
use crate::support::{Place, Service, app, redis_options};

const APPS: usize = 60;
/// The number of stalls of the nodes, each after a call to another app.
const ROUNDS: usize = 5;
/// The seconds by which each master is behind.
const BEHIND_S: [i64; 3] = [5, 10, 15];

fn clocks() -> [MovedClock; 3] {
    BEHIND_S.map(|seconds| {
        let clock = MovedClock::new();
        clock.run_behind(Duration::from_secs(seconds.unsigned_abs()));
        clock
    })
}

fn apps() -> Vec<AppId> {
    (0..APPS).map(|number| app(&format!("app-{number}"))).collect()
}

/// The number of script calls that all masters have executed.
fn scripts(cluster: &Cluster) -> u64 {
    let calls = cluster.nodes.iter().take(3).map(|node| {
        let line = node.info("commandstats", "cmdstat_evalsha").unwrap_or_default();
        let calls = line.split(',').next().and_then(|calls| calls.strip_prefix("calls="));
        calls.and_then(|calls| calls.parse::<u64>().ok()).unwrap_or(0)
    });
    calls.sum()
}

async fn members(service: &Service, app: &AppId) -> i64 {
    let subject = imquota::domain::decision::Subject::Group(crate::support::group("g"));
    service.used(app, subject, "members_per_group").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_seconds_apart_keep_each_deadline_and_are_called_once() {
    let clocks = clocks();
    let cluster = Cluster::start_with_clocks([&clocks[0], &clocks[1], &clocks[2]]);
    let place = Place::Redis(cluster.url());
    let catalog = imquota::catalog::builtin();
    let service = Arc::new(Service::open_any(&place, Arc::new(SystemClock), catalog).await);
    for app in apps() {
        service.enforce(&app, create("g")).await;
    }
    // The background tasks also make calls: those of the previous second are subtracted.
    let before = scripts(&cluster);
    for app in apps() {
        let joined = join_within(&service, app, "early", Duration::from_secs(3)).await;
        assert!(joined.is_ok(), "{joined:?}");
    }
    let calls = scripts(&cluster) - before;
    assert!(calls <= 60 + 60 / 10, "{calls} scripts for {APPS} calls");

    for (round, last) in apps().into_iter().take(ROUNDS).enumerate() {
        // The offset of this node does not affect the others.
        service.enforce(&last, join("g", &[&format!("round-{round}")])).await;
        nothing_is_executed_after_its_deadline(&cluster, &service).await;
    }
    for (number, app) in apps().into_iter().enumerate() {
        let wanted = if number < ROUNDS { 2 } else { 1 };
        assert_eq!(members(&service, &app).await, wanted, "{app}: executed after its deadline");
    }
}

async fn join_within(
    service: &Service,
    app: AppId,
    name: &str,
    within: Duration,
) -> Result<Decision, LedgerError> {
    let (deadline, operation) = (SystemClock.now() + within, join("g", &[name]));
    service
        .engine
        .apply(Request {
            app,
            mode: Mode::Enforce,
            take: TakeOptions::default(),
            deadline,
            operation,
        })
        .await
}

/// Each node stalls until the deadline has passed.
async fn nothing_is_executed_after_its_deadline(cluster: &Cluster, service: &Arc<Service>) {
    for node in cluster.nodes.iter().take(3) {
        node.cli(&["CLIENT", "PAUSE", "1200", "ALL"]);
    }
    let late = apps().into_iter().map(|app| {
        let service = Arc::clone(service);
        tokio::spawn(async move {
            let joined = join_within(&service, app, "late", Duration::from_millis(700)).await;
            assert!(joined.is_err(), "{joined:?}");
        })
    });
    for call in late.collect::<Vec<_>>() {
        call.await.expect("refused");
    }
    for node in cluster.nodes.iter().take(3) {
        wait_for("the node to go on", || node.try_cli(&["PING"]).ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_difference_of_each_master_is_measured() {
    let clocks = clocks();
    let cluster = Cluster::start_with_clocks([&clocks[0], &clocks[1], &clocks[2]]);
    let options = redis_options(&cluster.url());
    let ledger = Redis::open(options, Arc::new(SystemClock)).await.expect("opens");
    let mut seconds: Vec<i64> = wait_for("all clocks to be read", || {
        let skew = ledger.clock_skews();
        #[allow(clippy::cast_possible_truncation, reason = "some seconds")]
        let seconds = skew.iter().map(|(_, seconds)| seconds.round() as i64).collect();
        (skew.len() == 3).then_some(seconds)
    });
    seconds.sort_unstable();
    assert_eq!(seconds, BEHIND_S);
    ledger.close().await;
}
