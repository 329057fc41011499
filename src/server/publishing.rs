//! Publishes the limits of all apps in the background.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::admin::Administration;
use crate::events::backoff::backoff;

/// Interval after a round in which every app was published: the longest time that a sale which
/// another sidecar left unfinished may wait.
const ROUND_INTERVAL: Duration = Duration::from_secs(30);
/// Delays after a round in which some app was not published.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Longest time for which the start waits for the first round. With an available store the round
/// ends much earlier, so that a changed catalog applies from the first decision on; an unavailable
/// server must not delay the start.
pub const FIRST_ROUND_MAX: Duration = Duration::from_secs(2);

/// Publishes until `stopped` is cancelled; `first` receives the end of the first round.
pub async fn publish_limits(
    administration: Administration,
    first: oneshot::Sender<()>,
    stopped: CancellationToken,
) {
    let (mut first, mut failures) = (Some(first), 0);
    loop {
        let round = tokio::select! {
            round = administration.publish_all() => round,
            () = stopped.cancelled() => return,
        };
        if let Some(first) = first.take() {
            // A start that has timed out has dropped the receiver.
            let _ = first.send(());
        }
        // The round has logged its errors.
        failures = if round.is_ok() { 0 } else { failures + 1 };
        let pause = match failures {
            0 => ROUND_INTERVAL,
            failures => backoff(failures, BACKOFF_MIN, BACKOFF_MAX),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = administration.publishing_wanted() => {}
            () = stopped.cancelled() => return,
        }
    }
}
