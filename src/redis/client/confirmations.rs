//! Tracks which replicas of one server have to confirm its replies: polls the server's list of
//! replicas, and queries the authority if one is missing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::acknowledgements::Acknowledgements;
use super::authority::{Authority, MasterStatus};
use super::connect::Connector;
use super::connection::{Connection, ManagedConnection};
use super::replicas::{Gate, Replica, Replicas, Rule};
use super::reply::{self, ReplicationState};
use crate::clock::Stopwatch;
use crate::redis::options::{Address, Durability};
use crate::store::{Replication, Standing};

/// Time between two polls if no replica is missing.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Shortest time between two polls.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// Longest time for the server to reply to a poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two checks of a closed gate.
const GATE_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Time after the start during which missing confirmations are normal and not logged.
const START_MAX: Duration = Duration::from_secs(2);

/// The replicas of one server that have to confirm its replies.
pub(super) struct Confirmations {
    address: Address,
    durability: Durability,
    authority: Authority,
    replicas: Mutex<Replicas>,
    clock: Stopwatch,
    /// Wakes the monitor when a reply was not confirmed.
    alarm: Notify,
    acknowledgements: Acknowledgements,
}

impl Confirmations {
    /// A server that has not been polled yet; `managed` is a connection slot that calls do not use.
    pub(super) fn new(
        address: Address,
        connector: &Connector,
        authority: Authority,
        managed: ManagedConnection,
    ) -> Arc<Self> {
        let (durability, confirmation) = (connector.durability(), connector.options.confirmation);
        let rule = Rule {
            fewer: confirmation.replicas,
            may_be_alone: durability != Durability::Replicated,
            lag_max: confirmation.lag_max,
        };
        Arc::new(Self {
            address,
            durability,
            authority,
            replicas: Mutex::new(Replicas::new(rule)),
            clock: Stopwatch::start(),
            alarm: Notify::new(),
            acknowledgements: Acknowledgements::new(managed),
        })
    }

    /// Returns whether calls may be sent now, and whether they have to be confirmed.
    fn gate(&self) -> Gate {
        let has_majority = self.authority.names(&self.address);
        if self.durability == Durability::Local && has_majority {
            return Gate::Alone;
        }
        self.state().gate(has_majority)
    }

    /// Returns whether a call is answered as soon as the server has replied.
    pub(super) fn is_direct(&self) -> bool {
        self.gate() == Gate::Alone
    }

    /// Returns the reason why no call can be answered now; `None` if calls can.
    pub(super) fn closed(&self) -> Option<String> {
        match self.gate() {
            Gate::Closed(why) => Some(why),
            Gate::Confirmed | Gate::Alone => None,
        }
    }

    /// Waits until calls can be answered; returns the reason if they cannot be in time.
    pub(super) async fn opened_within(&self, within: Duration) -> Result<(), String> {
        let opened = tokio::time::timeout(within, self.opened()).await;
        opened.or_else(|_| self.closed().map_or(Ok(()), Err))
    }

    /// Waits until calls can be answered.
    pub(super) async fn opened(&self) {
        while self.closed().is_some() {
            tokio::time::sleep(GATE_CHECK_INTERVAL).await;
        }
    }

    /// Returns the longest time for a replica to confirm.
    pub(super) fn lag_max(&self) -> Duration {
        self.state().lag_max()
    }

    /// Returns how many replicas have to confirm.
    pub(super) fn required(&self) -> usize {
        self.state().count().0
    }

    /// Returns the time since this was created.
    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Checks whether a reply is confirmed that rests on the server's writes up to `offset`, and
    /// whose call was sent at `sent_at`. Returns the replicas that have not confirmed it.
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

    /// Has the replicas acknowledge soon what they hold.
    pub(super) fn request_acknowledgements(&self) {
        self.acknowledgements.request();
    }

    /// Returns the servers that hold the data on which a reply of now rests.
    pub(super) fn replication(&self) -> Replication {
        let standing = match self.gate() {
            Gate::Closed(_) => Standing::Closed,
            Gate::Confirmed => Standing::Replicated,
            Gate::Alone if self.durability == Durability::Local => Standing::Local,
            Gate::Alone => Standing::Alone,
        };
        let (required, attached) = self.state().count();
        Replication { standing, required, attached }
    }

