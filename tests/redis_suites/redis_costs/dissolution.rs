//! Dissolving a group of 6000 members beside other calls: no other call waits longer for it than
//! one chunk.
//!
//! Redis runs one script at a time, so a call waits for the running script and for earlier ones.
//! The server's own log (`SLOWLOG`) has the scripts in order, with their number of keys and their
//! duration: a dissolution is many small scripts, with those of others in between. The delay of the
//! others is measured at the client and printed; on a busy machine no time can be asserted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use imquota::clock::Stopwatch;
use imquota::domain::decision::{Mode, Outcome, Subject};
use imquota::domain::id::AppId;
use imquota::ledger::{LedgerError, Operation};
use tokio::task::JoinSet;

use super::{create, service, users};
use crate::support::redis::{Server, Standalone, wait_for};
use crate::support::{Service, app, group, order, user};

const MEMBERS: usize = 6000;
/// The most users of one script call.
const CHUNK_USERS_MAX: usize = 100;
/// Keys of a chunk besides those of its users, and keys of a user.
const KEYS_OF_GROUP: usize = 13;
const KEYS_OF_USER: usize = 2;
/// Other callers, each with one call in flight: half in the same app, half in another.
const CALLERS: usize = 8;
/// Their calls before the dissolution begins.
const WARM_CALLS: usize = 20 * CALLERS;

/// One script call of the server's log.
struct Ran {
    micros: u64,
    keys: usize,
    /// The second key: in calls on a group, the group's record.
    record: String,
}

/// The calls of others, through another sidecar.
struct Others {
    service: Service,
    apps: [AppId; 2],
    calls: AtomicUsize,
}

impl Others {
    /// One caller joins and leaves a group until `enough`; returns the longest wait.
    async fn call(&self, caller: usize, enough: impl Fn() -> bool) -> Duration {
        let (group, users) = (group(other(caller)), vec![user(format!("caller {caller}"))]);
        let join = Operation::JoinGroup { group: group.clone(), users: users.clone() };
        let operations = [join, Operation::LeaveGroup { group, users }];
        let mut longest = Duration::ZERO;
        while !enough() {
            for operation in &operations {
                let waiting = Stopwatch::start();
                let said = self.service.enforce(&self.apps[caller % 2], operation.clone()).await;
                longest = longest.max(waiting.elapsed());
                assert_eq!(said.items[0].outcome, Outcome::Applied);
                self.calls.fetch_add(1, Ordering::Relaxed);
            }
        }
        longest
    }

    /// Starts all callers, each in a task.
    fn start(
        self: &Arc<Self>,
        enough: impl Fn() -> bool + Clone + Send + 'static,
    ) -> JoinSet<Duration> {
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let (others, enough) = (self.clone(), enough.clone());
            tasks.spawn(async move { others.call(caller, enough).await });
        }
        tasks
    }
}

fn other(caller: usize) -> String {
    format!("other {caller}")
}

/// The script calls in the server's log, in order of execution.
fn scripts_run(server: &Server) -> Vec<Ran> {
    let printed = server.cli(&["SLOWLOG", "GET", "-1"]);
    let lines: Vec<&str> = printed.lines().collect();
    // Microseconds, the command, the script, the number of keys, the keys.
    let calls = lines.windows(6).filter(|lines| lines[1] == "EVALSHA").map(|lines| Ran {
        micros: lines[0].parse().expect("microseconds"),
        keys: lines[3].parse().expect("a number of keys"),
        record: lines[5].to_owned(),
    });
    let mut calls: Vec<Ran> = calls.collect();
    calls.reverse();
    calls
}

/// The number of keys with a prefix.
fn keys_with(server: &Server, prefix: &str) -> usize {
    server.cli(&["--scan", "--pattern", &format!("{prefix}*")]).lines().count()
}

/// The counts of an app that do not depend on the day, which may end during the test.
async fn counts(service: &Service, app: &AppId) -> Vec<(String, i64)> {
    let usages = service.usage(app, Subject::App).await.usages;
    let counts = usages.iter().map(|usage| (usage.limit_id.to_string(), usage.used));
    counts.filter(|(limit_id, _)| !limit_id.starts_with("groups_per_day")).collect()
}

/// The key of the record of the group that has all the members.
fn record_of_full_group(server: &Server) -> String {
    let keys = server.cli(&["--scan", "--pattern", "*/groups}m*"]);
    let is_full = |key: &&str| server.cli(&["SCARD", key]) == MEMBERS.to_string();
    keys.lines().find(is_full).expect("the group's members").replace("}m", "}g")
}

