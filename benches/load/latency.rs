//! Latency where Redis is some way off: p50 and p99 of joins over a proxy that delays, at shares of
//! the rate that both builds reach over it.

use std::time::Duration;

use redis::{Client, cmd};

use super::delay::Delay;
use super::drive::{Loop, Numbers, Rpc, drive};
use super::field::{Comparison, PER_SECOND_MIN, Role, Scale};
use super::mix::{Mix, Plan};
use super::processes::{Process, Transport};
use super::results::Results;
use super::shared::{SEED, Spread};
use super::support::redis::Standalone;
use super::table::{Figures, Goal, Table};

/// The delays of a round trip, in microseconds.
const ROUND_TRIPS_US: [u64; 3] = [100, 1000, 3000];
/// The offered rates, in percent of the highest one of the slower build.
const LOADS: [u32; 2] = [10, 50];
const PERCENTILES: [f64; 2] = [50.0, 99.0];
/// Operations in flight in the closed loop that finds the highest rate: the calls that a connection
/// may have open.
const MANY: usize = 128;
const IN_FLIGHT_MAX: usize = 16_384;
/// What a figure may be of the one before.
const RATIO_MAX: f64 = 1.1;
/// Round trips over a proxy that are measured for its own figure.
const PINGS: usize = 50;

/// Options of the scenario.
#[derive(Debug, Clone, clap::Args)]
pub struct Latency {
    #[command(flatten)]
    comparison: Comparison,
    /// How operations are sent
    #[arg(long, value_enum, default_value_t = Rpc::Unary)]
    rpc: Rpc,
}

/// A build over one delay.
struct Site {
    role: Role,
    sidecar: Process,
    plan: Plan,
    next: u64,
    /// The highest rate.
    most: f64,
    _delay: Delay,
}

/// Measures the scenario and prints its table.
pub async fn run(latency: Latency, quick: bool) -> Result<(), String> {
    let Latency { comparison, rpc } = latency;
    let scale = &Scale::new(comparison, quick);
    let mut table = Table::new(scale.is_quick);
    for us in ROUND_TRIPS_US {
        over(scale, rpc, Duration::from_micros(us), &mut table).await?;
    }
    table.print();
    Ok(())
}

/// Adds the rows of one delay.
async fn over(
    scale: &Scale,
    rpc: Rpc,
    round_trip: Duration,
    table: &mut Table,
) -> Result<(), String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let ms = round_trip.as_secs_f64() * 1e3;
    let (mut sites, mut servers) = (Vec::new(), Vec::new());
    for (role, binary) in scale.builds() {
        let own = folder.path().join(format!("{role:?}"));
        std::fs::create_dir(&own).map_err(|error| error.to_string())?;
        let redis = Standalone::start();
        let delay = Delay::start(redis.server.port(), round_trip);
        let url = format!("redis://127.0.0.1:{}/0", delay.port());
        println!("{role:?}, {ms} ms: a PING takes {:.0} us", ping_us(&url).await);
        let sidecar = Process::sidecar(binary, &own, Transport::Unix, &url).await;
        let plan = Plan::new(Mix::Join, "latency", scale.users, scale.groups, SEED);
        sidecar.prepare(&plan).await?;
        sites.push(Site { role, sidecar, plan, next: 0, most: 0.0, _delay: delay });
        servers.push(redis);
    }
    for site in &mut sites {
        let pace = Loop::Closed { in_flight: MANY };
        site.most = site.drive(scale, rpc, pace).await?.per_second();
    }
    let most = sites.iter().map(|site| site.most).fold(f64::INFINITY, f64::min);
    for percent in LOADS {
        let per_second = most.max(PER_SECOND_MIN) * f64::from(percent) / 100.0;
        let mut figures = PERCENTILES.map(|_| Figures::default());
        for round in 0..scale.rounds {
            let count = sites.len();
            for turn in Scale::turns(round, count) {
                let site = &mut sites[turn];
                let pace = Loop::Open { per_second, in_flight_max: IN_FLIGHT_MAX };
                let results = site.drive(scale, rpc, pace).await?;
                for (figures, percentile) in figures.iter_mut().zip(PERCENTILES) {
                    figures.of_mut(site.role).push(results.latency.us_at(percentile));
                }
            }
        }
        for (figures, percentile) in figures.into_iter().zip(PERCENTILES) {
            let what = format!(
                "p{percentile}, us, round trip {ms} ms, {percent} % load ({per_second:.0}/s)"
            );
            table.add(what, Goal::AtMostOfBefore(RATIO_MAX), figures);
        }
    }
    Ok(())
}

impl Site {
    async fn drive(&mut self, scale: &Scale, rpc: Rpc, pace: Loop) -> Result<Results, String> {
        let run = scale.run(&self.sidecar, rpc, pace);
        let numbers = Numbers::new(self.next, 1);
        let (results, end) = drive(&run, self.plan.clone(), numbers).await?;
        assert_eq!(results.errors() + results.unsent, 0, "{results}");
        self.next = end;
        Ok(results)
    }
}

/// Measures the median of round trips over a proxy, in microseconds.
async fn ping_us(url: &str) -> f64 {
    let client = Client::open(url).expect("a good address");
    let mut redis = client.get_multiplexed_async_connection().await.expect("it listens");
    let mut took = Vec::new();
    for _ in 0..PINGS {
        let sent = std::time::Instant::now();
        let () = cmd("PING").exec_async(&mut redis).await.expect("Redis replies");
        took.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    Spread::of(took).median
}
