//! Publishes the limits of all apps in the background, for as long as the sidecar runs.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::engine::admin::Administration;
use crate::events::backoff::backoff;

/// Pause after a round in which every app was published: as long as a sale that another sidecar
/// left unfinished may wait.
const ROUND_EVERY: Duration = Duration::from_secs(30);
/// Pauses after a round in which some app was not.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Longest time for which a start waits for the first round. A store that answers is through long
/// before, so that a changed catalog counts from the first decision on; one of whose servers is
/// away must not hold up the start.
pub const FIRST_ROUND_MAX: Duration = Duration::from_secs(2);

/// Publishes until `stopped` turns true; `first` receives the end of the first round.
pub async fn publish_limits(
    administration: Administration,
    first: oneshot::Sender<()>,
    mut stopped: watch::Receiver<bool>,
) {
    let (mut first, mut failures) = (Some(first), 0);
    loop {
        let round = tokio::select! {
            round = administration.publish_all() => round,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        if let Some(first) = first.take() {
            // A start that does not wait any more has gone on.
            let _ = first.send(());
        }
        // The round has logged what went wrong.
        failures = if round.is_ok() { 0 } else { failures + 1 };
        let pause = match failures {
            0 => ROUND_EVERY,
            failures => backoff(failures, FIRST_PAUSE, LONGEST_PAUSE),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = administration.publishing_wanted() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}
