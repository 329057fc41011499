//! The goals, as one table. Builds and floors are measured once per round, in alternating order, on
//! the same machine. Ratios are taken within a round.

use clap::ValueEnum;

use super::drive::Rpc;
use super::field::{Comparison, Field, Load, MANY, Measured, Pace, Role, Scale, Setup};
use super::mix::Mix;
use super::processes::{Process, Transport};
use super::support::redis::Standalone;
use super::table::{Figures, Goal, Table};
use super::{growth, steps};

/// The number of operations in flight of a client that pipelines.
const PIPELINED: usize = 256;
/// The number of concurrent apps.
const APPS: u32 = 16;
/// The share of the closed loop's rate at which the tail is measured.
const TAIL_LOAD: f64 = 0.7;
/// A tick of the runtime's timers, in microseconds.
const TICK_US: f64 = 1000.0;
/// The number of p50 that p99.9 may take, apart from a tick.
const TAIL_P50S: f64 = 5.0;

const ONE: Load = Load::unary(1);
const UNARY: Load = Load::unary(MANY);
const APPLY: Load = Load::apply(PIPELINED);
const TAIL: Load = Load { rpc: Rpc::Unary, pace: Pace::ShareOfMax(TAIL_LOAD) };

/// Options of the comparison.
#[derive(Debug, Clone, clap::Args)]
pub struct Goals {
    #[command(flatten)]
    comparison: Comparison,
    /// Only these groups of rows
    #[arg(long, value_enum, value_delimiter = ',', value_name = "GROUP,...")]
    only: Vec<Group>,
}

/// A group of rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Joins by single calls over Redis, 64 in flight
    Unary,
    /// Joins by single calls of 16 apps
    Apps,
    /// Denials by single calls, 64 in flight
    Denials,
    /// Joins on an Apply stream
    Apply,
    /// Joins in memory
    Memory,
    /// Joins over Redis, one in flight
    One,
    /// The tail of latency at 70 % load
    Tail,
    /// The longest single step in Redis
    Steps,
    /// The cost of a join on the way to a limit
    Growth,
}

/// Measures the groups of rows and prints the table.
pub async fn run(goals: Goals, quick: bool) -> Result<(), String> {
    let scale = &Scale::new(goals.comparison, quick);
    let mut table = Table::new(scale.is_quick);
    for group in Group::value_variants() {
        if !goals.only.is_empty() && !goals.only.contains(group) {
            continue;
        }
        eprintln!("measuring: {group:?}");
        match group {
            Group::Unary => unary(scale, &mut table).await,
            Group::Apps => apps(scale, &mut table).await,
            Group::Denials => denials(scale, &mut table).await,
            Group::Apply => apply(scale, &mut table).await,
            Group::Memory => memory(scale, &mut table).await,
            Group::One => one(scale, &mut table).await,
            Group::Tail => tail(scale, &mut table).await,
            Group::Steps => steps::add_rows(scale, &mut table).await?,
            Group::Growth => growth::add_rows(scale, &mut table).await?,
        }
    }
    table.print();
    Ok(())
}

/// Returns the setup of one app that joins over Redis.
fn over_redis(scale: &Scale, transport: Transport, floors: &'static [Role]) -> Setup {
    let groups = scale.groups;
    Setup { transport, over_redis: true, mix: Mix::Join, apps: 1, groups, floors }
}

/// Returns one load of each role.
fn each(load: Load) -> [(Role, Load); 4] {
    [Role::Echo, Role::Bare, Role::Before, Role::Now].map(|role| (role, load))
}

/// Returns the ratio of the rates.
fn rate_ratio(build: &Measured, floor: &Measured) -> f64 {
    build.per_second() / floor.per_second()
}

async fn unary(scale: &Scale, table: &mut Table) {
    let unix = over_redis(scale, Transport::Unix, &[Role::Echo, Role::Bare]);
    let unix = Field::open(scale, &unix).await.rounds(scale, &each(UNARY)).await;
    unix.print(scale, "unary, Unix socket");
    let tcp = over_redis(scale, Transport::Tcp, &[Role::Echo]);
    let tcp = Field::open(scale, &tcp).await.rounds(scale, &each(UNARY)).await;
    tcp.print(scale, "unary, TCP");
    let mut add = |what: &str, goal, figures| table.add(what, goal, figures);
    let redis = unix.figures(UNARY, |it| it.redis_us);
    add("Redis CPU a join, 64 in flight, us", Goal::AtMost(8.0), redis);
    let to_bare = unix.beside(UNARY, Role::Bare, |build, bare| build.redis_us / bare.redis_us);
    add("the same, ratio to the bare script", Goal::AtMost(1.0), to_bare);
    for (name, measured) in [("Unix socket", &unix), ("TCP", &tcp)] {
        let what = format!("calls/s, 64 in flight, {name}, ratio to the echo");
        add(&what, Goal::AtLeast(0.7), measured.beside(UNARY, Role::Echo, rate_ratio));
    }
    let rate = unix.figures(UNARY, Measured::per_second);
    add("joins/s, unary, 64 in flight, Unix socket", Goal::AtLeast(50_000.0), rate);
    let server = unix.figures(UNARY, |it| it.server_us);
    add("sidecar CPU a decision, unary, us", Goal::AtMost(15.0), server);
}

