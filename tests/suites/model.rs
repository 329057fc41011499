//! A model test: random operations on the engine and on plain sets, compared after each.
//!
//! The model ([`state`]) is written from the pricing rules, sections 1-5, and shares no code with
//! the crate: limits come from its own tables ([`rules`]), the end of purchases from its own
//! calendar ([`calendar`], [`entitlement`]) and conditions of sale ([`conditions`]). Operations,
//! modes, batches, purchases and the course of time are random ([`plan`]); outcomes, violated
//! limits, counts, codes and readings are compared ([`driver`]). Takes with a hold end by the moved
//! clock, by sweeps, confirmations and releases ([`holds`], [`endings`]). A run that did not cover
//! every rule fails ([`coverage`]).
//!
//! A failure prints its seed; `IMQUOTA_SEED=...` repeats the run.

mod agreed;
mod allowed;
mod billing;
mod calendar;
mod conditions;
mod counts;
mod coverage;
mod driver;
mod endings;
pub mod entitlement;
mod holds;
mod operation;
mod plan;
mod qualified;
mod readings;
pub mod rules;
mod sales;
mod state;
mod usage;
mod wire;

use crate::support::moved_clock::MovedClock;
use crate::support::redis::{Cluster, Sentinels, Server};
use crate::support::{Place, seed};
use coverage::Coverage;
use driver::{Setup, run};
use imquota::domain::catalog::Catalog;
use plan::Universe;
use rules::Rules;

/// Few ids, so that every limit of the small catalog is reached all the time.
const FEW: Universe = Universe {
    apps: 10,
    users: 16,
    busy_users: 5,
    groups: 18,
    kinds: 6,
    batch_max: 7,
    apps_on_trial: 1,
    moves: 30,
    deletions: 12,
    moods: &[92, 92, 80, 60, 25],
    holds: &[45, 10],
    small_moves: 250,
};

/// Enough ids for the published limits of Trial.
const MANY: Universe = Universe {
    apps: 6,
    users: 130,
    busy_users: 4,
    groups: 120,
    kinds: 5,
    batch_max: 40,
    apps_on_trial: 3,
    moves: 12,
    deletions: 1,
    moods: &[97, 97, 92, 80, 25],
    holds: &[30, 10],
    small_moves: 150,
};

fn small() -> Catalog {
    small_with(&[])
}

