//! Absence of the store, over a real Redis: decisions for an app whose server replies are exact,
//! whatever happens to other servers, and only absence opens the failure policy.

mod holds;
mod topologies;
mod whole;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::proxy::{Mode as Way, Proxy};
use crate::support::redis::{Cluster, Server, Standalone, wait_for};
use crate::support::{app, create_capped, group, redis_options, user};
use imquota::clock::{Clock as _, Stopwatch, SystemClock};
use imquota::domain::decision::{Mode, Outcome, Subject};
use imquota::domain::id::{AppId, Name};
use imquota::domain::limits::Part;
use imquota::engine::fallback::Fallback;
use imquota::engine::{Decision, Engine, Request, UnknownApp};
use imquota::journal::Journal;
use imquota::ledger::redis::Redis;
use imquota::ledger::{Ledger as _, LedgerError, Operation, TakeOptions};
use imquota::redis::options::{Durability, Options};
use imquota::store::StoreError;
use imquota::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

/// The group's own limit.
const MEMBERS_MAX: u32 = 20;
/// Longer than any call takes on a busy machine.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer than the silence that makes a server absent.
const UNTIL_ABSENT: Duration = Duration::from_millis(1500);
/// Apps of which some lie on each server.
const APPS: usize = 24;

/// A sidecar without its listeners, with a journal.
struct Sidecar {
    engine: Arc<Engine>,
    store: Arc<Redis>,
    stop: CancellationToken,
    replaying: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Sidecar {
    async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(SystemClock);
        let silence_max = options.silence_max;
        let store = Arc::new(Redis::open(options, clock.clone()).await.expect("opens"));
        let metrics = Arc::new(Metrics::new());
        let (journal, entries) = Journal::open(folder.path()).expect("opens");
        let fallback = Arc::new(Fallback::new(journal, entries, silence_max, metrics.clone()));
        let catalog = imquota::catalog::builtin();
        let engine = Engine::new(store.clone(), clock, metrics, catalog, UnknownApp::Trial);
        let engine = engine.expect("the catalog has its default edition");
        let engine = Arc::new(engine.falling_back(fallback.clone()));
        let stop = CancellationToken::new();
        let replaying = tokio::spawn(fallback.replay(engine.clone(), stop.clone()));
        Self { engine, store, stop, replaying, _folder: folder }
    }

    async fn apply(&self, app: &AppId, operation: Operation) -> Result<Decision, LedgerError> {
        let deadline = SystemClock.now() + CALL_TIMEOUT;
        let request = Request {
            app: app.clone(),
            mode: Mode::Enforce,
            take: TakeOptions::default(),
            deadline,
            operation,
        };
        self.engine.apply(request).await
    }

    /// A group with that many members.
    async fn fill(&self, app: &AppId, members: u32) {
        let create = create_capped(members, MEMBERS_MAX);
        let created = self.apply(app, create).await.expect("decided");
        assert!(created.items.iter().all(|item| item.outcome == Outcome::Applied), "{created:?}");
    }

    async fn members(&self, app: &AppId) -> u64 {
        let deadline = SystemClock.now() + CALL_TIMEOUT;
        let report = self.engine.usage(app.clone(), Subject::Group(group("g")), deadline);
        let usages = report.await.expect("read").usages;
        let members = usages.iter().find(|it| it.limit_id.to_string() == "members_per_group");
        u64::try_from(members.expect("it has a limit").used).expect("a count")
    }

    async fn end(self) {
        self.stop.cancel();
        self.replaying.await.expect("it ends");
        self.store.close().await;
    }
}

fn join(name: &str) -> Operation {
    Operation::JoinGroup { group: group("g"), users: vec![user(name)] }
}

