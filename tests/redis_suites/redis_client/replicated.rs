//! Replies that wait for the confirmation of a replica.

use std::time::Duration;

use futures_util::future::join_all;
use imquota::clock::Stopwatch;
use imquota::redis::client::{CallError, Client};
use imquota::redis::options::{Durability, Topology};
use imquota::store::{Replication, Standing};

use super::servers::Server;
use super::{WAIT_MAX, at, count, options, scripts, standalone};

/// Concurrent callers.
const CALLERS: usize = 64;
/// Calls of each, one after another.
const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_a_wait_and_none_returns_without_a_replica() {
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
            count(&client, "k", WAIT_MAX).await.expect("answered");
        }
    });
    join_all(callers).await;
    assert_eq!(replica.cli(&["GET", "k"]).trim(), (CALLERS * ROUNDS).to_string());
    let waits = calls(&master.cli(&["INFO", "commandstats"]), "wait");
    assert!(waits > 0 && waits * 4 < CALLERS * ROUNDS, "{waits}");

    let refused = client.call(super::FAIL, &[b"k".to_vec()], &[], WAIT_MAX).await;
    assert!(matches!(&refused, Err(CallError::Refused(why)) if why.contains("OWN words")));

    replica.kill();
    let answer = count(&client, "k", Duration::from_secs(3)).await;
    assert!(
        matches!(&answer, Err(CallError::Unconfirmed(why) | CallError::Unconfirmable(why))
            if why.contains("replica")),
        "{answer:?}"
    );
}

fn calls(stats: &str, command: &str) -> usize {
    let head = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&head));
    let number = line.and_then(|line| line.split(',').next()?.parse().ok());
    number.unwrap_or_default()
}

fn following(master: &Server) -> Server {
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    replica.until("it follows", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
    });
    replica
}

fn replication(client: &Client) -> Replication {
    client.nodes()[0].replication
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_confirms_by_the_master_alone_only_without_a_replica() {
    let master = Server::start(&[]);
    let mut options = standalone(master.port);
    options.durability = Durability::Auto;
    let client = Client::open(options, scripts()).await.expect("opened");
    count(&client, "k", WAIT_MAX).await.expect("confirmed by the master alone");
    assert_eq!(calls(&master.cli(&["INFO", "commandstats"]), "wait"), 1, "once at the start");
    let alone = Replication { standing: Standing::Alone, required: 0, attached: 0 };
    assert_eq!(replication(&client), alone);

    let mut replica = following(&master);
    let both = Replication { standing: Standing::Replicated, required: 1, attached: 1 };
    until("the replica has to confirm", async || replication(&client) == both).await;
    let counted = count(&client, "k", WAIT_MAX).await.expect("answered");
    assert_eq!(replica.cli(&["GET", "k"]).trim(), counted.to_string());

    replica.kill();
    let clock = Stopwatch::start();
    let mut refused = 0;
    until("the master confirms alone", async || {
        let answer = count(&client, "k", Duration::from_millis(200)).await;
        refused += usize::from(answer.is_err());
        answer.is_ok()
    })
    .await;
    // Eventually, and not before it was set.
    assert!(refused > 0 && clock.elapsed() > Duration::from_secs(4), "{refused}");
    assert_eq!(replication(&client).standing, Standing::Alone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_replica_is_left_behind_if_sentinels_confirm_the_master() {
    let master = Server::start(&[]);
    let replicas = [following(&master), following(&master)];
    let sentinels = [(); 3].map(|()| Server::sentinel(master.port));
    for sentinel in &sentinels {
        sentinel.until("it has met the others", || {
            let seen = sentinel.cli(&["SENTINEL", "MASTER", "main"]);
            seen.contains("num-slaves\n2") && seen.contains("num-other-sentinels\n2")
        });
    }
    let topology = Topology::Sentinel {
        sentinels: vec![at(sentinels[0].port)],
        master: "main".to_owned(),
        database: 0,
    };
    for durability in [Durability::Auto, Durability::Replicated, Durability::Local] {
        let mut options = options(topology.clone());
        options.durability = durability;
        let client = Client::open(options, scripts()).await.expect("opened");
        let all = Replication { standing: Standing::Replicated, required: 2, attached: 2 };
        let is_local = durability == Durability::Local;
        count(&client, "k", WAIT_MAX).await.expect("answered");
        until("both confirm", async || is_local || replication(&client) == all).await;

        // No majority of the Sentinels is reachable, and none is needed: no replica was promoted.
        let frozen = &sentinels[1..];
        for sentinel in frozen {
            sentinel.signal("-STOP");
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        for _ in 0..100 {
            count(&client, "k", WAIT_MAX).await.expect("answered");
        }
        assert_eq!(replication(&client), all, "{durability:?}");
        // Now one might have been promoted.
        replicas[1].signal("-STOP");
        until("the replica is missed", async || {
            let answer = count(&client, "k", Duration::from_millis(300)).await;
            matches!(answer, Err(CallError::Unconfirmable(_)))
        })
        .await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let answer = count(&client, "k", Duration::from_millis(300)).await;
        assert!(matches!(answer, Err(CallError::Unconfirmable(_))), "{answer:?}");
        // The majority proves that none was promoted.
        for sentinel in frozen {
            sentinel.signal("-CONT");
        }
        until("the other one confirms alone", async || {
            count(&client, "k", Duration::from_millis(300)).await.is_ok()
        })
        .await;
        let counted = count(&client, "k", WAIT_MAX).await.expect("answered");
        if !is_local {
            assert_eq!(replication(&client).required, 1);
            assert_eq!(replicas[0].cli(&["GET", "k"]).trim(), counted.to_string());
        }
        replicas[1].signal("-CONT");
        until("both confirm", async || is_local || replication(&client) == all).await;
        client.close().await;
    }
}
