//! Counts in the background which group types are in use, and reports those that the catalog lacks.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, warn};

use crate::engine::admin::Administration;
use crate::events::backoff::backoff;

/// How often types are compared with the catalog. Only a store that an earlier version has written,
/// or that has groups which the catalog lacks, is gone through.
const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Pauses after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Compares until `stopped` turns true.
pub async fn count_types(administration: Administration, mut stopped: watch::Receiver<bool>) {
    let mut failures = 0;
    loop {
        let counted = tokio::select! {
            counted = administration.count_types() => counted,
            _ = stopped.wait_for(|stop| *stop) => return,
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
                backoff(failures, FIRST_PAUSE, LONGEST_PAUSE)
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}
