//! The nodes of a Redis Cluster and the slots that each of them serves.

mod views;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::{Mutex, RwLock};
use redis::Value;
use tokio::sync::{Notify, OnceCell};
use tokio_util::task::AbortOnDropHandle;

use self::views::View;
use super::authority::{Authority, MasterStatus};
use super::connect::{ConnectError, Connector};
use super::node::Node;
use super::retry::{self, Deadline};
use super::slot::SLOTS;
use super::{Failure, connection, reply};
use crate::redis::options::{Address, HostPort};

/// Time between two reads of the slot map in normal operation; redirections show changes sooner.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Longest time for one node to answer a query, before another one is queried.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for which a master may be silent to the others before they replace it, if they do not
/// report it.
const NODE_TIMEOUT: Duration = Duration::from_secs(15);

/// A range of slots and the master that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    first: u16,
    last: u16,
    master: HostPort,
}

/// The client's view of a cluster, kept up to date.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

/// State that the cluster's task and nodes share.
pub(super) struct Shared {
    this: Weak<Self>,
    node_timeout: OnceCell<Duration>,
    connector: Arc<Connector>,
    seeds: Vec<HostPort>,
    alarm: Arc<Notify>,
    nodes: Mutex<HashMap<HostPort, Arc<Node>>>,
    slots: RwLock<Vec<Option<Arc<Node>>>>,
}

impl Cluster {
    /// Starts with that slot map, and keeps it up to date.
    pub(super) fn new(connector: &Arc<Connector>, seeds: Vec<HostPort>, ranges: &[Range]) -> Self {
        let shared = Arc::new_cyclic(|this| Shared {
            this: Weak::clone(this),
            node_timeout: OnceCell::new(),
            connector: Arc::clone(connector),
            seeds,
            alarm: Arc::new(Notify::new()),
            nodes: Mutex::default(),
            slots: RwLock::new(vec![None; usize::from(SLOTS)]),
        });
        shared.apply(ranges);
        Self { _task: AbortOnDropHandle::new(tokio::spawn(follow(Arc::clone(&shared)))), shared }
    }

    /// Returns the node that serves a slot.
    pub(super) fn node(&self, slot: u16) -> Option<Arc<Node>> {
        let slots = self.shared.slots.read();
        slots.get(usize::from(slot)).cloned().flatten()
    }

    /// Returns one slot of each node that serves any; a higher `turn` selects another one.
    pub(super) fn sample_slots(&self, turn: usize) -> Vec<u16> {
        let slots = self.shared.slots.read();
        let mut served: HashMap<String, Vec<u16>> = HashMap::new();
        for (slot, node) in (0..SLOTS).zip(slots.iter()) {
            if let Some(node) = node {
                served.entry(node.address.to_string()).or_default().push(slot);
            }
        }
        served.into_values().map(|slots| slots[turn % slots.len()]).collect()
    }

    /// Returns the node at that address, for one call.
    pub(super) fn at(&self, address: &HostPort) -> Arc<Node> {
        self.shared.at(address)
    }

    /// Records the redirection of a slot to another node.
    pub(super) fn moved(&self, slot: u16, address: &HostPort) {
        let node = self.shared.at(address);
        let mut slots = self.shared.slots.write();
        if let Some(place) = slots.get_mut(usize::from(slot)) {
            *place = Some(node);
        }
        drop(slots);
        self.refresh();
    }

    /// Reads the slot map again immediately, since it may be outdated.
    pub(super) fn refresh(&self) {
        self.shared.alarm.notify_one();
    }

    /// Returns all nodes of the slot map.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.shared.all_nodes()
    }
}

