//! Queries one Sentinel over a connection that is kept.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::quorum::{Failover, View, Vote};
use crate::redis::client::connect::{ConnectError, Connector};
use crate::redis::client::reply;
use crate::redis::options::HostPort;

/// A run id that no Sentinel has, for reading a vote without giving one.
const NO_CANDIDATE: &str = "0000000000000000000000000000000000000000";
/// The leader in the reply of a Sentinel that has not voted.
const NO_VOTE: &str = "*";

/// The outcome of a query to a Sentinel.
#[derive(Debug, Clone)]
pub(in crate::redis::client) enum Answer {
    /// The state of the master as it returns it.
    View(View),
    /// It names the master and refuses all other queries, for this reason.
    NameOnly(HostPort, String),
    /// It monitors no master of that name.
    Unknown,
    /// It did not answer, for this reason.
    None(ConnectError),
}

impl Answer {
    /// Returns the master that it names.
    pub(in crate::redis::client) fn master(&self) -> Option<&HostPort> {
        match self {
            Self::View(view) => Some(&view.master),
            Self::NameOnly(master, _) => Some(master),
            Self::Unknown | Self::None(_) => None,
        }
    }
}

/// A Sentinel, and the connection to it.
pub(super) struct Sentinel {
    pub(super) address: HostPort,
    connection: Option<MultiplexedConnection>,
}

impl Sentinel {
    /// A Sentinel that is not connected yet.
    pub(super) fn new(address: HostPort) -> Self {
        Self { address, connection: None }
    }

    /// Queries the whole state of the master of that name.
    pub(super) async fn query(
        &mut self,
        connector: &Connector,
        name: &str,
        timeout: Duration,
    ) -> Answer {
        match tokio::time::timeout(timeout, self.query_now(connector, name)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                self.connection = None;
                Answer::None(why)
            }
            Err(_) => {
                self.connection = None;
                Answer::None(ConnectError::Late(timeout))
            }
        }
    }

    async fn query_now(
        &mut self,
        connector: &Connector,
        name: &str,
    ) -> Result<Answer, ConnectError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connector.sentinel(&self.address).await?,
        };
        let mut queries = redis::pipe();
        queries.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        queries.cmd("SENTINEL").arg("MASTER").arg(name);
        queries.cmd("SENTINEL").arg("SENTINELS").arg(name);
        queries.cmd("SENTINEL").arg("MYID");
        let replies = send(&connection, &queries).await?;
        let [named, master, others, id] = &replies[..] else { return Err(short()) };
        if let Value::ServerError(error) = named {
            return Err(ConnectError::Server(error.clone()));
        }
        let named = match reply::elements(named) {
            [host, port] => reply::host_port(host, port),
            _ => None,
        };
        let Some(named) = named else {
            self.connection = Some(connection);
            return Ok(Answer::Unknown);
        };
        if let Some(why) = refused(&[master, others, id]) {
            self.connection = Some(connection);
            return Ok(Answer::NameOnly(named, why));
        }
        let (fields, id) = (reply::fields(master), reply::text(id).unwrap_or_default());
        let mut query = redis::pipe();
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let (host, port) = (field("ip"), field("port"));
        query.cmd("SENTINEL").arg("IS-MASTER-DOWN-BY-ADDR").arg(host).arg(port);
        query.arg(0).arg(NO_CANDIDATE);
        let replies = send(&connection, &query).await?;
        let [vote] = &replies[..] else { return Err(short()) };
        self.connection = Some(connection);
        if let Some(why) = refused(&[vote]) {
            return Ok(Answer::NameOnly(named, why));
        }
        let view = view(id, named.clone(), &fields, others, vote);
        Ok(view.map_or_else(|| Answer::NameOnly(named, "malformed reply".to_owned()), Answer::View))
    }
}

/// Sends queries and returns all replies, errors included.
async fn send(
    connection: &MultiplexedConnection,
    queries: &Pipeline,
) -> Result<Vec<Value>, ConnectError> {
    let mut connection = connection.clone();
    let replies = connection.send_packed_commands(queries, 0, queries.len()).await;
    replies.map_err(ConnectError::Io)
}

fn short() -> ConnectError {
    ConnectError::Io((redis::ErrorKind::UnexpectedReturnType, "fewer replies than queries").into())
}

/// Returns the first error among the replies.
fn refused(replies: &[&Value]) -> Option<String> {
    replies.iter().find_map(|reply| match reply {
        Value::ServerError(error) => Some(reply::words(error)),
        _ => None,
    })
}

/// Parses the replies of a Sentinel; `None` if they are malformed.
fn view(
    id: String,
    named: HostPort,
    fields: &HashMap<String, String>,
    others: &Value,
    vote: &Value,
) -> Option<View> {
    let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
    let watched =
        HostPort { host: fields.get("ip")?.clone(), port: fields.get("port")?.parse().ok()? };
    let is_failover = fields.get("flags")?.split(',').any(|flag| flag == "failover_in_progress");
    let failover = match is_failover {
        false => Failover::None,
        true if watched == named => Failover::Promoting,
        true => Failover::Reconfiguring,
    };
    let other = |other: &Value| {
        let fields = reply::fields(other);
        let port = fields.get("port")?.parse().ok()?;
        Some(HostPort { host: fields.get("ip")?.clone(), port })
    };
    let mut others: Vec<HostPort> = reply::elements(others).iter().filter_map(other).collect();
    // The number decides if the list is longer.
    let count = usize::try_from(number("num-other-sentinels")?).ok()?;
    others.truncate(count);
    let [_, leader, epoch] = reply::elements(vote) else { return None };
    let (leader, epoch) = (reply::text(leader)?, int(epoch)?);
    (others.len() == count).then(|| View {
        id,
        master: named,
        epoch: number("config-epoch").unwrap_or(0),
        others,
        replicas: number("num-slaves").and_then(|it| usize::try_from(it).ok()).unwrap_or(0),
        failover,
        vote: (leader != NO_VOTE).then_some(Vote { leader, epoch }),
        failover_timeout: Duration::from_millis(number("failover-timeout").unwrap_or(180_000)),
    })
}

fn int(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        other => reply::text(other)?.parse().ok(),
    }
}
