//! Queries all Sentinels together in rounds, and keeps the last result.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::query::{Answer, Sentinel};
use super::quorum::{Quorum, View, Vote};
use crate::clock::Stopwatch;
use crate::redis::client::authority::MasterStatus;
use crate::redis::client::connect::Connector;
use crate::redis::options::{Address, HostPort};

/// Time between two rounds in normal operation; messages of the Sentinels start one sooner.
const ROUND_INTERVAL: Duration = Duration::from_millis(500);
/// Shortest time between two rounds.
const ROUND_INTERVAL_MIN: Duration = Duration::from_millis(30);
/// Longest time for a Sentinel to answer.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for which the result of a round is valid: the duration of a late round, and some more.
const VALID_FOR: Duration = Duration::from_secs(2);
/// Longest wait for the replicas of a new master to be pointed at it.
const RECONFIGURATION_MAX: Duration = Duration::from_millis(1500);
/// Most Sentinels that are queried.
const SENTINELS_MAX: usize = 32;
/// Most votes that are remembered.
const VOTES_MAX: usize = 256;
/// The channel on which Sentinels publish a new master.
const SWITCH: &str = "+switch-master";
/// Pause before a subscription is tried again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(1);

/// The result of one round of queries to all Sentinels.
#[derive(Debug, Clone)]
pub(super) struct Round {
    /// When the queries were sent.
    sent: Stopwatch,
    /// The combined replies of the Sentinels that answered every query.
    pub(super) quorum: Quorum,
    /// The master that is named by the Sentinels which permit no other query, if no majority
    /// permits it. It is accepted.
    pub(super) name_only: Option<HostPort>,
}

/// The master at which replicas are being pointed, its config epoch, and since when.
#[derive(Debug, Default)]
struct Reconfiguration(Option<(HostPort, u64, Duration)>);

impl Reconfiguration {
    /// Returns for how long the replicas of that master have been pointed at it. A server that is
    /// promoted once more, at a later epoch, is a new master.
    fn lasts_for(&mut self, master: &HostPort, epoch: u64, now: Duration) -> Duration {
        if self.0.as_ref().is_none_or(|(before, at, _)| (before, *at) != (master, epoch)) {
            self.0 = Some((master.clone(), epoch, now));
        }
        self.0.as_ref().map_or(Duration::ZERO, |(_, _, since)| now.saturating_sub(*since))
    }
}

/// All Sentinels of one master.
pub(in crate::redis::client) struct Sentinels {
    connector: Arc<Connector>,
    name: String,
    configured: Vec<HostPort>,
    last: watch::Sender<Round>,
    /// Starts a round immediately.
    pub(super) alarm: Arc<Notify>,
    /// The master at which replicas are being pointed, and since when.
    reconfiguration: Mutex<Reconfiguration>,
    clock: Stopwatch,
}

impl Sentinels {
    /// Creates the Sentinels, before the first query.
    pub(super) fn new(
        connector: Arc<Connector>,
        configured: Vec<HostPort>,
        name: String,
    ) -> Arc<Self> {
        let (quorum, sent) = (Quorum::default(), Stopwatch::start());
        let last = watch::Sender::new(Round { sent, quorum, name_only: None });
        let (alarm, reconfiguration) = (Arc::new(Notify::new()), Mutex::default());
        let clock = Stopwatch::start();
        Arc::new(Self { connector, name, configured, last, alarm, reconfiguration, clock })
    }

