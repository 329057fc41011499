//! A server that hangs, dies and returns.

use std::time::Duration;

use imquota::clock::Stopwatch;
use imquota::redis::client::{CallError, Client};

use super::servers::Server;
use super::{WAIT_MAX, count, count_after_kill, scripts, standalone};

/// The timeout for a server that does not reply.
const SHORT: Duration = Duration::from_millis(300);
/// The delay after its timeout with which a call may end on a busy machine.
const SLACK: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_hanging_server_time_out_and_succeed_after_its_return() {
    let server = Server::start(&[]);
    let client = Client::open(standalone(server.port), scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    server.signal("-STOP");
    let (mut lost, mut refused) = (0, 0);
    // After the third timeout the connection is closed, and the handshake of a new one times out.
    for _ in 0..8 {
        let clock = Stopwatch::start();
        match count(&client, "k", SHORT).await {
            Err(CallError::OutcomeUnknown(_)) => lost += 1,
            Err(CallError::Refused(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
        assert!(clock.elapsed() < SHORT + SLACK, "{:?}", clock.elapsed());
    }
    server.signal("-CONT");
    assert!((1..=3).contains(&lost), "{lost} lost, {refused} refused");
    let counted = count(&client, "k", WAIT_MAX).await.expect("answered");
    assert!((2..=2 + lost).contains(&counted), "{counted} done, {lost} lost");
}

#[tokio::test]
async fn a_call_to_a_dead_server_is_refused_at_its_timeout() {
    let mut server = Server::start(&[]);
    let client = Client::open(standalone(server.port), scripts()).await.expect("opened");
    server.kill();
    let answer = count_after_kill(&client, "k", SHORT).await;
    assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
    let clock = Stopwatch::start();
    let answer = count(&client, "k", SHORT).await;
    assert!(
        matches!(&answer, Err(CallError::Refused(why)) if why.contains("refused")),
        "{answer:?}"
    );
    assert!(clock.elapsed() < SHORT + SLACK, "{:?}", clock.elapsed());
}

#[tokio::test]
async fn a_call_waits_for_a_restarted_server() {
    let mut server = Server::start(&[]);
    let client = Client::open(standalone(server.port), scripts()).await.expect("opened");
    server.kill();
    let answer = count_after_kill(&client, "k", SHORT).await;
    assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
    let (answer, ()) = tokio::join!(count(&client, "k", WAIT_MAX), async { server.restart() });
    assert_eq!(answer, Ok(1));
}
