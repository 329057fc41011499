//! Asks the replicas of one server to acknowledge at once; otherwise they do once a second.
//!
//! `WAIT` asks them, but only if they have not acknowledged what its own connection has written. Up
//! to 7.0 the server takes the last command for that, since 7.2 the last write: there a batch that
//! writes nothing, and rests on what other connections have written, does not make it ask. So a
//! connection of its own waits for more replicas than there are, for a moment.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::link::Lane;
use super::pace::Task;

/// More replicas than a server has.
const REPLICAS: u32 = 1_000_000;
/// How long the server waits for them. What counts is that it has asked them.
const WAIT_MS: u32 = 1;
/// Longest time for its reply: an idle server looks at what has waited long enough ten times a
/// second.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// The requests to the replicas of one server.
pub(super) struct Acknowledgements {
    requested: Arc<Notify>,
    _task: Task,
}

impl Acknowledgements {
    /// Sends requests on that lane, which calls do not use: `WAIT` holds it up.
    pub(super) fn new(lane: Lane) -> Self {
        let requested = Arc::new(Notify::new());
        let task = Task::spawn(send_requests(lane, Arc::clone(&requested)));
        Self { requested, _task: task }
    }

    /// Has the replicas asked soon. Requests of the same moment are one.
    pub(super) fn request(&self) {
        self.requested.notify_one();
    }
}

async fn send_requests(lane: Lane, requested: Arc<Notify>) {
    let wait = redis::cmd("WAIT").arg(REPLICAS).arg(WAIT_MS).to_owned();
    loop {
        requested.notified().await;
        if let Ok(link) = lane.link(REPLY_TIMEOUT).await {
            // The reply is of no use: who needs the acknowledgements reads them with ROLE.
            let _ = link.send(&wait, REPLY_TIMEOUT).await;
        }
    }
}
