//! One hot app: three sidecars decide for it on one Redis, and groups fill up while all of them
//! admit. Afterwards the members of each group are counted in Redis, against the group's own limit.

use std::path::Path;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};

use super::drive::{Loop, Numbers, Rpc, drive};
use super::field::{Comparison, Role, Scale, in_f64, redis_pid};
use super::mix::{CONTESTED_MEMBERS_MAX, Mix, Plan};
use super::processes::{CpuTimes, Process, Transport};
use super::results::Results;
use super::shared::SEED;
use super::support::redis::Standalone;
use super::table::{Figures, Goal, Table};

const SIDECARS: usize = 3;
/// The calls that a connection may have open.
const CALLS_PER_CONNECTION_MAX: usize = 128;
/// Keys of a step of a scan, and groups of a pipeline.
const AT_ONCE: usize = 1000;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct Hot {
    #[command(flatten)]
    comparison: Comparison,
    /// How operations are sent
    #[arg(long, value_enum, default_value_t = Rpc::Apply)]
    rpc: Rpc,
    /// Operations in flight, over all sidecars
    #[arg(long, default_value_t = 512)]
    in_flight: usize,
}

/// A build: its sidecars and their Redis.
struct Site {
    role: Role,
    sidecars: Vec<Process>,
    redis: Standalone,
    plan: Plan,
    next: u64,
}

/// The groups of a store by their members.
#[derive(Debug, Default)]
struct Count {
    /// Groups with a limit of their own that have as many members as it allows, or more.
    full: u64,
    /// Members over the limits, in sum.
    over_admitted: u64,
}

/// The figures of the rows.
#[derive(Default)]
struct Rows {
    per_second: Figures,
    p99_us: Figures,
    server_us: Figures,
    redis_us: Figures,
    over_admitted: Figures,
}

/// Measures the scenario and prints its table.
pub async fn run(hot: Hot, quick: bool) -> Result<(), String> {
    let Hot { comparison, rpc, in_flight } = hot;
    let scale = &Scale::new(comparison, quick);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut sites = Vec::new();
    for (role, binary) in scale.builds() {
        sites.push(Site::open(scale, role, binary, folder.path()).await?);
    }
    let mut rows = Rows::default();
    for round in 0..scale.rounds {
        let count = sites.len();
        for turn in Scale::turns(round, count) {
            sites[turn].measure(scale, rpc, in_flight, &mut rows).await?;
        }
    }
    for site in &sites {
        let Count { full, over_admitted } = count(&site.redis).await;
        println!("{:?}: {full} groups reached their limit", site.role);
        // Already by the operations that are in flight at first.
        assert!(full > 0, "no limit was reached: the run is too short to show anything");
        rows.over_admitted.of_mut(site.role).push(in_f64(over_admitted));
    }
    let mut table = Table::new(scale.is_quick);
    table.add(format!("decisions/s, {in_flight} in flight"), Goal::Reported, rows.per_second);
    table.add("p99, us", Goal::Reported, rows.p99_us);
    table.add("sidecars' CPU a decision, us", Goal::Reported, rows.server_us);
    table.add("Redis CPU a decision, us", Goal::Reported, rows.redis_us);
    let what = "members over the limits of their groups, counted in Redis";
    table.add(what, Goal::AtMost(0.0), rows.over_admitted);
    table.print();
    Ok(())
}

impl Site {
    async fn open(scale: &Scale, role: Role, binary: &Path, at: &Path) -> Result<Self, String> {
        let redis = Standalone::start();
        let mut sidecars = Vec::new();
        for index in 0..SIDECARS {
            let own = at.join(format!("{role:?}-{index}"));
            std::fs::create_dir(&own).map_err(|error| error.to_string())?;
            let transport = Transport::Unix;
            sidecars.push(Process::sidecar(binary, &own, transport, &redis.url()).await);
        }
        let plan = Plan::new(Mix::Contested, "hot", scale.users, scale.groups, SEED);
        sidecars[0].prepare(&plan).await?;
        Ok(Self { role, sidecars, redis, plan, next: 0 })
    }

