//! Keeps up which replicas of one server have to confirm its answers: looks at what the server
//! lists, and asks those who elect masters where a replica is missing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::connect::Connector;
use super::electors::{Electors, Stance};
use super::link::{Lane, Link};
use super::pace::Task;
use super::replicas::{Gate, Replica, Replicas, Rule};
use super::reply::{self, ReplicationState};
use crate::clock::Stopwatch;
use crate::ledger::redis::options::{Address, Durability};
use crate::ledger::{Replication, Standing};

/// Time between two looks at what the server lists, where nothing is missing.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Shortest time between two of them.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long the server may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// A gate that is closed is looked at again after that time.
const GATE_PAUSE: Duration = Duration::from_millis(20);

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// It is answered when the server has replied.
    Direct,
    /// It is answered when the replicas have confirmed, and waits until they can.
    Confirmed,
}

/// See the module's head.
pub(super) struct Confirmations {
    address: Address,
    durability: Durability,
    electors: Electors,
    replicas: Mutex<Replicas>,
    clock: Stopwatch,
    /// Something is missing: look at once.
    alarm: Notify,
}

impl Confirmations {
    /// Of a server of which nothing is known yet.
    pub(super) fn new(address: Address, connector: &Connector, electors: Electors) -> Arc<Self> {
        let (durability, confirmation) = (connector.durability(), connector.options.confirmation);
        let rule = Rule {
            fewer: confirmation.replicas,
            may_be_alone: durability != Durability::Replicated,
            lag_max: confirmation.lag_max,
        };
        Arc::new(Self {
            address,
            durability,
            electors,
            replicas: Mutex::new(Replicas::new(rule)),
            clock: Stopwatch::start(),
            alarm: Notify::new(),
        })
    }

    /// How a call goes now.
    pub(super) fn path(&self) -> Path {
        let has_majority = self.electors.stand_by(&self.address);
        if self.durability == Durability::Local && has_majority {
            return Path::Direct;
        }
        match self.state().gate(has_majority) {
            Gate::Alone => Path::Direct,
            Gate::Closed(_) | Gate::Confirmed => Path::Confirmed,
        }
    }

    /// Why no call can be confirmed now.
    pub(super) fn closed(&self) -> Option<String> {
        match self.state().gate(self.electors.stand_by(&self.address)) {
            Gate::Closed(why) => Some(why),
            Gate::Confirmed | Gate::Alone => None,
        }
    }

    /// Waits until calls can be confirmed.
    pub(super) async fn opened(&self) {
        while self.closed().is_some() {
            tokio::time::sleep(GATE_PAUSE).await;
        }
    }

    /// How many replicas have to confirm.
    pub(super) fn required(&self) -> usize {
        self.state().count().0
    }

    /// The time since this was made.
    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Whether an answer is confirmed that rests on what the server had written at `offset` and
    /// was sent at `sent_at`. Otherwise the replicas that have not.
    pub(super) fn confirm(
        &self,
        offset: u64,
        state: &ReplicationState,
        sent_at: Duration,
    ) -> Result<(), Vec<Replica>> {
        let confirmed = self.state().confirm(offset, state, sent_at, self.now());
        if confirmed.is_err() {
            self.alarm.notify_one();
        }
        confirmed
    }

    /// What stands behind an answer now.
    pub(super) fn replication(&self) -> Replication {
        let has_majority = self.electors.stand_by(&self.address);
        let state = self.state();
        let standing = match state.gate(has_majority) {
            _ if self.durability == Durability::Local && has_majority => Standing::Local,
            Gate::Closed(_) => Standing::Closed,
            Gate::Confirmed => Standing::Replicated,
            Gate::Alone => Standing::Alone,
        };
        let (required, attached) = state.count();
        Replication { standing, required, attached }
    }

    fn state(&self) -> MutexGuard<'_, Replicas> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks now and then, until what is returned is dropped.
    pub(super) fn keep(self: &Arc<Self>, lane: Lane) -> Task {
        Task::spawn(keep(Arc::clone(self), lane))
    }

    /// Takes in what the server lists; returns how often a replica has been attached to it.
    async fn list(&self, link: &Link) -> Option<u64> {
        let mut questions = redis::pipe();
        questions.cmd("ROLE").cmd("INFO").arg("stats");
        let replies = link.send_all(&questions, LOOK_PATIENCE).await.ok()?;
        let [role, stats] = &replies[..] else { return None };
        self.state().listed(&reply::replication_state(role)?, self.now());
        let stats = reply::text(stats).unwrap_or_default();
        let count = |name| reply::field(&stats, name).and_then(|count| count.parse::<u64>().ok());
        Some(count("sync_full").unwrap_or(0) + count("sync_partial_ok").unwrap_or(0))
    }

    async fn look(&self, lane: &Lane) {
        let Ok(link) = lane.link(LOOK_EVERY).await else { return };
        let Some(attachments) = self.list(&link).await else { return };
        let Some(missing_for) = self.electors.asked_after().await else {
            // What is there at the start counts, and is never left behind.
            self.approve(Duration::ZERO, Duration::MAX);
            return;
        };
        let asked_at = self.now();
        if !self.state().is_in_doubt(missing_for, asked_at) {
            return;
        }
        let stance = self.electors.ask(&self.address).await;
        // One that came back meanwhile, and left again, may have been promoted since they answered.
        if self.list(&link).await != Some(attachments) {
            return;
        }
        match stance {
            Stance::Master => self.approve(asked_at, missing_for),
            Stance::Undecided { replicas } => self.state().approved_if_complete(replicas),
            Stance::Doubtful(why) => {
                tracing::debug!(server = %self.address, reason = why, "master not confirmed");
            }
        }
    }

    fn approve(&self, asked_at: Duration, missing_for: Duration) {
        let left = self.state().approved(asked_at, missing_for);
        for replica in left {
            tracing::warn!(server = %self.address, replica,
                "replica left behind: detached or silent, and the master stays the master");
        }
    }

    /// Logs what stands behind answers, where that has changed.
    fn log(&self, logged: &mut Option<(Standing, usize)>) {
        let Replication { standing, required, .. } = self.replication();
        if logged.replace((standing, required)) == Some((standing, required)) {
            return;
        }
        let server = &self.address;
        match standing {
            Standing::Replicated => {
                tracing::info!(%server, replicas = required, "answers confirmed by replicas");
            }
            Standing::Alone => {
                tracing::warn!(%server, "answers rest on the master alone: it has no replica");
            }
            Standing::Closed => {
                let reason = self.closed().unwrap_or_default();
                tracing::warn!(%server, reason, "no answers: the replicas cannot confirm");
            }
            Standing::Local => {}
        }
    }
}

async fn keep(confirmations: Arc<Confirmations>, lane: Lane) {
    let mut logged = None;
    loop {
        confirmations.look(&lane).await;
        confirmations.log(&mut logged);
        let pause = match confirmations.closed() {
            Some(_) => LOOK_AGAIN_AFTER,
            None => LOOK_EVERY,
        };
        let _ = tokio::time::timeout(pause, confirmations.alarm.notified()).await;
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}