impl Shared {
    fn at(&self, address: &HostPort) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        let node = nodes.entry(address.clone()).or_insert_with(|| {
            let authority = if self.connector.are_master_queries_disabled() {
                Authority::unwatched(&self.connector)
            } else {
                Authority::Cluster(Weak::clone(&self.this))
            };
            Node::new(Address::Tcp(address.clone()), &self.connector, &self.alarm, authority)
        });
        Arc::clone(node)
    }

    fn all_nodes(&self) -> Vec<Arc<Node>> {
        let nodes = self.nodes.lock();
        nodes.values().cloned().collect()
    }

    fn apply(&self, ranges: &[Range]) {
        let mut fresh = vec![None; usize::from(SLOTS)];
        for Range { first, last, master } in ranges {
            let node = self.at(master);
            for slot in *first..=*last {
                if let Some(place) = fresh.get_mut(usize::from(slot)) {
                    *place = Some(Arc::clone(&node));
                }
            }
        }
        *self.slots.write() = fresh;
        let masters: HashSet<_> = ranges.iter().map(|range| &range.master).collect();
        let mut nodes = self.nodes.lock();
        nodes.retain(|address, _| masters.contains(address));
    }

    /// Returns the time for which a master may be silent to the others before they replace it.
    pub(super) async fn node_timeout(&self) -> Duration {
        let command = redis::cmd("CONFIG").arg("GET").arg("cluster-node-timeout").to_owned();
        let query = || async {
            let node = self.all_nodes().into_iter().find(|node| node.is_up()).ok_or(())?;
            let settings = match node.query(&command, Deadline::after(QUERY_TIMEOUT)).await {
                Ok(settings) => reply::fields(&settings),
                Err(Failure::Server(_)) => return Ok(NODE_TIMEOUT),
                Err(_) => return Err(()),
            };
            let ms = settings.get("cluster-node-timeout").and_then(|ms| ms.parse().ok());
            Ok(ms.map_or(NODE_TIMEOUT, Duration::from_millis))
        };
        *self.node_timeout.get_or_try_init(query).await.unwrap_or(&NODE_TIMEOUT)
    }

    /// Queries all nodes about that master.
    pub(super) async fn status_of(&self, master: &Address) -> MasterStatus {
        let command = redis::cmd("CLUSTER").arg("NODES").to_owned();
        let query = |node: Arc<Node>| {
            let command = &command;
            async move {
                let nodes = node.query(command, Deadline::after(QUERY_TIMEOUT)).await;
                let nodes = nodes.map_err(|why| format!("{}: {why:?}", node.address))?;
                let nodes = reply::text(&nodes).ok_or("malformed reply to CLUSTER NODES")?;
                Ok::<_, String>((node.address == *master, View::read(&nodes)))
            }
        };
        let replies = join_all(self.all_nodes().into_iter().map(query)).await;
        let (own, others): (Vec<_>, Vec<_>) =
            replies.iter().flatten().partition(|(is_own, _)| *is_own);
        let [(_, own)] = own[..] else {
            let why = replies.into_iter().find_map(Result::err);
            return MasterStatus::Uncertain(
                why.unwrap_or_else(|| "it is not in the slot map".to_owned()),
            );
        };
        let others: Vec<View> = others.into_iter().map(|(_, view)| view.clone()).collect();
        views::majority_agrees(own, &others)
            .map_or_else(MasterStatus::Uncertain, |()| MasterStatus::Current)
    }

    /// Reads the slot map from a connected node, otherwise from a seed.
    async fn refresh(&self) {
        let command = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
        let mut all_nodes = self.all_nodes();
        // Starts at a random node: one that is cut off from the others cannot detect that itself.
        let start = retry::random_below(all_nodes.len());
        all_nodes.rotate_left(start);
        for node in all_nodes.into_iter().filter(|node| node.is_up()) {
            let answer = node.query(&command, Deadline::after(QUERY_TIMEOUT)).await;
            if let Some(ranges) = answer.ok().and_then(|answer| ranges(&answer, node.host())) {
                return self.apply(&ranges);
            }
        }
        for seed in &self.seeds {
            if let Ok(Some(ranges)) = lookup(&self.connector, seed).await {
                return self.apply(&ranges);
            }
        }
    }
}

/// Reads the slot map of a node over a connection of its own; `None` if it lists no node that
/// serves slots.
pub(super) async fn lookup(
    connector: &Connector,
    seed: &HostPort,
) -> Result<Option<Vec<Range>>, ConnectError> {
    let connection = connector.plain(&Address::Tcp(seed.clone())).await?;
    let command = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
    let answer = connection::query(&connection, &command, Deadline::after(QUERY_TIMEOUT)).await?;
    Ok(ranges(&answer, &seed.host))
}

/// Parses the reply to `CLUSTER SLOTS`; `None` if it names no master.
fn ranges(answer: &Value, queried_host: &str) -> Option<Vec<Range>> {
    let ranges: Vec<_> = reply::elements(answer)
        .iter()
        .filter_map(|range| {
            let [first, last, master, ..] = reply::elements(range) else { return None };
            let [host, port, ..] = reply::elements(master) else { return None };
            let host = match reply::text(host) {
                // A node that has no address of its own yet is at the address that was queried.
                None => queried_host.to_owned(),
                Some(host) if host.is_empty() => queried_host.to_owned(),
                Some(host) if host == "?" => return None,
                Some(host) => host,
            };
            let master = HostPort { host, port: reply::number(port)? };
            Some(Range { first: reply::number(first)?, last: reply::number(last)?, master })
        })
        .collect();
    (!ranges.is_empty()).then_some(ranges)
}

async fn follow(shared: Arc<Shared>) {
    loop {
        let _ = tokio::time::timeout(REFRESH_INTERVAL, shared.alarm.notified()).await;
        shared.refresh().await;
        // Every redirected call notifies; the slot map need not be read as often.
        tokio::time::sleep(retry::pause(3)).await;
    }
}
