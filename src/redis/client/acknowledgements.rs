//! Asks the replicas of one server to acknowledge immediately; otherwise they do so once a second.
//!
//! `WAIT` asks them, but only if they have not acknowledged the writes of its own connection. Up to
//! 7.0 the server uses the connection's last command for that, since 7.2 its last write: there a
//! batch that writes nothing, and rests on other connections' writes, does not make the server ask.
//! So a connection of its own waits, for a moment, for more replicas than there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::connection::ManagedConnection;

/// A number of replicas that no server has.
const REPLICAS: u32 = 1_000_000;
/// Timeout of `WAIT` in milliseconds. It only has to make the server ask the replicas.
const WAIT_MS: u32 = 1;
/// Longest time for the reply: an idle server checks for expired waits ten times a second.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests acknowledgements from the replicas of one server.
pub(super) struct Acknowledgements {
    requested: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Acknowledgements {
    /// Sends requests on that connection slot, which no call may use: `WAIT` blocks it.
    pub(super) fn new(managed: ManagedConnection) -> Self {
        let requested = Arc::new(Notify::new());
        let task =
            AbortOnDropHandle::new(tokio::spawn(send_requests(managed, Arc::clone(&requested))));
        Self { requested, _task: task }
    }

    /// Requests acknowledgements soon; requests of the same moment are merged.
    pub(super) fn request(&self) {
        self.requested.notify_one();
    }
}

async fn send_requests(managed: ManagedConnection, requested: Arc<Notify>) {
    let wait = redis::cmd("WAIT").arg(REPLICAS).arg(WAIT_MS).to_owned();
    loop {
        requested.notified().await;
        if let Ok(connection) = managed.connection(REPLY_TIMEOUT).await {
            // The reply is not needed: acknowledgements are read with ROLE.
            let _ = connection.send(&wait, REPLY_TIMEOUT).await;
        }
    }
}
