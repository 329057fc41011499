//! Removes unregistered apps that have no facts any more, in the background.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::events::backoff::backoff;
use crate::ledger::{Ledger, UNKNOWN_APP_EMPTY_FOR};

/// Interval of reviews: the delay, after a day, with which an app leaves the count.
const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Delays after a failure.
const BACKOFF_MIN: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);

/// Reviews until `stopped` is cancelled.
pub async fn review(ledger: Arc<dyn Ledger>, stopped: CancellationToken) {
    let (mut failures, mut pause) = (0, INTERVAL);
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped.cancelled() => return,
        }
        let reviewed = tokio::select! {
            reviewed = ledger.review_unknown_apps(UNKNOWN_APP_EMPTY_FOR) => reviewed,
            () = stopped.cancelled() => return,
        };
        pause = match reviewed {
            Ok(removed) => {
                failures = 0;
                if removed > 0 {
                    info!(apps = removed, "unregistered apps without facts not counted any more");
                }
                INTERVAL
            }
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    warn!(%error, "unregistered apps not reviewed, retrying");
                }
                backoff(failures, BACKOFF_MIN, BACKOFF_MAX)
            }
        };
    }
}
