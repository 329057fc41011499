//! Answers that wait for a replica.

use std::time::Duration;

use futures_util::future::join_all;
use imquota::ledger::redis::client::{CallError, Client};
use imquota::ledger::redis::options::Durability;

use crate::servers::Server;
use crate::{PATIENCE, count, scripts, standalone};

/// Calls at once.
const CALLERS: usize = 64;
/// Calls of each, one after the other.
const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_a_wait_and_none_is_answered_without_a_replica() {
    let master = Server::start(&[]);
    let mut replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    replica.until("it follows", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
    });
    let mut options = standalone(master.port);
    options.durability = Durability::Replicated;
    let client = Client::open(options, scripts()).await.expect("opened");
    let callers = (0..CALLERS).map(|_| async {
        for _ in 0..ROUNDS {
            count(&client, "k", PATIENCE).await.expect("answered");
        }
    });
    join_all(callers).await;
    assert_eq!(replica.cli(&["GET", "k"]).trim(), (CALLERS * ROUNDS).to_string());
    let waits = calls(&master.cli(&["INFO", "commandstats"]), "wait");
    assert!(waits > 0 && waits * 4 < CALLERS * ROUNDS, "{waits}");

    let refused = client.call(crate::FAIL, &[b"k".to_vec()], &[], PATIENCE).await;
    assert!(matches!(&refused, Err(CallError::Refused(why)) if why.contains("OWN words")));

    replica.kill();
    let answer = count(&client, "k", Duration::from_secs(3)).await;
    assert!(
        matches!(&answer, Err(CallError::Unconfirmed { why, .. }) if why.contains("replica")),
        "{answer:?}"
    );
}

fn calls(stats: &str, command: &str) -> usize {
    let head = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&head));
    let number = line.and_then(|line| line.split(',').next()?.parse().ok());
    number.unwrap_or_default()
}
