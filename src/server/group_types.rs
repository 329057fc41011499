//! Counts the group types in use in the background, and reports those that the catalog lacks.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::engine::admin::Administration;
use crate::events::backoff::backoff;

/// Interval of comparisons with the catalog. The store is scanned only if an earlier version has
/// written it, or if it has groups which the catalog lacks.
const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Delays after a failure.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);

/// Compares until `stopped` is cancelled.
pub async fn count_types(administration: Administration, stopped: CancellationToken) {
    let mut failures = 0;
    loop {
        let counted = tokio::select! {
            counted = administration.count_types() => counted,
            () = stopped.cancelled() => return,
        };
        let pause = match counted {
            Ok(lost) => {
                failures = 0;
                if !lost.is_empty() {
                    error!(?lost, "catalog lacks group types of which there are groups");
                }
                INTERVAL
            }
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    warn!(%error, "group types in use not counted, retrying");
                }
                backoff(failures, BACKOFF_MIN, BACKOFF_MAX)
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped.cancelled() => return,
        }
    }
}
