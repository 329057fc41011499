//! Removes expired holds in the background.
//!
//! Decisions do not depend on it: counts that are kept, such as crossed thresholds, are corrected
//! by it, and leftover records leave the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Stopwatch;
use crate::domain::id::AppId;
use crate::engine::Engine;
use crate::engine::admin::Administration;

/// Interval at which apps are swept in which holds have expired that this sidecar has taken.
const INTERVAL: Duration = Duration::from_secs(1);
/// Interval of rounds over all apps: for holds of a sidecar that does not run any more, and for
/// records that are not kept any longer.
const ROUND_INTERVAL: Duration = Duration::from_secs(300);
/// Time after which an app is swept again that could not be swept.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Most calls for one app at a time, each of which removes up to a few thousand facts.
const CALLS_MAX: usize = 100;

/// Sweeps until `stopped` is cancelled.
pub async fn sweep(
    engine: Arc<Engine>,
    administration: Administration,
    stopped: CancellationToken,
) {
    tokio::select! {
        () = sweep_always(&engine, &administration) => {}
        () = stopped.cancelled() => {}
    }
}

async fn sweep_always(engine: &Engine, administration: &Administration) {
    let mut since_round = Stopwatch::start();
    let mut has_failed = false;
    loop {
        sleep(INTERVAL).await;
        let mut failed = false;
        for app in engine.apps_with_expired_holds() {
            failed |= !sweep_app(engine, &app, has_failed || failed).await;
        }
        if since_round.elapsed() >= ROUND_INTERVAL {
            since_round = Stopwatch::start();
            failed |= !sweep_all(engine, administration, has_failed || failed).await;
        }
        if has_failed && !failed {
            info!("expired holds swept again");
        }
        has_failed = failed;
    }
}

/// Sweeps every app; returns false if one could not be swept.
async fn sweep_all(engine: &Engine, administration: &Administration, has_failed: bool) -> bool {
    let mut failed = false;
    let mut after = None;
    loop {
        let (apps, last) = match administration.app_ids(after.as_deref()).await {
            Ok(page) => page,
            Err(error) => {
                if !(has_failed || failed) {
                    warn!(%error, "apps not listed, expired holds not swept, retrying");
                }
                return false;
            }
        };
        for app in apps {
            administration.pace().next_slice().await;
            failed |= !sweep_app(engine, &app, has_failed || failed).await;
        }
        after = last;
        if after.is_none() {
            break;
        }
    }
    for app in engine.apps_with_holds() {
        administration.pace().next_slice().await;
        failed |= !sweep_app(engine, &app, has_failed || failed).await;
    }
    !failed
}

/// Sweeps an app; returns false if that failed, which is logged unless an earlier one has failed.
async fn sweep_app(engine: &Engine, app: &AppId, has_failed: bool) -> bool {
    for _ in 0..CALLS_MAX {
        match engine.sweep_holds(app).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                if !has_failed {
                    warn!(%app, %error, "expired holds not swept, retrying");
                }
                engine.sweep_later(app, RETRY_AFTER);
                return false;
            }
        }
    }
    engine.sweep_later(app, Duration::ZERO);
    true
}