fn apps() -> Vec<AppId> {
    (0..APPS).map(|number| app(&format!("app{number}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_of_a_cluster_affects_only_its_own_apps() {
    let cluster = Cluster::start();
    let sidecar = Sidecar::start(redis_options(&cluster.url())).await;
    for app in apps() {
        sidecar.fill(&app, MEMBERS_MAX - 2).await;
    }
    let frozen = cluster.master_of(0);
    // Its replica is not promoted, so that the server is absent until it is thawed.
    for port in cluster.masters() {
        cluster.node(port).cli(&["CONFIG", "SET", "cluster-node-timeout", "60000"]);
    }
    cluster.node(frozen).stop();
    tokio::time::sleep(UNTIL_ABSENT).await;
    let is_absent = |app: &AppId| sidecar.store.is_absent(app, &[Part::Groups]);
    let (absent, present): (Vec<_>, Vec<_>) = apps().into_iter().partition(is_absent);
    assert!(!absent.is_empty() && !present.is_empty(), "{absent:?}, {present:?}");

    let mut admitted: HashMap<AppId, u64> = HashMap::new();
    let since = Stopwatch::start();
    for round in 0..5 {
        for app in &absent {
            let decision = sidecar.apply(app, join(&format!("more{round}"))).await;
            if decision.is_ok_and(|decision| decision.degradation.is_some()) {
                *admitted.entry(app.clone()).or_default() += 1;
            }
        }
        for app in &present {
            let decision = sidecar.apply(app, join(&format!("more{round}"))).await;
            let decision = decision.expect("its server answers");
            assert_eq!(decision.degradation, None, "{app} is decided by the store");
            let expected = if round < 2 { Outcome::Applied } else { Outcome::Denied };
            assert_eq!(decision.items[0].outcome, expected, "{app}, round {round}");
        }
    }
    assert!(since.elapsed() < CALL_TIMEOUT, "some of {} calls waited in vain", 5 * APPS);
    assert!(admitted.len() == absent.len(), "the policy admits: {admitted:?}");

    cluster.node(frozen).resume();
    for app in &absent {
        let until = Stopwatch::start();
        while sidecar.apply(app, join("first0")).await.map(|it| it.degradation) != Ok(None) {
            assert!(until.elapsed() < CALL_TIMEOUT, "{app} is never decided exactly again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let expected = u64::from(MEMBERS_MAX) - 2 + admitted[app];
        assert_eq!(sidecar.members(app).await, expected, "all admitted members are counted");
    }
    for app in &present {
        assert_eq!(sidecar.members(app).await, u64::from(MEMBERS_MAX), "{app}");
    }
    sidecar.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_slots_are_followed_and_open_no_limit() {
    slots_move(Durability::Local).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_slots_are_followed_with_confirming_replicas() {
    slots_move(Durability::Replicated).await;
}

async fn slots_move(durability: Durability) {
    let cluster = Cluster::start();
    let options = Options { durability, ..redis_options(&cluster.url()) };
    let sidecar = Arc::new(Sidecar::start(options).await);
    let apps: Vec<_> = apps().into_iter().take(6).collect();
    for app in &apps {
        sidecar.fill(app, 0).await;
    }
    let stop = CancellationToken::new();
    let callers: Vec<_> = apps
        .iter()
        .map(|app| {
            let (sidecar, app, stop) = (sidecar.clone(), app.clone(), stop.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.is_cancelled() {
                    let decision = sidecar.apply(&app, join(&format!("u{}", calls % 30))).await;
                    let decision = decision.expect("moving slots are waited for");
                    assert_eq!(decision.degradation, None);
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    // The slots of the apps are found by their keys.
    let moves = tokio::task::spawn_blocking(move || {
        let masters = cluster.masters();
        let mut slots: Vec<usize> = Vec::new();
        for port in &masters {
            let keys = cluster.node(*port).cli(&["KEYS", "q1{*/groups}limits"]);
            let groups = cluster.node(*port).cli(&["KEYS", "q1{*/groups}*"]);
            for key in keys.lines().chain(groups.lines()).filter(|key| !key.is_empty()) {
                let slot = cluster.slot_of(key);
                if !slots.contains(&slot) {
                    slots.push(slot);
                }
            }
        }
        assert!(!slots.is_empty(), "the apps have keys");
        for slot in slots.iter().take(4) {
            let from = cluster.master_of(*slot);
            let to = masters.iter().find(|port| **port != from).expect("another one");
            cluster.begin_move(*slot, *to);
            std::thread::sleep(Duration::from_millis(100));
            cluster.finish_move(*slot, *to);
        }
        cluster
    });
    let cluster = moves.await.expect("moved");
    stop.cancel();
    for caller in callers {
        let calls: usize = caller.await.expect("no call was refused or decided without the store");
        assert!(calls > 0);
    }
    for app in &apps {
        assert!(sidecar.members(app).await <= u64::from(MEMBERS_MAX));
    }
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_replica_a_master_confirms_nothing() {
    let standalone = Standalone::start();
    let url = standalone.url();
    let local = Sidecar::start(redis_options(&url)).await;
    let [full, roomy] = ["full", "roomy"].map(app);
    local.fill(&full, MEMBERS_MAX).await;
    local.fill(&roomy, 1).await;
    local.end().await;
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", standalone.server.port())]);
    standalone.server.wait_until_replicated(1);
    let mut options = redis_options(&url);
    options.durability = Durability::Replicated;
    let sidecar = Sidecar::start(options).await;
    // The store counts each unregistered app once for this sidecar.
    for app in [&full, &roomy] {
        let held = sidecar.apply(app, join("first0")).await.expect("the replica confirms it");
        assert_eq!(held.items[0].outcome, Outcome::AlreadyHeld);
    }
    replica.kill9();
    for (app, name) in [(&full, "more"), (&roomy, "more"), (&roomy, "first0")] {
        let answer = sidecar.apply(app, join(name)).await;
        assert!(is_unconfirmed(&answer), "{name}: {answer:?}");
    }
    let leave = Operation::LeaveGroup { group: group("g"), users: vec![user("absent")] };
    let answer = sidecar.apply(&roomy, leave).await;
    assert!(is_unconfirmed(&answer), "{answer:?}");
    let refusal = wait_for("it is reported", || sidecar.store.servers()[0].refusal.clone());
    let words = ["is detached", "not confirmed"];
    assert!(words.iter().any(|words| refusal.words.contains(words)), "{refusal:?}");
    sidecar.end().await;
}

fn is_unconfirmed(answer: &Result<Decision, LedgerError>) -> bool {
    matches!(
        answer,
        Err(LedgerError::Store(StoreError::Unconfirmed(_) | StoreError::Unconfirmable(_)))
    )
}

/// The groups of a user, and the friends, that an unregistered app may have.
const GROUPS_MAX: usize = 50;
const FRIENDS_MAX: usize = 20;

fn befriend(name: &str, friends: &[String]) -> Operation {
    let friends = friends.iter().map(user).collect();
    Operation::AddFriends { user: user(name), friends, one_way: true }
}

fn outcomes(decision: &Decision) -> Vec<Outcome> {
    decision.items.iter().map(|item| item.outcome).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn journaled_releases_make_room_for_later_takes() {
    use Outcome::{Applied, Denied};
    let standalone = Standalone::start();
    let proxy = Proxy::start(standalone.server.port()).await;
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    let sidecar = Sidecar::start(redis_options(&url)).await;
    let (demo, other) = (app("demo"), app("other"));
    for app in [&demo, &other] {
        sidecar.fill(app, 0).await;
        for number in 0..GROUPS_MAX {
            let create = Operation::CreateGroup {
                group: group(format!("g{number}")),
                group_type: Name::from("Public"),
                owner: None,
                members: vec![user("m1"), user("m2")],
                max_members: None,
            };
            sidecar.apply(app, create).await.expect("created");
        }
        let denied = sidecar.apply(app, join("m1")).await.expect("decided");
        assert_eq!(outcomes(&denied), [Denied], "m1 is at the limit");
    }
    let friends: Vec<_> = (0..FRIENDS_MAX).map(|number| format!("f{number}")).collect();
    sidecar.apply(&demo, befriend("full", &friends)).await.expect("applied");

    proxy.set(Way::Refuse);
    wait_for("it is absent", || sidecar.store.is_absent(&demo, &[Part::Groups]).then_some(()));
    let degraded = async |app: &AppId, operation| {
        let decision = sidecar.apply(app, operation).await.expect("without the store");
        assert!(decision.degradation.is_some(), "{decision:?}");
        decision
    };
    degraded(&demo, Operation::DissolveGroup { group: group("g0") }).await;
    degraded(&demo, Operation::DeleteAccount { user: user("f0") }).await;
    assert_eq!(outcomes(&degraded(&demo, join("m1")).await), [Applied], "the release made room");
    assert_eq!(outcomes(&degraded(&other, join("m1")).await), [Denied], "another app has no room");

    // The server replies, and cannot execute releases for a while.
    standalone.server.cli(&["ACL", "SETUSER", "default", "-srem"]);
    proxy.set(Way::Pass);
    wait_for("it answers", || (!sidecar.store.is_absent(&demo, &[Part::Groups])).then_some(()));
    let two = Operation::JoinGroup { group: group("g"), users: vec![user("m2"), user("new")] };
    let joins = sidecar.apply(&demo, two);
    let befriends = sidecar.apply(&demo, befriend("full", &["another".to_owned()]));
    let mut both = Box::pin(async { tokio::join!(joins, befriends) });
    let waited = tokio::time::timeout(UNTIL_ABSENT, &mut both).await;
    assert!(waited.is_err(), "both wait for the releases: {waited:?}");
    let denied = sidecar.apply(&other, join("m2")).await.expect("the store decides");
    assert_eq!((outcomes(&denied), denied.degradation), (vec![Denied], None));
    standalone.server.cli(&["ACL", "SETUSER", "default", "+srem"]);
    let (joined, befriended) = both.as_mut().await;
    drop(both);
    let (joined, befriended) = (joined.expect("decided"), befriended.expect("decided"));
    assert_eq!((outcomes(&joined), joined.degradation), (vec![Applied, Applied], None));
    assert_eq!((outcomes(&befriended), befriended.degradation), (vec![Applied], None));
    let denied = sidecar.apply(&demo, befriend("full", &["more".to_owned()])).await;
    assert_eq!(outcomes(&denied.expect("decided")), [Denied], "only one was released");
    sidecar.end().await;
}
