//! Issues the statements of months that have become final, also where nobody asks for them.

use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::engine::administration::Administration;

/// How often it is looked whether a statement is due: nobody waits for one, and each look goes
/// through all apps.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Looks at the start and from time to time until `stopped` turns true.
pub async fn issue_statements(administration: Administration, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            // An error means that the sender is gone, which is the end too.
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = administration.issue_due().await {
            warn!(%error, "statements are due and could not be issued; they are tried again");
        }
    }
}
