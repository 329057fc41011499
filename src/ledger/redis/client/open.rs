//! Refuses at the start what cannot work, each with a sentence, and warns of what may not.

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
use super::pace::{self, Deadline};
use super::sentinel::{self, Answer, Asked};
use super::server_info::ServerInfo;
use super::servers::Servers;
use super::{advice, link, reply};
use crate::ledger::redis::known::Known;
use crate::ledger::redis::marks::Marks;
use crate::ledger::redis::options::{Address, Durability, HostPort, Options, Topology};
use crate::ledger::redis::script::Script;

/// A server that reads its data from disk is waited for so long.
const LOADING_PATIENCE: Duration = Duration::from_secs(10);
/// The oldest server whose scripts say by flags what they do under memory pressure and whose
/// errors within scripts keep their codes.
const MAJOR_MIN: u32 = 7;

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// A file for encryption is of no use.
    #[error("cannot read the file for encryption {0}")]
    File(String),
    /// The system lacks what the client needs.
    #[error("{0}")]
    Thread(String),
    /// Nobody answers.
    #[error("cannot reach Redis at {server}: {why}; check the address, and that it is running")]
    Unreachable {
        /// Who was asked.
        server: String,
        /// What happened.
        why: String,
    },
    /// The user or password are not accepted, or none was given.
    #[error("Redis at {server} does not let us in: {why}; check the user and the password")]
    Credentials {
        /// Who was asked.
        server: String,
        /// What it said.
        why: String,
    },
    /// The user lacks a permission.
    #[error("the user may not do enough at Redis at {server}: {why}; extend their ACL rules")]
    Forbidden {
        /// Who was asked.
        server: String,
        /// What it said.
        why: String,
    },
    /// A Sentinel was given as a server.
    #[error("{server} is a Sentinel; give it with redis-sentinel:// and the name of the master")]
    IsSentinel {
        /// Who was asked.
        server: String,
    },
    /// A server was given as a Sentinel.
    #[error("{server} is no Sentinel; give a Sentinel, or the server itself with redis://")]
    NotSentinel {
        /// Who was asked.
        server: String,
    },
    /// A node of a cluster was given as a single server.
    #[error("Redis at {server} is in cluster mode; give it with redis-cluster://")]
    ClusterOn {
        /// Who was asked.
        server: String,
    },
    /// A single server was given as a node of a cluster.
    #[error("Redis at {server} is not in cluster mode; give it with redis:// instead")]
    ClusterOff {
        /// Who was asked.
        server: String,
    },
    /// It cannot be written to.
    #[error("Redis at {server} is a replica of {master}; give the master, or the Sentinels")]
    Replica {
        /// Who was asked.
        server: String,
        /// Whom it follows.
        master: String,
    },
    /// The Sentinels have not heard of the master.
    #[error("the Sentinel at {sentinel} knows no master named {name}; check the name")]
    UnknownMaster {
        /// Who was asked.
        sentinel: String,
        /// What for.
        name: String,
    },
    /// It is too old.
    #[error(
        "the server at {server} is {version}; Redis 7.0 or newer, or a server compatible with \
         that, is needed"
    )]
    Old {
        /// Who was asked.
        server: String,
        /// Its name and version.
        version: String,
    },
    /// It lacks a command.
    #[error(
        "Redis at {server} has no command {command}, which imquota needs; allow it under its own \
         name (rename-command)"
    )]
    NoCommand {
        /// Who was asked.
        server: String,
        /// The command.
        command: String,
    },
    /// It is still reading its data.
    #[error("Redis at {server} is still loading its data after 10 s; start again when it is done")]
    Loading {
        /// Who was asked.
        server: String,
    },
    /// The cluster serves nothing.
    #[error(
        "the cluster node {server} knows of no slots that are served; create the cluster first"
    )]
    NoSlots {
        /// Who was asked.
        server: String,
    },
    /// Something else was refused.
    #[error("Redis at {server} refuses to work for us: {why}")]
    Refused {
        /// Who was asked.
        server: String,
        /// What it said.
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
    /// Whether the same may succeed a while later: what is wrong is not how we ask.
    #[must_use]
    pub fn may_pass(&self) -> bool {
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
        // What SELECT is refused with has lost its code on the way.
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

/// Connects, checks and loads.
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
            let asked = Asked::start(&connector, sentinels.clone(), name.clone());
            let master = match asked.master().await {
                Some(master) => master,
                None => find_master(&connector, &sentinels, &name).await?,
            };
            check(&connector, &Address::Tcp(master.clone())).await?;
            let watched = asked.watch(&connector, master);
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

/// Waits for the first connection, so that the first call need not, and warns of doubtful settings.
async fn ready(connector: &Connector, node: &Node) {
    // A server that went down just now, or one node of a cluster, is no reason to stay out.
    match node.connected(connector.options.connect_timeout).await {
        Ok(()) => advice::warn(connector, &node.address).await,
        Err(why) => tracing::warn!(server = %node.address, reason = %why, "a Redis server is down"),
    }
}

async fn find_master(
    connector: &Connector,
    sentinels: &[HostPort],
    name: &str,
) -> Result<HostPort, OpenError> {
    let patience = connector.options.connect_timeout;
    let mut worst = OpenError::Unreachable {
        server: "no Sentinel".to_owned(),
        why: "none is configured".to_owned(),
    };
    for sentinel in sentinels {
        let server = sentinel.to_string();
        let answer = sentinel::lookup(connector, sentinel, name, patience).await;
        if let Some(master) = answer.master() {
            return Ok(master.clone());
        }
        worst = match answer {
            Answer::None(ConnectError::Server(error))
                if reply::words(&error).contains("unknown command") =>
            {
                OpenError::NotSentinel { server }
            }
            Answer::None(why) => OpenError::of_connect(&server, &why),
            _ => OpenError::UnknownMaster { sentinel: server, name: name.to_owned() },
        };
    }
    Err(worst)
}

async fn find_map(
    connector: &Arc<Connector>,
    seeds: &[HostPort],
) -> Result<Vec<cluster::Range>, OpenError> {
    let mut worst = OpenError::Unreachable {
        server: "no node".to_owned(),
        why: "none is configured".to_owned(),
    };
    for seed in seeds {
        worst = match check(connector, &Address::Tcp(seed.clone())).await {
            Err(error @ OpenError::Unreachable { .. }) => error,
            Err(error) => return Err(error),
            Ok(()) => match cluster::lookup(connector, seed).await {
                Ok(Some(ranges)) => return Ok(ranges),
                Ok(None) => OpenError::NoSlots { server: seed.to_string() },
                Err(why) => OpenError::of_connect(seed, &why),
            },
        };
    }
    Err(worst)
}

/// Asks a server what it is, and loads the scripts for a try.
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
    greet(connector, address).await?;
    check_confirmations(connector, address, &connection).await
}

/// Tries what confirmations by replicas need. Without it `auto` means the master alone.
async fn check_confirmations(
    connector: &Connector,
    address: &Address,
    connection: &MultiplexedConnection,
) -> Result<(), OpenError> {
    if connector.durability() == Durability::Local {
        return Ok(());
    }
    let patience = Deadline::after(connector.options.connect_timeout);
    for command in [redis::cmd("WAIT").arg(0).arg(1).to_owned(), redis::cmd("ROLE")] {
        match link::ask(connection, &command, patience).await {
            Ok(_) => {}
            Err(why @ ConnectError::Server(_)) if connector.durability() == Durability::Auto => {
                tracing::warn!(
                    server = %address, reason = %why,
                    "answers rest on the master alone: replicas cannot be asked to confirm; \
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
        && let Err(why) = link::ask(connection, &nodes, patience).await
    {
        tracing::warn!(
            server = %address, reason = %why,
            "the cluster cannot be asked about lost replicas; permit +cluster|nodes"
        );
        connector.ask_no_one();
    }
    Ok(())
}

/// Tries what every connection does; a server that is loading is waited for.
async fn greet(connector: &Connector, address: &Address) -> Result<(), OpenError> {
    let deadline = Deadline::after(LOADING_PATIENCE);
    let mut attempts = 0;
    loop {
        let Err(error) = connector.greeted(address).await else { return Ok(()) };
        let error = OpenError::of_connect(address, &error);
        if !matches!(error, OpenError::Loading { .. }) || deadline.is_over() {
            return Err(error);
        }
        pace::rest(attempts, deadline).await;
        attempts += 1;
    }
}
