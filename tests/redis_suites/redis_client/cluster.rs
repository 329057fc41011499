//! Three masters; a slot moves, and one of them dies and is replaced by its replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use imquota::redis::client::{Client, OpenError};
use imquota::redis::options::Topology;

use super::servers::{Server, free_port};
use super::{WAIT_MAX, at, count, count_after_kill, options, scripts, standalone};
use crate::support::logs::Logs;

/// The slot of "foo".
pub const SLOT_OF_FOO: &str = "12182";

pub fn node() -> Server {
    Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"])
}

/// Sets distinct configuration epochs of nodes that have not met yet. Nodes with equal epochs
/// resolve that by themselves later; one that does so while it loses a slot claims the slot again.
pub fn set_distinct_epochs(nodes: &[Server]) {
    for (index, node) in nodes.iter().enumerate() {
        node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
    }
}

pub fn cluster() -> Vec<Server> {
    let nodes: Vec<_> = (0..3).map(|_| node()).collect();
    set_distinct_epochs(&nodes);
    let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
    for (node, (first, last)) in nodes.iter().zip(ranges) {
        node.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        node.cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]);
    }
    for node in &nodes {
        node.until("the cluster is whole", || {
            let info = node.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        });
    }
    nodes
}

pub async fn open(nodes: &[Server]) -> Client {
    let topology = Topology::Cluster { seeds: vec![at(nodes[0].port)] };
    Client::open(options(topology), scripts()).await.expect("opened")
}

#[tokio::test]
async fn each_slot_is_served_by_its_node() {
    let nodes = cluster();
    let client = open(&nodes).await;
    for number in 0..1000 {
        assert_eq!(count(&client, &format!("k{number}"), WAIT_MAX).await, Ok(1), "{number}");
    }
    for node in &nodes {
        let keys: u32 = node.cli(&["DBSIZE"]).trim().parse().expect("a number");
        assert!(keys > 200, "{keys}");
    }
}

#[tokio::test]
async fn a_slot_that_moves_is_followed_while_and_after_it_moves() {
    let nodes = cluster();
    let client = open(&nodes).await;
    assert_eq!(count(&client, "foo", WAIT_MAX).await, Ok(1));
    let (from, to) = (&nodes[2], &nodes[0]);
    let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
    to.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "IMPORTING", from_id.trim()]);
    from.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "MIGRATING", to_id.trim()]);
    from.cli(&["MIGRATE", "127.0.0.1", &to.port.to_string(), "foo", "0", "2000"]);
    // The slot is partly moved: the old node redirects this one call.
    assert_eq!(count(&client, "foo", WAIT_MAX).await, Ok(2));
    assert_eq!(count(&client, "{foo}new", WAIT_MAX).await, Ok(1));
    for node in [to, from] {
        node.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "NODE", to_id.trim()]);
    }
    assert_eq!(count(&client, "foo", WAIT_MAX).await, Ok(3));
    assert_eq!(to.cli(&["GET", "foo"]).trim(), "3");
}

/// Moves the slot of "foo" with its key: atomically if the servers support that.
fn move_foo(from: &Server, to: &Server) {
    let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
    let (from_id, to_id) = (from_id.trim(), to_id.trim());
    if from.cli(&["CLUSTER", "HELP"]).contains("MIGRATESLOTS") {
        let range = ["SLOTSRANGE", SLOT_OF_FOO, SLOT_OF_FOO, "NODE", to_id];
        let answer = from.cli(&[&["CLUSTER", "MIGRATESLOTS"], &range[..]].concat());
        assert_eq!(answer.trim(), "OK");
    } else {
        to.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "IMPORTING", from_id]);
        from.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "MIGRATING", to_id]);
        from.cli(&["MIGRATE", "127.0.0.1", &to.port.to_string(), "foo", "0", "2000"]);
        for node in [to, from] {
            node.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "NODE", to_id]);
        }
    }
    to.until("it serves the slot", || to.cli(&["GET", "foo"]).trim().parse::<i64>().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_slot_moves_back_and_forth_every_call_is_executed_once() {
    let nodes = cluster();
    let client = Arc::new(open(&nodes).await);
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicI64::new(0));
    let caller = {
        let (client, done, answered) =
            (Arc::clone(&client), Arc::clone(&done), Arc::clone(&answered));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let next = answered.load(Ordering::Relaxed) + 1;
                assert_eq!(count(&client, "foo", WAIT_MAX).await, Ok(next));
                answered.store(next, Ordering::Relaxed);
            }
        })
    };
    let calls = || answered.load(Ordering::Relaxed);
    for round in 0..4 {
        let before = calls();
        nodes[0].until("calls are done", || calls() > before + 20);
        let (from, to) = if round % 2 == 0 { (2, 0) } else { (0, 2) };
        move_foo(&nodes[from], &nodes[to]);
    }
    done.store(true, Ordering::Relaxed);
    caller.await.expect("every call is answered by the next number");
    assert_eq!(nodes[2].cli(&["GET", "foo"]).trim(), calls().to_string());
}

