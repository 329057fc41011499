//! The builds and floors of one comparison, which are measured in alternating rounds. Each has a
//! Redis of its own, so that none finds the data of another one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;

use super::drive::{Loop, Numbers, Rpc, Run, drive};
use super::mix::{Mix, Plan};
use super::processes::{CpuTimes, Process, Transport};
use super::results::Results;
use super::script::Bare;
use super::shared::{SEED, Spread};
use super::support::redis::Standalone;
use super::table::Figures;

/// The number of calls in flight that saturates the machine.
pub const MANY: usize = 64;
/// The least rate of the open loop, for small runs in which a closed loop may end nothing.
pub const PER_SECOND_MIN: f64 = 200.0;
/// The highest number in flight in the open loop.
const IN_FLIGHT_MAX: usize = 16_384;

/// Options of a comparison of builds.
#[derive(Debug, Clone, clap::Args)]
pub struct Comparison {
    /// Rounds, in each of which every build and floor is measured once; figures of fewer than 7
    /// are not for publication
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds of each measurement, after a warm-up of a quarter of that
    #[arg(long, default_value_t = 1.2)]
    seconds: f64,
    /// The build of imquota to measure
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_imquota"))]
    binary: PathBuf,
    /// The build before, measured in the same rounds
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// Prints what the figures are from, too: all of each build and floor
    #[arg(long)]
    details: bool,
}

/// The size of the measurements, and the builds.
pub struct Scale {
    pub rounds: usize,
    pub warm_up: Duration,
    pub measured: Duration,
    pub users: u32,
    pub groups: u32,
    pub details: bool,
    pub is_quick: bool,
    binary: PathBuf,
    before: Option<PathBuf>,
}

impl Scale {
    pub fn new(comparison: Comparison, is_quick: bool) -> Self {
        let Comparison { rounds, seconds, binary, before, details } = comparison;
        let measured = Duration::from_secs_f64(if is_quick { 0.1 } else { seconds });
        let warm_up = measured / 4;
        let rounds = if is_quick { 1 } else { usize::from(rounds) };
        let (users, groups) = if is_quick { (1 << 12, 1 << 4) } else { (1 << 17, 1 << 10) };
        println!("rounds: {rounds}, of {measured:?} each after {warm_up:?}");
        Self { rounds, warm_up, measured, users, groups, details, is_quick, binary, before }
    }

    /// Returns the builds: the one before, if there is one, and the present one.
    pub fn builds(&self) -> Vec<(Role, &Path)> {
        let before = self.before.iter().map(|path| (Role::Before, path.as_path()));
        before.chain([(Role::Now, self.binary.as_path())]).collect()
    }

    /// Returns the order of a round: each of that number is first in one of them.
    pub fn turns(round: usize, count: usize) -> impl Iterator<Item = usize> {
        (0..count).map(move |turn| (round + turn) % count)
    }

    /// Returns the run of a server.
    pub fn run(&self, process: &Process, rpc: Rpc, pace: Loop) -> Run {
        let address = process.address.clone();
        Run { address, rpc, pace, connections: 1, warm_up: self.warm_up, measured: self.measured }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The server that decides nothing.
    Echo,
    /// The script without editions, types, time and modes.
    Bare,
    Before,
    Now,
}

/// How the load is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub rpc: Rpc,
    pub pace: Pace,
}

/// When the load is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// With a number of operations in flight.
    InFlight(usize),
    /// At a share of the rate with [`MANY`] in flight, which is measured right before.
    ShareOfMax(f64),
}

impl Load {
    pub const fn unary(in_flight: usize) -> Self {
        Self { rpc: Rpc::Unary, pace: Pace::InFlight(in_flight) }
    }

    pub const fn apply(in_flight: usize) -> Self {
        Self { rpc: Rpc::Apply, pace: Pace::InFlight(in_flight) }
    }
}

/// The measurement of one of them in one round.
pub struct Measured {
    pub results: Results,
    /// Processor time of the server per call, in microseconds.
    pub server_us: f64,
    /// Processor time of Redis's main thread per call, in microseconds.
    pub redis_us: f64,
}

impl Measured {
    pub fn p50(&self) -> f64 {
        self.results.latency.us_at(50.0)
    }

    pub fn p999(&self) -> f64 {
        self.results.latency.us_at(99.9)
    }

    pub fn per_second(&self) -> f64 {
        self.results.per_second()
    }
}

/// The conditions of a comparison.
pub struct Setup {
    pub transport: Transport,
    /// Over Redis, or in memory.
    pub over_redis: bool,
    pub mix: Mix,
    pub apps: usize,
    pub groups: u32,
    pub floors: &'static [Role],
}

