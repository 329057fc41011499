//! Checks at the start that the servers can be used: returns an error for what cannot work, and
//! warns of what may not.

use std::sync::Arc;
use std::time::Duration;

use redis::ErrorKind;
use redis::aio::MultiplexedConnection;
use thiserror::Error;
use tokio::sync::Notify;

use super::authority::Authority;
use super::cluster::{self, Cluster};
use super::connect::{ConnectError, Connector, NewError};
use super::node::Node;
use super::retry::{self, Deadline};
use super::sentinel::{self, Answer, Discovery};
use super::server_info::ServerInfo;
use super::topology::Servers;
use super::{config_check, connection, reply};
use crate::redis::known::Known;
use crate::redis::marks::Marks;
use crate::redis::options::{Address, Durability, HostPort, Options, Topology};
use crate::redis::script::Script;

/// Longest wait for a server that is loading its data from disk.
const LOADING_TIMEOUT: Duration = Duration::from_secs(10);
/// The oldest major version whose scripts declare by flags what they do under memory pressure, and
/// whose errors within scripts keep their codes.
const MAJOR_MIN: u32 = 7;

/// The reason why the client cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// A file for encryption cannot be used.
    #[error("cannot read the file for encryption {0}")]
    File(String),
    /// The system lacks a resource that the client needs.
    #[error("{0}")]
    Thread(String),
    /// No server answers.
    #[error("cannot reach Redis at {server}: {why}; check the address, and that it is running")]
    Unreachable {
        /// The server.
        server: String,
        /// The cause.
        why: String,
    },
    /// The user and password are rejected, or none were given.
    #[error("Redis at {server} rejects the credentials: {why}; check the user and the password")]
    Credentials {
        /// The server.
        server: String,
        /// Its reply.
        why: String,
    },
    /// The user lacks a permission.
    #[error("the user lacks permissions on Redis at {server}: {why}; extend their ACL rules")]
    Forbidden {
        /// The server.
        server: String,
        /// Its reply.
        why: String,
    },
    /// The address of a Sentinel was given as that of a server.
    #[error("{server} is a Sentinel; use redis-sentinel:// and the name of the master")]
    IsSentinel {
        /// The Sentinel.
        server: String,
    },
    /// The address of a server was given as that of a Sentinel.
    #[error("{server} is no Sentinel; use a Sentinel, or the server itself with redis://")]
    NotSentinel {
        /// The server.
        server: String,
    },
    /// A node of a cluster was given as a single server.
    #[error("Redis at {server} is in cluster mode; use redis-cluster://")]
    ClusterOn {
        /// The node.
        server: String,
    },
    /// A single server was given as a node of a cluster.
    #[error("Redis at {server} is not in cluster mode; use redis://")]
    ClusterOff {
        /// The server.
        server: String,
    },
    /// The server is a replica and cannot be written to.
    #[error("Redis at {server} is a replica of {master}; use the master, or the Sentinels")]
    Replica {
        /// The replica.
        server: String,
        /// Its master.
        master: String,
    },
    /// The Sentinels do not monitor a master of that name.
    #[error("the Sentinel at {sentinel} monitors no master named {name}; check the name")]
    UnknownMaster {
        /// The Sentinel.
        sentinel: String,
        /// The name of the master.
        name: String,
    },
    /// The server is too old.
    #[error(
        "the server at {server} is {version}; Redis 7.0 or newer, or a server compatible with \
         that, is needed"
    )]
    Old {
        /// The server.
        server: String,
        /// Its name and version.
        version: String,
    },
    /// The server lacks a command.
    #[error(
        "Redis at {server} has no command {command}, which imquota needs; allow it under its own \
         name (rename-command)"
    )]
    NoCommand {
        /// The server.
        server: String,
        /// The command.
        command: String,
    },
    /// The server is still loading its data.
    #[error("Redis at {server} is still loading its data after 10 s; start again when it is done")]
    Loading {
        /// The server.
        server: String,
    },
    /// The cluster serves no slots.
    #[error("the cluster node {server} lists no slots that are served; create the cluster first")]
    NoSlots {
        /// The node.
        server: String,
    },
    /// The server refused something else.
    #[error("Redis at {server} refuses commands of imquota: {why}")]
    Refused {
        /// The server.
        server: String,
        /// Its reply.
        why: String,
    },
}

