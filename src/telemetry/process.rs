//! The process as the system sees it, read when somebody asks, under the names that Prometheus'
//! own clients use.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks of a second in which the system tells processor time, on every Linux that there is.
const TICKS_PER_S: f64 = 100.0;
/// Bytes of a page, on the processors that imquota is built for.
const PAGE_BYTES: f64 = 4096.0;

/// Reads `/proc/self`; where there is none, nothing is told.
#[derive(Debug)]
pub(super) struct Process;

struct Seen {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    start_seconds: f64,
}

impl Seen {
    fn now() -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let stat = read("/proc/self/stat")?;
        // The name before it may hold anything, a parenthesis too.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let limits = read("/proc/self/limits")?;
        let max = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let booted = read("/proc/stat")?;
        let booted = booted.lines().find_map(|line| line.strip_prefix("btime "))?.parse::<f64>();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_S,
            resident_bytes: field(24)? * PAGE_BYTES,
            // One of them is what reads the others.
            open_fds: f64::from(
                u32::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
            ) - 1.0,
            max_fds: max.split_whitespace().next()?.parse().unwrap_or(f64::INFINITY),
            start_seconds: booted.ok()? + field(22)? / TICKS_PER_S,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(seen) = Seen::now() else { return Ok(()) };
        let cpu = ConstCounter::new(seen.cpu_seconds);
        let help = "Processor time, user's and system's";
        let kind = MetricType::Counter;
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory in use", seen.resident_bytes),
            ("process_open_fds", "Open file descriptors", seen.open_fds),
            ("process_max_fds", "Most file descriptors that may be open", seen.max_fds),
            ("process_start_time_seconds", "When it started, since 1970", seen.start_seconds),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(descriptor)?;
        }
        Ok(())
    }
}
