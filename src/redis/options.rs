//! The options of the Redis client: topology, credentials, durability and timeouts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The options of the connections to one Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The servers and how they are organised.
    pub topology: Topology,
    /// Encryption towards Redis and Sentinels; `None`: unencrypted.
    pub tls: Option<Tls>,
    /// The user at the Redis servers.
    pub credentials: Credentials,
    /// The user at the Sentinels.
    pub sentinel_credentials: Credentials,
    /// The writes after which a call is answered.
    pub durability: Durability,
    /// The replicas that confirm a reply.
    pub confirmation: Confirmation,
    /// Longest time for one connection and its handshake.
    pub connect_timeout: Duration,
    /// Longest time without an answer to its probe before a server is absent.
    pub silence_max: Duration,
    /// Most subjects in flight at one server; as many again may wait.
    pub subjects_in_flight_max: usize,
    /// The operations that are decided together.
    pub coalescing: Coalescing,
}

/// The operations that one call of a script decides together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coalescing {
    /// Those that wait for the same part of an app.
    #[default]
    Auto,
    /// None.
    Off,
    /// Those that wait, and one that is alone is sent like several: for tests.
    Always,
}

/// The servers and how they are organised. Displayed as configured, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone {
        /// The server.
        address: Address,
        /// Its database.
        database: i64,
    },
    /// A master with replicas, monitored by Sentinels.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<HostPort>,
        /// The name by which the Sentinels monitor the master.
        master: String,
        /// The master's database.
        database: i64,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its nodes; the others are discovered.
        seeds: Vec<HostPort>,
    },
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// Over TCP.
    Tcp(HostPort),
    /// Over a Unix socket.
    Unix(PathBuf),
}

/// A host, by name or IP address (IPv6 without brackets), and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A user and their password; the password is never displayed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; `None`: the default user.
    pub username: Option<String>,
    /// The password; if it is in a file, the content when the options were read.
    pub password: Option<String>,
    /// The file of the password, which is read again for each connection.
    pub password_file: Option<PathBuf>,
}

/// Files for encrypted connections, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The trusted certificate authorities; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The client certificate and its key, if the server requires one.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// The writes after which a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Every replica of the master has the write; or the master alone, if it has no replica.
    #[default]
    Auto,
    /// Every replica of the master has the write, and there is at least one.
    Replicated,
    /// The master has the write.
    Local,
}

/// The replicas that confirm a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Number of attached replicas that have to confirm; `None`: all that may be promoted.
    pub replicas: Option<usize>,
    /// Longest time for a replica to confirm; one that takes longer is left behind.
    pub lag_max: Duration,
}

impl Default for Confirmation {
    fn default() -> Self {
        Self { replicas: None, lag_max: Duration::from_secs(1) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |hosts: &[HostPort]| {
            let shown: Vec<String> = hosts.iter().map(HostPort::to_string).collect();
            shown.join(",")
        };
        match self {
            Self::Standalone { address: address @ Address::Tcp(_), database } => {
                write!(f, "redis://{address}/{database}")
            }
            Self::Standalone { address: address @ Address::Unix(_), database } => {
                write!(f, "redis+unix://{address}?db={database}")
            }
            Self::Sentinel { sentinels, master, database } => {
                write!(f, "redis-sentinel://{}/{master}/{database}", list(sentinels))
            }
            Self::Cluster { seeds } => write!(f, "redis-cluster://{}", list(seeds)),
        }
    }
}