impl From<NewError> for OpenError {
    fn from(error: NewError) -> Self {
        match error {
            NewError::File(error) => Self::File(error.to_string()),
            NewError::Thread(_) => Self::Thread(error.to_string()),
        }
    }
}

impl OpenError {
    /// Returns whether the error is transient: the configuration is not its cause.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Loading { .. })
    }

    fn of_connect(server: &impl ToString, error: &ConnectError) -> Self {
        let (server, why) = (server.to_string(), error.to_string());
        match error {
            ConnectError::Credentials => Self::Credentials { server, why },
            ConnectError::Io(error) if matches!(error.kind(), ErrorKind::Server(_)) => {
                Self::of_words(&server, why)
            }
            ConnectError::Io(_) | ConnectError::Late(_) => Self::Unreachable { server, why },
            ConnectError::Replica(master) => Self::Replica { server, master: master.clone() },
            ConnectError::Server(_) => Self::of_words(&server, why),
        }
    }

    fn of_words(server: &impl ToString, why: String) -> Self {
        let server = server.to_string();
        let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
        if let Some(command) = reply::unknown_command(&why) {
            return Self::NoCommand { server, command: command.to_uppercase() };
        }
        // The error of SELECT has lost its code by now.
        if says(&["NOAUTH", "WRONGPASS", "Authentication required"]) {
            Self::Credentials { server, why }
        } else if says(&["NOPERM", "no permissions"]) {
            Self::Forbidden { server, why }
        } else if says(&["LOADING"]) {
            Self::Loading { server }
        } else {
            Self::Refused { server, why }
        }
    }
}

/// Connects, checks the servers and loads the scripts.
pub(super) async fn open(
    options: Options,
    scripts: Vec<Script>,
    known: Arc<Known>,
    marks: Marks,
) -> Result<Servers, OpenError> {
    let connector = Arc::new(Connector::new(options, scripts, known, marks)?);
    match connector.options.topology.clone() {
        Topology::Standalone { address, .. } => {
            check(&connector, &address).await?;
            let (alarm, authority) = (Arc::new(Notify::new()), Authority::unwatched(&connector));
            let node = Node::new(address, &connector, &alarm, authority);
            ready(&connector, &node).await;
            Ok(Servers::Single(node))
        }
        Topology::Sentinel { sentinels, master: name, .. } => {
            let discovery = Discovery::start(&connector, sentinels.clone(), name.clone());
            let master = match discovery.master().await {
                Some(master) => master,
                None => find_master(&connector, &sentinels, &name).await?,
            };
            check(&connector, &Address::Tcp(master.clone())).await?;
            let watched = discovery.watch(&connector, master);
            ready(&connector, &watched.master()).await;
            Ok(Servers::Sentinel(watched))
        }
        Topology::Cluster { seeds } => {
            let ranges = find_map(&connector, &seeds).await?;
            let cluster = Cluster::new(&connector, seeds, &ranges);
            for node in cluster.nodes() {
                ready(&connector, &node).await;
            }
            Ok(Servers::Cluster(cluster))
        }
    }
}

/// Waits for the first connection, so that the first call need not, and checks the settings.
async fn ready(connector: &Connector, node: &Node) {
    // A server that just went down, or one node of a cluster, does not prevent the start.
    match node.connected(connector.options.connect_timeout).await {
        Ok(()) => config_check::warn(connector, &node.address).await,
        Err(why) => tracing::warn!(server = %node.address, reason = %why, "Redis server down"),
    }
}

async fn find_master(
    connector: &Connector,
    sentinels: &[HostPort],
    name: &str,
) -> Result<HostPort, OpenError> {
    let timeout = connector.options.connect_timeout;
    let mut last_error = OpenError::Unreachable {
        server: "no Sentinel".to_owned(),
        why: "none is configured".to_owned(),
    };
    for sentinel in sentinels {
        let server = sentinel.to_string();
        let answer = sentinel::lookup(connector, sentinel, name, timeout).await;
        if let Some(master) = answer.master() {
            return Ok(master.clone());
        }
        last_error = match answer {
            Answer::None(ConnectError::Server(error))
                if reply::words(&error).contains("unknown command") =>
            {
                OpenError::NotSentinel { server }
            }
            Answer::None(why) => OpenError::of_connect(&server, &why),
            _ => OpenError::UnknownMaster { sentinel: server, name: name.to_owned() },
        };
    }
    Err(last_error)
}

