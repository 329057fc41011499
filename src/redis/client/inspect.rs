//! Compares a server's counts with earlier observations, on a new connection before it carries
//! calls.
//!
//! A server that has been promoted, or that was restarted, may lack acknowledged writes. Once other
//! clients have written to it for a while, its counts no longer show that.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::connect::Connector;
use super::connection::Connection;
use super::reply;
use super::retry::Deadline;
use crate::redis::known::Known;

/// Longest time that calls wait for the comparison; the rest is compared by the calls.
const COMPARISON_TIMEOUT: Duration = Duration::from_secs(2);
/// Most queries per pipeline: a millisecond of the server's time.
const QUERIES_MAX: usize = 512;

/// The server of the last comparison: its process, and the replication history that it continues.
/// Both stay the same while only connections are lost.
pub(super) type Compared = Option<String>;

/// Compares the counts, unless the server is the one of the last comparison.
pub(super) async fn inspect(connection: &Connection, connector: &Connector, before: &mut Compared) {
    if !connector.known.is_in_use() {
        return;
    }
    let deadline = Deadline::after(COMPARISON_TIMEOUT);
    let server = identity(connection, deadline).await;
    if server.is_some() && server == *before {
        return;
    }
    if compare(connection, connector, deadline).await {
        *before = server;
    }
}

/// Compares all counts; returns `false` if some were not compared.
pub(super) async fn compare(
    connection: &Connection,
    connector: &Connector,
    deadline: Deadline,
) -> bool {
    let known: &Known = &connector.known;
    let mut queries = known.queries();
    while !queries.is_empty() {
        let rest = queries.split_off(queries.len().min(QUERIES_MAX));
        let mut commands = Pipeline::with_capacity(queries.len() + 1);
        for query in &queries {
            commands.add_command(query.command.clone());
        }
        if !connector.is_cluster() {
            // The counts of a replica are ignored: it may be loading another state right now.
            commands.cmd("ROLE");
        }
        let Ok(answers) = connection.send_all(&commands, deadline.left()).await else {
            return false;
        };
        if answers.last().and_then(reply::followed_master).is_some() {
            return false;
        }
        for (query, answer) in queries.into_iter().zip(&answers) {
            known.record_reply(query, answer);
        }
        queries = rest;
    }
    true
}

/// Returns the process and the replication history; `None` if the server does not report them.
async fn identity(connection: &Connection, deadline: Deadline) -> Option<String> {
    let command = redis::cmd("INFO").arg("server").arg("replication").to_owned();
    let Ok(Value::BulkString(info)) = connection.send(&command, deadline.left()).await else {
        return None;
    };
    let info = String::from_utf8_lossy(&info);
    let (process, history) =
        (reply::field(&info, "run_id")?, reply::field(&info, "master_replid")?);
    Some(format!("{process} {history}"))
}
