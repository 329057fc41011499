//! The command line for load on a running server, from one process or several.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::address::Address;
use super::drive::{Loop, Numbers, Rpc, Run, drive};
use super::mix::{Mix, Plan};
use super::processes::prepare;
use super::results::Results;
use super::shared::{SEED, hardware};

/// The highest number of operations in flight in the open loop; operations due beyond that are
/// counted as not sent.
const IN_FLIGHT_MAX: usize = 16_384;

/// Options for the load and its target.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// The data plane's address: HOST:PORT or unix:PATH
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:50051")]
    address: Address,
    /// The administration's address; if given, the app is sold what the mix needs (needed once)
    #[arg(long, value_name = "WHERE")]
    admin_address: Option<Address>,
    /// The app
    #[arg(long, default_value = "load")]
    app: String,
    /// How operations are sent
    #[arg(long, value_enum, default_value_t = Rpc::Unary)]
    rpc: Rpc,
    /// The mix of operations
    #[arg(long, value_enum, default_value_t = Mix::Join)]
    mix: Mix,
    /// Connections of each process
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Processes that share the load
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: u16,
    /// Duration of the measurement in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Duration of the warm-up in seconds
    #[arg(long, default_value_t = 1.0)]
    warm_up_seconds: f64,
    /// Number of users, a power of two
    #[arg(long, default_value_t = 1 << 17, value_parser = power_of_two)]
    users: u32,
    /// Number of groups, a power of two
    #[arg(long, default_value_t = 1 << 10, value_parser = power_of_two)]
    groups: u32,
    /// Seed of the sequence of operations
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// First operation of the sequence: joins of an earlier run are held already
    #[arg(long, default_value_t = 0)]
    first: u64,
    #[arg(long, hide = true)]
    worker: Option<u16>,
}

/// Options for load at one rate, or with a number of operations in flight.
#[derive(Debug, Clone, Args)]
pub struct Drive {
    #[command(flatten)]
    load: Load,
    /// Open loop: operations per second, due regardless of earlier ones
    #[arg(long, value_name = "OPS", conflicts_with = "in_flight")]
    rate: Option<f64>,
    /// Closed loop: operations in flight
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Writes all results as JSON, with the histogram in HdrHistogram's V2 encoding
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Appends a line of CSV; with a head if the file is new
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

fn power_of_two(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|error| format!("{error}"))?;
    let small = number.is_power_of_two() && (2..=1 << 24).contains(&number);
    if small { Ok(number) } else { Err("must be a power of two from 2 to 16777216".to_owned()) }
}

/// A run with its conditions, as written in JSON.
#[derive(Serialize)]
struct Report<'a> {
    hardware: String,
    command: String,
    seed: u64,
    per_second: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    results: &'a Results,
}

impl Drive {
    /// Drives the load and reports the results.
    pub async fn run(&self) -> Result<(), String> {
        let pace = match self.rate {
            Some(per_second) => Loop::Open { per_second, in_flight_max: IN_FLIGHT_MAX },
            None => Loop::Closed { in_flight: self.in_flight.max(1) },
        };
        if self.load.worker.is_some() {
            let (results, _) = self.load.alone(pace).await?;
            println!("{}", serde_json::to_string(&results).expect("plain data"));
            return Ok(());
        }
        println!("hardware: {}", hardware());
        println!("command: {}", command());
        println!("seed: {}", self.load.seed);
        let (results, end) = self.load.run(pace).await?;
        println!("{results}");
        println!("to continue the sequence: --first {end}");
        self.write(&results).map_err(|error| format!("cannot write the report: {error}"))
    }

    fn write(&self, results: &Results) -> std::io::Result<()> {
        if let Some(path) = &self.json {
            let at = |percentile| results.latency.us_at(percentile);
            let report = Report {
                hardware: hardware(),
                command: command(),
                seed: self.load.seed,
                per_second: results.per_second(),
                p50_us: at(50.0),
                p90_us: at(90.0),
                p99_us: at(99.0),
                p999_us: at(99.9),
                max_us: results.latency.max_us(),
                results,
            };
            serde_json::to_writer_pretty(File::create(path)?, &report)?;
        }
        if let Some(path) = &self.csv {
            let mut file = File::options().create(true).append(true).open(path)?;
            if file.metadata()?.len() == 0 {
                writeln!(file, "{CSV_HEAD}")?;
            }
            writeln!(file, "{}", csv_line(self.rate, results))?;
        }
        Ok(())
    }
}

