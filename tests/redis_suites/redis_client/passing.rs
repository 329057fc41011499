//! Transient refusals: a call waits for their end and is executed once, or is refused unexecuted.

use std::time::Duration;

use imquota::redis::client::{CallError, Client};

use super::servers::{Server, free_port};
use super::{WAIT_MAX, count, count_after_kill, scripts, standalone};

/// The timeout of a call that the server keeps refusing.
const SHORT: Duration = Duration::from_millis(300);

async fn open(server: &Server) -> Client {
    Client::open(standalone(server.port), scripts()).await.expect("opened")
}

/// The number of calls of which at least one has a known outcome on a busy machine.
const TRIES: usize = 4;

/// Checks that a call is refused, with a known outcome, and with these words. A server that refuses
/// everything may reply too late, and has executed nothing then either.
async fn is_refused(client: &Client, words: &str) {
    let mut answers = Vec::new();
    for _ in 0..TRIES {
        let answer = count(client, "k", SHORT).await;
        if matches!(&answer, Err(CallError::Refused(why)) if why.contains(words)) {
            return;
        }
        assert!(matches!(answer, Err(CallError::OutcomeUnknown(_))), "{answer:?}");
        answers.push(answer);
    }
    panic!("none was refused for {words}: {answers:?}");
}

/// Settings with which 6000 keys are loaded for three seconds.
const SLOW_LOADING: &[&str] = &[
    "--key-load-delay",
    "500",
    "--loading-process-events-interval-bytes",
    "1024",
    "--enable-debug-command",
    "local",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_the_end_of_an_endless_script() {
    let server = Server::start(&["--busy-reply-threshold", "50"]);
    let client = open(&server).await;
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    let script = server.cli_aside(&["EVAL", "while true do end", "0"]);
    server.until("it is busy", || server.cli(&["PING"]).contains("BUSY"));
    is_refused(&client, "BUSY").await;
    let (answer, ()) = tokio::join!(count(&client, "k", WAIT_MAX), async {
        tokio::time::sleep(SHORT).await;
        server.cli(&["SCRIPT", "KILL"]);
    });
    assert_eq!(answer, Ok(2));
    script.join().expect("the script was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_the_replicas_that_the_server_wants() {
    let server = Server::start(&[]);
    let client = open(&server).await;
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    is_refused(&client, "NOREPLICAS").await;
    assert_eq!(server.cli(&["GET", "k"]).trim(), "1");
    let before = server.refusals("NOREPLICAS");
    let (answer, ()) = tokio::join!(count(&client, "k", WAIT_MAX), async {
        server.until_refused("NOREPLICAS", before).await;
        server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    });
    assert_eq!(answer, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_server_that_is_a_replica_for_a_while() {
    let server = Server::start(&[]);
    let client = open(&server).await;
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    // There is no master to replicate from.
    let nobody = free_port().to_string();
    server.cli(&["REPLICAOF", "127.0.0.1", &nobody]);
    is_refused(&client, "it is a replica of").await;
    assert!(server.refusals("READONLY") > 0);
    let (answer, ()) = tokio::join!(count(&client, "k", WAIT_MAX), async {
        tokio::time::sleep(SHORT).await;
        server.cli(&["REPLICAOF", "NO", "ONE"]);
    });
    assert_eq!(answer, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_server_that_reads_its_data_again() {
    let server = Server::start(SLOW_LOADING);
    let client = open(&server).await;
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    server.cli(&["DEBUG", "POPULATE", "6000"]);
    let reload = server.cli_aside(&["DEBUG", "RELOAD"]);
    server.until("it is loading", || server.cli(&["PING"]).contains("LOADING"));
    is_refused(&client, "LOADING").await;
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(2));
    reload.join().expect("the reload ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_loading_is_waited_for_by_calls_and_at_the_start() {
    let mut server = Server::start(SLOW_LOADING);
    let client = open(&server).await;
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    server.cli(&["DEBUG", "POPULATE", "3000"]);
    server.cli(&["SAVE"]);
    server.kill();
    server.restart_unready();
    server.until("it is loading", || server.cli(&["PING"]).contains("LOADING"));
    let answer = count_after_kill(&client, "k", SHORT).await;
    assert!(answer.is_err(), "{answer:?}");
    let (answer, late) = tokio::join!(count(&client, "k", WAIT_MAX), open(&server));
    assert!(server.refusals("LOADING") > 0);
    assert_eq!(answer, Ok(2));
    assert_eq!(count(&late, "k", WAIT_MAX).await, Ok(3));
}
