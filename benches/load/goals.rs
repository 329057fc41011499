//! The sidecar compared with its floors: each is measured once per round, in alternating order, on
//! the same machine and against the same Redis. Ratios are taken within a round.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::drive::{Loop, Numbers, Rpc, Run, drive};
use super::mix::{Mix, Plan};
use super::processes::{Process, Transport};
use super::results::Results;
use super::script::Bare;
use super::shared::{SEED, Spread};
use super::support::redis::Standalone;

/// The number of calls in flight that saturates the machine.
const MANY: usize = 64;
/// The number of operations in flight on an Apply stream: a client that pipelines sends more.
const PIPELINED: usize = 256;

/// Options of the comparison.
#[derive(Debug, Clone, clap::Args)]
pub struct Goals {
    /// Rounds of each comparison
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of each measurement, after a warm-up of a quarter of that
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Another build of imquota to measure
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_imquota"))]
    binary: PathBuf,
}

/// The size of the measurements.
struct Scale {
    rounds: usize,
    warm_up: Duration,
    measured: Duration,
    users: u32,
    groups: u32,
    binary: PathBuf,
}

impl Scale {
    fn new(goals: Goals, quick: bool) -> Self {
        let Goals { rounds, seconds, binary } = goals;
        let measured = Duration::from_secs_f64(if quick { 0.1 } else { seconds });
        let rounds = if quick { 1 } else { usize::from(rounds) };
        let (users, groups) = if quick { (1 << 12, 1 << 4) } else { (1 << 17, 1 << 10) };
        Self { rounds, warm_up: measured / 4, measured, users, groups, binary }
    }
}

/// The measurement of one server in one round.
struct Measured {
    results: Results,
    /// Processor time of the server per call, in microseconds.
    server_us: f64,
    /// Processor time of Redis's main thread per call, in microseconds.
    redis_us: f64,
}

impl Measured {
    fn p50(&self) -> f64 {
        self.results.latency.us_at(50.0)
    }

    fn per_second(&self) -> f64 {
        self.results.per_second()
    }
}

/// A server under load, and the next number in its sequence of operations.
struct Subject<'a> {
    process: &'a Process,
    redis: Option<&'a Standalone>,
    plan: Plan,
    next: u64,
}

impl<'a> Subject<'a> {
    fn new(process: &'a Process, redis: Option<&'a Standalone>, scale: &Scale) -> Self {
        let plan = Plan::new(Mix::Join, "bench", scale.users, scale.groups, SEED);
        Self { process, redis, plan, next: 0 }
    }

    async fn measure(&mut self, scale: &Scale, rpc: Rpc, in_flight: usize) -> Measured {
        let run = Run {
            address: self.process.address.clone(),
            rpc,
            pace: Loop::Closed { in_flight },
            connections: 1,
            warm_up: scale.warm_up,
            measured: scale.measured,
        };
        let (server, redis) = (self.process.cpu_seconds(), self.redis_seconds());
        let first = self.next;
        let numbers = Numbers::new(first, 1);
        let (results, end) = drive(&run, self.plan.clone(), numbers).await.expect("it listens");
        self.next = end;
        let others = results.operations() - results.outcomes.get("applied").unwrap_or(&0);
        assert_eq!(others, 0, "every join is new: {results}");
        // Over all operations that were sent, including warm-up and end.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let sent = (end - first) as f64;
        let server_us = (self.process.cpu_seconds() - server) * 1e6 / sent;
        let redis_us = (self.redis_seconds() - redis) * 1e6 / sent;
        Measured { results, server_us, redis_us }
    }

    fn redis_seconds(&self) -> f64 {
        self.redis.map_or(0.0, |redis| {
            ["used_cpu_user_main_thread", "used_cpu_sys_main_thread"]
                .iter()
                .map(|field| redis.server.info("cpu", field).expect("Redis reports it"))
                .map(|seconds| seconds.parse::<f64>().expect("a number"))
                .sum()
        })
    }
}

/// Measures all comparisons and prints them.
pub async fn run(goals: Goals, quick: bool) {
    let scale = &Scale::new(goals, quick);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    println!("\nrounds: {}, of {:?} each after {:?}", scale.rounds, scale.measured, scale.warm_up);
    for transport in [Transport::Tcp, Transport::Unix] {
        over_redis(scale, &folder, transport).await;
    }
    in_memory(scale, &folder).await;
}

