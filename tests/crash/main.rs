//! SIGKILL at random instants: acknowledged facts are kept, unacknowledged operations are applied
//! as a whole or not at all, nothing is over a limit, and every count equals the number of facts.
//!
//! The real binary serves a store on disk over a Unix socket. Workers ([`load`]) take and release
//! until it is killed; it is restarted on the same store, which is then read fact by fact
//! ([`facts`]). `IMQUOTA_SEED=...` repeats the load, though not the instant of the kill. Takes with
//! a hold, over Redis too, are in [`holds`].
//!
//! A process of its own, since it needs the processors for a load that a kill always interrupts.

mod facts;
mod holds;
mod load;
mod sidecar;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use imquota::grpc::pb::{self, Outcome, subject::Kind};
use load::{
    APP, Cell, HUB, Known, SHARED_GROUPS, Signals, USERS_EACH, WORKERS, members_of, shared_group,
    user,
};
use sidecar::{Client, Sidecar};
use support::{Rng, seed};
use tokio::task::JoinSet;

const KILLS: usize = 35;

/// The minimal numbers of events, below which the test proves nothing.
const ACKNOWLEDGED_MIN: usize = 2000;
const DENIED_MIN: usize = 100;
const UNDER_WAY_MIN: usize = 2 * KILLS;

