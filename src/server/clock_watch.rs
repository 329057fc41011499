//! Compares the clocks of the store with this machine's, and makes the store record its time.
//!
//! A store of several servers logs skew itself, since it can determine which clock is wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::clock_guard::{SKEW_MAX, SKEW_NOTICED};
use crate::ledger::Ledger;
use crate::telemetry::Metrics;

/// Interval of comparisons, which bounds the delay until a changed clock is detected.
const INTERVAL: Duration = Duration::from_secs(1);

/// Degree of clock skew, by which it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Skew {
    /// Negligible.
    Small,
    /// Large enough for an operator to check the clock.
    Noticed,
    /// So large that operations which depend on the time are refused.
    Refused,
}

impl Skew {
    fn of(seconds: f64) -> Self {
        let seconds = seconds.abs();
        if seconds > SKEW_MAX.as_secs_f64() {
            Self::Refused
        } else if seconds >= SKEW_NOTICED.as_secs_f64() {
            Self::Noticed
        } else {
            Self::Small
        }
    }
}

/// Compares until `stopped` is cancelled.
pub async fn watch_clocks(
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    stopped: CancellationToken,
) {
    let mut pace = interval(INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut logged = HashMap::new();
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            () = stopped.cancelled() => return,
        }
        let skews = ledger.clock_skews();
        metrics.condition.clock_skews(&skews);
        let in_this_process = ledger.servers().is_empty();
        for (node, seconds) in skews.into_iter().filter(|_| in_this_process) {
            let skew = Skew::of(seconds);
            let before = logged.insert(node.clone(), skew).unwrap_or(Skew::Small);
            log(&node, seconds, before, skew);
        }
        if let Err(error) = ledger.record_clock().await {
            warn!(%error, "clock not recorded, retrying");
        }
    }
}

/// Logs a change of skew.
fn log(node: &str, seconds: f64, before: Skew, now: Skew) {
    match now {
        _ if before == now => {}
        Skew::Refused => {
            warn!(
                node,
                seconds, "clock skew too large, operations that depend on the time are refused"
            );
        }
        Skew::Noticed => warn!(node, seconds, "clock skew noticed"),
        Skew::Small => info!(node, seconds, "clock skew ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skew_is_noticed_from_a_second_on_and_too_large_beyond_five_minutes() {
        for (seconds, skew) in [
            (0.0, Skew::Small),
            (-0.999, Skew::Small),
            (1.0, Skew::Noticed),
            (-1.0, Skew::Noticed),
            (300.0, Skew::Noticed),
            (-300.001, Skew::Refused),
            (3_456_000.0, Skew::Refused),
        ] {
            assert_eq!(Skew::of(seconds), skew, "{seconds} s");
        }
    }
}