    /// Runs rounds and subscriptions until the returned task is dropped.
    pub(super) fn start(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(Arc::clone(self).run_rounds()))
    }

    /// Returns the result of a round that begins after this call.
    pub(super) async fn query(&self) -> Round {
        let (called, mut rounds) = (Stopwatch::start(), self.last.subscribe());
        loop {
            self.alarm.notify_one();
            let _ = rounds.changed().await;
            // A round may have been under way.
            let round = rounds.borrow_and_update().clone();
            if round.sent.elapsed() <= called.elapsed() {
                return round;
            }
        }
    }

    /// Returns the result of the next round.
    pub(super) async fn next(&self, rounds: &mut watch::Receiver<Round>) -> Round {
        let _ = rounds.changed().await;
        rounds.borrow_and_update().clone()
    }

    /// Returns the receiver for [`Self::next`].
    pub(super) fn subscribe(&self) -> watch::Receiver<Round> {
        self.last.subscribe()
    }

    /// Returns whether a majority named that master within [`VALID_FOR`].
    pub(in crate::redis::client) fn names(&self, master: &Address) -> bool {
        let round = self.last.borrow();
        let is_fresh = round.sent.elapsed() < VALID_FOR;
        let is_it = |found: &HostPort| is_at(master, found);
        if round.name_only.as_ref().is_some_and(is_it) {
            return true;
        }
        let named = round.quorum.named.as_ref().map(|(named, _)| named);
        is_fresh && round.quorum.is_majority && named.is_some_and(is_it)
    }

    /// Queries all Sentinels about a server.
    pub(in crate::redis::client) async fn status_of(&self, master: &Address) -> MasterStatus {
        let round = self.query().await;
        if round.name_only.as_ref().is_some_and(|found| is_at(master, found)) {
            return MasterStatus::Current;
        }
        let Quorum { is_majority, named, unrest, replicas, reached, of, .. } = round.quorum;
        let Some((named, epoch)) = named else {
            return MasterStatus::Uncertain(
                unrest.unwrap_or_else(|| "no Sentinel answers".to_owned()),
            );
        };
        if !is_at(master, &named) {
            return MasterStatus::Uncertain(format!("the Sentinels name {named}"));
        }
        if let Some(why) = unrest {
            return MasterStatus::Uncertain(why);
        }
        if !is_majority {
            let why = format!("{reached} of {of} Sentinels answer");
            return MasterStatus::NoMajority { replicas, why };
        }
        if self.is_reconfigured_soon(&named, epoch, round.quorum.is_reconfiguring) {
            return MasterStatus::JustPromoted;
        }
        MasterStatus::Current
    }

    /// Returns whether to wait for the replicas of a new master.
    fn is_reconfigured_soon(&self, master: &HostPort, epoch: u64, is_reconfiguring: bool) -> bool {
        if !is_reconfiguring {
            return false;
        }
        let mut state = self.reconfiguration.lock();
        state.lasts_for(master, epoch, self.clock.elapsed()) < RECONFIGURATION_MAX
    }

    async fn run_rounds(self: Arc<Self>) {
        let mut sentinels: Vec<Sentinel> = Vec::new();
        let mut votes: HashMap<Vote, Stopwatch> = HashMap::new();
        let mut others: Vec<HostPort> = Vec::new();
        let mut subscriptions: HashMap<HostPort, AbortOnDropHandle<()>> = HashMap::new();
        let (mut name_only, mut is_warned) = (None, false);
        loop {
            let wanted = self.configured.iter().chain(&others).take(SENTINELS_MAX);
            update_list(&mut sentinels, wanted);
            self.listen_to(&mut subscriptions, &sentinels);
            let sent = Stopwatch::start();
            let querying = sentinels
                .iter_mut()
                .map(|sentinel| sentinel.query(&self.connector, &self.name, SENTINEL_TIMEOUT));
            let answers = join_all(querying).await;
            let views: Vec<View> = answers.iter().filter_map(view).collect();
            remember(&mut votes, views.iter().filter_map(|view| view.vote.clone()).collect());
            let limit = views.iter().map(|view| view.failover_timeout).max().unwrap_or_default();
            let is_over = |vote: &Vote| votes.get(vote).is_some_and(|it| it.elapsed() > limit);
            let quorum = Quorum::of(&views, is_over);
            if !views.is_empty() {
                others = views.iter().flat_map(|view| view.others.clone()).collect();
            }
            if let Some((master, why)) = most_named(&answers) {
                name_only = Some(master);
                if !std::mem::replace(&mut is_warned, true) {
                    tracing::warn!(
                        reason = %why, "one Sentinel is accepted: permissions are missing"
                    );
                }
            }
            name_only = name_only.filter(|_| !quorum.is_majority);
            self.last.send_replace(Round { sent, quorum, name_only: name_only.clone() });
            let _ = tokio::time::timeout(ROUND_INTERVAL, self.alarm.notified()).await;
            tokio::time::sleep(ROUND_INTERVAL_MIN).await;
        }
    }

    /// Subscribes to these Sentinels and to no others.
    fn listen_to(
        self: &Arc<Self>,
        subscriptions: &mut HashMap<HostPort, AbortOnDropHandle<()>>,
        sentinels: &[Sentinel],
    ) {
        subscriptions.retain(|address, _| sentinels.iter().any(|it| it.address == *address));
        for Sentinel { address, .. } in sentinels {
            let listen =
                || AbortOnDropHandle::new(tokio::spawn(Arc::clone(self).listen(address.clone())));
            subscriptions.entry(address.clone()).or_insert_with(listen);
        }
    }

    /// Starts a round at every change that a Sentinel publishes.
    async fn listen(self: Arc<Self>, sentinel: HostPort) {
        loop {
            if let Ok(client) = self.connector.sentinel_client(&sentinel).await {
                let subscribing = async {
                    let mut messages = client.get_async_pubsub().await?;
                    messages.subscribe(SWITCH).await?;
                    Ok::<_, redis::RedisError>(messages)
                };
                let timeout = self.connector.options.connect_timeout;
                if let Ok(Ok(mut messages)) = tokio::time::timeout(timeout, subscribing).await {
                    // What was published before is not sent again.
                    self.alarm.notify_one();
                    let mut messages = messages.on_message();
                    while messages.next().await.is_some() {
                        self.alarm.notify_one();
                    }
                }
            }
            tokio::time::sleep(RESUBSCRIBE_AFTER).await;
        }
    }
}