async fn find_map(
    connector: &Arc<Connector>,
    seeds: &[HostPort],
) -> Result<Vec<cluster::Range>, OpenError> {
    let mut last_error = OpenError::Unreachable {
        server: "no node".to_owned(),
        why: "none is configured".to_owned(),
    };
    for seed in seeds {
        last_error = match check(connector, &Address::Tcp(seed.clone())).await {
            Err(error @ OpenError::Unreachable { .. }) => error,
            Err(error) => return Err(error),
            Ok(()) => match cluster::lookup(connector, seed).await {
                Ok(Some(ranges)) => return Ok(ranges),
                Ok(None) => OpenError::NoSlots { server: seed.to_string() },
                Err(why) => OpenError::of_connect(seed, &why),
            },
        };
    }
    Err(last_error)
}

/// Checks the kind and version of a server, and that the scripts can be loaded.
async fn check(connector: &Connector, address: &Address) -> Result<(), OpenError> {
    let connection = connector.plain(address).await;
    let connection = connection.map_err(|why| OpenError::of_connect(address, &why))?;
    let info = ServerInfo::read(connector, &connection).await;
    let info = info.map_err(|why| OpenError::of_connect(address, &why))?;
    let server = address.to_string();
    match (info.mode(), connector.is_cluster()) {
        (Some("sentinel"), _) => return Err(OpenError::IsSentinel { server }),
        (Some("cluster"), false) => return Err(OpenError::ClusterOn { server }),
        (Some("standalone"), true) => return Err(OpenError::ClusterOff { server }),
        _ => {}
    }
    if info.redis_major().is_some_and(|major| major < MAJOR_MIN) {
        return Err(OpenError::Old { server, version: info.version().unwrap_or_default() });
    }
    info.log(address);
    try_handshake(connector, address).await?;
    check_confirmations(connector, address, &connection).await
}

/// Tries the commands that confirmations by replicas need. Without them `auto` falls back to
/// answers of the master alone.
async fn check_confirmations(
    connector: &Connector,
    address: &Address,
    connection: &MultiplexedConnection,
) -> Result<(), OpenError> {
    if connector.durability() == Durability::Local {
        return Ok(());
    }
    let timeout = Deadline::after(connector.options.connect_timeout);
    for command in [redis::cmd("WAIT").arg(0).arg(1).to_owned(), redis::cmd("ROLE")] {
        match connection::query(connection, &command, timeout).await {
            Ok(_) => {}
            Err(why @ ConnectError::Server(_)) if connector.durability() == Durability::Auto => {
                tracing::warn!(
                    server = %address, reason = %why,
                    "answers rest on the master alone: replicas cannot confirm; \
                     permit +wait and +role"
                );
                connector.make_local();
                return Ok(());
            }
            Err(why) => return Err(OpenError::of_connect(address, &why)),
        }
    }
    let nodes = redis::cmd("CLUSTER").arg("NODES").to_owned();
    if connector.is_cluster()
        && let Err(why) = connection::query(connection, &nodes, timeout).await
    {
        tracing::warn!(
            server = %address, reason = %why,
            "cluster state not readable: missing replicas are not checked; permit +cluster|nodes"
        );
        connector.disable_master_queries();
    }
    Ok(())
}

/// Tries the handshake of every connection; waits for a server that is loading.
async fn try_handshake(connector: &Connector, address: &Address) -> Result<(), OpenError> {
    let deadline = Deadline::after(LOADING_TIMEOUT);
    let mut attempts = 0;
    loop {
        let Err(error) = connector.connect_with_handshake(address).await else { return Ok(()) };
        let error = OpenError::of_connect(address, &error);
        if !matches!(error, OpenError::Loading { .. }) || deadline.is_over() {
            return Err(error);
        }
        retry::rest(attempts, deadline).await;
        attempts += 1;
    }
}
