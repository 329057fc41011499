//! Cases of absence on one server, under Sentinels and in a Cluster, with each durability: nothing
//! is admitted over a limit while a server replies, nothing beyond the budget while it is absent,
//! and nothing is refused that could be decided.
//!
//! `IMQUOTA_ABSENCE_APPS` (3) sets the number of apps in each case.

use std::collections::BTreeSet;
use std::time::Duration;

use imquota::clock::Stopwatch;
use imquota::domain::decision::{Mode, Outcome};
use imquota::domain::id::AppId;
use imquota::engine::Request;
use imquota::ledger::{LedgerError, Operation, TakeOptions};
use imquota::redis::options::{Durability, Options};
use imquota::store::StoreError;

use super::{CALL_TIMEOUT, MEMBERS_MAX, Sidecar, UNTIL_ABSENT, join};
use crate::support::redis::{Cluster, Sentinels, Server, Standalone};
use crate::support::{app, group, redis_options, user};

/// Joins of each app while its server is absent: more than the budget of a group.
const JOINS: usize = 60;
/// The budget of the built-in catalog's failure policy for members of a group.
const GROUP_BUDGET: u64 = 50;
/// Long enough that no replica is promoted in between.
const NEVER_MS: &str = "1000000000";
/// Friends of a user on the default edition.
const FRIENDS_MAX: usize = 20;
/// Large calls of one app at once.
const LARGE_CALLS: usize = 64;

/// A store with a replica of each master.
enum Store {
    Standalone(Standalone, Server),
    Sentinels(Sentinels),
    Cluster(Cluster),
}

impl Store {
    fn standalone() -> Self {
        let standalone = Standalone::start();
        let master = format!("replicaof 127.0.0.1 {}", standalone.server.port());
        let replica = Server::start(&[&master]);
        standalone.server.wait_until_replicated(1);
        Self::Standalone(standalone, replica)
    }

    fn sentinels() -> Self {
        let sentinels = Sentinels::start();
        let set = ["SENTINEL", "SET", "imquota", "down-after-milliseconds", NEVER_MS];
        for sentinel in &sentinels.sentinels {
            sentinel.cli(&set);
        }
        Self::Sentinels(sentinels)
    }

    fn cluster() -> Self {
        let cluster = Cluster::start();
        for node in &cluster.nodes {
            node.cli(&["CONFIG", "SET", "cluster-node-timeout", NEVER_MS]);
        }
        Self::Cluster(cluster)
    }

