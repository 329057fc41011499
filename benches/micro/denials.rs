//! The cost of a denial after a number of different subjects were denied, with everything that the
//! engine records about denials: the cache for times without the store, the most frequent denials,
//! the events.
//!
//! A call adds 1000 friends, to a user who may have none, from users who may have none: each item
//! is denied, and names a user who was never denied before. It runs over the memory store, where a
//! denial commits nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use imquota::catalog;
use imquota::clock::SystemClock;
use imquota::domain::decision::{Mode, Outcome};
use imquota::domain::id::{AppId, UserId};
use imquota::domain::time::Timestamp;
use imquota::engine::fallback::Fallback;
use imquota::engine::{Engine, Request, UnknownApp};
use imquota::journal::Journal;
use imquota::ledger::memory::Memory;
use imquota::ledger::{Operation, TakeOptions};
use imquota::telemetry::Metrics;
use tokio::runtime::Builder;

use super::shared::Spread;

/// The number of items of a call.
const BATCH: usize = 1000;
/// The number of calls at each number of subjects; their median is used.
const CALLS: usize = 9;

/// The numbers of subjects that were denied before the measured calls.
const FULL: [usize; 5] = [0, 10_000, 100_000, 300_000, 1_000_000];
const QUICK: [usize; 2] = [0, 20_000];

/// Prints the time of a denial by the number of subjects denied before.
pub fn run(quick: bool) {
    let (sizes, rounds): (&[usize], _) = if quick { (&QUICK, 1) } else { (&FULL, 5) };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rounds: Vec<Vec<f64>> = (0..rounds).map(|_| runtime.block_on(round(sizes))).collect();
    println!("| different subjects denied before | us per denial | ratio to none |");
    println!("|---:|---:|---:|");
    for (at, size) in sizes.iter().enumerate() {
        let time = Spread::of(rounds.iter().map(|round| round[at]));
        let ratio = Spread::of(rounds.iter().map(|round| round[at] / round[0]));
        println!("| {size} | {time} | {ratio} |");
    }
}

/// Returns the time of a denial at each size, in microseconds, with one engine.
async fn round(sizes: &[usize]) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = Arc::new(Metrics::new());
    let clock = Arc::new(SystemClock);
    let ledger = Arc::new(Memory::open(clock.clone()).expect("a store"));
    let text = catalog::BUILTIN.replace("friends_per_user = 20\n", "friends_per_user = 0\n");
    let catalog = catalog::parse(&text).expect("a catalog");
    let (journal, entries) = Journal::open(folder.path()).expect("a journal");
    let timeout = Duration::from_secs(10);
    let fallback = Arc::new(Fallback::new(journal, entries, timeout, metrics.clone()));
    let engine = Engine::new(ledger, clock, metrics, catalog, UnknownApp::Trial);
    let engine = engine.expect("an engine").falling_back(fallback);
    let mut denied = 0;
    let mut times = Vec::new();
    for size in sizes {
        while denied < *size {
            deny(&engine, &mut denied).await;
        }
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            calls.push(deny(&engine, &mut denied).await.as_secs_f64() * 1e6);
        }
        let per_call = Spread::of(calls).median;
        times.push(per_call / f64::from(u32::try_from(BATCH).expect("small")));
    }
    times
}

/// Makes one call that is denied for new users only; returns its duration.
async fn deny(engine: &Engine, denied: &mut usize) -> Duration {
    let id = |number: usize| UserId::try_from(format!("user-{number}")).expect("an id");
    let friends = (*denied..*denied + BATCH).map(id).collect();
    *denied += BATCH;
    let user = UserId::try_from("a-user").expect("an id");
    let request = Request {
        app: AppId::try_from("demo").expect("an id"),
        mode: Mode::Enforce,
        take: TakeOptions::default(),
        deadline: Timestamp::MAX,
        operation: Operation::AddFriends { user, friends, one_way: false },
    };
    let begin = Instant::now();
    let decision = engine.apply(request).await.expect("a decision");
    let took = begin.elapsed();
    let all_denied = decision.items.iter().all(|item| item.outcome == Outcome::Denied);
    assert!(all_denied && decision.items.len() == BATCH, "{:?}", decision.items.first());
    took
}
