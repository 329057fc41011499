//! Operations of several callers in one call of a script: each is decided by itself, and what the
//! call cannot decide is decided by the operation's own script.
//!
//! The server is stopped while the operations arrive, behind others that are in flight: they go
//! together when one of those is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::redis::{Cluster, Server, Standalone};
use crate::support::{app, group, redis_options, user};
use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::decision::{Mode, Outcome, Subject};
use imquota::domain::limit::Limit;
use imquota::domain::schedule::Schedule;
use imquota::domain::usage::Counts;
use imquota::ledger::redis::Redis;
use imquota::ledger::{Answer, Call, Ledger as _, LedgerError, Operation, TakeOptions};
use imquota::redis::options::Options;
use imquota::store::StoreError;
use imquota::store::fair::Load;

type Decided = Result<Answer, LedgerError>;

/// An app with its own limits, over an open ledger.
#[derive(Clone)]
struct App {
    ledger: Arc<Redis>,
    call: Call,
}

impl App {
    async fn open(url: &str) -> Self {
        let options = Options { silence_max: Duration::from_secs(60), ..redis_options(url) };
        let ledger = Redis::open(options, Arc::new(SystemClock)).await.expect("opens");
        let catalog = Arc::new(imquota::catalog::builtin());
        let trial = Schedule::default_of(&catalog).expect("it has a default edition");
        let app = app("together");
        ledger.put_schedule(&app, 1, &trial).await.expect("the limits are stored");
        let call = Call {
            app,
            mode: Mode::Enforce,
            deadline: SystemClock.now() + Duration::from_secs(120),
            catalog,
            unknown_app: None,
            fail_fast: false,
            is_replayed: false,
            take: TakeOptions::default(),
        };
        Self { ledger: Arc::new(ledger), call }
    }

    async fn decide(&self, operation: Operation) -> Decided {
        self.ledger.apply(self.call.clone(), operation).await
    }

    async fn outcome(&self, operation: Operation) -> Outcome {
        outcome(&self.decide(operation).await)
    }

    fn waiting(&self) -> usize {
        self.load().1
    }

    /// Stops the server, and sends operations on the same part as `like` until one of them waits.
    async fn hold(&self, server: &Server, like: &Operation) {
        server.stop();
        for number in 0.. {
            let filler = format!("filler {number}");
            let filler = match like {
                Operation::CreateAccounts { .. } => account(&filler),
                Operation::AddFriends { .. } => befriend(&filler, "filler"),
                _ => join(&filler, &filler),
            };
            let before = self.load();
            drop(self.spawn(filler));
            eventually(|| self.load() != before).await;
            if self.waiting() > 0 {
                return;
            }
        }
    }

    /// Lets the operations wait in order while the server is stopped, and resumes it; returns the
    /// results.
    async fn together(&self, server: &Server, operations: Vec<Operation>) -> Vec<Decided> {
        self.hold(server, &operations[0]).await;
        let (held, mut decisions) = (self.waiting(), Vec::new());
        for (number, operation) in operations.into_iter().enumerate() {
            decisions.push(self.spawn(operation));
            eventually(|| self.waiting() == held + number + 1).await;
        }
        server.resume();
        let mut decided = Vec::new();
        for decision in decisions {
            decided.push(decision.await.expect("no panic"));
        }
        decided
    }

    fn load(&self) -> (usize, usize) {
        let loads = self.ledger.loads();
        let sum = |of: fn(&Load) -> usize| loads.iter().map(|(_, load)| of(load)).sum();
        (sum(|load| load.in_work), sum(|load| load.waiting))
    }

    fn spawn(&self, operation: Operation) -> tokio::task::JoinHandle<Decided> {
        let app = self.clone();
        tokio::spawn(async move { app.decide(operation).await })
    }

    async fn members(&self, name: &str) -> u64 {
        let reading = self.ledger.read(self.call.clone(), Subject::Group(group(name))).await;
        match reading.expect("it is read").counts {
            Counts::Group { members, .. } => members,
            other => panic!("{other:?}"),
        }
    }
}

