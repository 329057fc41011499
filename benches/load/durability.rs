//! The cost of confirmation by replicas: the same joins over one Redis with two replicas, and over
//! one without, by durability.

use std::time::Duration;

use super::drive::{Loop, Numbers, Rpc, Run, drive};
use super::mix::{Mix, Plan};
use super::processes::{Process, Transport};
use super::shared::{SEED, Spread};
use super::support::redis::{Sentinels, Standalone};

/// Calls in flight.
const IN_FLIGHT: [usize; 2] = [1, 64];

/// A sidecar whose durability is measured.
struct Row {
    name: &'static str,
    sidecar: Process,
    plan: Plan,
    next: u64,
    /// For each number of calls in flight: calls per second, and the 50th and 99th percentile of
    /// their duration in microseconds.
    measured: [Vec<[f64; 3]>; IN_FLIGHT.len()],
}

/// Measures all rows in alternating rounds.
pub async fn run(quick: bool) -> Result<(), String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let binary = env!("CARGO_BIN_EXE_imquota").as_ref();
    let (rounds, seconds) = if quick { (1, 0.1) } else { (7, 2.0) };
    let (watched, alone) = (Sentinels::start(), Standalone::start());
    let rows = [
        ("`local`", watched.url(), "local"),
        ("`auto`, two replicas", watched.url(), "auto"),
        ("`replicated`, two replicas", watched.url(), "replicated"),
        ("`local`, no replica", alone.url(), "local"),
        ("`auto`, no replica", alone.url(), "auto"),
    ];
    let mut measured = Vec::new();
    for (index, (name, url, durability)) in rows.into_iter().enumerate() {
        let own = folder.path().join(index.to_string());
        std::fs::create_dir(&own).map_err(|error| error.to_string())?;
        let arguments = ["--durability", durability];
        let transport = Transport::Unix;
        let sidecar = Process::sidecar_with(binary, &own, transport, &url, &arguments).await;
        let plan = Plan::new(Mix::Join, &format!("app-{index}"), 1 << 16, 64, SEED);
        sidecar.prepare(&plan).await?;
        measured.push(Row { name, sidecar, plan, next: 0, measured: Default::default() });
    }
    for round in 0..rounds {
        let count = measured.len();
        for turn in 0..count {
            let row = &mut measured[(round + turn) % count];
            for (index, in_flight) in IN_FLIGHT.into_iter().enumerate() {
                row.measure(index, in_flight, seconds).await?;
            }
        }
    }
    print(&measured);
    Ok(())
}

impl Row {
    async fn measure(
        &mut self,
        index: usize,
        in_flight: usize,
        seconds: f64,
    ) -> Result<(), String> {
        let run = Run {
            address: self.sidecar.address.clone(),
            rpc: Rpc::Unary,
            pace: Loop::Closed { in_flight },
            connections: 1,
            warm_up: Duration::from_secs_f64(seconds / 4.0),
            measured: Duration::from_secs_f64(seconds),
        };
        let (results, end) = drive(&run, self.plan.clone(), Numbers::new(self.next, 1)).await?;
        assert_eq!(results.errors(), 0, "{results}");
        self.next = end;
        let times = [results.latency.us_at(50.0), results.latency.us_at(99.0)];
        self.measured[index].push([results.per_second(), times[0], times[1]]);
        Ok(())
    }

    /// Returns the medians, and the ratio of the rate to that of `base` in the same round.
    fn columns(&self, index: usize, base: &Self) -> String {
        let column = |which: usize| Spread::of(self.measured[index].iter().map(|it| it[which]));
        let pairs = self.measured[index].iter().zip(&base.measured[index]);
        let ratio = Spread::of(pairs.map(|(own, base)| own[0] / base[0]));
        let [rate, p50, p99] = [0, 1, 2].map(column);
        format!("{rate:.0} | {ratio:.2} | {p50:.0} | {p99:.0}")
    }
}

fn print(rows: &[Row]) {
    for (index, in_flight) in IN_FLIGHT.into_iter().enumerate() {
        println!("\n| {in_flight} in flight | joins/s | ratio to `local` | p50, us | p99, us |");
        println!("|---|---:|---:|---:|---:|");
        for (number, row) in rows.iter().enumerate() {
            let base = if number < 3 { &rows[0] } else { &rows[3] };
            println!("| {} | {} |", row.name, row.columns(index, base));
        }
    }
}
