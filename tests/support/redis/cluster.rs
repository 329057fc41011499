//! A Redis Cluster of three masters with a replica each.
//!
//! Formed with `CLUSTER ADDSLOTSRANGE`, `MEET` and `REPLICATE`, which takes a second or two.

use std::time::Duration;

use imquota::clock::Stopwatch;

use super::sentinels::wait_until_in_sync;
use super::{Server, field_of, wait_for};
use crate::support::moved_clock::MovedClock;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
/// The number of keys of one `MIGRATE`, and its timeout.
const KEYS_MOVED_AT_ONCE: &str = "100";
const MOVE_TIMEOUT_MS: &str = "5000";

/// The time after which a manual failover has ended, successfully or not.
const FAILOVER_GIVEN_UP: Duration = Duration::from_secs(12);

const SETTINGS: &[&str] = &[
    "cluster-enabled yes",
    "cluster-node-timeout 1000",
    "cluster-replica-validity-factor 0",
    "cluster-allow-replica-migration no",
    "repl-diskless-sync-delay 0",
    "repl-ping-replica-period 1",
];

/// Settings with which no node misses another or its replica, however far the clock is set.
const NEVER_DOWN: &[&str] = &["cluster-node-timeout 100000000000000", "repl-timeout 2000000000"];

/// See the module's head.
pub struct Cluster {
    /// The nodes; the first three began as masters, the fourth as the first one's replica.
    pub nodes: Vec<Server>,
}

/// A node in the output of `CLUSTER NODES`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    port: u16,
    id: String,
    flags: String,
    slots: Vec<(usize, usize)>,
}

impl Cluster {
    /// Starts a cluster; waits for `cluster_state:ok` on every node, and for every replica.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a cluster with further settings of every node.
    pub fn start_with(extra: &[&str]) -> Self {
        Self::start_by(&[], extra)
    }

    /// Starts a cluster whose nodes use a fake time of day afterwards; no node is ever replaced.
    pub fn start_with_clock(clock: &MovedClock) -> Self {
        Self::start_by(&[clock], NEVER_DOWN)
    }

    /// Starts a cluster in which each master, with its replica, has a fake clock of its own.
    pub fn start_with_clocks(clocks: [&MovedClock; MASTERS]) -> Self {
        Self::start_by(&clocks, NEVER_DOWN)
    }

    fn start_by(clocks: &[&MovedClock], extra: &[&str]) -> Self {
        let settings: Vec<&str> = SETTINGS.iter().chain(extra).copied().collect();
        let clock = |node: usize| clocks.get(node % clocks.len().max(1)).copied();
        let start = |node| Server::start_by(clock(node), &settings);
        let nodes: Vec<Server> = (0..2 * MASTERS).map(start).collect();
        for (index, node) in nodes.iter().enumerate() {
            // Distinct epochs from the start; otherwise the nodes would have to resolve them.
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
        for (index, node) in nodes.iter().take(MASTERS).enumerate() {
            let first = (SLOTS * index / MASTERS).to_string();
            let last = (SLOTS * (index + 1) / MASTERS - 1).to_string();
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        for node in &nodes[1..] {
            nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()]);
        }
        let cluster = Self { nodes };
        for node in &cluster.nodes {
            wait_for("nodes to meet", || {
                let known = known(node)?;
                let met = known.iter().all(|one| !one.flags.contains("handshake"));
                (known.len() == 2 * MASTERS && met).then_some(())
            });
        }
        for (index, replica) in cluster.nodes.iter().skip(MASTERS).enumerate() {
            let master = cluster.nodes[index].cli(&["CLUSTER", "MYID"]);
            replica.cli(&["CLUSTER", "REPLICATE", &master]);
        }
        for replica in &cluster.nodes[MASTERS..] {
            wait_until_in_sync(replica);
        }
        for master in &cluster.nodes[..MASTERS] {
            master.wait_until_replicated(1);
        }
        cluster.wait_until_ok();
        cluster
    }

    pub fn url(&self) -> String {
        let seeds: Vec<String> = self.nodes.iter().take(MASTERS).map(Server::address).collect();
        format!("redis-cluster://{}", seeds.join(","))
    }

    /// The node at that port.
    pub fn node(&self, port: u16) -> &Server {
        let found = self.nodes.iter().find(|node| node.port() == port);
        found.expect("one of the nodes")
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &str) -> usize {
        let node = self.running().next().expect("a node runs");
        node.cli(&["CLUSTER", "KEYSLOT", key]).parse().expect("a number")
    }

    /// The port of the master that serves a slot, by the first running node.
    pub fn master_of(&self, slot: usize) -> u16 {
        let has = |known: &Known| {
            known.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
        };
        wait_for("a master of the slot", || {
            let known = known(self.running().next()?)?;
            known.into_iter().find(has).map(|known| known.port)
        })
    }

    /// Makes the replica of that slot's master take over, like an operator.
    pub fn fail_over(&self, slot: usize) {
        let old = self.master_of(slot);
        let replica = self.node(old).info("replication", "slave0").expect("a replica");
        let port = replica.split("port=").nth(1).and_then(|it| it.split(',').next());
        let port: u16 = port.expect("a port").parse().expect("a port");
        self.node(old).wait_until_replicated(1);
        let mut asked: Option<Stopwatch> = None;
        wait_for("the failover", || {
            if self.master_of(slot) == port {
                return Some(());
            }
            // The replica aborts a failover that it cannot finish in time.
            if asked.is_none_or(|asked| asked.elapsed() > FAILOVER_GIVEN_UP) {
                // If it is the master by now, this is refused.
                let _ = self.node(port).try_cli(&["CLUSTER", "FAILOVER"]);
                asked = Some(Stopwatch::start());
            }
            None
        });
    }