/// A server, or the bare script, and its Redis.
enum Target {
    Server(Process),
    Bare(Bare),
}

/// One of them, and the next number in the sequence of each app.
struct Subject {
    role: Role,
    target: Target,
    redis: Option<Standalone>,
    plans: Vec<(Plan, u64)>,
}

/// All of them.
pub struct Field {
    subjects: Vec<Subject>,
    /// With the sockets and journals.
    _folder: tempfile::TempDir,
}

/// The measurements of each load, one for each round.
pub struct Measurements(Vec<(Role, Load, Vec<Measured>)>);

impl Field {
    /// Starts and prepares them.
    pub async fn open(scale: &Scale, setup: &Setup) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let plan = |app: usize| {
            let app = format!("bench-{app}");
            (Plan::new(setup.mix, &app, scale.users, setup.groups, SEED), 0)
        };
        let plans = || (0..setup.apps).map(plan).collect();
        let mut subjects = Vec::new();
        for role in setup.floors {
            let (target, redis) = if *role == Role::Echo {
                (Target::Server(Process::echo(folder.path(), setup.transport).await), None)
            } else {
                let redis = Standalone::start();
                let bare = Bare::connect(&redis.url(), scale.users, setup.groups).await;
                (Target::Bare(bare), Some(redis))
            };
            subjects.push(Subject { role: *role, target, redis, plans: plans() });
        }
        for (role, binary) in scale.builds() {
            let own = folder.path().join(format!("{role:?}"));
            std::fs::create_dir(&own).expect("a new folder");
            let redis = setup.over_redis.then(Standalone::start);
            let store = redis.as_ref().map_or("memory".to_owned(), Standalone::url);
            let process = Process::sidecar(binary, &own, setup.transport, &store).await;
            let plans: Vec<_> = plans();
            for (plan, _) in &plans {
                process.prepare(plan).await.expect("it is prepared");
            }
            subjects.push(Subject { role, target: Target::Server(process), redis, plans });
        }
        Self { subjects, _folder: folder }
    }

    /// Measures each load of each role, in alternating rounds; roles that are not there are left
    /// out.
    pub async fn rounds(&mut self, scale: &Scale, of: &[(Role, Load)]) -> Measurements {
        let index_of = |role| self.subjects.iter().position(|subject| subject.role == role);
        let there: Vec<_> =
            of.iter().filter_map(|(role, load)| Some((index_of(*role)?, *role, *load))).collect();
        let mut all: Vec<_> =
            there.iter().map(|(_, role, load)| (*role, *load, Vec::new())).collect();
        for round in 0..scale.rounds {
            for turn in Scale::turns(round, there.len()) {
                let (index, _, load) = there[turn];
                all[turn].2.push(self.subjects[index].measure(scale, load).await);
            }
        }
        Measurements(all)
    }
}

impl Subject {
    async fn measure(&mut self, scale: &Scale, load: Load) -> Measured {
        match load.pace {
            Pace::InFlight(in_flight) => self.closed(scale, load.rpc, in_flight).await,
            Pace::ShareOfMax(share) => {
                let most = self.closed(scale, load.rpc, MANY).await.per_second();
                let per_second = most.max(PER_SECOND_MIN) * share;
                self.drive(scale, load.rpc, |apps| Loop::Open {
                    per_second: per_second / f64::from(u32::try_from(apps).expect("few")),
                    in_flight_max: IN_FLIGHT_MAX,
                })
                .await
            }
        }
    }

    async fn closed(&mut self, scale: &Scale, rpc: Rpc, in_flight: usize) -> Measured {
        self.drive(scale, rpc, |apps| Loop::Closed { in_flight: in_flight / apps }).await
    }

    /// Measures at the pace of each app, by their number.
    async fn drive(&mut self, scale: &Scale, rpc: Rpc, pace: impl Fn(usize) -> Loop) -> Measured {
        let pace = pace(self.plans.len());
        let redis = self.redis.as_ref().map(redis_pid);
        let redis_before = redis.map(CpuTimes::of_main_thread);
        let (results, sent, server_us) = match &mut self.target {
            Target::Bare(bare) => {
                let Loop::Closed { in_flight } = pace else { unreachable!("only closed loops") };
                let (results, sent) =
                    bare.closed(in_flight as u64, scale.warm_up, scale.measured).await;
                (results, sent, 0.0)
            }
            Target::Server(process) => {
                let before = process.cpu();
                let (results, sent) =
                    drive_apps(&scale.run(process, rpc, pace), &mut self.plans).await;
                let used = process.cpu().seconds_since(&before);
                (results, sent, used * 1e6 / in_f64(sent))
            }
        };
        let redis_us = redis.zip(redis_before).map_or(0.0, |(pid, before)| {
            CpuTimes::of_main_thread(pid).seconds_since(&before) * 1e6 / in_f64(sent)
        });
        Measured { results, server_us, redis_us }
    }
}

