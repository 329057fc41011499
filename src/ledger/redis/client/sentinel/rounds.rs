//! Queries all Sentinels together, round after round, and keeps the last result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::{Notify, watch};

use super::ask::{Answer, Sentinel};
use super::quorum::{Quorum, View, Vote};
use crate::clock::Stopwatch;
use crate::ledger::redis::client::authority::MasterStatus;
use crate::ledger::redis::client::connect::Connector;
use crate::ledger::redis::client::pace::Task;
use crate::ledger::redis::options::{Address, HostPort};

/// Time between two rounds when nothing seems wrong; messages of the Sentinels come sooner.
const ROUND_EVERY: Duration = Duration::from_millis(500);
/// Shortest time between two rounds.
const ROUND_AGAIN_AFTER: Duration = Duration::from_millis(30);
/// Longest time for a Sentinel to answer.
const SENTINEL_PATIENCE: Duration = Duration::from_millis(500);
/// How long the result of a round holds: as long as a late round takes, and some more.
const HOLDS_FOR: Duration = Duration::from_secs(2);
/// Longest time for the replicas of a new master to be pointed at it.
const RECONFIGURED_WITHIN: Duration = Duration::from_millis(1500);
/// Most Sentinels that are asked.
const SENTINELS_MAX: usize = 32;
/// Most votes that are remembered.
const VOTES_MAX: usize = 256;
/// Where Sentinels publish a new master.
const SWITCH: &str = "+switch-master";
/// Pause before a subscription is tried again.
const SUBSCRIBE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The result of one round of queries to all Sentinels.
#[derive(Debug, Clone)]
pub(super) struct Round {
    /// When the queries were sent.
    asked: Stopwatch,
    /// The judgement over the Sentinels that answered every query.
    pub(super) quorum: Quorum,
    /// The master by the Sentinels that permit no other query, if no majority permits it. It is
    /// believed.
    pub(super) name_only: Option<HostPort>,
}

/// All Sentinels of one master.
pub(in crate::ledger::redis::client) struct Sentinels {
    connector: Arc<Connector>,
    name: String,
    configured: Vec<HostPort>,
    last: watch::Sender<Round>,
    /// Has a round begun at once.
    pub(super) alarm: Arc<Notify>,
    /// Since when replicas are being pointed at that master.
    reconfiguring: Mutex<Option<(HostPort, Stopwatch)>>,
}

impl Sentinels {
    /// Sentinels that were not queried yet.
    pub(super) fn new(
        connector: Arc<Connector>,
        configured: Vec<HostPort>,
        name: String,
    ) -> Arc<Self> {
        let (quorum, asked) = (Quorum::default(), Stopwatch::start());
        let last = watch::Sender::new(Round { asked, quorum, name_only: None });
        let (alarm, reconfiguring) = (Arc::new(Notify::new()), Mutex::default());
        Arc::new(Self { connector, name, configured, last, alarm, reconfiguring })
    }

    /// Runs rounds and subscriptions until the returned task is dropped.
    pub(super) fn start(self: &Arc<Self>) -> Task {
        Task::spawn(Arc::clone(self).run_rounds())
    }

    /// The result of a round that begins after this call.
    pub(super) async fn ask(&self) -> Round {
        let (called, mut rounds) = (Stopwatch::start(), self.last.subscribe());
        loop {
            self.alarm.notify_one();
            let _ = rounds.changed().await;
            // One may have been under way.
            let round = rounds.borrow_and_update().clone();
            if round.asked.elapsed() <= called.elapsed() {
                return round;
            }
        }
    }

    /// The result of the next round.
    pub(super) async fn next(&self, rounds: &mut watch::Receiver<Round>) -> Round {
        let _ = rounds.changed().await;
        rounds.borrow_and_update().clone()
    }

    /// For [`Self::next`].
    pub(super) fn subscribe(&self) -> watch::Receiver<Round> {
        self.last.subscribe()
    }

    /// Whether a majority named that master within [`HOLDS_FOR`].
    pub(in crate::ledger::redis::client) fn names(&self, master: &Address) -> bool {
        let round = self.last.borrow();
        let is_fresh = round.asked.elapsed() < HOLDS_FOR;
        let is_it = |found: &HostPort| is_at(master, found);
        if round.name_only.as_ref().is_some_and(is_it) {
            return true;
        }
        let named = round.quorum.named.as_ref().map(|(named, _)| named);
        is_fresh && round.quorum.is_majority && named.is_some_and(is_it)
    }