/// The columns of a CSV file.
pub const CSV_HEAD: &str = "offered_per_second,per_second,p50_us,p90_us,p99_us,p999_us,max_us,\
                            lateness_p50_us,lateness_p99_us,errors,unsent";

/// Returns one line of a CSV file.
pub fn csv_line(offered: Option<f64>, results: &Results) -> String {
    let (latency, late) = (&results.latency, &results.lateness);
    format!(
        "{},{:.0},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{},{}",
        offered.map_or(String::new(), |offered| format!("{offered:.0}")),
        results.per_second(),
        latency.us_at(50.0),
        latency.us_at(90.0),
        latency.us_at(99.0),
        latency.us_at(99.9),
        latency.max_us(),
        late.us_at(50.0),
        late.us_at(99.0),
        results.errors(),
        results.unsent,
    )
}

/// Returns the command line of this process.
fn command() -> String {
    let own = std::env::args().skip(1).filter(|argument| argument != "--bench");
    format!("cargo bench --bench load -- {}", own.collect::<Vec<_>>().join(" "))
}

impl Load {
    /// Prepares the app, and drives the load from all processes; returns the results, and the
    /// number at which the sequence continues.
    pub async fn run(&self, pace: Loop) -> Result<(Results, u64), String> {
        prepare(&self.address, self.admin_address.as_ref(), &self.plan()).await?;
        if self.processes == 1 {
            return self.alone(pace).await;
        }
        let mut workers = Vec::new();
        for worker in 0..self.processes {
            let this = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(this);
            command.args(self.arguments_of_worker(worker, pace)).stdout(Stdio::piped());
            workers.push(command.spawn().map_err(|error| error.to_string())?);
        }
        let mut all = Results::default();
        for worker in workers {
            let output = worker.wait_with_output().map_err(|error| error.to_string())?;
            let results: Results = serde_json::from_slice(&output.stdout)
                .map_err(|error| format!("a process that shared the load failed: {error}"))?;
            all.add(&results);
        }
        // Doubled, so that it is past operations that are not among the results: those of the
        // warm-up and those in flight at the end.
        let sent = all.operations() * 2 + self.first;
        Ok((all, sent))
    }

    /// Drives this process's share of the load.
    async fn alone(&self, pace: Loop) -> Result<(Results, u64), String> {
        let run = Run {
            address: self.address.clone(),
            rpc: self.rpc,
            pace,
            connections: usize::from(self.connections),
            warm_up: Duration::from_secs_f64(self.warm_up_seconds),
            measured: Duration::from_secs_f64(self.seconds),
        };
        let first = self.first + u64::from(self.worker.unwrap_or(0));
        drive(&run, self.plan(), Numbers::new(first, u64::from(self.processes))).await
    }

    /// Returns the load with another first operation, so that the joins of the next run are new.
    pub fn starting_at(&self, first: u64) -> Self {
        Self { first, ..self.clone() }
    }

    fn plan(&self) -> Plan {
        Plan::new(self.mix, &self.app, self.users, self.groups, self.seed)
    }

    fn arguments_of_worker(&self, worker: u16, pace: Loop) -> Vec<String> {
        use clap::ValueEnum as _;
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.expect("every value has a name").get_name().to_owned()
        };
        let mut arguments = vec!["drive".to_owned()];
        let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        add("--worker", worker.to_string());
        add("--address", self.address.to_string());
        add("--app", self.app.clone());
        add("--rpc", name(self.rpc.to_possible_value()));
        add("--mix", name(self.mix.to_possible_value()));
        add("--connections", self.connections.to_string());
        add("--processes", self.processes.to_string());
        add("--seconds", self.seconds.to_string());
        add("--warm-up-seconds", self.warm_up_seconds.to_string());
        add("--users", self.users.to_string());
        add("--groups", self.groups.to_string());
        add("--seed", self.seed.to_string());
        add("--first", self.first.to_string());
        let processes = usize::from(self.processes);
        match pace {
            Loop::Closed { in_flight } => {
                add("--in-flight", in_flight.div_ceil(processes).to_string());
            }
            Loop::Open { per_second, .. } => {
                add("--rate", (per_second / f64::from(self.processes)).to_string());
            }
        }
        arguments
    }
}