    async fn measure(
        &mut self,
        scale: &Scale,
        rpc: Rpc,
        in_flight: usize,
        rows: &mut Rows,
    ) -> Result<(), String> {
        let pid = redis_pid(&self.redis);
        let redis = CpuTimes::of_main_thread(pid);
        let servers: Vec<_> = self.sidecars.iter().map(Process::cpu).collect();
        let drives = self.sidecars.iter().enumerate().map(|(index, sidecar)| {
            let share = in_flight / SIDECARS + usize::from(index < in_flight % SIDECARS);
            let mut run = scale.run(sidecar, rpc, Loop::Closed { in_flight: share });
            run.connections = match rpc {
                Rpc::Unary => share.div_ceil(CALLS_PER_CONNECTION_MAX).max(1),
                Rpc::Apply => 1,
            };
            let numbers = Numbers::new(self.next + index as u64, SIDECARS as u64);
            let plan = self.plan.clone();
            async move { drive(&run, plan, numbers).await }
        });
        let (mut all, mut sent) = (Results::default(), 0);
        let first = self.next;
        for (index, end) in join_all(drives).await.into_iter().enumerate() {
            let (results, end) = end?;
            assert_eq!(results.errors(), 0, "{results}");
            all.add(&results);
            sent += (end - first - index as u64) / SIDECARS as u64;
            self.next = self.next.max(end);
        }
        let used = self.sidecars.iter().zip(&servers);
        let used: f64 = used.map(|(sidecar, before)| sidecar.cpu().seconds_since(before)).sum();
        let redis = CpuTimes::of_main_thread(pid).seconds_since(&redis);
        rows.per_second.of_mut(self.role).push(all.per_second());
        rows.p99_us.of_mut(self.role).push(all.latency.us_at(99.0));
        rows.server_us.of_mut(self.role).push(used * 1e6 / in_f64(sent));
        rows.redis_us.of_mut(self.role).push(redis * 1e6 / in_f64(sent));
        Ok(())
    }
}

/// Counts the members of all groups in Redis, without a sidecar.
async fn count(redis: &Standalone) -> Count {
    let client = Client::open(redis.url()).expect("a good address");
    let mut redis = client.get_multiplexed_async_connection().await.expect("it listens");
    let (mut count, mut cursor) = (Count::default(), 0_u64);
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg("q1{*/groups}g*").arg("COUNT").arg(AT_ONCE);
        let (next, records): (u64, Vec<String>) =
            scan.query_async(&mut redis).await.expect("Redis scans");
        count.add(&mut redis, &records).await;
        if next == 0 {
            return count;
        }
        cursor = next;
    }
}

impl Count {
    /// Adds the groups with these records: the group's own limit, if it has one, and its type.
    async fn add(&mut self, redis: &mut MultiplexedConnection, records: &[String]) {
        if records.is_empty() {
            return;
        }
        let mut pipeline = redis::pipe();
        for record in records {
            pipeline.get(record).scard(record.replacen("}g", "}m", 1));
        }
        let replies: Vec<redis::Value> = pipeline.query_async(redis).await.expect("Redis replies");
        for pair in replies.chunks(2) {
            let [redis::Value::BulkString(record), redis::Value::Int(members)] = pair else {
                panic!("a record and a number: {pair:?}");
            };
            let record = String::from_utf8_lossy(record);
            let own = record.split(' ').next().and_then(|limit| limit.parse::<u32>().ok());
            // The full group, whose limit is 1, is contested by none.
            let Some(limit) = own.filter(|limit| *limit == CONTESTED_MEMBERS_MAX) else { continue };
            let members = u64::try_from(*members).expect("a number of members");
            self.full += u64::from(members >= u64::from(limit));
            self.over_admitted += members.saturating_sub(u64::from(limit));
        }
    }
}
