//! Sources of events, and the task that writes them to the log.
//!
//! - `event_buffer`: events of decisions: crossed thresholds, and denials, which are counted over a
//!   minute. They are buffered without waiting; events that a sidecar has not appended when it is
//!   killed are lost with it.
//! - `from_audit_log`: events of changes: derived from the audit log, by a cursor that moves in the
//!   same step that appends, so that each is published once, whatever crashes.
//! - `milestones`: events that follow from time passing: derived from all purchases, by a cursor
//!   over instants, in the same way.
//!
//! In addition, losses of the store are published when they are found, and so are refusals of its
//! servers (`refusals`).
//!
//! [`EventPublisher`] publishes all of them, in one task a sidecar.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Engine;
use crate::directory::{Directory, DirectoryError};
use crate::domain::event::{Event, EventKind, StorePart};
use crate::events::backoff::backoff;
use crate::events::{EventLog, EventsError};
use crate::ledger::LedgerError;
use crate::store::loss::LostWrites;

mod event_buffer;
mod from_audit_log;
mod milestones;
mod refusals;

pub use event_buffer::EventBuffer;

/// Interval over which denials are counted: as often as people look at a chart.
const DENIALS_COUNTED_FOR: Duration = Duration::from_secs(60);
/// Longest time until a change is published that another sidecar made before it died: short
/// compared with what a person notices, and a small load.
const AUDIT_POLL_EVERY: Duration = Duration::from_secs(2);
/// Interval at which the purchases of all apps are checked: well within a minute, the precision at
/// which people read times.
const CLOCKWORK_EVERY: Duration = Duration::from_secs(30);
/// Backoff after a failure of the store: shortest and longest.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longest time at shutdown for appending the remaining events.
const SHUTDOWN_APPEND_MAX: Duration = Duration::from_secs(2);

