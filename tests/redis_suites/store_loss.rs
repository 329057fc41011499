//! A Redis that lost its facts serves nothing, in any topology, until the loss is accepted; mere
//! changes of servers or slots are no loss.
//!
//! Takes run continuously from before each loss. `IMQUOTA_FULL=1` runs more rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::redis::{Cluster, Sentinels, Server, Standalone, wait_for};
use crate::support::{Service, actor, app, group, order, redis_options, request_id, user};
use imquota::clock::SystemClock;
use imquota::domain::decision::{Outcome, Subject};
use imquota::domain::id::AppId;
use imquota::ledger::{LedgerError, Operation};
use imquota::redis::StoreMemory;
use imquota::redis::options::Durability;
use imquota::store::StoreError;
use tokio::task::JoinHandle;

/// The store is checked once a second; the rest is for a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// Members of a group on the edition of the tests.
const GROUP_FULL: i64 = 200;
const TRAFFIC: Duration = Duration::from_millis(300);

fn rounds(quick: usize, full: usize) -> usize {
    if std::env::var_os("IMQUOTA_FULL").is_some() { full } else { quick }
}

/// A sidecar's service, with a folder for its state.
struct Sidecar {
    url: String,
    durability: Durability,
    folder: tempfile::TempDir,
    service: Arc<Service>,
}