async fn apps(scale: &Scale, table: &mut Table) {
    let of_each = (scale.groups / APPS).max(2);
    let one_app = over_redis(scale, Transport::Unix, &[]);
    let setup = Setup { apps: APPS as usize, groups: of_each, ..one_app };
    let loads = [Load::unary(PIPELINED), Load::unary(MANY)];
    let trials = loads.map(|load| [(Role::Before, load), (Role::Now, load)]).concat();
    let measured = Field::open(scale, &setup).await.rounds(scale, &trials).await;
    measured.print(scale, "16 apps");
    for (load, in_flight, goal) in
        [(loads[0], PIPELINED, Goal::AtMost(12.0)), (loads[1], MANY, Goal::Reported)]
    {
        let what = format!("Redis CPU a join over 16 apps, {in_flight} in flight, us");
        table.add(what, goal, measured.figures(load, |it| it.redis_us));
    }
}

async fn denials(scale: &Scale, table: &mut Table) {
    let joins = over_redis(scale, Transport::Unix, &[]);
    let setup = Setup { mix: Mix::Denied, groups: 2, ..joins };
    let measured = Field::open(scale, &setup).await.rounds(scale, &each(UNARY)).await;
    measured.print(scale, "denials");
    let redis = measured.figures(UNARY, |it| it.redis_us);
    table.add("Redis CPU a denial, 64 in flight, us", Goal::AtMost(7.0), redis);
}

async fn apply(scale: &Scale, table: &mut Table) {
    let setup = over_redis(scale, Transport::Unix, &[Role::Echo]);
    let trials = [each(APPLY), each(UNARY)].concat();
    let measured = Field::open(scale, &setup).await.rounds(scale, &trials).await;
    measured.print(scale, "Apply");
    let rate = measured.figures(APPLY, Measured::per_second);
    let what = "decisions/s on Apply, 256 in flight, Unix socket";
    table.add(what, Goal::AtLeast(110_000.0), rate);
    let what = "sidecar CPU a decision, Apply, us";
    table.add(what, Goal::Reported, measured.figures(APPLY, |it| it.server_us));
    let of_unary =
        measured.between([APPLY, UNARY], |apply, unary| apply.server_us / unary.server_us);
    table.add("the same, ratio to unary, 64 in flight", Goal::AtMost(0.3), of_unary);
}

async fn memory(scale: &Scale, table: &mut Table) {
    let over_redis = over_redis(scale, Transport::Unix, &[Role::Echo]);
    let setup = Setup { over_redis: false, ..over_redis };
    let trials = [each(ONE), each(UNARY)].concat();
    let measured = Field::open(scale, &setup).await.rounds(scale, &trials).await;
    measured.print(scale, "in memory");
    let beyond = measured.beside(ONE, Role::Echo, |build, echo| build.p50() - echo.p50());
    let what = "in memory, 1 in flight: p50 beyond the echo, us";
    table.add(what, Goal::AtMost(15.0), beyond);
    let what = "in memory, 64 in flight: calls/s, ratio to the echo";
    table.add(what, Goal::AtLeast(0.8), measured.beside(UNARY, Role::Echo, rate_ratio));
    for (store, redis) in [("in memory", false), ("over Redis", true)] {
        let what = format!("memory of an idle sidecar, {store}, MB");
        table.add(what, Goal::Reported, idle_mb(scale, redis).await);
    }
}

/// Measures the resident memory of both builds after their first answered call.
async fn idle_mb(scale: &Scale, over_redis: bool) -> Figures {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut figures = Figures::default();
    let redis = over_redis.then(Standalone::start);
    let store = redis.as_ref().map_or("memory".to_owned(), Standalone::url);
    for round in 0..scale.rounds {
        for (role, binary) in scale.builds() {
            let own = folder.path().join(format!("{role:?}-{round}"));
            std::fs::create_dir(&own).expect("a new folder");
            let sidecar = Process::sidecar(binary, &own, Transport::Unix, &store).await;
            figures.of_mut(role).push(sidecar.resident_mb());
        }
    }
    figures
}

async fn one(scale: &Scale, table: &mut Table) {
    let goals = [
        (Transport::Tcp, Goal::AtMost(1.1), Goal::AtMost(1.6)),
        (Transport::Unix, Goal::AtMost(1.25), Goal::AtMost(2.0)),
    ];
    for (transport, p50_goal, cpu_goal) in goals {
        let name = transport.name();
        let setup = over_redis(scale, transport, &[Role::Echo, Role::Bare]);
        let measured = Field::open(scale, &setup).await.rounds(scale, &each(ONE)).await;
        measured.print(scale, &format!("1 in flight, {name}"));
        let what = format!("p50, 1 in flight, {name}, ratio to echo + bare script");
        table.add(what, p50_goal, measured.p50_to_floors(ONE));
        let cpu = measured.beside(ONE, Role::Echo, |build, echo| build.server_us / echo.server_us);
        let what = format!("sidecar CPU a call, 1 in flight, {name}, ratio to the echo");
        table.add(what, cpu_goal, cpu);
    }
}

async fn tail(scale: &Scale, table: &mut Table) {
    let setup = over_redis(scale, Transport::Unix, &[]);
    let measured = Field::open(scale, &setup).await.rounds(scale, &each(TAIL)).await;
    measured.print(scale, "70 % load");
    let of_allowed = |it: &Measured| it.p999() / (TAIL_P50S * it.p50() + TICK_US);
    let what = "p99.9 at 70 % load, ratio to 5 x p50 + 1 ms";
    table.add(what, Goal::AtMost(1.0), measured.figures(TAIL, of_allowed));
    table.add("the same, p99.9, us", Goal::Reported, measured.figures(TAIL, Measured::p999));
}
