//! The cost of a join over the amount of stored data: groups of the user, members of the group, and
//! users of one call.

use std::path::{Path, PathBuf};
use std::time::Instant;

use imquota::grpc::pb;

use super::field::{Role, Scale as Compared};
use super::mix::GROUP_TYPE;
use super::plot::{Axis, Plot};
use super::processes::{Process, Transport, sell};
use super::shared::Spread;
use super::support::redis::Standalone;
use super::table::{Figures, Goal, Table};
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
/// The sizes below and beyond the share of a limit (65 %) from which on thresholds are checked.
const THRESHOLDS: Scale = Scale {
    groups_of_user: &[600, 960],
    members_of_group: &[3600, 5900],
    joins: 32,
    // As many as the comparison has.
    rounds: 0,
};
const QUICK: Scale =
    Scale { groups_of_user: &[1, 40], members_of_group: &[10, 100], joins: 8, rounds: 2 };

pub fn join(group_id: String, user_ids: Vec<String>) -> pb::JoinGroupRequest {
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

/// Adds members to a group, whatever its limit is.
pub async fn fill_group(client: &Client, group_id: &str, users: &[String]) {
    for users in users.chunks(BATCH) {
        let mut request = join(group_id.to_owned(), users.to_vec());
        request.mode = pb::Mode::Force.into();
        let answer = client.clone().join_group(request).await.expect("a decision").into_inner();
        let applied = |result: &pb::Result| result.outcome() == pb::Outcome::Applied;
        assert!(answer.results.iter().all(applied), "{answer:?}");
    }
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

/// The cost of a call: time of its scripts in the server, and latency, in microseconds.
pub struct Cost {
    pub script_us: f64,
    pub p50_us: f64,
}

/// The commands that run scripts.
const SCRIPT_COMMANDS: [&str; 3] = ["evalsha", "eval", "fcall"];

/// A sidecar with its Redis, and what was measured of it.
pub struct Site {
    redis: Standalone,
    pub client: Client,
    by_groups: Vec<Vec<Cost>>,
    by_members: Vec<Vec<Cost>>,
    _sidecar: Process,
}

impl Site {
    /// Starts a build, with its sockets in the folder.
    pub async fn open(binary: &Path, folder: &Path) -> Result<Self, String> {
        let redis = Standalone::start();
        let sidecar = Process::sidecar(binary, folder, Transport::Unix, &redis.url()).await;
        sell(&sidecar.admin, APP).await?;
        let client = sidecar.address.quota().await?;
        let (by_groups, by_members) = (Vec::new(), Vec::new());
        Ok(Self { redis, client, by_groups, by_members, _sidecar: sidecar })
    }

    /// Measures joins one by one.
    pub async fn cost(&self, joins: Vec<pb::JoinGroupRequest>) -> Cost {
        let calls = joins.into_iter().map(async |request| {
            let answer = self.client.clone().join_group(request).await;
            let answer = answer.expect("a decision").into_inner();
            let applied = |result: &pb::Result| result.outcome() == pb::Outcome::Applied;
            assert!(answer.results.iter().all(applied), "{answer:?}");
        });
        self.cost_of(calls).await
    }

    /// Measures calls one by one.
    pub async fn cost_of(&self, calls: impl IntoIterator<Item: Future<Output = ()>>) -> Cost {
        self.redis.server.cli(&["CONFIG", "RESETSTAT"]);
        let mut took = Vec::new();
        for call in calls {
            let sent = Instant::now();
            call.await;
            took.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        let calls = u32::try_from(took.len()).expect("few");
        Cost { script_us: self.scripts_us() / f64::from(calls), p50_us: Spread::of(took).median }
    }

    /// Returns the time of all scripts since the statistics were reset, in microseconds.
    fn scripts_us(&self) -> f64 {
        let of = |command: &&str| {
            let stats = self.redis.server.info("commandstats", &format!("cmdstat_{command}"))?;
            let us = stats.split(',').find_map(|part| part.strip_prefix("usec="));
            Some(us.and_then(|us| us.parse::<f64>().ok()).expect("Redis reports it"))
        };
        let us: f64 = SCRIPT_COMMANDS.iter().filter_map(of).sum();
        assert!(us > 0.0, "scripts ran");
        us
    }

    /// Joins users to the numbers of groups that are measured.
    async fn fill_users(&mut self, scale: &Scale) {
        let most = scale.groups_of_user.last().copied().unwrap_or(0);
        for group in 0..most {
            create(&self.client, &format!("filled-{group:04}")).await;
        }
        for size in scale.groups_of_user {
            for group in 0..*size {
                let users = users_in(scale, *size);
                join_all(&self.client, &format!("filled-{group:04}"), users).await;
            }
        }
        self.by_groups = scale.groups_of_user.iter().map(|_| Vec::new()).collect();
    }

    /// Measures users in a number of groups who each join another one.
    async fn measure_users(&mut self, scale: &Scale, round: usize) {
        let group = format!("round-{round:03}");
        create(&self.client, &group).await;
        for (index, size) in scale.groups_of_user.iter().enumerate() {
            let users = users_in(scale, *size).into_iter();
            let joins = users.map(|user| join(group.clone(), vec![user]));
            let cost = self.cost(joins.collect()).await;
            self.by_groups[index].push(cost);
        }
        // The next round finds them with the same numbers of groups.
        for size in scale.groups_of_user {
            self.leave(&group, users_in(scale, *size)).await;
        }
    }

    /// Fills groups with the numbers of members that are measured.
    async fn fill_groups(&mut self, scale: &Scale) {
        for size in scale.members_of_group {
            let group = group_of(*size);
            create(&self.client, &group).await;
            for members in users(&format!("member-of-{size}"), *size).chunks(BATCH) {
                join_all(&self.client, &group, members.to_vec()).await;
            }
        }
        self.by_members = scale.members_of_group.iter().map(|_| Vec::new()).collect();
    }

    /// Measures users without groups who join groups of a given size, and leave them again.
    async fn measure_groups(&mut self, scale: &Scale, round: usize) {
        for (index, size) in scale.members_of_group.iter().enumerate() {
            let guests = users(&format!("guest-{round}"), scale.joins);
            let joins = guests.iter().map(|user| join(group_of(*size), vec![user.clone()]));
            let cost = self.cost(joins.collect()).await;
            self.by_members[index].push(cost);
            self.leave(&group_of(*size), guests).await;
        }
    }

    async fn leave(&self, group_id: &str, user_ids: Vec<String>) {
        let (app_id, group_id) = (APP.to_owned(), group_id.to_owned());
        let leave = pb::LeaveGroupRequest { app_id, group_id, user_ids };
        self.client.clone().leave_group(leave).await.expect("a decision");
    }

    /// Compares one call with many users with many calls with one user.
    async fn print_batches(&self, scale: &Scale) {
        let (mut scripts, mut latencies) = (Vec::new(), Vec::new());
        for round in 0..scale.rounds {
            let group = format!("batch-{round:03}");
            create(&self.client, &group).await;
            let single = users(&format!("single-{round}"), scale.joins);
            let single = single.into_iter().map(|user| join(group.clone(), vec![user])).collect();
            let one = self.cost(single).await;
            let many = users(&format!("many-{round}"), BATCH_MEASURED);
            let many = self.cost(vec![join(group, many)]).await;
            scripts.push(many.script_us / one.script_us);
            latencies.push(many.p50_us / one.p50_us);
        }
        println!("\none call of {BATCH_MEASURED} users, ratio to one of one user:");
        println!("- script: {:.1}", Spread::of(scripts));
        println!("- latency: {:.1}", Spread::of(latencies));
    }
}

/// Returns the users who are in that number of groups.
fn users_in(scale: &Scale, size: usize) -> Vec<String> {
    users(&format!("in-{size}"), scale.joins)
}

/// Returns the id of the group with that number of members.
fn group_of(size: usize) -> String {
    format!("has-{size}")
}

/// Measures growth over Redis; draws it if a file is given.
pub async fn run(quick: bool, svg: Option<PathBuf>) -> Result<(), String> {
    let scale = if quick { &QUICK } else { &FULL };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut site = Site::open(env!("CARGO_BIN_EXE_imquota").as_ref(), folder.path()).await?;
    site.fill_users(scale).await;
    for round in 0..scale.rounds {
        site.measure_users(scale, round).await;
    }
    let by_groups = print_costs("groups of the user", scale.groups_of_user, &site.by_groups);
    site.fill_groups(scale).await;
    for round in 0..scale.rounds {
        site.measure_groups(scale, round).await;
    }
    let by_members = print_costs("members of the group", scale.members_of_group, &site.by_members);
    site.print_batches(scale).await;
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

/// Adds the rows of the cost of a join beyond the share of a limit from which on thresholds are
/// checked, to that below it.
pub async fn add_rows(compared: &Compared, table: &mut Table) -> Result<(), String> {
    let scale = if compared.is_quick { &QUICK } else { &THRESHOLDS };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut sites: Vec<(Role, Site)> = Vec::new();
    for (role, binary) in compared.builds() {
        let own = folder.path().join(format!("{role:?}"));
        std::fs::create_dir(&own).map_err(|error| error.to_string())?;
        let mut site = Site::open(binary, &own).await?;
        site.fill_users(scale).await;
        site.fill_groups(scale).await;
        sites.push((role, site));
    }
    for round in 0..compared.rounds {
        let count = sites.len();
        for turn in Compared::turns(round, count) {
            sites[turn].1.measure_users(scale, round).await;
            sites[turn].1.measure_groups(scale, round).await;
        }
    }
    let (mut users, mut groups) = (Figures::default(), Figures::default());
    for (role, site) in &sites {
        *users.of_mut(*role) = beyond_to_below(&site.by_groups);
        *groups.of_mut(*role) = beyond_to_below(&site.by_members);
    }
    let what = "script of a join at 96 % of a user's groups, ratio to 60 %";
    table.add(what, Goal::AtMost(1.2), users);
    let what = "script of a join at 98 % of a group's members, ratio to 60 %";
    table.add(what, Goal::AtMost(1.2), groups);
    Ok(())
}

/// Returns the ratio of the second size to the first one, of each round.
fn beyond_to_below(costs: &[Vec<Cost>]) -> Vec<f64> {
    costs[1]
        .iter()
        .zip(&costs[0])
        .map(|(beyond, below)| beyond.script_us / below.script_us)
        .collect()
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
