//! Issues the statements of months that have become final. No other part does.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Stopwatch;
use crate::domain::time::Timestamp;
use crate::engine::admin::{AdminError, Administration};
use crate::events::backoff::backoff;

/// Interval of reads of the store's clock: a statement is issued soon after its cut-off.
const CLOCK_READ_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of passes over all apps without a new final month: the catalog or the clock may have
/// been changed.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Delays after a failure.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Issues at the start, and whenever a month becomes final, until `stopped` is cancelled.
pub async fn issue_statements(administration: Administration, stopped: CancellationToken) {
    tokio::select! {
        () = issue(&administration) => {}
        () = stopped.cancelled() => {}
    }
}

async fn issue(administration: &Administration) {
    let mut pace = interval(CLOCK_READ_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut next, mut failures): (Option<(Timestamp, Stopwatch)>, u32) = (None, 0);
    loop {
        pace.tick().await;
        if let Some((at, since)) = &next
            && since.elapsed() < INTERVAL
            && administration.now().await.is_ok_and(|now| now < *at)
        {
            continue;
        }
        let since = Stopwatch::start();
        match administration.issue_due().await {
            Ok(at) => {
                if failures > 0 {
                    info!(failures, "due statements issued");
                }
                failures = 0;
                next = at.map(|at| (at, since));
            }
            Err(error) => {
                failures += 1;
                next = None;
                log_failure(&error, failures);
                sleep(backoff(failures, BACKOFF_MIN, BACKOFF_MAX)).await;
            }
        }
    }
}

/// Logs the first failure, and then at growing intervals.
fn log_failure(error: &AdminError, failures: u32) {
    if failures.is_power_of_two() {
        warn!(%error, failures, "due statements not issued, retrying");
    }
}
