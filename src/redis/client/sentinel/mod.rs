//! Follows the master that the Sentinels name.
//!
//! `query` queries one Sentinel, `quorum` evaluates the replies of several together, `rounds`
//! queries all of them repeatedly, and this file holds the current master.

mod query;
mod quorum;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::authority::Authority;
use super::connect::Connector;
use super::node::Node;
use crate::redis::options::{Address, HostPort};

pub(super) use self::query::Answer;
use self::query::Sentinel;
pub(super) use self::rounds::Sentinels;

/// The master that the Sentinels name, as it changes.
pub(super) struct Watched {
    master: watch::Receiver<Arc<Node>>,
    sentinels: Arc<Sentinels>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// The Sentinels while they are queried, before the first master is found.
pub(super) struct Discovery {
    sentinels: Arc<Sentinels>,
    querying: AbortOnDropHandle<()>,
}

impl Discovery {
    /// Starts to query the Sentinels.
    pub(super) fn start(
        connector: &Arc<Connector>,
        configured: Vec<HostPort>,
        name: String,
    ) -> Self {
        let sentinels = Sentinels::new(Arc::clone(connector), configured, name);
        let querying = sentinels.start();
        Self { sentinels, querying }
    }

    /// Returns the master that is named by the Sentinels that answer.
    pub(super) async fn master(&self) -> Option<HostPort> {
        let round = self.sentinels.query().await;
        round.quorum.named.map(|(named, _)| named).or(round.name_only)
    }

    /// Creates the node of that master, and follows later masters.
    pub(super) fn watch(self, connector: &Arc<Connector>, master: HostPort) -> Watched {
        let Self { sentinels, querying } = self;
        let node = node_of(connector, &sentinels, master);
        let (sender, receiver) = watch::channel(node);
        let following = follow(Arc::clone(connector), Arc::clone(&sentinels), sender);
        Watched {
            master: receiver,
            sentinels,
            _tasks: [querying, AbortOnDropHandle::new(tokio::spawn(following))],
        }
    }
}

impl Watched {
    /// Returns the current master, as last named.
    pub(super) fn master(&self) -> Arc<Node> {
        Arc::clone(&self.master.borrow())
    }

    /// Queries the Sentinels immediately, since the current master may be the wrong one.
    pub(super) fn refresh(&self) {
        self.master().reconnect();
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
    timeout: Duration,
) -> Answer {
    Sentinel::new(sentinel.clone()).query(connector, name, timeout).await
}

/// Replaces the master whenever the Sentinels name another one.
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
            // Without a majority, the Sentinels that answer may be behind the others.
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
            tracing::info!(from = %before, to = %found, "Redis master changed");
            let Address::Tcp(found) = found else { continue };
            master.send_replace(node_of(&connector, &sentinels, found));
        }
    }
}