async fn over_redis(scale: &Scale, folder: &TempDir, transport: Transport) {
    let redis = Standalone::start();
    let folder = tempfile::tempdir_in(folder.path()).expect("a folder");
    let echo = Process::echo(folder.path(), transport).await;
    let sidecar = Process::sidecar(&scale.binary, folder.path(), transport, &redis.url()).await;
    let idle_mb = sidecar.resident_mb();
    let mut echo = Subject::new(&echo, None, scale);
    let mut sidecar = Subject::new(&sidecar, Some(&redis), scale);
    sidecar.process.prepare(&sidecar.plan).await.expect("it is prepared");
    let mut bare = Bare::connect(&redis.url(), scale.users, scale.groups).await;

    println!("\n## Joins over Redis, {}\n", transport.name());
    println!("resident memory of the sidecar after its start: {idle_mb:.1} MB\n");
    one_in_flight(scale, &mut echo, &mut sidecar, &mut bare).await;
    many_in_flight(scale, &mut echo, &mut sidecar, &mut bare).await;
    pipelined(scale, &mut echo, &mut sidecar).await;
    let resident_mb = sidecar.process.resident_mb();
    println!("\nresident memory of the sidecar at the end: {resident_mb:.1} MB");
}

fn print_columns(columns: &[&str]) {
    println!("| | {} |", columns.join(" | "));
    println!("|---|{}", "---:|".repeat(columns.len()));
}

fn print_row(name: &str, of: &[Measured], columns: &[fn(&Measured) -> f64]) {
    let cells = columns.iter().map(|column| format!("{:.1}", Spread::of(of.iter().map(column))));
    println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
}

/// Returns the ratio of `of` to `to`, round by round.
fn ratio(of: &[Measured], to: &[Measured], what: fn(&Measured) -> f64) -> Spread {
    Spread::of(of.iter().zip(to).map(|(of, to)| what(of) / what(to)))
}

const LATENCIES: [fn(&Measured) -> f64; 4] = [
    |it| it.results.latency.us_at(50.0),
    |it| it.results.latency.us_at(99.0),
    |it| it.server_us,
    |it| it.redis_us,
];
const RATES: [fn(&Measured) -> f64; 4] = [
    |it| it.results.per_second(),
    |it| it.results.latency.us_at(99.0),
    |it| it.server_us,
    |it| it.redis_us,
];

/// Measures echo, bare script and sidecar in alternating rounds.
async fn beside_floors(
    scale: &Scale,
    in_flight: usize,
    echo: &mut Subject<'_>,
    sidecar: &mut Subject<'_>,
    bare: &mut Bare,
) -> [Vec<Measured>; 3] {
    let (mut echoes, mut scripts, mut joins) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..scale.rounds {
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => echoes.push(echo.measure(scale, Rpc::Unary, in_flight).await),
                1 => joins.push(sidecar.measure(scale, Rpc::Unary, in_flight).await),
                _ => scripts.push(measure_bare(bare, scale, in_flight as u64, sidecar).await),
            }
        }
    }
    [echoes, scripts, joins]
}

fn print_rows([echoes, scripts, joins]: &[Vec<Measured>; 3], columns: &[fn(&Measured) -> f64]) {
    print_row("echo", echoes, columns);
    print_row("bare script", scripts, columns);
    print_row("sidecar", joins, columns);
}

async fn one_in_flight(
    scale: &Scale,
    echo: &mut Subject<'_>,
    sidecar: &mut Subject<'_>,
    bare: &mut Bare,
) {
    let measured = beside_floors(scale, 1, echo, sidecar, bare).await;
    println!("### 1 in flight\n");
    print_columns(&["p50, us", "p99, us", "server CPU per call, us", "Redis CPU per call, us"]);
    print_rows(&measured, &LATENCIES);
    let [echoes, scripts, joins] = measured;
    let floors = echoes.iter().zip(&scripts).map(|(echo, script)| echo.p50() + script.p50());
    let ratios = joins.iter().zip(floors).map(|(join, floor)| join.p50() / floor);
    println!("\np50, ratio to echo and script together: {}\n", Spread::of(ratios));
}

