//! A master, its replica and a Sentinel; the master is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use imquota::redis::client::{CallError, Client, OpenError};
use imquota::redis::options::Topology;

use super::servers::Server;
use super::{WAIT_MAX, at, count, options, scripts};

/// The timeout of a call during a failover.
const SHORT: Duration = Duration::from_millis(300);

fn sentinel(port: u16, master: &str) -> Topology {
    Topology::Sentinel { sentinels: vec![at(port)], master: master.to_owned(), database: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_calls_reach_the_new_master_and_none_is_executed_twice() {
    let mut master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let watcher = Server::sentinel(master.port);
    replica.until("it follows", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
    });
    watcher.until("it has the replica", || {
        watcher.cli(&["SENTINEL", "MASTER", "main"]).contains("num-slaves\n1")
    });
    let client = Client::open(options(sentinel(watcher.port, "main")), scripts()).await;
    let client = Arc::new(client.expect("opened"));
    let done = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicI64::new(0));
    let answered = Arc::new(AtomicI64::new(0));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (client, done) = (Arc::clone(&client), Arc::clone(&done));
            let (sent, answered) = (Arc::clone(&sent), Arc::clone(&answered));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    // Only calls that may have been executed are counted, not refused ones.
                    match count(&client, "k", SHORT).await {
                        Err(CallError::Refused(_)) => {}
                        Err(_) => {
                            sent.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) => {
                            sent.fetch_add(1, Ordering::Relaxed);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            })
        })
        .collect();
    master.until("calls are done", || answered.load(Ordering::Relaxed) > 100);
    master.kill();
    replica.until("it is the master", || replica.cli(&["ROLE"]).starts_with("master"));
    let before = answered.load(Ordering::Relaxed);
    replica.until("calls are done", || answered.load(Ordering::Relaxed) > before + 100);
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no panic");
    }
    let counted = count(&client, "k", WAIT_MAX).await.expect("answered");
    let sent = sent.load(Ordering::Relaxed) + 1;
    assert!(counted <= sent, "{counted} done, {sent} sent");
    // Replication may have lost calls that the dead master acknowledged, but not those of the new
    // one; one reply of each caller may have been late.
    assert!(counted > 100 - 4, "{counted}");
}

#[tokio::test]
async fn an_unknown_name_of_the_master_is_refused() {
    let master = Server::start(&[]);
    let watcher = Server::sentinel(master.port);
    let opened = Client::open(options(sentinel(watcher.port, "other")), scripts()).await;
    assert!(matches!(opened.err(), Some(OpenError::UnknownMaster { .. })));
    let opened = Client::open(options(sentinel(master.port, "main")), scripts()).await;
    assert!(matches!(opened.err(), Some(OpenError::NotSentinel { .. })));
    let opened = Client::open(super::standalone(watcher.port), scripts()).await;
    assert!(matches!(opened.err(), Some(OpenError::IsSentinel { .. })));
}