#[tokio::test]
async fn cluster_mode_and_the_address_must_agree() {
    let alone = Server::start(&[]);
    let topology = Topology::Cluster { seeds: vec![at(alone.port)] };
    let opened = Client::open(options(topology), scripts()).await;
    assert!(matches!(opened.err(), Some(OpenError::ClusterOff { .. })));
    let member = node();
    let opened = Client::open(standalone(member.port), scripts()).await;
    assert!(matches!(opened.err(), Some(OpenError::ClusterOn { .. })));
    let topology = Topology::Cluster { seeds: vec![at(member.port)] };
    let opened = Client::open(options(topology), scripts()).await;
    assert!(matches!(opened.err(), Some(OpenError::NoSlots { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_of_a_dead_node_serves_its_slots() {
    let mut nodes = cluster();
    let replica = node();
    replica.cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]);
    let master = nodes[2].cli(&["CLUSTER", "MYID"]);
    replica.until("it has the master", || {
        replica.cli(&["CLUSTER", "REPLICATE", master.trim()]).contains("OK")
    });
    replica.until("it follows", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
    });
    for node in &nodes {
        node.until("all have the replica", || {
            node.cli(&["CLUSTER", "REPLICAS", master.trim()]).contains("slave")
        });
    }
    let client = open(&nodes).await;
    assert_eq!(count(&client, "foo", WAIT_MAX).await, Ok(1));
    replica.until("it has the count", || replica.cli(&["DBSIZE"]).trim() == "1");
    nodes[2].kill();
    // The slots of the others are served; those of the dead node wait for the election.
    let _ = count_after_kill(&client, "foo", Duration::from_millis(100)).await;
    let others = ["bar", "hello"].map(|key| (key, count(&client, key, WAIT_MAX)));
    for (key, answer) in others {
        assert_eq!(answer.await, Ok(1), "{key}");
    }
    assert_eq!(count(&client, "foo", Duration::from_secs(20)).await, Ok(2));
    assert_eq!(replica.cli(&["GET", "foo"]).trim(), "2");
}

#[tokio::test]
async fn a_dead_seed_is_skipped_and_every_master_is_checked() {
    let nodes = cluster();
    nodes[1].cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    nodes[2].cli(&["CONFIG", "SET", "set-max-intset-entries", "8192"]);
    let logs = Logs::collect();
    let topology = Topology::Cluster { seeds: vec![at(free_port()), at(nodes[0].port)] };
    let client = Client::open(options(topology), scripts()).await.expect("opened");
    for key in ["bar", "hello", "foo"] {
        assert_eq!(count(&client, key, WAIT_MAX).await, Ok(1), "{key}");
    }
    let warned = |node: &Server, word: &str| {
        let server = format!("server=127.0.0.1:{} ", node.port);
        logs.text().lines().filter(|line| line.contains(&server) && line.contains(word)).count()
    };
    for (word, expected) in [
        ("allkeys-lru", [0, 1, 0]),
        ("set_max_intset_entries", [1, 1, 0]),
        ("keeps nothing over a restart", [1, 1, 1]),
    ] {
        assert_eq!([0, 1, 2].map(|index| warned(&nodes[index], word)), expected, "{word}");
    }
}