    /// Queries all Sentinels about a server.
    pub(in crate::ledger::redis::client) async fn status_of(
        &self,
        master: &Address,
    ) -> MasterStatus {
        let round = self.ask().await;
        if round.name_only.as_ref().is_some_and(|found| is_at(master, found)) {
            return MasterStatus::Current;
        }
        let Quorum { is_majority, named, unrest, replicas, reached, of, .. } = round.quorum;
        let Some((named, _)) = named else {
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
        if self.is_reconfigured_soon(&named, round.quorum.is_reconfiguring) {
            return MasterStatus::JustPromoted;
        }
        MasterStatus::Current
    }

    /// Whether the replicas of a new master are waited for.
    fn is_reconfigured_soon(&self, master: &HostPort, is_reconfiguring: bool) -> bool {
        let mut since = self.reconfiguring.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_reconfiguring {
            return false;
        }
        if since.as_ref().is_none_or(|(before, _)| before != master) {
            *since = Some((master.clone(), Stopwatch::start()));
        }
        since.as_ref().is_some_and(|(_, since)| since.elapsed() < RECONFIGURED_WITHIN)
    }

    async fn run_rounds(self: Arc<Self>) {
        let mut sentinels: Vec<Sentinel> = Vec::new();
        let mut votes: HashMap<Vote, Stopwatch> = HashMap::new();
        let mut others: Vec<HostPort> = Vec::new();
        let mut listening: HashMap<HostPort, Task> = HashMap::new();
        let (mut name_only, mut is_warned) = (None, false);
        loop {
            let wanted = self.configured.iter().chain(&others).take(SENTINELS_MAX);
            keep_only(&mut sentinels, wanted);
            self.listen_to(&mut listening, &sentinels);
            let asked = Stopwatch::start();
            let asking = sentinels
                .iter_mut()
                .map(|sentinel| sentinel.ask(&self.connector, &self.name, SENTINEL_PATIENCE));
            let answers = join_all(asking).await;
            let views: Vec<View> = answers.iter().filter_map(view).collect();
            remember(&mut votes, &views);
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
                        reason = %why, "one Sentinel is believed: permissions are missing"
                    );
                }
            }
            name_only = name_only.filter(|_| !quorum.is_majority);
            self.last.send_replace(Round { asked, quorum, name_only: name_only.clone() });
            let _ = tokio::time::timeout(ROUND_EVERY, self.alarm.notified()).await;
            tokio::time::sleep(ROUND_AGAIN_AFTER).await;
        }
    }

    /// Listens to those Sentinels and to no others.
    fn listen_to(
        self: &Arc<Self>,
        listening: &mut HashMap<HostPort, Task>,
        sentinels: &[Sentinel],
    ) {
        listening.retain(|address, _| sentinels.iter().any(|it| it.address == *address));
        for Sentinel { address, .. } in sentinels {
            let listen = || Task::spawn(Arc::clone(self).listen(address.clone()));
            listening.entry(address.clone()).or_insert_with(listen);
        }
    }

    /// Asks at every change that a Sentinel publishes.
    async fn listen(self: Arc<Self>, sentinel: HostPort) {
        loop {
            if let Ok(client) = self.connector.sentinel_client(&sentinel).await {
                let subscribing = async {
                    let mut messages = client.get_async_pubsub().await?;
                    messages.subscribe(SWITCH).await?;
                    Ok::<_, redis::RedisError>(messages)
                };
                let patience = self.connector.options.connect_timeout;
                if let Ok(Ok(mut messages)) = tokio::time::timeout(patience, subscribing).await {
                    // What was published before is not repeated.
                    self.alarm.notify_one();
                    let mut messages = messages.on_message();
                    while messages.next().await.is_some() {
                        self.alarm.notify_one();
                    }
                }
            }
            tokio::time::sleep(SUBSCRIBE_AGAIN_AFTER).await;
        }
    }
}

fn is_at(master: &Address, found: &HostPort) -> bool {
    matches!(master, Address::Tcp(address) if address == found)
}

/// The master that most of the Sentinels name which permit no other query, and what one of them
/// refused.
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

/// Forgets Sentinels that are not wanted, and adds those that are.
fn keep_only<'a>(sentinels: &mut Vec<Sentinel>, wanted: impl Iterator<Item = &'a HostPort>) {
    let mut kept = Vec::new();
    for address in wanted {
        let known = |sentinel: &Sentinel| sentinel.address == *address;
        if kept.iter().any(known) {
            continue;
        }
        let before = sentinels.iter().position(known);
        kept.push(
            before.map_or_else(
                || Sentinel::new(address.clone()),
                |index| sentinels.swap_remove(index),
            ),
        );
    }
    *sentinels = kept;
}

/// Keeps when each vote was seen first, of those that are still seen.
fn remember(votes: &mut HashMap<Vote, Stopwatch>, views: &[View]) {
    if votes.len() > VOTES_MAX {
        votes.clear();
    }
    for vote in views.iter().filter_map(|view| view.vote.clone()) {
        votes.entry(vote).or_insert_with(Stopwatch::start);
    }
}
