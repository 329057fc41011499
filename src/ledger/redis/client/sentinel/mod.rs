//! The master that the Sentinels name, followed as it changes.
//!
//! `ask` asks one Sentinel, `quorum` judges what several say together, `rounds` asks all of them
//! again and again, and this file keeps the master.

mod ask;
mod quorum;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::authority::Authority;
use super::connect::Connector;
use super::node::Node;
use super::pace::Task;
use crate::ledger::redis::options::{Address, HostPort};

pub(super) use self::ask::Answer;
use self::ask::Sentinel;
pub(super) use self::rounds::Sentinels;

/// The master, whichever it is.
pub(super) struct Watched {
    master: watch::Receiver<Arc<Node>>,
    sentinels: Arc<Sentinels>,
    _tasks: [Task; 2],
}

/// The Sentinels while they are asked, before there is a master.
pub(super) struct Asked {
    sentinels: Arc<Sentinels>,
    asking: Task,
}

impl Asked {
    /// Starts to ask.
    pub(super) fn start(
        connector: &Arc<Connector>,
        configured: Vec<HostPort>,
        name: String,
    ) -> Self {
        let sentinels = Sentinels::new(Arc::clone(connector), configured, name);
        let asking = sentinels.start();
        Self { sentinels, asking }
    }

    /// The master by those that answer.
    pub(super) async fn master(&self) -> Option<HostPort> {
        let round = self.sentinels.ask().await;
        round.quorum.named.map(|(named, _)| named).or(round.name_only)
    }

    /// Starts with that master, and keeps following.
    pub(super) fn watch(self, connector: &Arc<Connector>, master: HostPort) -> Watched {
        let Self { sentinels, asking } = self;
        let node = node_of(connector, &sentinels, master);
        let (sender, receiver) = watch::channel(node);
        let following = follow(Arc::clone(connector), Arc::clone(&sentinels), sender);
        Watched { master: receiver, sentinels, _tasks: [asking, Task::spawn(following)] }
    }
}

impl Watched {
    /// The master as far as is known.
    pub(super) fn master(&self) -> Arc<Node> {
        Arc::clone(&self.master.borrow())
    }

    /// Something is wrong with the master: has the Sentinels asked at once.
    pub(super) fn doubt(&self) {
        self.master().distrust();
        self.sentinels.alarm.notify_one();
    }
}

fn node_of(connector: &Arc<Connector>, sentinels: &Arc<Sentinels>, master: HostPort) -> Arc<Node> {
    let authority = Authority::Sentinels(Arc::clone(sentinels));
    Node::new(Address::Tcp(master), connector, &sentinels.alarm, authority)
}

/// Queries one Sentinel, over a connection of its own.
pub(super) async fn lookup(
    connector: &Connector,
    sentinel: &HostPort,
    name: &str,
    patience: Duration,
) -> Answer {
    Sentinel::new(sentinel.clone()).ask(connector, name, patience).await
}

/// Replaces the master by the one that the Sentinels name.
async fn follow(
    connector: Arc<Connector>,
    sentinels: Arc<Sentinels>,
    master: watch::Sender<Arc<Node>>,
) {
    let mut rounds = sentinels.subscribe();
    let mut epoch_seen = 0;
    loop {
        let round = sentinels.next(&mut rounds).await;
        let (found, epoch) = match (round.quorum.named, round.name_only) {
            // Where no majority answers, the one that is heard may be behind the others.
            (Some((_, epoch)), None) if !round.quorum.is_majority && epoch <= epoch_seen => {
                continue;
            }
            (Some(named), None) => named,
            (_, Some(master)) => (master, 0),
            (None, None) => continue,
        };
        epoch_seen = epoch_seen.max(epoch);
        let before = master.borrow().address.clone();
        let found = Address::Tcp(found);
        if before != found {
            tracing::info!(from = %before, to = %found, "the Redis master changed");
            let Address::Tcp(found) = found else { continue };
            master.send_replace(node_of(&connector, &sentinels, found));
        }
    }
}