    /// The ports of all masters that serve slots.
    pub fn masters(&self) -> Vec<u16> {
        let known = wait_for("a node's view", || known(self.running().next()?));
        known.iter().filter(|known| !known.slots.is_empty()).map(|known| known.port).collect()
    }

    /// Kills the master of a slot; returns its port.
    pub fn kill_master_of(&self, slot: usize) -> u16 {
        let port = self.master_of(slot);
        self.node(port).kill9();
        port
    }

    /// Waits until every slot has a running master and all running nodes agree on it.
    pub fn wait_until_ok(&self) {
        wait_for("an agreed cluster that is whole", || {
            let mut views = self.running().map(|node| {
                let info = node.try_cli(&["CLUSTER", "INFO"]).ok()?;
                let is = |field, value| field_of(&info, field).as_deref() == Some(value);
                let whole = is("cluster_state", "ok") && is("cluster_slots_ok", "16384");
                if whole { served(known(node)?) } else { None }
            });
            let first = views.next()??;
            let agreed = views.all(|view| view.as_ref() == Some(&first));
            let alive = |port: &u16| self.node(*port).is_running();
            (agreed && first.iter().all(|(port, _)| alive(port))).then_some(())
        });
    }

    /// Restarts a killed node and waits until it is a replica in sync of a whole cluster. Its slots
    /// must have a new master already.
    pub fn revive(&self, port: u16) {
        self.node(port).restart();
        wait_until_in_sync(self.node(port));
        self.wait_until_ok();
        let master = wait_for("a master", || self.node(port).info("replication", "master_port"));
        self.node(master.parse().expect("a port")).wait_until_replicated(1);
    }

    /// Moves a slot with all its keys to another master: atomically if the servers support that.
    pub fn move_slot(&self, slot: usize, to: u16) {
        let from = self.node(self.master_of(slot));
        if !from.cli(&["CLUSTER", "HELP"]).contains("MIGRATESLOTS") {
            self.begin_move(slot, to);
            return self.finish_move(slot, to);
        }
        let id = self.node(to).cli(&["CLUSTER", "MYID"]);
        let slot_word = slot.to_string();
        let range = ["SLOTSRANGE", &slot_word, &slot_word, "NODE", &id];
        from.cli(&[&["CLUSTER", "MIGRATESLOTS"], &range[..]].concat());
        wait_for("a slot that moves at once", || (self.master_of(slot) == to).then_some(()));
        self.wait_until_ok();
    }

    /// Opens a slot for moving: its master redirects calls for missing keys to the other one.
    pub fn begin_move(&self, slot: usize, to: u16) {
        let from = self.master_of(slot);
        let slot = slot.to_string();
        let set = ["CLUSTER", "SETSLOT", &slot];
        let ids = [from, to].map(|port| self.node(port).cli(&["CLUSTER", "MYID"]));
        self.node(to).cli(&[&set[..], &["IMPORTING", &ids[0]]].concat());
        self.node(from).cli(&[&set[..], &["MIGRATING", &ids[1]]].concat());
    }

    /// Moves one batch of keys of an open slot; returns their number.
    pub fn move_keys(&self, slot: usize, to: u16) -> usize {
        let from = self.node(self.master_of(slot));
        let slot = slot.to_string();
        let listed = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, KEYS_MOVED_AT_ONCE]);
        let keys: Vec<&str> = listed.lines().collect();
        if !keys.is_empty() {
            let to = to.to_string();
            let head = ["MIGRATE", "127.0.0.1", &to, "", "0", MOVE_TIMEOUT_MS, "KEYS"];
            from.cli(&[&head[..], &keys].concat());
        }
        keys.len()
    }

    /// Moves the remaining keys of an open slot and closes it on all nodes.
    pub fn finish_move(&self, slot: usize, to: u16) {
        let from = self.master_of(slot);
        while self.move_keys(slot, to) > 0 {}
        let id = self.node(to).cli(&["CLUSTER", "MYID"]);
        let masters = self.masters();
        // The new owner first, so that the slot always has an owner.
        let rest = masters.into_iter().filter(|port| *port != to && *port != from);
        for port in [to, from].into_iter().chain(rest) {
            self.node(port).cli(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]);
        }
        self.wait_until_ok();
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|node| node.is_running())
    }
}

type Served = Vec<(u16, Vec<(usize, usize)>)>;

/// The slots by master; `None` while a serving node is suspected to have failed.
fn served(known: Vec<Known>) -> Option<Served> {
    let serving = known.into_iter().filter(|known| !known.slots.is_empty());
    let mut all = Vec::new();
    for known in serving {
        if known.flags.contains("fail") {
            return None;
        }
        all.push((known.port, known.slots));
    }
    all.sort();
    Some(all)
}

/// A node's view of all nodes; `None` if it does not reply.
fn known(node: &Server) -> Option<Vec<Known>> {
    let nodes = node.try_cli(&["CLUSTER", "NODES"]).ok()?;
    nodes.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

/// `id host:port@bus flags master ping pong epoch link slot...`
fn parse(line: &str) -> Option<Known> {
    let mut words = line.split_whitespace();
    let id = words.next()?.to_owned();
    let address = words.next()?.split('@').next()?;
    let port = address.rsplit(':').next()?.parse().ok()?;
    let flags = words.next()?.to_owned();
    // A moving slot is in brackets, beside the range that still contains it.
    let slots = words.skip(5).filter(|word| !word.starts_with('['));
    let slots = slots.map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    let slots = slots.collect::<Option<Vec<_>>>()?;
    Some(Known { port, id, flags, slots })
}
