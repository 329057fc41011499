//! Decisions over a cluster of one, two and three masters, with many apps: an app's groups are on
//! one master, and different apps on different ones.

use std::time::Duration;

use futures_util::future::join_all;

use super::drive::{Loop, Numbers, Rpc, Run, drive};
use super::mix::{Mix, Plan};
use super::processes::{Process, Transport};
use super::results::Results;
use super::shared::{SEED, Spread};
use super::support::redis::{Server, wait_for};

/// The number of concurrent apps, and operations in flight of each.
const APPS: usize = 12;
/// The number of concurrent apps of a small run.
const APPS_QUICK: usize = 3;
const IN_FLIGHT: usize = 32;
const SLOTS: usize = 16_384;

/// Measures all three in alternating rounds.
pub async fn run(quick: bool) -> Result<(), String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let binary = env!("CARGO_BIN_EXE_imquota").as_ref();
    let (rounds, measured) = if quick { (1, 0.1) } else { (7, 2.0) };
    let (apps, groups) = if quick { (APPS_QUICK, 4) } else { (APPS, 64) };
    let clusters: Vec<_> = (1..=3).map(Masters::start).collect();
    let mut sidecars = Vec::new();
    for (index, cluster) in clusters.iter().enumerate() {
        let own = folder.path().join(index.to_string());
        std::fs::create_dir(&own).map_err(|error| error.to_string())?;
        let sidecar = Process::sidecar(binary, &own, Transport::Unix, &cluster.url()).await;
        let plan = |app| Plan::new(Mix::Join, &format!("app-{app}"), 1 << 16, groups, SEED);
        let plans: Vec<_> = (0..apps).map(plan).collect();
        for plan in &plans {
            sidecar.prepare(plan).await?;
        }
        sidecars.push((sidecar, plans, vec![0; apps]));
    }
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); clusters.len()];
    for round in 0..rounds {
        for turn in 0..clusters.len() {
            let which = (round + turn) % clusters.len();
            let (sidecar, plans, next) = &mut sidecars[which];
            let run = Run {
                address: sidecar.address.clone(),
                rpc: Rpc::Apply,
                pace: Loop::Closed { in_flight: IN_FLIGHT },
                connections: 1,
                warm_up: Duration::from_secs_f64(measured / 4.0),
                measured: Duration::from_secs_f64(measured),
            };
            let apps = plans.iter().zip(next.iter());
            let apps = apps.map(|(plan, next)| drive(&run, plan.clone(), Numbers::new(*next, 1)));
            let mut all = Results::default();
            for (app, end) in join_all(apps).await.into_iter().enumerate() {
                let (results, end) = end?;
                assert_eq!(results.errors(), 0, "{results}");
                all.add(&results);
                next[app] = end;
            }
            rates[which].push(all.per_second());
        }
    }
    println!("\n| masters | decisions/s | ratio to one master |");
    println!("|---:|---:|---:|");
    for (index, rate) in rates.iter().enumerate() {
        let ratios = rate.iter().zip(&rates[0]).map(|(rate, one)| rate / one);
        let rate = Spread::of(rate.iter().copied());
        println!("| {} | {rate:.0} | {} |", index + 1, Spread::of(ratios));
    }
    Ok(())
}

/// A cluster of masters without replicas.
struct Masters(Vec<Server>);

impl Masters {
    fn start(count: usize) -> Self {
        let servers: Vec<_> = (0..count).map(|_| Server::start(&["cluster-enabled yes"])).collect();
        for (index, server) in servers.iter().enumerate() {
            server.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            let first = (SLOTS * index / count).to_string();
            let last = (SLOTS * (index + 1) / count - 1).to_string();
            server.cli(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            server.cli(&["CLUSTER", "MEET", "127.0.0.1", &servers[0].port().to_string()]);
        }
        for server in &servers {
            wait_for("the cluster to form", || {
                let info = server.try_cli(&["CLUSTER", "INFO"]).ok()?;
                let whole = info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_known_nodes:{count}"))
                    && info.contains("cluster_slots_assigned:16384");
                whole.then_some(())
            });
        }
        Self(servers)
    }

    fn url(&self) -> String {
        let seeds: Vec<_> = self.0.iter().map(Server::address).collect();
        format!("redis-cluster://{}", seeds.join(","))
    }
}