/// Drives all apps at the same time; returns the results, and the number of operations sent,
/// including those of the warm-up and of the end.
async fn drive_apps(run: &Run, plans: &mut [(Plan, u64)]) -> (Results, u64) {
    let apps = plans.iter().map(|(plan, next)| drive(run, plan.clone(), Numbers::new(*next, 1)));
    let ends = join_all(apps).await;
    let (mut all, mut sent) = (Results::default(), 0);
    for ((plan, next), end) in plans.iter_mut().zip(ends) {
        let (results, end) = end.expect("it listens");
        let expected = if plan.mix == Mix::Denied { "denied" } else { "applied" };
        let others = results.operations() - results.outcomes.get(expected).unwrap_or(&0);
        assert_eq!(others, 0, "every operation is {expected}: {results}");
        all.add(&results);
        sent += end - *next;
        *next = end;
    }
    (all, sent)
}

/// Returns the process of a Redis.
pub fn redis_pid(redis: &Standalone) -> u32 {
    let pid = redis.server.info("server", "process_id").expect("Redis reports it");
    pid.parse().expect("a number")
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn in_f64(number: u64) -> f64 {
    number as f64
}

impl Measurements {
    /// Returns the measurements of a role, one for each round; none if it is not there.
    fn of(&self, role: Role, load: Load) -> &[Measured] {
        let mut all = self.0.iter();
        let found = all.find(|(its_role, its_load, _)| (*its_role, *its_load) == (role, load));
        found.map_or(&[], |(_, _, measured)| measured)
    }

    /// Returns a figure of both builds.
    pub fn figures(&self, load: Load, what: impl Fn(&Measured) -> f64) -> Figures {
        let of = |role| self.of(role, load).iter().map(&what).collect();
        Figures { before: of(Role::Before), now: of(Role::Now) }
    }

    /// Returns a figure of both builds that is taken from the measurement of the build and that of
    /// a floor in the same round.
    pub fn beside(
        &self,
        load: Load,
        floor: Role,
        what: impl Fn(&Measured, &Measured) -> f64,
    ) -> Figures {
        let floors = self.of(floor, load);
        let of = |role| {
            let builds = self.of(role, load).iter();
            builds.zip(floors).map(|(build, floor)| what(build, floor)).collect()
        };
        Figures { before: of(Role::Before), now: of(Role::Now) }
    }

    /// Returns a figure of both builds that is taken from two loads in the same round.
    pub fn between(&self, loads: [Load; 2], what: impl Fn(&Measured, &Measured) -> f64) -> Figures {
        let of = |role| {
            let pairs = self.of(role, loads[0]).iter().zip(self.of(role, loads[1]));
            pairs.map(|(one, other)| what(one, other)).collect()
        };
        Figures { before: of(Role::Before), now: of(Role::Now) }
    }

    /// Returns a figure of both builds that is taken from all floors in the same round.
    pub fn p50_to_floors(&self, load: Load) -> Figures {
        let floors = self.of(Role::Echo, load).iter().zip(self.of(Role::Bare, load));
        let floors: Vec<_> = floors.map(|(echo, bare)| echo.p50() + bare.p50()).collect();
        let of = |role| {
            let builds = self.of(role, load).iter();
            builds.zip(&floors).map(|(build, floor)| build.p50() / floor).collect()
        };
        Figures { before: of(Role::Before), now: of(Role::Now) }
    }

    /// Prints all of each, if details are wanted.
    pub fn print(&self, scale: &Scale, title: &str) {
        if !scale.details {
            return;
        }
        println!("\n### {title}\n");
        println!(
            "| | load | per second | p50, us | p99, us | p99.9, us | server, us | Redis, us |"
        );
        println!("|---|---|---:|---:|---:|---:|---:|---:|");
        for (role, load, measured) in &self.0 {
            let cell = |what: fn(&Measured) -> f64| Spread::of(measured.iter().map(what));
            println!(
                "| {role:?} | {:?}, {:?} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
                load.rpc,
                load.pace,
                cell(Measured::per_second),
                cell(Measured::p50),
                cell(|it| it.results.latency.us_at(99.0)),
                cell(Measured::p999),
                cell(|it| it.server_us),
                cell(|it| it.redis_us),
            );
        }
    }
}