/// The small catalog with texts replaced, each of which it has once.
fn small_with(texts: &[(&str, &str)]) -> Catalog {
    let mut text = include_str!("../support/small.toml").to_owned();
    for (from, to) in texts {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    imquota::catalog::parse(&text).expect("a valid catalog")
}

/// Runs the model over a small catalog for a number of rounds. With the second number the store is
/// re-opened each time that number of rounds has passed.
async fn over_small(
    (rules, catalog): (&'static Rules, Catalog),
    place: Place,
    clock: Option<&MovedClock>,
    (rounds, reopen_every): (usize, Option<usize>),
    seed: u64,
) -> Coverage {
    let setup = Setup {
        rules,
        catalog,
        place,
        clock_file: clock.map(MovedClock::file),
        universe: FEW,
        rounds,
        reopen_every,
        seed,
    };
    Box::pin(run(setup)).await
}

/// The cases that each run must cover.
const ALWAYS: &[(&str, u64)] = &[
    ("outcome Applied", 2000),
    ("outcome AlreadyHeld", 1000),
    ("outcome NotHeld", 1000),
    ("outcome Denied", 1000),
    ("outcome Aborted", 500),
    ("reason AccountsPerApp", 50),
    ("reason MyFriends", 50),
    ("reason PeerFriends", 50),
    ("reason GroupsPerUser", 50),
    ("reason GroupsPerApp", 50),
    ("reason GroupsPerDay", 5),
    ("reason MembersPerGroup", 50),
    ("reason MembersAtCreation", 50),
    ("several limits at once", 50),
    ("mode Enforce", 2000),
    ("mode CheckOnly", 500),
    ("mode Shadow", 200),
    ("mode Force", 100),
    ("denied by check only", 100),
    ("let through by shadow", 100),
    ("state Active", 2000),
    ("add-on raises", 50),
    ("count above a limit that shrank", 20),
    ("more dissolved than created today", 20),
    ("edition bought", 1),
    ("renewed in time", 3),
    ("add-on bought", 3),
    ("order refused", 10),
    ("reclaimed by leaving", 50),
    ("reclaimed by deletion", 20),
    ("day changed", 15),
    ("fault DeadlinePassed", 50),
    ("fault GroupNotFound", 50),
    ("fault GroupTypeDiffers", 20),
    ("fault MembersNotTracked", 20),
    ("everything compared", 3),
];

/// The cases of holds that each run must cover.
const HOLDS: &[(&str, u64)] = &[
    ("outcome Repeated", 50),
    ("joined", 200),
    ("fate Confirmed", 200),
    ("fate Confirmed as of an earlier instant", 50),
    ("fate Retaken", 100),
    ("fate Retaken as of an earlier instant", 20),
    ("fate Denied", 10),
    ("fate Released", 100),
    ("fate EndedOtherwise", 200),
    ("released after its expiry", 20),
    ("hold not found", 20),
    ("fault HoldDiffers", 10),
    ("account expired", 30),
    ("friend expired", 200),
    ("member expired", 100),
    ("group expired", 30),
    ("account released", 5),
    ("friend released", 30),
    ("member released", 15),
    ("group released", 3),
    ("group confirmed", 30),
    ("reclaimed by expiry", 2),
    ("held counts", 500),
];

/// The cases that runs with fast time and small limits must cover.
const WITH_SMALL_LIMITS: &[(&str, u64)] = &[
    ("reason ServiceStopped", 500),
    ("reason GroupsAllowance", 20),
    ("state Grace", 500),
    ("state Stopped", 500),
    ("denied in grace", 50),
    ("renewed in grace", 10),
    ("bought anew after the stop", 10),
    ("renewed after the stop", 10),
    ("add-on bought in grace", 2),
    ("refund refused", 20),
    ("refund that stops the service", 5),
    ("refund that leaves the edition", 20),
    ("exchange refused", 20),
    ("exchange above the sum", 20),
    ("edition changed in grace", 3),
    ("edition changed to a later one", 20),
    ("edition changed to an earlier one", 10),
    ("limit agreed", 20),
    ("agreed limit in force", 500),
    ("add-on exchanged", 10),
    ("add-on exchanged for a cheaper one", 3),
    ("both daily limits at once", 2),
];

/// The cases that a run over Redis, which is shorter, must cover.
const OVER_REDIS: &[(&str, u64)] = &[
    ("operations", 20_000),
    ("re-opened", 6),
    ("outcome Denied", 1000),
    ("outcome Aborted", 100),
    ("reason AccountsPerApp", 50),
    ("reason MyFriends", 50),
    ("reason PeerFriends", 50),
    ("reason GroupsPerUser", 20),
    ("reason GroupsPerApp", 20),
    ("reason GroupsPerDay", 5),
    ("reason GroupsAllowance", 5),
    ("reason MembersPerGroup", 50),
    ("reason MembersAtCreation", 50),
    ("reason ServiceStopped", 100),
    ("denied in grace", 20),
    ("add-on raises", 50),
    ("reclaimed by deletion", 20),
    ("day changed", 15),
];

#[tokio::test]
async fn small_limits_in_memory_agree_with_the_model() {
    let coverage = run(Setup {
        rules: &rules::SMALL,
        catalog: small(),
        place: Place::Memory,
        clock_file: None,
        universe: FEW,
        rounds: 9_000,
        reopen_every: None,
        seed: seed(1),
    })
    .await;
    coverage.require(seed(1), ALWAYS);
    coverage.require(seed(1), HOLDS);
    coverage.require(seed(1), WITH_SMALL_LIMITS);
    coverage.require(seed(1), &[("reclaimed by a release", 1)]);
    coverage.require(seed(1), &[("operations", 90_000)]);
}

#[tokio::test]
async fn small_limits_on_disk_agree_with_the_model_also_after_re_opening() {
    let directory = tempfile::tempdir().expect("a directory");
    let coverage = run(Setup {
        rules: &rules::SMALL,
        catalog: small(),
        place: Place::directory(directory.path()),
        clock_file: None,
        universe: FEW,
        rounds: 6_000,
        reopen_every: Some(150),
        seed: seed(2),
    })
    .await;
    coverage.require(seed(2), ALWAYS);
    coverage.require(seed(2), HOLDS);
    coverage.require(seed(2), WITH_SMALL_LIMITS);
    coverage.require(seed(2), &[("operations", 60_000), ("re-opened", 40)]);
}

/// The cases that a run over several servers must cover: still shorter, with the same scripts.
const OVER_MANY_SERVERS: &[(&str, u64)] = &[
    ("operations", 6_000),
    ("re-opened", 4),
    ("outcome Applied", 500),
    ("outcome Denied", 300),
    ("outcome Aborted", 10),
    ("reason AccountsPerApp", 2),
    ("reason MyFriends", 2),
    ("reason PeerFriends", 2),
    ("reason GroupsPerUser", 2),
    ("reason GroupsPerApp", 2),
    ("reason MembersPerGroup", 2),
    ("reason MembersAtCreation", 2),
    ("reclaimed by deletion", 3),
    ("day changed", 3),
    ("outcome Repeated", 5),
    ("joined", 20),
    ("fate Confirmed", 20),
    ("fate Retaken", 10),
    ("fate Released", 10),
    ("fate EndedOtherwise", 20),
    ("fault HoldDiffers", 1),
    ("member expired", 10),
    ("group expired", 3),
    ("group confirmed", 3),
];

async fn small_limits_over_redis(
    place: Place,
    clock: &MovedClock,
    rounds: usize,
    seed: u64,
) -> Coverage {
    run(Setup {
        rules: &rules::SMALL,
        catalog: small(),
        place,
        clock_file: Some(clock.file()),
        universe: FEW,
        rounds,
        reopen_every: Some(rounds / 7),
        seed,
    })
    .await
}

#[tokio::test]
async fn small_limits_in_redis_agree_with_the_model() {
    let clock = MovedClock::new();
    let server = Server::start_with_clock(&[], &clock);
    let url = format!("redis://{}/0", server.address());
    let coverage =
        Box::pin(small_limits_over_redis(Place::Redis(url), &clock, 2_000, seed(4))).await;
    coverage.require(seed(4), OVER_REDIS);
    coverage.require(seed(4), HOLDS);
}

#[tokio::test]
async fn small_limits_in_redis_agree_with_the_model_in_coalesced_calls() {
    let clock = MovedClock::new();
    let server = Server::start_with_clock(&[], &clock);
    let place = Place::Coalesced(format!("redis://{}/0", server.address()));
    let coverage = Box::pin(small_limits_over_redis(place, &clock, 2_000, seed(7))).await;
    coverage.require(seed(7), OVER_REDIS);
    coverage.require(seed(7), HOLDS);
}

#[tokio::test]
async fn small_limits_under_sentinels_agree_with_the_model() {
    let clock = MovedClock::new();
    let servers = Sentinels::start_with_clock(&clock);
    let coverage =
        Box::pin(small_limits_over_redis(Place::Redis(servers.url()), &clock, 600, seed(5))).await;
    coverage.require(seed(5), OVER_MANY_SERVERS);
}

#[tokio::test]
async fn small_limits_in_a_cluster_agree_with_the_model() {
    let clock = MovedClock::new();
    let servers = Cluster::start_with_clock(&clock);
    let coverage =
        Box::pin(small_limits_over_redis(Place::Redis(servers.url()), &clock, 600, seed(26))).await;
    coverage.require(seed(26), OVER_MANY_SERVERS);
}

#[tokio::test]
async fn the_published_limits_agree_with_the_model() {
    let coverage = run(Setup {
        rules: &rules::BUILT_IN,
        catalog: imquota::catalog::builtin(),
        place: Place::Memory,
        clock_file: None,
        universe: MANY,
        rounds: 9_000,
        reopen_every: None,
        seed: seed(3),
    })
    .await;
    coverage.require(seed(3), ALWAYS);
    coverage.require(seed(3), HOLDS);
    coverage.require(seed(3), &[("operations", 54_000)]);
}