fn is_at(master: &Address, found: &HostPort) -> bool {
    matches!(master, Address::Tcp(address) if address == found)
}

/// Returns the master that is named by most of the Sentinels which permit no other query, and the
/// refusal of one of them.
fn most_named(answers: &[Answer]) -> Option<(HostPort, String)> {
    let named = || {
        answers.iter().filter_map(|answer| match answer {
            Answer::NameOnly(master, why) => Some((master, why)),
            _ => None,
        })
    };
    let count = |master: &HostPort| named().filter(|(other, _)| *other == master).count();
    let most = named().max_by_key(|(master, _)| count(master))?;
    Some((most.0.clone(), most.1.clone()))
}

fn view(answer: &Answer) -> Option<View> {
    match answer {
        Answer::View(view) => Some(view.clone()),
        _ => None,
    }
}

/// Removes Sentinels that are not wanted, and adds those that are missing.
fn update_list<'a>(sentinels: &mut Vec<Sentinel>, wanted: impl Iterator<Item = &'a HostPort>) {
    let mut kept = Vec::new();
    for address in wanted {
        let is_it = |sentinel: &Sentinel| sentinel.address == *address;
        if kept.iter().any(is_it) {
            continue;
        }
        let before = sentinels.iter().position(is_it);
        kept.push(
            before.map_or_else(
                || Sentinel::new(address.clone()),
                |index| sentinels.swap_remove(index),
            ),
        );
    }
    *sentinels = kept;
}

/// Records when each vote was first seen; beyond [`VOTES_MAX`] it keeps those of now alone.
fn remember(votes: &mut HashMap<Vote, Stopwatch>, seen: Vec<Vote>) {
    if votes.len() > VOTES_MAX {
        votes.retain(|vote, _| seen.contains(vote));
    }
    for vote in seen {
        votes.entry(vote).or_insert_with(Stopwatch::start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_promoted_again_is_a_new_master() {
        let at = |port| HostPort { host: "redis".to_owned(), port };
        let mut state = Reconfiguration::default();
        let seconds = Duration::from_secs;
        for (master, epoch, now, lasts_for) in
            [(at(1), 7, 10, 0), (at(1), 7, 12, 2), (at(1), 9, 20, 0), (at(2), 9, 21, 0)]
        {
            assert_eq!(state.lasts_for(&master, epoch, seconds(now)), seconds(lasts_for));
        }
    }

    #[test]
    fn votes_of_now_keep_their_times_among_many_older_ones() {
        let vote = |epoch| Vote { leader: "run".to_owned(), epoch };
        let mut votes = HashMap::new();
        for epoch in 0..=300 {
            remember(&mut votes, vec![vote(0), vote(epoch)]);
        }
        assert!(votes.len() <= VOTES_MAX + 2, "{}", votes.len());
        assert!(votes[&vote(0)].elapsed() >= votes[&vote(300)].elapsed());
    }
}