    fn options(&self, durability: Durability) -> Options {
        let url = match self {
            Self::Standalone(standalone, _) => standalone.url(),
            Self::Sentinels(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        };
        Options { durability, ..redis_options(&url) }
    }

    fn servers(&self) -> Vec<&Server> {
        match self {
            Self::Standalone(standalone, replica) => vec![&standalone.server, replica],
            Self::Sentinels(sentinels) => sentinels.servers.iter().collect(),
            Self::Cluster(cluster) => cluster.nodes.iter().collect(),
        }
    }

    /// The masters, or the replicas. No server is ever replaced.
    fn of_role(&self, role: &str) -> Vec<&Server> {
        let servers = self.servers().into_iter();
        let is = |server: &&Server| {
            server.info("replication", "role").is_some_and(|found| found.trim() == role)
        };
        servers.filter(is).collect()
    }
}

fn apps(case: &str) -> Vec<AppId> {
    let count = std::env::var("IMQUOTA_ABSENCE_APPS").map_or(3, |it| it.parse().expect("a number"));
    (0..count).map(|number| app(&format!("{case}{number}"))).collect()
}

/// Repeats a join until the store decides it.
async fn decided(sidecar: &Sidecar, app: &AppId, name: &str) -> Outcome {
    let waiting = Stopwatch::start();
    loop {
        match sidecar.apply(app, join(name)).await {
            Ok(decision) if decision.degradation.is_none() => return decision.items[0].outcome,
            other => assert!(waiting.elapsed() < CALL_TIMEOUT, "{app} is never decided: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that is out of memory replies: takes are refused, releases run.
async fn out_of_memory(store: &Store, sidecar: &Sidecar, case: &str) {
    let (apps, masters) = (apps(case), store.of_role("master"));
    for app in &apps {
        sidecar.fill(app, MEMBERS_MAX - 2).await;
    }
    for master in &masters {
        master.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    }
    for app in &apps {
        for number in 0..5 {
            let answer = sidecar.apply(app, join(&format!("more{number}"))).await;
            let error = answer.expect_err("it has no memory");
            assert!(!error.is_absence() && error.to_string().contains("OOM"), "{case}: {error}");
        }
        let leave = Operation::LeaveGroup { group: group("g"), users: vec![user("first0")] };
        let left = sidecar.apply(app, leave).await.expect("a release needs no memory");
        assert_eq!((left.items[0].outcome, left.degradation), (Outcome::Applied, None), "{case}");
    }
    for master in &masters {
        master.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    }
    for app in &apps {
        assert_eq!(decided(sidecar, app, "after").await, Outcome::Applied, "{case}");
        assert_eq!(sidecar.members(app).await, u64::from(MEMBERS_MAX) - 2, "{case}");
    }
}

/// Frozen masters are absent: the policy admits within the budget, and the takes are counted.
async fn frozen(store: &Store, sidecar: &Sidecar, case: &str) {
    let (apps, masters) = (apps(case), store.of_role("master"));
    for app in &apps {
        sidecar.fill(app, MEMBERS_MAX - 2).await;
    }
    for master in &masters {
        master.stop();
    }
    tokio::time::sleep(UNTIL_ABSENT).await;
    let mut admitted = Vec::new();
    for app in &apps {
        let mut of_app = 0;
        for number in 0..JOINS {
            match sidecar.apply(app, join(&format!("more{number}"))).await {
                Ok(decision) => {
                    assert!(decision.degradation.is_some(), "{case}: no server can have decided");
                    of_app += u64::from(decision.items[0].outcome == Outcome::Applied);
                }
                Err(error) => assert!(error.did_nothing(), "{case}: {error}"),
            }
        }
        assert_eq!(of_app, GROUP_BUDGET, "{case}: the budget, and no more");
        admitted.push(of_app);
    }
    for master in &masters {
        master.resume();
    }
    for (app, admitted) in apps.iter().zip(admitted) {
        assert_eq!(decided(sidecar, app, "first0").await, Outcome::AlreadyHeld, "{case}");
        let expected = u64::from(MEMBERS_MAX) - 2 + admitted;
        assert_eq!(sidecar.members(app).await, expected, "{case}: all of it is counted");
        assert_eq!(decided(sidecar, app, "beyond").await, Outcome::Denied, "{case}");
    }
}

/// A damaged key is an error reply, for its own app alone.
async fn damaged(store: &Store, sidecar: &Sidecar, case: &str) {
    let masters = store.of_role("master");
    let sets = || -> BTreeSet<(u16, String)> {
        let of = |master: &&Server| {
            let keys = master.cli(&["KEYS", "q1{*/groups}*"]);
            let is_set = |key: &&str| !key.is_empty() && master.cli(&["TYPE", key]) == "set";
            let port = master.port();
            keys.lines().filter(is_set).map(|key| (port, key.to_owned())).collect::<Vec<_>>()
        };
        masters.iter().flat_map(of).collect()
    };
    let apps = apps(case);
    for app in &apps {
        sidecar.fill(app, MEMBERS_MAX - 1).await;
    }
    let before = sets();
    let broken = app(&format!("{case}-broken"));
    sidecar.fill(&broken, MEMBERS_MAX - 1).await;
    let of_broken: Vec<_> = sets().difference(&before).cloned().collect();
    assert!(!of_broken.is_empty(), "{case}: the app has sets");
    for (port, key) in &of_broken {
        let master = masters.iter().find(|master| master.port() == *port).expect("a master");
        master.cli(&["SET", key, "damaged"]);
    }
    for number in 0..3 {
        let answer = sidecar.apply(&broken, join(&format!("more{number}"))).await;
        assert!(
            matches!(answer, Err(LedgerError::Store(StoreError::Failed(_)))),
            "{case}: {answer:?}"
        );
        for app in &apps {
            let decision = sidecar.apply(app, join(&format!("more{number}"))).await;
            let decision = decision.expect("its keys are whole");
            let expected = if number == 0 { Outcome::Applied } else { Outcome::Denied };
            assert_eq!((decision.items[0].outcome, decision.degradation), (expected, None));
        }
    }
}

/// Without replicas every call is refused, even denials; nothing is admitted.
async fn without_replicas(store: &Store, sidecar: &Sidecar, case: &str) {
    let (apps, replicas) = (apps(case), store.of_role("slave"));
    let full = app(&format!("{case}-full"));
    sidecar.fill(&full, MEMBERS_MAX).await;
    for app in &apps {
        sidecar.fill(app, 1).await;
    }
    for replica in &replicas {
        replica.stop();
    }
    for app in apps.iter().chain([&full]) {
        for name in ["more", "first0"] {
            let deadline =
                imquota::clock::Clock::now(&imquota::clock::SystemClock) + Duration::from_secs(2);
            let request = Request {
                app: app.clone(),
                mode: Mode::Enforce,
                take: TakeOptions::default(),
                deadline,
                operation: join(name),
            };
            let error = sidecar.engine.apply(request).await.expect_err("no replica confirms it");
            assert!(!error.is_absence(), "{case}: {error}");
        }
    }
    for replica in &replicas {
        replica.resume();
    }
    for app in &apps {
        decided(sidecar, app, "more").await;
        assert!(sidecar.members(app).await <= u64::from(MEMBERS_MAX), "{case}");
    }
    assert_eq!(sidecar.members(&full).await, u64::from(MEMBERS_MAX), "{case}");
}

/// Many large calls of one app: users of another app at their limit stay denied.
async fn load(_store: &Store, sidecar: &Sidecar, case: &str) {
    let (busy, quiet) = (app(&format!("{case}-busy")), app(&format!("{case}-quiet")));
    let friends = |prefix: &str, count: usize| -> Vec<_> {
        (0..count).map(|number| user(format!("{prefix}{number}"))).collect()
    };
    let add = |to: &str, friends| Operation::AddFriends { user: user(to), friends, one_way: true };
    let filled = sidecar.apply(&quiet, add("full", friends("f", FRIENDS_MAX))).await;
    assert!(filled.expect("decided").items.iter().all(|it| it.outcome == Outcome::Applied));
    let large = (0..LARGE_CALLS).map(|number| {
        sidecar.apply(&busy, add(&format!("u{number}"), friends(&format!("{number}-"), 250)))
    });
    let more = async {
        for number in 0..20 {
            match sidecar.apply(&quiet, add("full", friends(&format!("more{number}-"), 1))).await {
                Ok(decision) => {
                    let answer = (decision.items[0].outcome, decision.degradation);
                    assert_eq!(answer, (Outcome::Denied, None), "{case}");
                }
                Err(error) => assert!(!error.is_absence(), "{case}: {error}"),
            }
        }
    };
    let (large, ()) = tokio::join!(futures_util::future::join_all(large), more);
    for answer in large {
        assert!(answer.as_ref().map_or(true, |it| it.degradation.is_none()), "{case}: {answer:?}");
        assert!(answer.as_ref().err().is_none_or(|it| !it.is_absence()), "{case}: {answer:?}");
    }
}

async fn all_cases(store: Store) {
    for durability in [Durability::Local, Durability::Replicated] {
        let sidecar = Sidecar::start(store.options(durability)).await;
        let case = |name: &str| format!("{name}-{durability:?}-").to_lowercase();
        load(&store, &sidecar, &case("load")).await;
        out_of_memory(&store, &sidecar, &case("oom")).await;
        damaged(&store, &sidecar, &case("damaged")).await;
        if durability == Durability::Replicated {
            without_replicas(&store, &sidecar, &case("alone")).await;
        }
        frozen(&store, &sidecar, &case("frozen")).await;
        sidecar.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_server_each_case_follows_the_rules() {
    all_cases(Store::standalone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_sentinels_each_case_follows_the_rules() {
    all_cases(Store::sentinels()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_each_case_follows_the_rules() {
    all_cases(Store::cluster()).await;
}
