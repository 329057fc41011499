//! The results that clients get from the real binary have a legal order: nothing is ever over a
//! limit, nothing is denied below one, nothing acknowledged is lost and nothing counts twice.
//!
//! Clients in many small cells ([`operation`]) contend for tiny limits ([`catalog`]) through one or
//! more sidecars over one store ([`run`]); `check.py`, which shares no code with the crate, checks
//! their results. `IMQUOTA_SEED=...` repeats the operations, though not their interleaving;
//! `IMQUOTA_HISTORY_OPERATIONS=...` makes a run longer.
//!
//! A process of its own, since it fills the processors for minutes, and clients that get none of
//! them overlap too little to prove anything.

mod catalog;
mod link;
mod operation;
mod rewrite;
mod run;
mod sidecar;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rewrite::Rewriter;
use run::{ILLEGAL, LEGAL, Plan, Progress, observe, run};
use support::proxy::{Mode, Proxy};
use support::redis::{Cluster, Sentinels, Standalone};
use tokio::task::block_in_place;

/// Operations on a store of one process.
const OPERATIONS: usize = 20_000;
/// Operations of sidecars that share a Redis: half a million in all such runs.
const SHARED_OPERATIONS: usize = 110_000;
/// Operations of runs that count losses.
const LOSSY_OPERATIONS: usize = 60_000;
/// Elections of the runs under Sentinels and as a cluster.
const ELECTIONS: usize = 6;
const CLUSTER_ELECTIONS: usize = 4;
const LOSSY_ELECTIONS: usize = 3;
/// Operations that are enough to find a wrong script.
const MUTANT_OPERATIONS: usize = 3_200;
/// Histories of a wrong script, of which one has to be illegal.
const MUTANT_HISTORIES: usize = 3;
/// The timeout without faults.
const TIMEOUT_MS: u32 = 30_000;
/// The timeout with faults: longer than an election.
const FAULTY_TIMEOUT_MS: u32 = 5_000;

fn operations(default: usize) -> usize {
    match std::env::var("IMQUOTA_HISTORY_OPERATIONS") {
        Ok(text) => text.parse().expect("IMQUOTA_HISTORY_OPERATIONS is a whole number"),
        Err(_) => default,
    }
}

