//! The cost of a join over the amount of stored data: groups of the user, members of the group, and
//! users of one call.

use std::path::PathBuf;
use std::time::Instant;

use imquota::grpc::pb;

use super::mix::GROUP_TYPE;
use super::plot::{Axis, Plot};
use super::processes::{Process, Transport, sell};
use super::shared::Spread;
use super::support::redis::Standalone;
use super::unary::Client;

/// The app.
pub const APP: &str = "growth";
/// The highest number of users of a request in the catalog.
pub const BATCH: usize = 500;
/// The number of users of the batch that is compared with a single join.
const BATCH_MEASURED: usize = 256;

/// The size of the measurements.
struct Scale {
    groups_of_user: &'static [usize],
    members_of_group: &'static [usize],
    /// Joins of each measurement; few, so that they hardly change the sizes.
    joins: usize,
    rounds: usize,
}

const FULL: Scale = Scale {
    groups_of_user: &[1, 10, 100, 300, 600, 960],
    members_of_group: &[10, 100, 1000, 3000, 5900],
    joins: 32,
    rounds: 15,
};
const QUICK: Scale =
    Scale { groups_of_user: &[1, 40], members_of_group: &[10, 100], joins: 8, rounds: 2 };

fn join(group_id: String, user_ids: Vec<String>) -> pb::JoinGroupRequest {
    pb::JoinGroupRequest { app_id: APP.to_owned(), group_id, user_ids, ..Default::default() }
}

pub fn users(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|user| format!("{name}-{user:07}")).collect()
}

/// Joins users who must all be new.
pub async fn join_all(client: &Client, group_id: &str, users: Vec<String>) {
    let answer = client.clone().join_group(join(group_id.to_owned(), users)).await;
    let results = answer.expect("a decision").into_inner().results;
    assert!(results.iter().all(|result| result.outcome() == pb::Outcome::Applied), "{results:?}");
}

pub async fn create(client: &Client, group_id: &str) {
    let request = pb::CreateGroupRequest {
        app_id: APP.to_owned(),
        group_id: group_id.to_owned(),
        r#type: GROUP_TYPE.to_owned(),
        ..Default::default()
    };
    client.clone().create_group(request).await.expect("a new group");
}

/// The cost of a join: time of the script in the server, and latency, in microseconds.
struct Cost {
    script_us: f64,
    p50_us: f64,
}

/// Measures joins one by one.
async fn cost(redis: &Standalone, client: &Client, joins: Vec<pb::JoinGroupRequest>) -> Cost {
    redis.server.cli(&["CONFIG", "RESETSTAT"]);
    let mut took = Vec::new();
    for request in joins {
        let sent = Instant::now();
        let answer = client.clone().join_group(request).await.expect("a decision").into_inner();
        took.push(sent.elapsed().as_secs_f64() * 1e6);
        let applied = |result: &pb::Result| result.outcome() == pb::Outcome::Applied;
        assert!(answer.results.iter().all(applied), "{answer:?}");
    }
    let stats = redis.server.info("commandstats", "cmdstat_evalsha").expect("scripts ran");
    let script_us = stats.split(',').find_map(|part| part.strip_prefix("usec_per_call="));
    let script_us = script_us.and_then(|us| us.parse().ok()).expect("Redis reports it");
    Cost { script_us, p50_us: Spread::of(took).median }
}

/// Measures growth over Redis; draws it if a file is given.
pub async fn run(quick: bool, svg: Option<PathBuf>) -> Result<(), String> {
    let scale = if quick { &QUICK } else { &FULL };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let redis = Standalone::start();
    let binary = env!("CARGO_BIN_EXE_imquota").as_ref();
    let sidecar = Process::sidecar(binary, folder.path(), Transport::Unix, &redis.url()).await;
    sell(&sidecar.admin, APP).await?;
    let client = sidecar.address.quota().await?;
    let by_groups = by_groups(scale, &redis, &client).await;
    let by_members = by_members(scale, &redis, &client).await;
    by_batch(scale, &redis, &client).await;
    let Some(svg) = svg else { return Ok(()) };
    let named = |name: &str, points: Vec<(f64, f64)>| (name.to_owned(), points);
    let plot = Plot {
        title: "Cost of a join over stored data",
        x: Axis { name: "groups of the user, or members of the group", logarithmic: true },
        y: Axis { name: "microseconds of the script in Redis", logarithmic: false },
        lines: vec![named("groups of the user", by_groups), named("members", by_members)],
    };
    plot.draw(&svg)
}

