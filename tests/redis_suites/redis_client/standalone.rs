//! One server.

use imquota::redis::client::{CallError, Client};
use imquota::store::Overload;

use super::servers::Server;
use super::{FAIL, WAIT_MAX, count, scripts, standalone};

#[tokio::test]
async fn a_call_succeeds_and_a_missing_script_is_loaded_again() {
    let server = Server::start(&[]);
    let client = Client::open(standalone(server.port), scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    assert!(server.cli(&["CLIENT", "LIST"]).contains("name=imquota"));
    server.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(2));
    client.close().await;
    assert_eq!(count(&client, "k", WAIT_MAX).await, Err(CallError::Closing));
}

#[tokio::test]
async fn an_error_of_the_server_is_returned_unchanged() {
    let server = Server::start(&[]);
    let client = Client::open(standalone(server.port), scripts()).await.expect("opened");
    let answer = client.call(FAIL, &[b"k".to_vec()], &[], WAIT_MAX).await;
    assert!(matches!(&answer, Err(CallError::Refused(why)) if why.contains("OWN words")));
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let answer = count(&client, "k", WAIT_MAX).await;
    assert!(matches!(&answer, Err(CallError::Refused(why)) if why.contains("OOM")), "{answer:?}");
}

#[tokio::test]
async fn calls_beyond_those_in_flight_wait_in_a_bounded_queue() {
    let server = Server::start(&[]);
    let mut options = standalone(server.port);
    options.subjects_in_flight_max = 2;
    let client = Client::open(options, scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    server.signal("-STOP");
    let calls = (0..40).map(|_| count(&client, "k", std::time::Duration::from_millis(300)));
    let answers = futures_util::future::join_all(calls).await;
    server.signal("-CONT");
    let of = |why| answers.iter().filter(|it| **it == Err(CallError::Overloaded(why))).count();
    // Two are in flight, and 16 times as many wait; the others are refused immediately.
    assert_eq!((of(Overload::Full), of(Overload::Late)), (40 - 2 - 32, 32), "{answers:?}");
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    assert_eq!(count(&client, "k", WAIT_MAX).await.map(drop), Ok(()), "no queued call remains");
}
