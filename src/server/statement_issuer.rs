//! Issues the statements of months that have become final. Nothing else does.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::clock::Stopwatch;
use crate::domain::time::Timestamp;
use crate::engine::admin::{AdminError, Administration};
use crate::events::backoff::backoff;

/// How often the store's clock is read: a statement is there soon after its cut-off.
const CLOCK_READ_EVERY: Duration = Duration::from_secs(1);
/// How often all apps are gone through though no month has become final: the catalog or the clock
/// may have been changed.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Pauses after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Issues at the start, and whenever a month becomes final, until `stopped` turns true.
pub async fn issue_statements(administration: Administration, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = issue(&administration) => {}
        // An error means that the sender is gone, which is the end too.
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

async fn issue(administration: &Administration) {
    let mut pace = interval(CLOCK_READ_EVERY);
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
                complain(&error, failures);
                sleep(backoff(failures, FIRST_PAUSE, LONGEST_PAUSE)).await;
            }
        }
    }
}

/// Logs the first failure, and then each time that a person might begin to wonder.
fn complain(error: &AdminError, failures: u32) {
    if failures.is_power_of_two() {
        warn!(%error, failures, "due statements not issued, retrying");
    }
}