fn plan(store: String) -> Plan {
    Plan {
        store,
        durability: None,
        deletions_in_parts: false,
        sidecars: 1,
        operations: operations(OPERATIONS),
        seed: support::seed(11),
        timeout_ms: TIMEOUT_MS,
        tolerance_ns: None,
        faults_expected: false,
        losses_expected: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_store_in_memory_get_a_legal_order() {
    run(plan("memory".to_owned()), |_| async {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_store_on_disk_get_a_legal_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("embedded:{}", directory.path().join("store").display());
    run(plan(store), |_| async {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_without_a_shared_store_are_detected() {
    // Each has a memory store of its own.
    let plan = Plan { sidecars: 2, operations: 2000, ..plan("memory".to_owned()) };
    let (code, _directory) = observe(plan, |_| async {}).await;
    assert_eq!(code, Some(ILLEGAL));
}

/// The number of rounds of faults.
const FAULT_ROUNDS: usize = 3;

/// Two sidecars over a store with faults.
fn faulty(store: String) -> Plan {
    Plan {
        sidecars: 2,
        deletions_in_parts: true,
        operations: operations(SHARED_OPERATIONS),
        timeout_ms: FAULTY_TIMEOUT_MS,
        faults_expected: true,
        ..plan(store)
    }
}

fn proxied(port: u16) -> String {
    format!("redis://127.0.0.1:{port}/0")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sidecars_over_redis_have_a_legal_history() {
    let redis = Standalone::start();
    let operations = operations(SHARED_OPERATIONS);
    let plan = Plan { sidecars: 2, deletions_in_parts: true, operations, ..plan(redis.url()) };
    run(plan, |_| async {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_fails_and_comes_back_has_a_legal_history() {
    let redis = Standalone::start();
    let proxy = Proxy::start(redis.server.port()).await;
    let plan = faulty(proxied(proxy.port()));
    let round = plan.operations / FAULT_ROUNDS;
    run(plan, |progress| async move {
        for number in 0..FAULT_ROUNDS {
            let step = |step: usize| progress.reached(round * number + round * step / 7);
            step(1).await;
            progress.event("replies lost");
            proxy.drop_replies(4, "EVALSHA");
            step(2).await;
            progress.event("frozen");
            redis.server.stop();
            tokio::time::sleep(Duration::from_secs(2)).await;
            redis.server.resume();
            step(3).await;
            progress.event("restarted");
            block_in_place(|| redis.server.restart());
            step(4).await;
            progress.event("black hole");
            proxy.set(Mode::BlackHole);
            tokio::time::sleep(Duration::from_secs(2)).await;
            proxy.set(Mode::Pass);
            step(5).await;
            progress.event("refused");
            proxy.set(Mode::Refuse);
            tokio::time::sleep(Duration::from_millis(500)).await;
            proxy.set(Mode::Pass);
            step(6).await;
            progress.event("replies lost");
            proxy.drop_replies(4, "EVALSHA");
        }
        // Both live until the end of the load.
        (proxy, redis)
    })
    .await;
}

/// A script, a part of it, and the wrong text in its place.
const MUTANTS: &[(&str, &str, &str)] = &[
    ("join_group", "if members >= most or groups >= groups_most then", "if false then"),
    ("join_group", "if redis.call('SISMEMBER', members_key, user) == 0 then", "do"),
    ("create_accounts", "used < most and", "used <= most and"),
    (
        "create_accounts",
        "redis.call('INCRBY', KEYS[2], #new)",
        "redis.call('SET', KEYS[2], used - 1)",
    ),
    ("join_group", "tonumber(per_user) or math.huge", "math.huge"),
    ("add_friends", "if theirs >= most then", "if false then"),
    ("leave_group", "say(held == 1 and 'A' or 'N')", "say('A')"),
    ("leave_group", "redis.call('SREM', KEYS[3], ARGV[i])", "#redis.call('SPOP', KEYS[3], 1)"),
    ("delete_account", "if held == 1 then\n", "do\n"),
    ("join_group", "redis.call('SADD', KEYS[3], unpack(users))", ""),
    // A whole batch that is written in part, with either result.
    ("join_group", "if aborts() then return answer(name, own, '') end", ""),
    ("join_group", "if aborts() then return answer(name, own, '') end", "aborts()"),
    ("coalesced_groups", "if members >= most or groups >= groups_most then", "if false then"),
    ("coalesced_groups", "if redis.call('SISMEMBER', members_key, user) == 0 then", "do"),
    ("coalesced_groups", "return 'N'", "return 'A'"),
    ("coalesced_groups", "redis.call('SREM', members_key, user)", ""),
    ("coalesced_groups", "said[number] = is_decided and letter or '-'", "said[number] = 'H'"),
    ("coalesced_accounts", "if used >= most then", "if false then"),
    ("coalesced_friends", "if note ~= '' then return 'D', note end", ""),
    ("coalesced_friends", "if had then redis.call('SREM', mine, friend) end", ""),
];

/// The history of two sidecars over Redis with one changed script.
async fn mutated(script: &str, from: &str, to: &str) -> Option<i32> {
    let redis = Standalone::start();
    let text = rewrite::composed(script);
    assert!(text.contains(from), "{script}: {from}");
    let wrong = format!("{}\n", text.replace(from, to));
    let load = |text: &str| redis.server.cli(&["SCRIPT", "LOAD", text]);
    let rewriter = Rewriter::start(redis.server.port(), load(&text), load(&wrong)).await;
    let store = proxied(rewriter.port);
    let plan = Plan {
        sidecars: 2,
        deletions_in_parts: true,
        operations: MUTANT_OPERATIONS,
        ..plan(store)
    };
    let (code, _directory) = observe(plan, |_| async {}).await;
    assert!(rewriter.rewritten() > 0, "{script} was never called");
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_scripts_are_detected() {
    for script in ["join_group", "leave_group", "create_accounts", "coalesced_groups"] {
        assert_eq!(mutated(script, "#!lua", "#!lua").await, Some(LEGAL), "{script}");
    }
    let mut missed = Vec::new();
    'mutants: for (script, from, to) in MUTANTS {
        // A short history may not come by the wrong part.
        for _ in 0..MUTANT_HISTORIES {
            if mutated(script, from, to).await == Some(ILLEGAL) {
                continue 'mutants;
            }
        }
        missed.push((script, from));
    }
    assert_eq!(missed, []);
}

async fn elections(progress: Arc<Progress>, redis: &Sentinels, total: usize, times: usize) {
    for number in 0..times {
        progress.reached(total * (2 * number + 1) / (2 * times + 1)).await;
        let old = redis.kill_master();
        progress.event("master killed");
        let new = block_in_place(|| redis.wait_for_new_master(old));
        progress.event(&format!("{new} elected after {old}"));
        block_in_place(|| redis.revive(old));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_lose_nothing_that_replicas_confirmed() {
    let redis = Sentinels::start();
    let plan = Plan { durability: Some("replicated"), ..faulty(redis.url()) };
    let total = plan.operations;
    run(plan, |progress| elections(progress, &redis, total, ELECTIONS)).await;
}

/// Operations that the master acknowledges and no replica receives.
const UNREPLICATED_OPERATIONS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_election_without_confirmation_admits_no_more_than_it_loses() {
    let redis = Sentinels::start();
    let operations = operations(LOSSY_OPERATIONS);
    let local = Plan { durability: Some("local"), losses_expected: true, ..faulty(redis.url()) };
    let plan = Plan { operations, ..local };
    run(plan, |progress| lossy_elections(progress, &redis, operations)).await;
}

async fn lossy_elections(progress: Arc<Progress>, redis: &Sentinels, total: usize) {
    for number in 1..=LOSSY_ELECTIONS {
        let begin = total * number / (LOSSY_ELECTIONS + 1);
        progress.reached(begin).await;
        let old = redis.master();
        redis.cut_off_replicas(old);
        progress.event("replicas cut off");
        progress.reached(begin + UNREPLICATED_OPERATIONS).await;
        redis.server(old).kill9();
        progress.event("master killed");
        redis.resume_replicas(old);
        let new = block_in_place(|| redis.wait_for_new_master(old));
        progress.event(&format!("{new} elected after {old}"));
        block_in_place(|| redis.revive(old));
    }
}

/// Moves the slots of all existing groups, which are those of cells under load.
fn move_slots(redis: &Cluster) -> usize {
    let masters = redis.masters();
    let mut slots = BTreeSet::new();
    for port in &masters {
        let keys = redis.node(*port).cli(&["KEYS", "q1{*/groups}types"]);
        slots.extend(keys.lines().filter(|key| !key.is_empty()).map(|key| redis.slot_of(key)));
    }
    for slot in slots.iter().take(4) {
        let from = redis.master_of(*slot);
        let to = masters.iter().find(|port| **port != from).expect("three masters");
        redis.move_slot(*slot, *to);
    }
    slots.len().min(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_moves_and_elects_has_a_legal_history() {
    let redis = Cluster::start();
    let plan = Plan { durability: Some("replicated"), ..faulty(redis.url()) };
    let total = plan.operations;
    run(plan, |progress| async move {
        for number in 1..=CLUSTER_ELECTIONS {
            let begin = total * number / (CLUSTER_ELECTIONS + 1);
            progress.reached(begin - total / 20).await;
            let moved = block_in_place(|| move_slots(&redis));
            progress.event(&format!("{moved} slots moved"));
            progress.reached(begin).await;
            let old = redis.kill_master_of(number * 4_000 % 16_384);
            progress.event("master killed");
            block_in_place(|| redis.wait_until_ok());
            progress.event("elected");
            block_in_place(|| redis.revive(old));
        }
        redis
    })
    .await;
}
