//! How Redis is reached, and what is asked of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a connection to Redis needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the servers are.
    pub topology: Topology,
    /// Encryption towards Redis and Sentinels; `None`: plain.
    pub tls: Option<Tls>,
    /// Who we are to Redis.
    pub credentials: Credentials,
    /// Who we are to the Sentinels.
    pub sentinel_credentials: Credentials,
    /// When an answer is given.
    pub durability: Durability,
    /// Which replicas confirm it.
    pub confirmation: Confirmation,
    /// Longest time for one connection to be made and greeted.
    pub connect_timeout: Duration,
    /// Longest time without an answer to the probe of a server that is not absent.
    pub silence_max: Duration,
    /// Most calls of one server in work at once; as many again may wait.
    pub subjects_in_flight_max: usize,
}

/// Where the servers are. Shown as it is configured, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone {
        /// The server.
        address: Address,
        /// Its database.
        database: i64,
    },
    /// A master with replicas, watched by Sentinels.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<HostPort>,
        /// What they call the master.
        master: String,
        /// Its database.
        database: i64,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its nodes; the others are found.
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

/// A user and their password; never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; `None`: the default one.
    pub username: Option<String>,
    /// Their password; of a file, what it held when the options were read.
    pub password: Option<String>,
    /// The file of the password, which is read again for each connection.
    pub password_file: Option<PathBuf>,
}

/// Files for encrypted connections, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whom to trust; `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, where the server asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// When an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When every replica has it that the master has; when the master has written it where there
    /// is none.
    #[default]
    Auto,
    /// When every replica has it that the master has, and there is one at least.
    Replicated,
    /// When the master has written.
    Local,
}

/// Which replicas confirm an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// How many of those that are attached; `None`: all that may be promoted.
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
