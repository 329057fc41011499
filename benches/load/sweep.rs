//! Latency over load: an open loop at rising rates, written as CSV and as a plot.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::command::{CSV_HEAD, Load, csv_line};
use super::drive::Loop;
use super::plot::{Axis, Plot};
use super::shared::hardware;

/// Options of a sweep over rates.
#[derive(Debug, Clone, Args)]
pub struct Sweep {
    #[command(flatten)]
    load: Load,
    /// The offered operations per second of each step
    #[arg(long, value_delimiter = ',', required = true, value_name = "OPS,...")]
    rates: Vec<f64>,
    /// Writes one line per step to this CSV file
    #[arg(long, value_name = "FILE", default_value = "sweep.csv")]
    csv: PathBuf,
    /// Draws the percentiles over the offered load to this file
    #[arg(long, value_name = "FILE", default_value = "sweep.svg")]
    svg: PathBuf,
}

/// The percentiles that are drawn.
const PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)];
/// The highest number of operations in flight; operations due beyond that are not sent.
const IN_FLIGHT_MAX: usize = 16_384;

impl Sweep {
    /// Measures each step and writes both files.
    pub async fn run(&self) -> Result<(), String> {
        let mut csv = File::create(&self.csv).map_err(|error| error.to_string())?;
        let mut write = |line: &str| writeln!(csv, "{line}").map_err(|error| error.to_string());
        println!("hardware: {}", hardware());
        println!("{CSV_HEAD}");
        write(CSV_HEAD)?;
        let mut lines = PERCENTILES.map(|(name, _)| (name.to_owned(), Vec::new()));
        let mut first = 0;
        for rate in &self.rates {
            let pace = Loop::Open { per_second: *rate, in_flight_max: IN_FLIGHT_MAX };
            let (results, end) = self.load.starting_at(first).run(pace).await?;
            first = end;
            let line = csv_line(Some(*rate), &results);
            println!("{line}");
            write(&line)?;
            for ((_, points), (_, percentile)) in lines.iter_mut().zip(PERCENTILES) {
                points.push((*rate, results.latency.us_at(percentile)));
            }
        }
        let plot = Plot {
            title: "Latency over load",
            x: Axis { name: "operations offered per second", logarithmic: false },
            y: Axis { name: "microseconds from due to response", logarithmic: true },
            lines: lines.to_vec(),
        };
        plot.draw(&self.svg)
    }
}