/// Reason why events cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PumpError {
    /// The log failed.
    #[error("the log of events: {0}")]
    Log(#[from] EventsError),
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store's clock could not be read.
    #[error("the store's clock: {0}")]
    Clock(#[from] LedgerError),
}

/// Writes events to the log.
pub struct EventPublisher {
    engine: Arc<Engine>,
    directory: Arc<dyn Directory>,
    log: Arc<dyn EventLog>,
    /// The number of the audit log's last entry when the sidecar started, if it could be read.
    head: OnceLock<u64>,
}

impl EventPublisher {
    /// Creates a publisher from an engine and a directory into a log.
    #[must_use]
    pub fn new(engine: Arc<Engine>, directory: Arc<dyn Directory>, log: Arc<dyn EventLog>) -> Self {
        Self { engine, directory, log, head: OnceLock::new() }
    }

    /// Sets cursors that are not set: those of a new store, or of one written by a version without
    /// events. To be called before anything is served. If it fails, [`EventPublisher::run`] does it
    /// later, from the same entry of the audit log on.
    pub async fn begin(&self) -> Result<(), PumpError> {
        let head = self.directory.head().await?.number;
        self.head.get_or_init(|| head);
        self.begin_audit().await?;
        self.begin_clockwork().await
    }

    /// Publishes events until `stopped` is cancelled, and then the remaining ones.
    pub async fn run(self, stopped: CancellationToken) {
        tokio::join!(
            self.publish_buffered(&stopped),
            self.follow_audit(&stopped),
            self.publish_losses(&stopped),
            self.publish_refusals(&stopped),
            self.publish_crossings(&stopped),
            self.follow_clock(&stopped),
        );
    }

    /// Publishes thresholds that were crossed by operations whose reply was lost.
    async fn publish_crossings(&self, stopped: &CancellationToken) {
        loop {
            let crossings = tokio::select! {
                crossings = self.engine.ledger.next_crossings() => crossings,
                () = stopped.cancelled() => return,
            };
            let at = self.engine.plausible(crossings.at);
            self.engine.event_buffer().add_crossings(&crossings.app, at, &crossings.warnings);
        }
    }

    /// Publishes losses of the store. A loss of the directory is recorded in the audit log first; a
    /// loss of the log of events is recorded by the log itself as its next event.
    async fn publish_losses(&self, stopped: &CancellationToken) {
        loop {
            let LostWrites { part, app, found, known } = tokio::select! {
                loss = self.engine.ledger.next_loss() => loss,
                () = stopped.cancelled() => return,
            };
            self.engine.metrics.facts_lost(part.name());
            match part {
                StorePart::Directory => self.engine.event_buffer().audit_grew(),
                StorePart::Events => {
                    if !self.append_with_retry(&[], stopped).await {
                        return;
                    }
                }
                StorePart::Accounts | StorePart::Friends | StorePart::Groups => {
                    let at = self.engine.now().await.unwrap_or_else(|_| self.engine.local_now());
                    let what = EventKind::FactsLost { part, found, known };
                    self.engine.event_buffer().record_event(Event { at, app, what });
                }
            }
        }
    }

    async fn publish_buffered(&self, stopped: &CancellationToken) {
        let event_buffer = self.engine.event_buffer();
        let mut minutes = interval(DENIALS_COUNTED_FOR);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = event_buffer.waiting() => {}
                _ = minutes.tick() => event_buffer.flush_denials(),
                () = stopped.cancelled() => break,
            }
            while let Some(batch) = event_buffer.drain() {
                if !self.append_with_retry(&batch, stopped).await {
                    event_buffer.requeue(batch);
                    break;
                }
            }
        }
        event_buffer.flush_denials();
        if timeout(SHUTDOWN_APPEND_MAX, self.append_remaining()).await != Ok(true) {
            let dropped = event_buffer.discard();
            warn!(events = dropped, "events dropped: the store failed during shutdown");
        }
    }

    async fn append_remaining(&self) -> bool {
        let event_buffer = self.engine.event_buffer();
        while let Some(batch) = event_buffer.drain() {
            if self.log.append(&batch, None).await.is_err() {
                event_buffer.requeue(batch);
                return false;
            }
            self.appended(&batch);
        }
        true
    }

    /// Appends with retries, however long the store is unavailable; `false` if the sidecar stopped
    /// before. A batch whose reply was lost is appended again: published twice rather than never.
    async fn append_with_retry(&self, batch: &[Event], stopped: &CancellationToken) -> bool {
        let mut attempts = 0;
        loop {
            let Err(error) = self.log.append(batch, None).await else {
                if attempts > 0 {
                    info!(attempts, "event delivery resumed");
                }
                self.appended(batch);
                return true;
            };
            if attempts == 0 {
                warn!(%error, "event delivery delayed, retrying");
            }
            attempts += 1;
            tokio::select! {
                () = sleep(backoff(attempts, BACKOFF_MIN, BACKOFF_MAX)) => {}
                () = stopped.cancelled() => return false,
            }
        }
    }

    async fn follow_audit(&self, stopped: &CancellationToken) {
        let (mut failing, mut begun) = (false, false);
        loop {
            let published = async {
                if !begun {
                    self.begin_audit().await?;
                    begun = true;
                }
                self.publish_audit().await
            };
            let published = published.await;
            log_transition(&mut failing, "changes", &published);
            tokio::select! {
                () = self.engine.event_buffer().changed() => {}
                () = sleep(AUDIT_POLL_EVERY) => {}
                () = stopped.cancelled() => break,
            }
        }
        // Recent changes; the rest is published by the next sidecar that runs.
        let _ = timeout(SHUTDOWN_APPEND_MAX, self.publish_audit()).await;
    }

    async fn follow_clock(&self, stopped: &CancellationToken) {
        let mut failing = false;
        loop {
            log_transition(&mut failing, "ends of purchases", &self.publish_milestones().await);
            tokio::select! {
                () = sleep(CLOCKWORK_EVERY) => {}
                () = stopped.cancelled() => return,
            }
        }
    }

    fn appended(&self, events: &[Event]) {
        self.engine.event_buffer().appended(events);
    }
}

/// Logs that events cannot be published, and that they can again, once each.
fn log_transition(failing: &mut bool, what: &str, published: &Result<(), PumpError>) {
    match published {
        Ok(()) if *failing => info!(what, "publishing of events resumed"),
        Err(error) if !*failing => warn!(%error, what, "publishing of events delayed, retrying"),
        _ => {}
    }
    *failing = published.is_err();
}
