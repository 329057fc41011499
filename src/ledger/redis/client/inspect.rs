//! Compares what a server counts with what was seen before, on a new connection before calls are
//! sent on it.
//!
//! A server that has taken over, or that was restarted, may lack acknowledged writes. Once others
//! have written to it for a while that no longer shows in its counts.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::connect::Connector;
use super::link::Link;
use super::pace::Deadline;
use super::reply;
use crate::ledger::redis::known::Known;

/// Longest time that calls wait for it; what is not compared by then is compared by calls.
const WITHIN: Duration = Duration::from_secs(2);
/// Questions sent at a time: a millisecond of the server's time.
const AT_ONCE: usize = 512;

/// A server as it was compared: the process, and the history of writes that it carries on. Both
/// stay the same while only connections break.
pub(super) type Compared = Option<String>;

/// Compares, unless it is the server that was compared before.
pub(super) async fn inspect(link: &Link, connector: &Connector, before: &mut Compared) {
    if !connector.known.is_in_use() {
        return;
    }
    let deadline = Deadline::after(WITHIN);
    let server = identity(link, deadline).await;
    if server.is_some() && server == *before {
        return;
    }
    if compare(link, connector, deadline).await {
        *before = server;
    }
}

/// Whether all of it was compared.
pub(super) async fn compare(link: &Link, connector: &Connector, deadline: Deadline) -> bool {
    let known: &Known = &connector.known;
    let mut questions = known.questions();
    while !questions.is_empty() {
        let rest = questions.split_off(questions.len().min(AT_ONCE));
        let mut commands = Pipeline::with_capacity(questions.len() + 1);
        for question in &questions {
            commands.add_command(question.command.clone());
        }
        if !connector.is_cluster() {
            // What a replica says counts for nothing: it may be taking in another state right now.
            commands.cmd("ROLE");
        }
        let Ok(answers) = link.send_all(&commands, deadline.left()).await else { return false };
        if answers.last().and_then(reply::followed_master).is_some() {
            return false;
        }
        for (question, answer) in questions.into_iter().zip(&answers) {
            known.answered(question, answer);
        }
        questions = rest;
    }
    true
}

/// `None` where the server does not say.
async fn identity(link: &Link, deadline: Deadline) -> Option<String> {
    let command = redis::cmd("INFO").arg("server").arg("replication").to_owned();
    let Ok(Value::BulkString(info)) = link.send(&command, deadline.left()).await else {
        return None;
    };
    let info = String::from_utf8_lossy(&info);
    let (process, history) =
        (reply::field(&info, "run_id")?, reply::field(&info, "master_replid")?);
    Some(format!("{process} {history}"))
}