#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    denied: usize,
    under_way: usize,
    /// Of the operations in flight: found applied and found not applied.
    came_through: usize,
    fell_away: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_facts_survive_sigkill_and_others_are_whole_or_absent() {
    let seed = seed(5);
    let mut rng = Rng::new(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let mut known = vec![Known::default(); WORKERS];
    let mut tally = Tally::default();
    let mut sidecar = Sidecar::start(directory.path()).await;
    set_up(&mut sidecar.connect().await).await;
    for kill in 0..KILLS {
        known = load_and_kill(sidecar, known, &mut rng).await;
        sidecar = Sidecar::start(directory.path()).await;
        for (worker, found) in everything_found(&sidecar).await.into_iter().enumerate() {
            let place = format!("IMQUOTA_SEED={seed}, kill {kill}, worker {worker}");
            settle(&mut known[worker], found, &place, &mut tally);
        }
        compare_counts(&sidecar, &known).await;
    }
    sidecar.kill();
    let void = tally.acknowledged < ACKNOWLEDGED_MIN
        || tally.denied < DENIED_MIN
        || tally.under_way < UNDER_WAY_MIN
        || tally.came_through == 0
        || tally.fell_away == 0;
    println!("{tally:?}");
    assert!(!void, "void: too little happened: {tally:#?}");
}

/// Groups that all workers join, each with a member who stays.
async fn set_up(client: &mut Client) {
    for number in 0..SHARED_GROUPS {
        let request = pb::CreateGroupRequest {
            app_id: APP.to_owned(),
            group_id: shared_group(number),
            r#type: "Public".to_owned(),
            owner_id: Some("keeper".to_owned()),
            ..pb::CreateGroupRequest::default()
        };
        let answer = client.create_group(request).await.expect("an answer").into_inner();
        assert_eq!(answer.group.expect("a result").outcome(), Outcome::Applied);
    }
}

async fn load_and_kill(sidecar: Sidecar, known: Vec<Known>, rng: &mut Rng) -> Vec<Known> {
    // Counted in responses, so that a slow machine proves as much as a fast one.
    let signals = Arc::new(Signals::after(1 + rng.below(250)));
    let mut workers = JoinSet::new();
    for (worker, known) in known.into_iter().enumerate() {
        let (client, rng) = (sidecar.connect().await, Rng::new(rng.next()));
        let signals = signals.clone();
        workers
            .spawn(async move { (worker, load::work(client, worker, known, rng, &signals).await) });
    }
    signals.reached().await;
    if rng.percent(50) {
        // Otherwise the kill follows a response directly, which must be on disk by then.
        let more = u64::try_from(rng.below(3000)).expect("fits");
        tokio::time::sleep(Duration::from_micros(more)).await;
    }
    signals.killed.store(true, Ordering::SeqCst);
    sidecar.kill();
    let mut after = BTreeMap::new();
    while let Some(worker) = workers.join_next().await {
        let (worker, known) = worker.expect("the worker met nothing unexpected");
        after.insert(worker, known);
    }
    after.into_values().collect()
}

/// Reads the facts of each worker, concurrently.
async fn everything_found(sidecar: &Sidecar) -> Vec<BTreeMap<Cell, bool>> {
    let mut questions = JoinSet::new();
    for worker in 0..WORKERS {
        let mut client = sidecar.connect().await;
        questions.spawn(async move { (worker, facts::of_worker(&mut client, worker).await) });
    }
    let found: BTreeMap<_, _> = questions.join_all().await.into_iter().collect();
    found.into_values().collect()
}

/// Compares a worker's expected facts with the found ones, and adopts the found ones.
fn settle(known: &mut Known, found: BTreeMap<Cell, bool>, place: &str, tally: &mut Tally) {
    for (cell, is_there) in &found {
        let surely = known.is_held(*cell);
        let sure = !known.unsure.contains(cell);
        assert!(!sure || *is_there == surely, "{place}: {cell:?} must be held: {surely}");
    }
    if let Some(first) = known.unsure.first() {
        let together = known.unsure.iter().all(|cell| found[cell] == found[first]);
        assert!(together, "{place}: one part of a request was done: {:?}", known.unsure);
        tally.under_way += 1;
        if found[first] == known.is_held(*first) {
            tally.fell_away += 1;
        } else {
            tally.came_through += 1;
        }
    }
    tally.acknowledged += known.acknowledged;
    tally.denied += known.denied;
    *known = Known { held: found, ..Known::default() };
}

/// Checks that every count equals the number of facts.
async fn compare_counts(sidecar: &Sidecar, known: &[Known]) {
    let mut client = sidecar.connect().await;
    let all = |of: &dyn Fn(&Cell) -> bool| known.iter().map(|known| count(known, of)).sum::<i64>();
    let app = facts::usage(&mut client, Kind::App(pb::AppSubject {})).await;
    assert_eq!(app["accounts_per_app"], all(&|cell| matches!(cell, Cell::Account(_))));
    assert_eq!(app["groups_per_app/Private"], all(&|cell| matches!(cell, Cell::Group(_))));
    assert_eq!(app["groups_per_app/AVChatRoom"], all(&|cell| matches!(cell, Cell::Room(_))));
    assert_eq!(app["groups_per_app/Public"], signed(SHARED_GROUPS));
    for number in 0..SHARED_GROUPS {
        let members = all(&|cell| matches!(cell, Cell::Member(group, _) if *group == number));
        let group = facts::usage(&mut client, Kind::GroupId(shared_group(number))).await;
        assert_eq!(group["members_per_group"], 1 + members);
    }
    let hub = facts::usage(&mut client, Kind::UserId(HUB.to_owned())).await;
    assert_eq!(hub["friends_per_user"], all(&|cell| matches!(cell, Cell::Friend(_))));
    let mut comparisons = JoinSet::new();
    for (worker, known) in known.iter().enumerate() {
        comparisons.spawn(compare_users(sidecar.connect().await, worker, known.clone()));
    }
    comparisons.join_all().await;
}

async fn compare_users(mut client: Client, worker: usize, known: Known) {
    for number in 0..USERS_EACH {
        let used = facts::usage(&mut client, Kind::UserId(user(worker, number))).await;
        let friends = count(&known, &|cell| *cell == Cell::Friend(number));
        let groups = count(&known, &|cell| match cell {
            Cell::Member(_, user) => *user == number,
            Cell::Group(group) => members_of(*group).any(|user| user == number),
            _ => false,
        });
        assert_eq!((used["friends_per_user"], used["groups_per_user"]), (friends, groups));
    }
}

fn count(known: &Known, of: &dyn Fn(&Cell) -> bool) -> i64 {
    signed(known.held.iter().filter(|(cell, held)| **held && of(cell)).count())
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("fits")
}