/// Prints a table of costs, and returns its points.
fn print_costs(what: &str, sizes: &[usize], costs: &[Vec<Cost>]) -> Vec<(f64, f64)> {
    println!("\n| {what} | script, us | ratio to the smallest | p50, us | ratio to the smallest |");
    println!("|---:|---:|---:|---:|---:|");
    let smallest = &costs[0];
    let mut points = Vec::new();
    for (size, costs) in sizes.iter().zip(costs) {
        let script = Spread::of(costs.iter().map(|cost| cost.script_us));
        let p50 = Spread::of(costs.iter().map(|cost| cost.p50_us));
        let both = || costs.iter().zip(smallest);
        let scripts = Spread::of(both().map(|(cost, least)| cost.script_us / least.script_us));
        let p50s = Spread::of(both().map(|(cost, least)| cost.p50_us / least.p50_us));
        println!("| {size} | {script:.1} | {scripts} | {p50:.0} | {p50s} |");
        points.push((f64::from(u32::try_from(*size).expect("small")), script.median));
    }
    points
}

/// Measures users in a number of groups who each join another one.
async fn by_groups(scale: &Scale, redis: &Standalone, client: &Client) -> Vec<(f64, f64)> {
    let most = scale.groups_of_user.last().copied().unwrap_or(0);
    for group in 0..most {
        create(client, &format!("filled-{group:04}")).await;
    }
    let of_size = |size: usize| users(&format!("in-{size}"), scale.joins);
    for size in scale.groups_of_user {
        for group in 0..*size {
            join_all(client, &format!("filled-{group:04}"), of_size(*size)).await;
        }
    }
    let mut costs: Vec<Vec<Cost>> = scale.groups_of_user.iter().map(|_| Vec::new()).collect();
    for round in 0..scale.rounds {
        let group = format!("round-{round:03}");
        create(client, &group).await;
        for (index, size) in scale.groups_of_user.iter().enumerate() {
            let joins = of_size(*size).into_iter().map(|user| join(group.clone(), vec![user]));
            costs[index].push(cost(redis, client, joins.collect()).await);
        }
    }
    print_costs("groups of the user", scale.groups_of_user, &costs)
}

/// Measures users without groups who join groups of a given size, and leave them again.
async fn by_members(scale: &Scale, redis: &Standalone, client: &Client) -> Vec<(f64, f64)> {
    let name = |size: usize| format!("has-{size}");
    for size in scale.members_of_group {
        create(client, &name(*size)).await;
        for members in users(&format!("member-of-{size}"), *size).chunks(BATCH) {
            join_all(client, &name(*size), members.to_vec()).await;
        }
    }
    let mut costs: Vec<Vec<Cost>> = scale.members_of_group.iter().map(|_| Vec::new()).collect();
    for round in 0..scale.rounds {
        for (index, size) in scale.members_of_group.iter().enumerate() {
            let guests = users(&format!("guest-{round}"), scale.joins);
            let joins = guests.iter().map(|user| join(name(*size), vec![user.clone()]));
            costs[index].push(cost(redis, client, joins.collect()).await);
            let leave = pb::LeaveGroupRequest {
                app_id: APP.to_owned(),
                group_id: name(*size),
                user_ids: guests,
            };
            client.clone().leave_group(leave).await.expect("a decision");
        }
    }
    print_costs("members of the group", scale.members_of_group, &costs)
}

/// Compares one call with many users with many calls with one user.
async fn by_batch(scale: &Scale, redis: &Standalone, client: &Client) {
    let (mut scripts, mut latencies) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds {
        let group = format!("batch-{round:03}");
        create(client, &group).await;
        let single = users(&format!("single-{round}"), scale.joins);
        let single = single.into_iter().map(|user| join(group.clone(), vec![user])).collect();
        let one = cost(redis, client, single).await;
        let many = users(&format!("many-{round}"), BATCH_MEASURED);
        let many = cost(redis, client, vec![join(group, many)]).await;
        scripts.push(many.script_us / one.script_us);
        latencies.push(many.p50_us / one.p50_us);
    }
    println!("\none call of {BATCH_MEASURED} users, ratio to one of one user:");
    println!("- script: {:.1}", Spread::of(scripts));
    println!("- latency: {:.1}", Spread::of(latencies));
}
