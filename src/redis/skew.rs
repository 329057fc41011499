//! Measures and logs how far the servers' clocks differ from this process's.
//!
//! Nothing is decided here: the scripts refuse what depends on the time if the clocks are too far
//! apart (`scripts/shared/skew.lua`). Operators are warned long before.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::client::ClockReading;
use super::store::Store;

/// Time between two readings of the clocks: one short command for each server.
const READ_INTERVAL: Duration = Duration::from_secs(2);
/// Smallest difference that is reported; machines that follow a time server differ by some
/// milliseconds.
const WARNED_FROM_MS: u64 = 1_000;
/// Readings after which a warning that is still true is repeated: half an hour.
const REPEATED_AFTER: u32 = 900;

/// The clock that is probably wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Suspect {
    /// All clocks agree.
    None,
    /// This machine's clock: servers that agree with each other all differ from it.
    ThisMachine,
    /// The clocks of these servers: others agree with this machine.
    Servers(Vec<String>),
    /// It cannot be determined.
    Unknown,
}

/// Reads the clocks of all servers at an interval, without end.
pub async fn watch_clocks(store: Arc<Store>) {
    let mut pace = interval(READ_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut known, mut since) = (Suspect::None, 0);
    loop {
        pace.tick().await;
        let readings = store.client.read_clocks(&*store.clock, READ_INTERVAL).await;
        let suspect = suspect(&readings);
        since += 1;
        if suspect != known || since >= REPEATED_AFTER {
            log(&suspect, &known, &readings);
            (known, since) = (suspect, 0);
        }
        store.set_clock_readings(readings);
    }
}

fn differ(one: i64, other: i64) -> bool {
    one.abs_diff(other) >= WARNED_FROM_MS
}

fn suspect(readings: &[ClockReading]) -> Suspect {
    let apart: Vec<_> = readings.iter().filter(|reading| differ(reading.ahead_ms, 0)).collect();
    let least = readings.iter().map(|reading| reading.ahead_ms).min().unwrap_or(0);
    let most = readings.iter().map(|reading| reading.ahead_ms).max().unwrap_or(0);
    if apart.is_empty() {
        Suspect::None
    } else if apart.len() < readings.len() {
        Suspect::Servers(apart.into_iter().map(|reading| reading.server.clone()).collect())
    } else if readings.len() > 1 && !differ(least, most) {
        Suspect::ThisMachine
    } else {
        Suspect::Unknown
    }
}

fn log(suspect: &Suspect, known: &Suspect, readings: &[ClockReading]) {
    let furthest = readings.iter().max_by_key(|reading| reading.ahead_ms.unsigned_abs());
    let (server, ahead_ms) =
        furthest.map_or(("", 0), |reading| (reading.server.as_str(), reading.ahead_ms));
    match suspect {
        Suspect::None if *known == Suspect::None => {}
        Suspect::None => info!("clocks agree again"),
        Suspect::ThisMachine => warn!(
            server,
            ahead_ms,
            "clock skew: this machine's clock is wrong, since all servers agree; check its NTP"
        ),
        Suspect::Servers(servers) => warn!(
            servers = servers.join(" "),
            ahead_ms,
            "clock skew: these servers' clocks are wrong, since others agree with this machine; \
             check their NTP"
        ),
        Suspect::Unknown => warn!(
            server,
            ahead_ms,
            "clock skew: the server's clock or this machine's is wrong, and which of them cannot \
             be determined; check NTP on both"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CLOCK_SKEW_MAX;

    #[test]
    fn the_wrong_clock_is_the_one_that_differs_while_others_agree() {
        let servers = |names: &[&str]| {
            Suspect::Servers(names.iter().map(|name| (*name).to_owned()).collect())
        };
        for (ahead_ms, wanted) in [
            (&[][..], Suspect::None),
            (&[999], Suspect::None),
            (&[1_000], Suspect::Unknown),
            (&[-999, 999, 0], Suspect::None),
            (&[5_000, 0, 0], servers(&["0"])),
            (&[0, -5_000, 2_000], servers(&["1", "2"])),
            (&[-40_000, -40_500, -40_900], Suspect::ThisMachine),
            (&[5_000, 9_000, 7_000], Suspect::Unknown),
        ] {
            let readings = ahead_ms.iter().enumerate().map(|(number, ahead_ms)| ClockReading {
                server: number.to_string(),
                ahead_ms: *ahead_ms,
            });
            let readings: Vec<_> = readings.collect();
            assert_eq!(suspect(&readings), wanted, "{ahead_ms:?}");
        }
    }

    #[test]
    fn scripts_refuse_at_the_same_difference() {
        let most = CLOCK_SKEW_MAX.as_millis().to_string();
        for text in [
            include_str!("scripts/shared/skew.lua"),
            include_str!("scripts/shared/begin.lua"),
            include_str!("scripts/claim_lease.lua"),
        ] {
            assert!(text.contains(&most), "{text}");
        }
    }
}