    fn state(&self) -> MutexGuard<'_, Replicas> {
        self.replicas.lock()
    }

    /// Polls the server until the returned task is dropped.
    pub(super) fn monitor(self: &Arc<Self>, managed: ManagedConnection) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(monitor(Arc::clone(self), managed)))
    }

    /// Reads the list of replicas; returns how often a replica has been attached to the server.
    async fn read_replicas(&self, connection: &Connection) -> Option<u64> {
        let mut queries = redis::pipe();
        queries.cmd("ROLE").cmd("INFO").arg("stats");
        let replies = connection.send_all(&queries, POLL_TIMEOUT).await.ok()?;
        let [role, stats] = &replies[..] else { return None };
        self.state().listed(&reply::replication_state(role)?, self.now());
        let stats = reply::text(stats).unwrap_or_default();
        let count = |name| reply::field(&stats, name).and_then(|count| count.parse::<u64>().ok());
        Some(count("sync_full").unwrap_or(0) + count("sync_partial_ok").unwrap_or(0))
    }

    /// Reads the list of replicas, and queries the authority if one is missing.
    async fn poll(&self, managed: &ManagedConnection) {
        let Ok(connection) = managed.connection(POLL_INTERVAL).await else { return };
        let Some(attachments) = self.read_replicas(&connection).await else { return };
        let Some(missing_for) = self.authority.missing_min().await else {
            // Replicas that are attached count, and are never left behind.
            self.approve(Duration::ZERO, Duration::MAX);
            return;
        };
        let queried_at = self.now();
        if !self.state().is_in_doubt(missing_for, queried_at) {
            return;
        }
        let status = self.authority.status_of(&self.address).await;
        // A replica that was attached and detached meanwhile may have been promoted after the
        // reply.
        if self.read_replicas(&connection).await != Some(attachments) {
            return;
        }
        match status {
            // Waits for the first replica to be attached.
            MasterStatus::JustPromoted if self.state().count().0 == 0 => {}
            MasterStatus::Current | MasterStatus::JustPromoted => {
                self.approve(queried_at, missing_for);
            }
            MasterStatus::NoMajority { replicas, why } => {
                let mut state = self.state();
                state.approved_if_complete(replicas);
                state.doubted(why);
            }
            MasterStatus::Uncertain(why) => self.state().doubted(why),
        }
    }

    fn approve(&self, queried_at: Duration, missing_for: Duration) {
        let left = self.state().approved(queried_at, missing_for);
        for replica in left {
            tracing::warn!(server = %self.address, replica,
                "replica left behind: detached or silent, and no replica was promoted");
        }
    }

    /// Logs the state of the confirmations, if it has changed.
    fn log(&self, logged: &mut Option<(Standing, usize)>) {
        let Replication { standing, required, .. } = self.replication();
        if standing == Standing::Closed && logged.is_none() && self.now() < START_MAX {
            return;
        }
        if logged.replace((standing, required)) == Some((standing, required)) {
            return;
        }
        let server = &self.address;
        match standing {
            Standing::Replicated => {
                tracing::info!(%server, replicas = required, "answers confirmed by replicas");
            }
            Standing::Alone if !self.state().has_left_any() => {
                tracing::info!(%server, "answers rest on the master alone: it has no replica");
            }
            Standing::Alone => {
                tracing::warn!(%server, "answers rest on the master alone: it lost its replicas");
            }
            Standing::Closed => {
                let reason = self.closed().unwrap_or_default();
                tracing::warn!(%server, reason, "no answers: the replicas cannot confirm");
            }
            Standing::Local => {}
        }
    }
}

async fn monitor(confirmations: Arc<Confirmations>, managed: ManagedConnection) {
    let mut logged = None;
    loop {
        confirmations.poll(&managed).await;
        confirmations.log(&mut logged);
        let pause = match confirmations.closed() {
            Some(_) => {
                // The next poll then returns current acknowledgements.
                confirmations.request_acknowledgements();
                POLL_INTERVAL_MIN
            }
            None => POLL_INTERVAL,
        };
        let _ = tokio::time::timeout(pause, confirmations.alarm.notified()).await;
        tokio::time::sleep(POLL_INTERVAL_MIN).await;
    }
}
