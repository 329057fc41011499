//! Where events come from, and how they get into the log.
//!
//! - `notices`: what decisions tell: counts that passed a threshold, and denials, which are counted
//!   over a minute. Handed over without waiting; what a sidecar has not appended yet when it is
//!   killed is lost with it.
//! - `audited`: what changes tell: derived from the audit log, by a cursor that moves in the step
//!   that appends, so that each is told once, whatever crashes.
//! - `clockwork`: what the passing of time tells: derived from all purchases, by a cursor over
//!   instants, in the same way.
//!
//! Beside them, what the store is found to have lost is told as it is found, and what its servers
//! refuse (`refusals`).
//!
//! [`Pump`] carries all of them, in one task a sidecar.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::Engine;
use crate::directory::{Directory, DirectoryError};
use crate::domain::event::{Event, Happening, StorePart};
use crate::events::backoff::backoff;
use crate::events::{EventLog, EventsError};
use crate::ledger::LedgerError;
use crate::ledger::loss::LostWrites;

mod audited;
mod clockwork;
mod notices;
mod refusals;

pub use notices::Notices;

/// Time over which denials are counted: as often as somebody looks at a chart.
const DENIALS_COUNTED_FOR: Duration = Duration::from_secs(60);
/// Longest time until a change that another sidecar has made is told, where that one died: short
/// beside what a person notices, and a small load.
const AUDIT_LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// How often the purchases of all apps are looked through: well within the minute to which people
/// tell times.
const CLOCKWORK_EVERY: Duration = Duration::from_secs(30);
/// Pauses after a failure of the store.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest time at the end for what is not appended yet.
const LAST_TRY_MAX: Duration = Duration::from_secs(2);