async fn measure_bare(
    bare: &mut Bare,
    scale: &Scale,
    in_flight: u64,
    sidecar: &Subject<'_>,
) -> Measured {
    let before = sidecar.redis_seconds();
    let results = bare.closed(in_flight, scale.warm_up, scale.measured).await;
    let used = sidecar.redis_seconds() - before;
    // Calls of the warm-up are not counted; their processor time is.
    let share = scale.measured.as_secs_f64() / (scale.measured + scale.warm_up).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let redis_us = used * share * 1e6 / results.operations() as f64;
    Measured { results, server_us: 0.0, redis_us }
}

async fn many_in_flight(
    scale: &Scale,
    echo: &mut Subject<'_>,
    sidecar: &mut Subject<'_>,
    bare: &mut Bare,
) {
    let measured = beside_floors(scale, MANY, echo, sidecar, bare).await;
    println!("### {MANY} in flight\n");
    print_columns(&["calls/s", "p99, us", "server CPU per call, us", "Redis CPU per call, us"]);
    print_rows(&measured, &RATES);
    let [echoes, _, joins] = measured;
    println!("\ncalls/s, ratio to the echo: {}", ratio(&joins, &echoes, Measured::per_second));
    let cpu = ratio(&joins, &echoes, |it| it.server_us);
    println!("server CPU per call, ratio to the echo: {cpu}\n");
}

async fn pipelined(scale: &Scale, echo: &mut Subject<'_>, sidecar: &mut Subject<'_>) {
    let (mut echoes, mut unary, mut joins) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..scale.rounds {
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => echoes.push(echo.measure(scale, Rpc::Apply, PIPELINED).await),
                1 => unary.push(sidecar.measure(scale, Rpc::Unary, PIPELINED).await),
                _ => joins.push(sidecar.measure(scale, Rpc::Apply, PIPELINED).await),
            }
        }
    }
    println!("### {PIPELINED} in flight\n");
    print_columns(&["decisions/s", "p99, us", "server CPU per call, us", "Redis CPU per call, us"]);
    print_row("echo, Apply", &echoes, &RATES);
    print_row("sidecar, unary", &unary, &RATES);
    print_row("sidecar, Apply", &joins, &RATES);
    let rates = ratio(&joins, &unary, Measured::per_second);
    println!("\ndecisions/s, ratio of Apply to unary: {rates}");
}

async fn in_memory(scale: &Scale, folder: &TempDir) {
    let transport = Transport::Unix;
    let echo = Process::echo(folder.path(), transport).await;
    let sidecar = Process::sidecar(&scale.binary, folder.path(), transport, "memory").await;
    let idle_mb = sidecar.resident_mb();
    let mut echo = Subject::new(&echo, None, scale);
    let mut sidecar = Subject::new(&sidecar, None, scale);
    sidecar.process.prepare(&sidecar.plan).await.expect("it is prepared");
    println!("\n## Joins in memory, {}\n", transport.name());
    println!("resident memory of the sidecar after its start: {idle_mb:.1} MB\n");
    for in_flight in [1, MANY] {
        let (mut echoes, mut joins) = (Vec::new(), Vec::new());
        for round in 0..scale.rounds {
            for turn in 0..2 {
                match (round + turn) % 2 {
                    0 => echoes.push(echo.measure(scale, Rpc::Unary, in_flight).await),
                    _ => joins.push(sidecar.measure(scale, Rpc::Unary, in_flight).await),
                }
            }
        }
        println!("### {in_flight} in flight\n");
        print_columns(&["p50, us", "calls/s", "server CPU per call, us"]);
        let columns: [fn(&Measured) -> f64; 3] =
            [Measured::p50, Measured::per_second, |it| it.server_us];
        print_row("echo", &echoes, &columns);
        print_row("sidecar", &joins, &columns);
        let more = joins.iter().zip(&echoes).map(|(join, echo)| join.p50() - echo.p50());
        println!("\np50, difference to the echo: {:.1} us", Spread::of(more));
        println!("calls/s, ratio to the echo: {}\n", ratio(&joins, &echoes, Measured::per_second));
    }
}