impl Sidecar {
    async fn start(url: &str, durability: Durability) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let service = open(url, durability, &folder).await;
        Self { url: url.to_owned(), durability, folder, service }
    }

    /// The sidecar after a crash.
    async fn restart(self) -> Self {
        let Self { url, durability, folder, service } = self;
        drop(service);
        let service = open(&url, durability, &folder).await;
        Self { url, durability, folder, service }
    }

    async fn join(&self, app: &AppId, name: String) -> Result<bool, LedgerError> {
        join(&self.service, app, name).await
    }

    async fn until_lost(&self, is_lost: bool) {
        let waiting = async {
            while self.service.loss().is_some() != is_lost {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(NOTICED_WITHIN, waiting).await;
        waited.unwrap_or_else(|_| panic!("lost: {:?}, wanted {is_lost}", self.service.loss()));
    }
}

async fn open(url: &str, durability: Durability, folder: &tempfile::TempDir) -> Arc<Service> {
    let mut options = redis_options(url);
    options.durability = durability;
    let directory = Some(folder.path().to_owned());
    let memory = StoreMemory { directory, is_required: true, store_id: None };
    let catalog = imquota::catalog::builtin();
    Arc::new(Service::open_remembered(options, memory, Arc::new(SystemClock), catalog).await)
}

async fn join(service: &Service, app: &AppId, name: String) -> Result<bool, LedgerError> {
    let operation = Operation::JoinGroup { group: group("g"), users: vec![user(name)] };
    let decision = service.apply(app, imquota::domain::decision::Mode::Enforce, operation).await?;
    Ok(decision.items[0].outcome == Outcome::Applied)
}

/// An app on a paid edition, with a group of three members.
async fn set_up(sidecar: &Sidecar, app: &AppId, round: usize) {
    let service = &sidecar.service;
    // In a cluster the app may have survived the loss.
    let _ = service.register(app, "r0").await;
    let _ = service.buy(app, &format!("r1 {round}"), order("professional"), 1).await;
    let members = ["a", "b", "c"].map(user).to_vec();
    let create = Operation::CreateGroup {
        group: group("g"),
        group_type: "ChatRoom".into(),
        owner: None,
        members,
        max_members: None,
    };
    assert!(!service.enforce(app, create).await.denied());
}

async fn members(sidecar: &Sidecar, app: &AppId) -> i64 {
    sidecar.service.used(app, Subject::Group(group("g")), "members_per_group").await
}

/// Continuous takes.
struct Traffic {
    stop: Arc<AtomicBool>,
    /// True once the facts are lost.
    lost: Arc<AtomicBool>,
    before: Arc<AtomicU64>,
    /// Takes that began after the loss and were admitted.
    after: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn start(sidecars: &[Sidecar], app: &AppId, round: usize) -> Self {
        let [stop, lost] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let [before, after] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for (number, sidecar) in sidecars.iter().enumerate() {
            let (service, app) = (sidecar.service.clone(), app.clone());
            let (stop, lost) = (stop.clone(), lost.clone());
            let (before, after) = (before.clone(), after.clone());
            tasks.push(tokio::spawn(async move {
                for take in 0_u64.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let began_after = lost.load(Ordering::SeqCst);
                    let admitted = join(&service, &app, format!("{round}-{number}-{take}")).await;
                    let count = if began_after { &after } else { &before };
                    count.fetch_add(u64::from(admitted.unwrap_or(false)), Ordering::SeqCst);
                    // A refusal takes no time; this yields to other tasks.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        Self { stop, lost, before, after, tasks }
    }

    async fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        (self.before.load(Ordering::SeqCst), self.after.load(Ordering::SeqCst))
    }
}

/// Loses the facts by `lose` under traffic, and accepts the loss.
async fn lose_and_accept(
    mut sidecars: [Sidecar; 2],
    app: &AppId,
    round: usize,
    lose: impl FnOnce() + Send + 'static,
) -> [Sidecar; 2] {
    set_up(&sidecars[0], app, round).await;
    let traffic = Traffic::start(&sidecars, app, round);
    tokio::time::sleep(TRAFFIC).await;
    let lost = traffic.lost.clone();
    let losing = tokio::task::spawn_blocking(move || {
        lose();
        lost.store(true, Ordering::SeqCst);
    });
    losing.await.expect("lost");
    for sidecar in &sidecars {
        sidecar.until_lost(true).await;
    }
    tokio::time::sleep(TRAFFIC).await;
    let (before, after) = traffic.end().await;
    assert!(before > 0 && after == 0, "{before} admitted before the loss, and {after} after");
    let elsewhere = crate::support::app("elsewhere");
    for sidecar in &sidecars {
        for app in [app, &elsewhere] {
            let refused = sidecar.join(app, "late".to_owned()).await;
            assert!(
                matches!(refused, Err(LedgerError::Store(StoreError::StoreLost(_)))),
                "{refused:?}"
            );
        }
    }

    let [one, other] = sidecars;
    let one = one.restart().await;
    assert!(one.service.loss().is_some(), "a restart does not help");
    let refused = one.join(app, "late".to_owned()).await;
    assert!(matches!(refused, Err(LedgerError::Store(StoreError::StoreLost(_)))), "{refused:?}");

    let accept = request_id(&format!("accept {round}"));
    let accepted = one.service.administration.accept_store(&accept, "", actor()).await;
    let accepted = accepted.expect("accepted").accepted;
    assert!(!accepted.is_repetition && !accepted.previous.is_empty());
    let again = one.service.administration.accept_store(&accept, "", actor()).await;
    assert!(again.expect("accepted before").accepted.is_repetition);
    other.until_lost(false).await;
    one.until_lost(false).await;
    sidecars = [one, other];

    // Only imported facts count.
    let dissolve = Operation::DissolveGroup { group: group("g") };
    let mode = imquota::domain::decision::Mode::Enforce;
    let _ = sidecars[0].service.apply(app, mode, dissolve).await;
    set_up(&sidecars[0], app, round + 1).await;
    for sidecar in &sidecars {
        assert_eq!(members(sidecar, app).await, 3);
    }
    sidecars
}

async fn two(url: &str, durability: Durability) -> [Sidecar; 2] {
    let start = || Box::pin(Sidecar::start(url, durability));
    let (one, other) = tokio::join!(start(), start());
    [one, other]
}

/// Restarts the server without its data, like after the loss of a disk.
fn restart_empty(server: &Server) {
    server.kill9();
    std::fs::remove_dir_all(server.folder().join("appendonlydir")).expect("there were data");
    server.restart();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_server_that_is_emptied_or_restarts_empty_is_lost() {
    let redis = Arc::new(Standalone::start());
    let mut sidecars = two(&redis.url(), Durability::Local).await;
    for round in 0..rounds(2, 6) {
        let server = redis.clone();
        sidecars = lose_and_accept(sidecars, &app("demo"), 2 * round, move || {
            if round % 2 == 0 {
                server.server.cli(&["FLUSHALL"]);
            } else {
                restart_empty(&server.server);
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_replica_that_is_promoted_is_lost() {
    for durability in [Durability::Local, Durability::Replicated] {
        let deployment = Arc::new(Sentinels::start());
        let sidecars = two(&deployment.url(), durability).await;
        let servers = deployment.clone();
        lose_and_accept(sidecars, &app("demo"), 0, move || {
            let master = servers.master();
            servers.server(master).kill9();
            // Nothing reaches the replicas any more, and no Sentinel has missed the master yet.
            for replica in servers.servers.iter().filter(|server| server.port() != master) {
                replica.cli(&["CONFIG", "SET", "replica-read-only", "no"]);
                replica.cli(&["FLUSHALL"]);
            }
            servers.wait_for_new_master(master);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_emptied_master_of_a_cluster_makes_the_whole_store_lost() {
    let cluster = Arc::new(Cluster::start());
    let mut sidecars = two(&cluster.url(), Durability::Local).await;
    let fingerprints = sidecars[0].service.fingerprints();
    for (round, port) in cluster.masters().into_iter().enumerate() {
        // An app with groups on that master.
        let app = (0..1000).map(|number| app(&format!("demo-{number}"))).find(|app| {
            let key = format!("q1{{{:016x}/groups}}limits", fingerprints.app(app));
            cluster.master_of(cluster.slot_of(&key)) == port
        });
        let nodes = cluster.clone();
        sidecars = lose_and_accept(sidecars, &app.expect("one of many"), 2 * round, move || {
            nodes.node(port).cli(&["FLUSHALL"]);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_written_by_an_older_sidecar_is_no_identity() {
    let redis = Arc::new(Standalone::start());
    let sidecars = two(&redis.url(), Durability::Local).await;
    let key = redis.server.cli(&["HGET", "imquota:identity", "fingerprint_key"]);
    let older = Arc::new(AtomicBool::new(true));
    let (running, server) = (older.clone(), redis.clone());
    let writing = std::thread::spawn(move || {
        while running.load(Ordering::SeqCst) {
            if server.server.cli(&["EXISTS", "imquota:identity"]) == "0" {
                let fields = ["format", "1", "fingerprint_key", &key];
                server.server.cli(&[&["HSET", "imquota:identity"], &fields[..]].concat());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let server = redis.clone();
    lose_and_accept(sidecars, &app("demo"), 0, move || {
        server.server.cli(&["FLUSHALL"]);
        wait_for("the older sidecar", || {
            (server.server.cli(&["EXISTS", "imquota:identity"]) == "1").then_some(())
        });
    })
    .await;
    older.store(false, Ordering::SeqCst);
    writing.join().expect("no panic");
}

/// Runs `change` beside joins through both sidecars, none of which may be refused for a loss.
async fn is_no_loss(url: &str, change: impl FnOnce() + Send + 'static) {
    let sidecars = two(url, Durability::Local).await;
    let app = app("demo");
    set_up(&sidecars[0], &app, 0).await;
    let traffic = Traffic::start(&sidecars, &app, 0);
    tokio::time::sleep(TRAFFIC).await;
    tokio::task::spawn_blocking(change).await.expect("changed");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, _) = traffic.end().await;
    assert!(before > 0);
    for sidecar in &sidecars {
        assert_eq!(sidecar.service.loss(), None);
        let joined = sidecar.join(&app, "late".to_owned()).await;
        assert!(joined.is_ok(), "{joined:?}");
    }
    // Joins with a lost reply may be held as well; the group becomes full.
    let held = members(&sidecars[0], &app).await;
    let least = i64::try_from(before).expect("few") + 3;
    assert!(held >= least.min(GROUP_FULL), "{held} of {least}");
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_failovers_that_lose_nothing_are_no_loss() {
    let deployment = Arc::new(Sentinels::start());
    let servers = deployment.clone();
    Box::pin(is_no_loss(&deployment.url(), move || {
        for _ in 0..rounds(1, 20) {
            let master = servers.master();
            servers.sentinels[0].cli(&["SENTINEL", "FAILOVER", "imquota"]);
            let new = servers.wait_for_new_master(master);
            wait_for("the replicas of the new master", || {
                let connected = servers.server(new).info("replication", "connected_slaves")?;
                (connected == "2").then_some(())
            });
            servers.server(new).wait_until_replicated(2);
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_slots_and_a_new_empty_master_are_no_loss() {
    let mut cluster = Cluster::start();
    // A seventh node, without slots at first.
    let new = Server::start(&["cluster-enabled yes", "cluster-node-timeout 1000"]);
    let port = new.port();
    cluster.nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string()]);
    cluster.nodes.push(new);
    wait_for("all nodes to have met the new one", || {
        let knows = |node: &Server| node.cli(&["CLUSTER", "NODES"]).lines().count() == 7;
        cluster.nodes.iter().all(knows).then_some(())
    });
    cluster.wait_until_ok();
    let cluster = Arc::new(cluster);
    let url = cluster.url();
    let sidecar = Sidecar::start(&url, Durability::Local).await;
    let fingerprint = sidecar.service.fingerprints().app(&app("demo"));
    let slots: Vec<usize> = ["accounts", "friends", "groups"]
        .iter()
        .map(|part| cluster.slot_of(&format!("q1{{{fingerprint:016x}/{part}}}limits")))
        .chain((0..rounds(1, 5)).map(|number| number * 3000 + 7))
        .collect();
    let nodes = cluster.clone();
    let moves = move || {
        for slot in slots {
            nodes.move_slot(slot, port);
        }
    };
    Box::pin(is_no_loss(&url, moves)).await;
    assert_eq!(sidecar.service.loss(), None);
}

/// Two sidecars start concurrently on a new cluster with one unavailable shard: its marks are
/// written when it is back, and no call is refused for a loss.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_unavailable_at_the_first_start_gets_its_marks_later() {
    let cluster = Cluster::start_with(&["cluster-require-full-coverage no"]);
    let of_identity = cluster.master_of(cluster.slot_of("imquota:identity"));
    let away = cluster.masters().into_iter().find(|port| *port != of_identity).expect("another");
    let index = cluster.nodes.iter().position(|node| node.port() == away).expect("a node");
    // The master and its replica.
    let stopped = [index % 3, index % 3 + 3].map(|index| &cluster.nodes[index]);
    stopped.into_iter().for_each(Server::stop);
    let sidecars = two(&cluster.url(), Durability::Local).await;
    let marks = || {
        let node = cluster.node(of_identity);
        node.cli(&["HGET", "imquota:identity", "marks"])
    };
    assert_eq!(marks(), "", "marks need all masters");
    stopped.into_iter().for_each(Server::resume);
    wait_for("all marks", || (marks() == "all").then_some(()));
    for sidecar in &sidecars {
        assert_eq!(sidecar.service.loss(), None);
    }
    set_up(&sidecars[0], &app("demo"), 0).await;
    assert_eq!(members(&sidecars[1], &app("demo")).await, 3);
}