/// Why nothing can be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PumpError {
    /// The log failed.
    #[error("the log of events: {0}")]
    Log(#[from] EventsError),
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store does not say what time it is.
    #[error("the store's clock: {0}")]
    Clock(#[from] LedgerError),
}

/// Brings what happens into the log.
pub struct Pump {
    engine: Arc<Engine>,
    directory: Arc<dyn Directory>,
    log: Arc<dyn EventLog>,
    /// The number of the audit log's last entry when the sidecar started, where it could be read.
    head: OnceLock<u64>,
}

impl Pump {
    /// From that engine and directory into that log.
    #[must_use]
    pub fn new(engine: Arc<Engine>, directory: Arc<dyn Directory>, log: Arc<dyn EventLog>) -> Self {
        Self { engine, directory, log, head: OnceLock::new() }
    }

    /// Notes from where on events are told, where that is not known: in a store that is new, or
    /// that was written by a version which told none. To be done before anything is served. What
    /// fails here is done by [`Pump::run`] later, from the same entry of the audit log on.
    pub async fn begin(&self) -> Result<(), PumpError> {
        let head = self.directory.head().await?.number;
        self.head.get_or_init(|| head);
        self.begin_audit().await?;
        self.begin_clockwork().await
    }

    /// Tells until `stopped` turns true, and then what is left.
    pub async fn run(self, stopped: watch::Receiver<bool>) {
        let notices = self.tell_notices(stopped.clone());
        let audit = self.follow_audit(stopped.clone());
        let (losses, refusals) =
            (self.tell_losses(stopped.clone()), self.tell_refusals(stopped.clone()));
        let crossings = self.publish_crossings(stopped.clone());
        tokio::join!(notices, audit, losses, refusals, crossings, self.follow_clock(stopped));
    }

    /// Publishes thresholds that were crossed by operations whose answer was lost.
    async fn publish_crossings(&self, mut stopped: watch::Receiver<bool>) {
        loop {
            let crossings = tokio::select! {
                crossings = self.engine.ledger.next_crossings() => crossings,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            let at = self.engine.plausible(crossings.at);
            self.engine.notices().add_crossings(&crossings.app, at, &crossings.warnings);
        }
    }

    /// Publishes what the store has lost. What the directory has lost stands in the audit log
    /// first, and the log of events itself goes on with an event that says so.
    async fn tell_losses(&self, mut stopped: watch::Receiver<bool>) {
        loop {
            let LostWrites { part, app, found, known } = tokio::select! {
                loss = self.engine.ledger.next_loss() => loss,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            self.engine.metrics.facts_lost(part.name());
            match part {
                StorePart::Directory => self.engine.notices().audit_grew(),
                StorePart::Events => {
                    if !self.append_patiently(&[], &mut stopped).await {
                        return;
                    }
                }
                StorePart::Accounts | StorePart::Friends | StorePart::Groups => {
                    let at = self.engine.now().await.unwrap_or_else(|_| self.engine.local_now());
                    let what = Happening::FactsLost { part, found, known };
                    self.engine.notices().tell(Event { at, app, what });
                }
            }
        }
    }

    async fn tell_notices(&self, mut stopped: watch::Receiver<bool>) {
        let notices = self.engine.notices();
        let mut minutes = interval(DENIALS_COUNTED_FOR);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = notices.waiting() => {}
                _ = minutes.tick() => notices.sum_up(),
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            while let Some(batch) = notices.take() {
                if !self.append_patiently(&batch, &mut stopped).await {
                    notices.put_back(batch);
                    break;
                }
            }
        }
        notices.sum_up();
        if timeout(LAST_TRY_MAX, self.append_rest()).await != Ok(true) {
            let lost = notices.give_up();
            warn!(events = lost, "the store did not take the last events, which are lost");
        }
    }

    async fn append_rest(&self) -> bool {
        let notices = self.engine.notices();
        while let Some(batch) = notices.take() {
            if self.log.append(&batch, None).await.is_err() {
                notices.put_back(batch);
                return false;
            }
            self.appended(&batch);
        }
        true
    }

    /// Appends, however long the store is away; `false` where the end came before. A batch whose
    /// answer was lost is appended again: told twice rather than not at all.
    async fn append_patiently(&self, batch: &[Event], stopped: &mut watch::Receiver<bool>) -> bool {
        let mut attempts = 0;
        loop {
            let Err(error) = self.log.append(batch, None).await else {
                if attempts > 0 {
                    info!(attempts, "the store takes events again");
                }
                self.appended(batch);
                return true;
            };
            if attempts == 0 {
                warn!(%error, "the store takes no events; they wait");
            }
            attempts += 1;
            tokio::select! {
                () = sleep(backoff(attempts, FIRST_PAUSE, LONGEST_PAUSE)) => {}
                _ = stopped.wait_for(|stop| *stop) => return false,
            }
        }
    }

    async fn follow_audit(&self, mut stopped: watch::Receiver<bool>) {
        let (mut failing, mut begun) = (false, false);
        loop {
            let told = async {
                if !begun {
                    self.begin_audit().await?;
                    begun = true;
                }
                self.tell_audit().await
            };
            let told = told.await;
            note(&mut failing, "changes", &told);
            tokio::select! {
                () = self.engine.notices().changed() => {}
                () = sleep(AUDIT_LOOKED_AT_EVERY) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        // What was changed a moment ago; the rest is told by whoever starts next.
        let _ = timeout(LAST_TRY_MAX, self.tell_audit()).await;
    }

    async fn follow_clock(&self, mut stopped: watch::Receiver<bool>) {
        let mut failing = false;
        loop {
            note(&mut failing, "ends of purchases", &self.tell_milestones().await);
            tokio::select! {
                () = sleep(CLOCKWORK_EVERY) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn appended(&self, events: &[Event]) {
        self.engine.notices().appended(events);
    }
}

/// Logs that something cannot be told, and that it can again, once each.
fn note(failing: &mut bool, what: &str, told: &Result<(), PumpError>) {
    match told {
        Ok(()) if *failing => info!(what, "events are told again"),
        Err(error) if !*failing => warn!(%error, what, "events are late; they are told later"),
        _ => {}
    }
    *failing = told.is_err();
}
