//! A slot without a serving node, and one that is moved key by key.

use std::time::Duration;

use imquota::redis::client::{CallError, Client};
use redis::Value;

use super::cluster::{SLOT_OF_FOO, cluster, node, open};
use super::{COUNT_BOTH, WAIT_MAX, count};

/// The timeout of a call that cannot be executed.
const SHORT: Duration = Duration::from_millis(300);
/// Two keys of the slot of "foo".
const PAIR: [&str; 2] = ["{foo}a", "{foo}b"];

async fn count_both(client: &Client, within: Duration) -> Result<i64, CallError> {
    let keys = PAIR.map(|key| key.as_bytes().to_vec());
    match client.call(COUNT_BOTH, &keys, &[], within).await? {
        Value::Int(count) => Ok(count),
        other => panic!("not a number: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_slot_without_a_node() {
    let nodes = [node()];
    nodes[0].cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    nodes[0].until("the cluster is whole", || {
        nodes[0].cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    });
    let client = open(&nodes).await;
    assert_eq!(count(&client, "foo", WAIT_MAX).await, Ok(1));
    nodes[0].cli(&["CLUSTER", "DELSLOTS", SLOT_OF_FOO]);
    let answer = count(&client, "foo", SHORT).await;
    assert!(matches!(&answer, Err(CallError::Refused(_))), "{answer:?}");
    assert!(nodes[0].refusals("CLUSTERDOWN") > 0);
    let (answer, ()) = tokio::join!(count(&client, "foo", WAIT_MAX), async {
        tokio::time::sleep(SHORT).await;
        nodes[0].cli(&["CLUSTER", "ADDSLOTS", SLOT_OF_FOO]);
    });
    assert_eq!(answer, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_two_keys_waits_while_they_are_apart_and_is_executed_once() {
    let nodes = cluster();
    let client = open(&nodes).await;
    assert_eq!(count_both(&client, WAIT_MAX).await, Ok(1));
    let (from, to) = (&nodes[2], &nodes[0]);
    let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
    let to_port = to.port.to_string();
    to.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "IMPORTING", from_id.trim()]);
    from.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "MIGRATING", to_id.trim()]);
    from.cli(&["MIGRATE", "127.0.0.1", &to_port, PAIR[0], "0", "2000"]);
    let answer = count_both(&client, SHORT).await;
    assert!(
        matches!(&answer, Err(CallError::Refused(why)) if why.contains("TRYAGAIN")),
        "{answer:?}"
    );
    let before = from.refusals("TRYAGAIN");
    let (answer, ()) = tokio::join!(count_both(&client, WAIT_MAX), async {
        from.until_refused("TRYAGAIN", before).await;
        from.cli(&["MIGRATE", "127.0.0.1", &to_port, PAIR[1], "0", "2000"]);
    });
    assert_eq!(answer, Ok(2));
    for node in [to, from] {
        node.cli(&["CLUSTER", "SETSLOT", SLOT_OF_FOO, "NODE", to_id.trim()]);
    }
    assert_eq!(count_both(&client, WAIT_MAX).await, Ok(3));
    for key in PAIR {
        assert_eq!(to.cli(&["GET", key]).trim(), "3", "{key}");
    }
}