/// Creates two apps with a group per caller, and in the first one the group to dissolve.
async fn fill(service: &Service, apps: &[AppId; 2]) {
    for app in apps {
        service.register(app, "r0").await.expect("registered");
        service.buy(app, "r1", order("professional"), 1).await.expect("bought");
    }
    for caller in 0..CALLERS {
        service.enforce(&apps[caller % 2], create(&other(caller))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dissolving_6000_members_delays_other_calls_by_at_most_a_chunk() {
    let redis = Standalone::start();
    let server = &redis.server;
    let apps = [app("dissolved"), app("bystander")];
    let service = service(&redis).await;
    fill(&service, &apps).await;
    let before = counts(&service, &apps[0]).await;
    let full = Operation::CreateGroup {
        group: group("full"),
        group_type: "ChatRoom".into(),
        owner: None,
        members: users("member", MEMBERS),
        max_members: None,
    };
    service.apply(&apps[0], Mode::Force, full).await.expect("filled");
    let record = record_of_full_group(server);
    let others = super::service(&redis).await;
    let others = Arc::new(Others { service: others, apps: apps.clone(), calls: 0.into() });

    server.cli(&["CONFIG", "SET", "slowlog-max-len", "1000000", "slowlog-log-slower-than", "0"]);
    server.cli(&["SLOWLOG", "RESET"]);
    let done = Arc::new(AtomicBool::new(false));
    let ended = done.clone();
    let calling = others.start(move || ended.load(Ordering::Relaxed));
    let warm = || (others.calls.load(Ordering::Relaxed) >= WARM_CALLS).then_some(());
    wait_for("callers", warm);
    let taking = Stopwatch::start();
    let dissolve = Operation::DissolveGroup { group: group("full") };
    let dissolved = service.enforce(&apps[0], dissolve).await;
    let took = taking.elapsed();
    done.store(true, Ordering::Relaxed);
    let longest = calling.join_all().await.into_iter().max().expect("callers");
    let ran = scripts_run(server);
    let idle = Stopwatch::start();
    let longest_without = others.start(move || idle.elapsed() >= took).join_all().await;
    let longest_without = longest_without.into_iter().max().expect("callers");

    assert_eq!(dissolved.members_released, MEMBERS as u64);
    assert_eq!(counts(&service, &apps[0]).await, before);
    assert_all_released(&service, &apps[0], server, &record).await;
    let (gaps, slowest) = assert_small_chunks(&ran, &record);
    println!(
        "dissolving {MEMBERS} members took {took:?}, its longest chunk {slowest} us in the server; \
         longest wait of {CALLERS} other callers meanwhile {longest:?}, in as long a time without \
         it {longest_without:?}; calls of others between the chunks: {gaps:?}"
    );
    service.close().await;
    let others = Arc::into_inner(others).expect("all callers are done");
    others.service.close().await;
}

/// Checks that the group does not exist, and that all members were released.
async fn assert_all_released(service: &Service, app: &AppId, server: &Server, record: &str) {
    let join = Operation::JoinGroup { group: group("full"), users: users("member", 1) };
    let joined = service.apply(app, Mode::Enforce, join).await;
    assert!(matches!(joined, Err(LedgerError::GroupNotFound(_))), "{joined:?}");
    let (of_app, _) = record.split_once('}').expect("a hash tag");
    let keys = |kind: &str| keys_with(server, &format!("{of_app}}}{kind}"));
    // The callers' groups in this app remain, all with the same owner.
    let groups = CALLERS / 2;
    assert_eq!(["g", "m", "u", "n"].map(keys), [groups, groups, 1, 0]);
}

/// Checks that the dissolution ran in chunks with other calls in between; prints their numbers,
/// and the microseconds of the longest chunk.
fn assert_small_chunks(ran: &[Ran], record: &str) -> (Vec<usize>, u64) {
    let is_chunk = |at: &usize| ran[*at].record == record;
    let chunks: Vec<usize> = (0..ran.len()).filter(is_chunk).collect();
    let users = |at: &usize| (ran[*at].keys - KEYS_OF_GROUP) / KEYS_OF_USER;
    let most = chunks.iter().map(users).max().expect("there are some");
    assert!(most <= CHUNK_USERS_MAX, "one script call for {most} users");
    // The first one only reads the members; each user is then released once.
    assert_eq!(chunks.len(), MEMBERS.div_ceil(CHUNK_USERS_MAX) + 1);
    assert_eq!(chunks.iter().map(users).sum::<usize>(), MEMBERS);
    // Each is sent after the reply to the previous one, and calls that the server has received by
    // then precede it. All others may be between two calls occasionally, but not mostly.
    let gaps: Vec<usize> = chunks.windows(2).map(|pair| pair[1] - pair[0] - 1).collect();
    let used = gaps.iter().filter(|others| **others > 0).count();
    assert!(2 * used >= gaps.len(), "others ran in only {used} of {} times", gaps.len());
    let slowest = chunks.iter().map(|at| ran[*at].micros).max().expect("there are some");
    (gaps, slowest)
}