async fn eventually(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn outcome(decided: &Decided) -> Outcome {
    let answer = decided.as_ref().expect("it is decided");
    answer.items.first().or(answer.whole.as_ref()).expect("it has a result").outcome
}

fn create(name: &str) -> Operation {
    Operation::CreateGroup {
        group: group(name),
        group_type: "Public".into(),
        owner: None,
        members: Vec::new(),
        max_members: None,
    }
}

fn join(name: &str, member: &str) -> Operation {
    Operation::JoinGroup { group: group(name), users: vec![user(member)] }
}

fn leave(name: &str, member: &str) -> Operation {
    Operation::LeaveGroup { group: group(name), users: vec![user(member)] }
}

fn befriend(one: &str, other: &str) -> Operation {
    Operation::AddFriends { user: user(one), friends: vec![user(other)], one_way: false }
}

fn unfriend(one: &str, other: &str) -> Operation {
    Operation::RemoveFriends { user: user(one), friends: vec![user(other)], one_way: false }
}

fn account(name: &str) -> Operation {
    Operation::CreateAccounts { users: vec![user(name)] }
}

fn outcomes(decided: &[Decided]) -> Vec<Outcome> {
    decided.iter().map(outcome).collect()
}

/// The number of calls of scripts so far.
fn calls(server: &Server) -> u64 {
    let line = server.info("commandstats", "cmdstat_evalsha").expect("there were calls");
    let calls = line.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
    calls.expect("a count").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_wait_go_together_and_see_those_before_them() {
    use Outcome::{AlreadyHeld, Applied, Denied, NotHeld};
    let redis = Standalone::start();
    let app = App::open(&redis.url()).await;
    for (name, max_members) in [("roomy", None), ("full", Some(2))] {
        let members = vec![user("a"), user("b")];
        let whole = Operation::CreateGroup {
            group: group(name),
            group_type: "Public".into(),
            owner: None,
            members,
            max_members,
        };
        assert_eq!(app.outcome(whole).await, Applied);
    }
    let before = calls(&redis.server);
    let decided = app
        .together(
            &redis.server,
            vec![
                join("roomy", "x"),
                join("roomy", "x"),
                join("full", "x"),
                join("full", "a"),
                leave("roomy", "x"),
                leave("roomy", "x"),
                join("roomy", "x"),
                leave("full", "other"),
                join("roomy", "y"),
                join("roomy", "y"),
                join("roomy", "y"),
                leave("roomy", "y"),
            ],
        )
        .await;
    // The fillers, all others, and checks of the store's identity, one in a second.
    let made = calls(&redis.server) - before;
    assert!((2..=5).contains(&made), "{made}");
    assert_eq!(
        outcomes(&decided),
        [
            Applied,
            AlreadyHeld,
            Denied,
            AlreadyHeld,
            Applied,
            NotHeld,
            Applied,
            NotHeld,
            Applied,
            AlreadyHeld,
            AlreadyHeld,
            Applied
        ]
    );
    let denied = decided[2].as_ref().expect("decided");
    let [violation] = denied.items[0].violations.as_slice() else { panic!("{denied:?}") };
    assert_eq!((violation.bound.limit, violation.used), (Limit::Finite(2), 2));
    assert_eq!(violation.subject, Subject::Group(group("full")));
    assert_eq!((app.members("roomy").await, app.members("full").await), (3, 2));

    app.ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn friends_and_accounts_that_wait_go_together() {
    use Outcome::{AlreadyHeld, Applied, NotHeld};
    let redis = Standalone::start();
    let app = App::open(&redis.url()).await;
    let friends = vec![
        befriend("a", "b"),
        befriend("b", "a"),
        unfriend("b", "a"),
        unfriend("a", "b"),
        befriend("a", "b"),
    ];
    let decided = app.together(&redis.server, friends).await;
    assert_eq!(outcomes(&decided), [Applied, AlreadyHeld, Applied, NotHeld, Applied]);
    let accounts = vec![account("a"), account("b"), account("a"), account("c")];
    let decided = app.together(&redis.server, accounts).await;
    assert_eq!(outcomes(&decided), [Applied, Applied, AlreadyHeld, Applied]);
    app.ledger.close().await;
}

/// Damages one key of each position in turn: that operation fails as by its own script, and the
/// others are done.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_fails_its_own_operation_alone() {
    let redis = Standalone::start();
    let app = App::open(&redis.url()).await;
    for position in 0..8 {
        for pattern in ["q1{*/groups}g*", "q1{*/groups}m*", "q1{*/groups}u*"] {
            let kind = pattern.as_bytes()[pattern.len() - 2] as char;
            let name = |number: usize| format!("{kind}{position}{number}");
            let keys = || redis.server.cli(&["KEYS", pattern]);
            let mut damaged = None;
            for number in 0..8 {
                let before = keys();
                app.decide(create(&name(number))).await.expect("created");
                app.decide(join(&name(number), &name(number))).await.expect("joined");
                if number == position {
                    let is_new = |key: &str| !before.lines().any(|old| old == key);
                    damaged = keys().lines().find(|key| is_new(key)).map(str::to_owned);
                }
            }
            let damaged = damaged.expect("a new key");
            redis.server.cli(&["DEL", &damaged]);
            redis.server.cli(&["RPUSH", &damaged, "no such type"]);
            // The damaged user joins the damaged group again; the others are joined by a new user.
            let operations = (0..8).map(|number| {
                let member =
                    if number == position { name(number) } else { format!("{kind}{position}new") };
                join(&name(number), &member)
            });
            let decided = app.together(&redis.server, operations.collect()).await;
            for (number, decided) in decided.iter().enumerate() {
                if number == position {
                    let Err(LedgerError::Store(StoreError::Failed(why))) = decided else {
                        panic!("{pattern} {position}: {decided:?}")
                    };
                    assert!(why.contains("WRONGTYPE"), "{why}");
                } else {
                    assert_eq!(outcome(decided), Outcome::Applied, "{pattern} {position} {number}");
                }
            }
        }
    }
    app.ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_that_wait_with_takes_work_without_memory() {
    let redis = Standalone::start();
    let app = App::open(&redis.url()).await;
    app.decide(create("g")).await.expect("created");
    for number in 0..6 {
        app.decide(join("g", &format!("old {number}"))).await.expect("joined");
    }
    let mixed = || {
        (0..4).flat_map(|number| {
            [join("g", &format!("new {number}")), leave("g", &format!("old {number}"))]
        })
    };
    redis.server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let decided = app.together(&redis.server, mixed().collect()).await;
    for pair in decided.chunks(2) {
        let Err(LedgerError::Store(StoreError::Refused(why))) = &pair[0] else {
            panic!("{pair:?}")
        };
        assert!(why.contains("OOM"), "{why}");
        assert_eq!(outcome(&pair[1]), Outcome::Applied);
    }
    redis.server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(app.members("g").await, 2);
    for decided in app.together(&redis.server, mixed().step_by(2).collect()).await {
        assert_eq!(outcome(&decided), Outcome::Applied);
    }
    app.ledger.close().await;
}

/// An operation whose time ends while it waits, or whose caller has gone, is not done.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_is_no_longer_wanted_is_not_sent() {
    let redis = Standalone::start();
    let app = App::open(&redis.url()).await;
    app.decide(create("g")).await.expect("created");
    app.hold(&redis.server, &join("g", "like")).await;
    let held = app.waiting();
    let abandoned = app.spawn(join("g", "abandoned"));
    eventually(|| app.waiting() == held + 1).await;
    let wanted = app.spawn(join("g", "wanted"));
    eventually(|| app.waiting() == held + 2).await;
    let deadline = SystemClock.now() + Duration::from_millis(100);
    let short = App { call: Call { deadline, ..app.call.clone() }, ..app.clone() };
    let late = short.decide(join("g", "late")).await;
    let Err(LedgerError::Store(StoreError::Overloaded(_))) = late else { panic!("{late:?}") };
    abandoned.abort();
    assert!(abandoned.await.is_err_and(|error| error.is_cancelled()));
    redis.server.resume();
    assert_eq!(outcome(&wanted.await.expect("no panic")), Outcome::Applied);
    for member in ["late", "abandoned"] {
        assert_eq!(app.outcome(leave("g", member)).await, Outcome::NotHeld, "{member}");
    }
    app.ledger.close().await;
}

/// A slot of 100,000 keys moves while operations of its app go on: none of them fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_slot_that_moves_under_load_fails_no_operation() {
    const WRITERS: usize = 48;
    let cluster = Arc::new(Cluster::start());
    // A node that is busy with the move is not failing.
    for port in cluster.masters() {
        cluster.node(port).cli(&["CONFIG", "SET", "cluster-node-timeout", "60000"]);
    }
    let app = App::open(&cluster.url()).await;
    // A group of each writer, so that none is ever full.
    for writer in 0..WRITERS {
        app.decide(create(&format!("g{writer}"))).await.expect("created");
        // A group without members would be reclaimed.
        app.decide(join(&format!("g{writer}"), "keeper")).await.expect("joined");
    }
    let limits =
        format!("q1{{{:016x}/groups}}limits", app.ledger.fingerprints().app(&app.call.app));
    let slot = cluster.slot_of(&limits);
    let fill = "for i = 1, 100000 do redis.call('SET', KEYS[1] .. i, i) end";
    let prefix = limits.replace("limits", "filling");
    cluster.node(cluster.master_of(slot)).cli(&["EVAL", fill, "1", &prefix]);

    let is_moved = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (app, is_moved) = (app.clone(), is_moved.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while !is_moved.load(Ordering::Relaxed) {
                    let (name, member) = (format!("g{writer}"), format!("w{writer}"));
                    let expected = Outcome::Applied;
                    assert_eq!(app.outcome(join(&name, &member)).await, expected);
                    assert_eq!(app.outcome(leave(&name, &member)).await, expected);
                    done += 1;
                }
                done
            })
        })
        .collect();
    let from = cluster.master_of(slot);
    let to = cluster.masters().into_iter().find(|port| *port != from).expect("another master");
    let moving = cluster.clone();
    tokio::task::spawn_blocking(move || moving.move_slot(slot, to)).await.expect("moved");
    is_moved.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.expect("no operation fails") > 0);
    }
    assert_eq!(cluster.master_of(slot), to);
    app.ledger.close().await;
}
