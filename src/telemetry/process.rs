//! Metrics of the process from the operating system, read at each scrape, with the names used by
//! Prometheus' own clients.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks per second, the unit of processor time in `/proc`: the same on every Linux.
const TICKS_PER_S: f64 = 100.0;
/// Bytes in the unit of memory in `/proc/self/status`.
const KIB_BYTES: f64 = 1024.0;

/// Collects the metrics from `/proc/self`; without it there are none.
#[derive(Debug)]
pub(super) struct Process;

struct Sample {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    start_seconds: f64,
}

/// Contents of the files of `/proc`.
struct Files {
    stat: String,
    status: String,
    limits: String,
    system_stat: String,
}

impl Sample {
    fn now() -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let files = Files {
            stat: read("/proc/self/stat")?,
            status: read("/proc/self/status")?,
            limits: read("/proc/self/limits")?,
            system_stat: read("/proc/stat")?,
        };
        // One of them is open only to list the others.
        let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        Self::of(&files, u32::try_from(open_fds).ok()?)
    }

    fn of(files: &Files, open_fds: u32) -> Option<Self> {
        // The name before it may contain any character, including a parenthesis.
        let fields: Vec<&str> = files.stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let after = |text: &str, name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        };
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_S,
            // Not from `stat`, which counts pages, whose size differs between processors.
            resident_bytes: after(&files.status, "VmRSS:")? * KIB_BYTES,
            open_fds: f64::from(open_fds),
            max_fds: after(&files.limits, "Max open files").unwrap_or(f64::INFINITY),
            start_seconds: after(&files.system_stat, "btime ")? + field(22)? / TICKS_PER_S,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(sample) = Sample::now() else { return Ok(()) };
        let cpu = ConstCounter::new(sample.cpu_seconds);
        let help = "Processor time, user and system";
        let kind = MetricType::Counter;
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory in use", sample.resident_bytes),
            ("process_open_fds", "Open file descriptors", sample.open_fds),
            ("process_max_fds", "Maximum number of open file descriptors", sample.max_fds),
            ("process_start_time_seconds", "Start time, in Unix time", sample.start_seconds),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(descriptor)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the files of a process with 100 pages on a machine with pages of 64 KiB.
    fn files() -> Files {
        Files {
            stat: "7 (im) quota) S 1 7 7 0 -1 4 0 0 0 0 150 50 0 0 20 0 9 0 3000 9000 100 1\n"
                .to_owned(),
            status: "Name:\tim) quota\nVmPeak:\t  9000 kB\nVmRSS:\t    6400 kB\n".to_owned(),
            limits: "Limit      Soft Limit  Hard Limit  Units\n\
                     Max open files            1024                 4096                 files\n"
                .to_owned(),
            system_stat: "cpu  1 2 3\nbtime 1700000000\n".to_owned(),
        }
    }

    #[test]
    fn memory_does_not_depend_on_the_page_size() {
        let sample = Sample::of(&files(), 12).expect("complete");
        let Sample { cpu_seconds, resident_bytes, open_fds, max_fds, start_seconds } = sample;
        let expected = [2.0, 6_553_600.0, 12.0, 1024.0, 1_700_000_030.0];
        let shown = [cpu_seconds, resident_bytes, open_fds, max_fds, start_seconds];
        for (shown, expected) in shown.into_iter().zip(expected) {
            assert!((shown - expected).abs() < 1e-6, "{shown} is not {expected}");
        }
        let unlimited = files().limits.replace("1024", "unlimited");
        let sample = Sample::of(&Files { limits: unlimited, ..files() }, 1).expect("complete");
        assert!(sample.max_fds.is_infinite());
    }
}
