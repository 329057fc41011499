//! An old and a new sidecar on one server during a rollout.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use imquota::redis::client::Client;
use imquota::redis::script::Script;

use super::servers::Server;
use super::{WAIT_MAX, count, scripts, standalone};

/// Callers of each sidecar.
const CALLERS: usize = 4;
/// Calls of each, one after another.
const ROUNDS: usize = 50;
/// Replies between two losses of all scripts.
const ANSWERS_A_LOSS: usize = 40;

/// Scripts with the same effect and other digests.
fn older_scripts() -> Vec<Script> {
    let older = |script: Script| Script::new(script.name, format!("{}\n-- older", script.text));
    scripts().into_iter().map(older).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_two_versions_serve_side_by_side_and_no_call_is_executed_twice() {
    let server = Server::start(&[]);
    let new = Client::open(standalone(server.port), scripts()).await.expect("opened");
    let old = Client::open(standalone(server.port), older_scripts()).await.expect("opened");
    let answered = AtomicUsize::new(0);
    let callers = (0..CALLERS * 2).map(|caller| {
        let client = if caller % 2 == 0 { &new } else { &old };
        let (answered, server) = (&answered, &server);
        async move {
            let mut answers = Vec::new();
            for _ in 0..ROUNDS {
                answers.push(count(client, "k", WAIT_MAX).await.expect("answered"));
                let so_far = answered.fetch_add(1, Ordering::Relaxed) + 1;
                if so_far.is_multiple_of(ANSWERS_A_LOSS) {
                    server.cli(&["SCRIPT", "FLUSH"]);
                }
            }
            answers
        }
    });
    let answers: BTreeSet<i64> = join_all(callers).await.into_iter().flatten().collect();
    let all = CALLERS * 2 * ROUNDS;
    assert_eq!(answers.len(), all, "every reply is unique");
    assert_eq!(server.cli(&["GET", "k"]).trim(), all.to_string());
    assert!(server.refusals("NOSCRIPT") > 0);
}
