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
/// Bytes of the unit in which the system shows the memory of a process.
const KIB_BYTES: f64 = 1024.0;

/// Reads `/proc/self`; where there is none, no metric is shown.
#[derive(Debug)]
pub(super) struct Process;

struct Seen {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    start_seconds: f64,
}

/// The files of `/proc` that are read.
struct Files {
    stat: String,
    status: String,
    limits: String,
    system_stat: String,
}

impl Seen {
    fn now() -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let files = Files {
            stat: read("/proc/self/stat")?,
            status: read("/proc/self/status")?,
            limits: read("/proc/self/limits")?,
            system_stat: read("/proc/stat")?,
        };
        // One of them reads the others.
        let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        Self::of(&files, u32::try_from(open_fds).ok()?)
    }

    fn of(files: &Files, open_fds: u32) -> Option<Self> {
        // The name before it may hold anything, a parenthesis too.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As a machine with pages of 64 KiB shows a process that has 100 of them.
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
    fn memory_is_right_whatever_the_size_of_a_page() {
        let seen = Seen::of(&files(), 12).expect("it is whole");
        let Seen { cpu_seconds, resident_bytes, open_fds, max_fds, start_seconds } = seen;
        let expected = [2.0, 6_553_600.0, 12.0, 1024.0, 1_700_000_030.0];
        let shown = [cpu_seconds, resident_bytes, open_fds, max_fds, start_seconds];
        for (shown, expected) in shown.into_iter().zip(expected) {
            assert!((shown - expected).abs() < 1e-6, "{shown} is not {expected}");
        }
        let unlimited = files().limits.replace("1024", "unlimited");
        let seen = Seen::of(&Files { limits: unlimited, ..files() }, 1).expect("it is whole");
        assert!(seen.max_fds.is_infinite());
    }
}
