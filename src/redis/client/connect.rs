//! Makes connections: encrypted, authenticated, named, with every script loaded.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, ServerError, TlsCertificates, Value,
};
use thiserror::Error;

use super::connection::Connection;
use super::password::Password;
use super::probe::ProbeThread;
use super::reply;
use crate::input_file;
use crate::redis::known::Known;
use crate::redis::marks::Marks;
use crate::redis::options::{Address, Durability, HostPort, Options, Topology};
use crate::redis::script::Script;

/// Time after which the kernel closes a connection whose sent bytes stay unacknowledged: well
/// before its default of fifteen minutes, well after the retransmission of a lost packet.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle time before the first keepalive probe, for subscriptions to Sentinels, which have no
/// heartbeat.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
/// Time between two keepalive probes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// The client name in `CLIENT LIST`.
const CLIENT_NAME: &str = "imquota";

/// Longest certificate file in bytes: the authorities of a whole system take a third of it.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// The reason why a connection could not be made.
#[derive(Debug, Clone, Error)]
pub(super) enum ConnectError {
    /// The connection failed.
    #[error("{0}")]
    Io(RedisError),
    /// The server refused a command of the handshake.
    #[error("{}", reply::words(.0))]
    Server(ServerError),
    /// The server rejected the user and password.
    #[error("it rejects the user and password")]
    Credentials,
    /// The server is a replica of another one.
    #[error("it is a replica of {0}")]
    Replica(String),
    /// There was no answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

impl ConnectError {
    /// Returns whether the error shows that the server works: see [`super::silence`].
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::Credentials | Self::Replica(_) => true,
            Self::Server(error) => !reply::is_absence(error.code()),
            // Errors of the server, such as `max number of clients reached`, have a code.
            Self::Io(error) => error.code().is_some_and(|code| !reply::is_absence(code)),
            Self::Late(_) => false,
        }
    }
}

/// The reason why the connector cannot be created.
#[derive(Debug, Error)]
pub(super) enum NewError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system has no more threads or descriptors.
    #[error("cannot start the thread of the probes: {0}")]
    Thread(#[from] std::io::Error),
}

/// A file for encryption that cannot be used, and the reason.
#[derive(Debug, Clone, Error)]
#[error("{path}: {why}")]
pub(super) struct FileError {
    path: String,
    why: String,
}

/// Makes connections to servers and Sentinels.
pub(super) struct Connector {
    pub(super) options: Options,
    pub(super) scripts: Vec<Script>,
    /// Observations that each new connection is compared with.
    pub(super) known: Arc<Known>,
    /// The keys of the generation marks.
    pub(super) marks: Marks,
    /// The thread on which probes run.
    pub(super) probes: ProbeThread,
    /// The durability in force, if it differs from the configured one.
    durability: OnceLock<Durability>,
    /// Set if the nodes of a cluster are not queried about its masters.
    are_master_queries_disabled: OnceLock<()>,
    certificates: Option<TlsCertificates>,
    /// The password of the servers that hold data.
    password: Password,
    sentinel_password: Password,
}

impl Connector {
    /// Reads the files for encryption, and starts the thread of the probes.
    pub(super) fn new(
        options: Options,
        scripts: Vec<Script>,
        known: Arc<Known>,
        marks: Marks,
    ) -> Result<Self, NewError> {
        let certificates = match &options.tls {
            None => None,
            Some(tls) => {
                let client_tls = match &tls.certificate {
                    None => None,
                    Some((certificate, key)) => Some(ClientTlsConfig {
                        client_cert: read(certificate)?,
                        client_key: read(key)?,
                    }),
                };
                let root_cert = tls.ca.as_deref().map(read).transpose()?;
                Some(TlsCertificates { client_tls, root_cert })
            }
        };
        let probes = ProbeThread::start()?;
        let (durability, are_master_queries_disabled) = (OnceLock::new(), OnceLock::new());
        let password = Password::of(&options.credentials);
        let sentinel_password = Password::of(&options.sentinel_credentials);
        Ok(Self {
            options,
            scripts,
            known,
            marks,
            probes,
            durability,
            are_master_queries_disabled,
            certificates,
            password,
            sentinel_password,
        })
    }

    /// Returns the durability in force.
    pub(super) fn durability(&self) -> Durability {
        self.durability.get().copied().unwrap_or(self.options.durability)
    }

    /// Returns replies when the master has written, since replicas cannot confirm.
    pub(super) fn make_local(&self) {
        // If it was set before, it has the same value.
        let _ = self.durability.set(Durability::Local);
    }

    /// Stops querying the nodes of the cluster about its masters.
    pub(super) fn disable_master_queries(&self) {
        // If it was set before, it has the same value.
        let _ = self.are_master_queries_disabled.set(());
    }

    /// Returns whether the nodes of the cluster are not queried about its masters.
    pub(super) fn are_master_queries_disabled(&self) -> bool {
        self.are_master_queries_disabled.get().is_some()
    }

    /// Returns whether the servers form a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.options.topology, Topology::Cluster { .. })
    }

    /// Returns a redis-rs client for a server that holds data.
    async fn server_client(&self, address: &Address) -> Result<redis::Client, RedisError> {
        let database = match self.options.topology {
            Topology::Standalone { database, .. } | Topology::Sentinel { database, .. } => database,
            Topology::Cluster { .. } => 0,
        };
        let password = self.password.current(self.options.connect_timeout).await;
        self.client(address, (&self.options.credentials.username, password), database)
    }

    /// Returns a redis-rs client for a Sentinel.
    pub(super) async fn sentinel_client(
        &self,
        address: &HostPort,
    ) -> Result<redis::Client, RedisError> {
        let password = self.sentinel_password.current(self.options.connect_timeout).await;
        let user = (&self.options.sentinel_credentials.username, password);
        self.client(&Address::Tcp(address.clone()), user, 0)
    }

    fn client(
        &self,
        address: &Address,
        (username, password): (&Option<String>, Option<String>),
        database: i64,
    ) -> Result<redis::Client, RedisError> {
        let target = match (address, &self.certificates) {
            (Address::Unix(path), _) => ConnectionAddr::Unix(path.clone()),
            (Address::Tcp(HostPort { host, port }), None) => {
                ConnectionAddr::Tcp(host.clone(), *port)
            }
            (Address::Tcp(HostPort { host, port }), Some(_)) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        };
        let mut handshake = RedisConnectionInfo::default().set_db(database);
        if let Some(username) = username {
            handshake = handshake.set_username(username);
        }
        if let Some(password) = &password {
            handshake = handshake.set_password(password);
        }
        let keepalive =
            TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_user_timeout(TCP_USER_TIMEOUT)
            .set_keepalive(keepalive);
        let info =
            target.into_connection_info()?.set_redis_settings(handshake).set_tcp_settings(tcp);
        match (address, &self.certificates) {
            (Address::Tcp(_), Some(certificates)) => {
                redis::Client::build_with_tls(info, certificates.clone())
            }
            _ => redis::Client::open(info),
        }
    }

    /// Connects to a server; the handshake consists of the authentication only.
    pub(super) async fn plain(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, ConnectError> {
        self.connect(self.server_client(address).await).await
    }

    /// Connects to a Sentinel.
    pub(super) async fn sentinel(
        &self,
        address: &HostPort,
    ) -> Result<MultiplexedConnection, ConnectError> {
        self.connect(self.sentinel_client(address).await).await
    }

    async fn connect(
        &self,
        client: Result<redis::Client, RedisError>,
    ) -> Result<MultiplexedConnection, ConnectError> {
        let timeout = self.options.connect_timeout;
        // Each call has its own timeout, so that of redis-rs is off.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(self.options.subjects_in_flight_max.max(1));
        let client = client.map_err(ConnectError::Io)?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(timeout, connecting).await {
            Err(_) => Err(ConnectError::Late(timeout)),
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(why)) if why.kind() == ErrorKind::AuthenticationFailed => {
                Err(ConnectError::Credentials)
            }
            Ok(Err(why)) => Err(ConnectError::Io(why)),
        }
    }

    /// Connects with the whole handshake, for calls: the server has every script and, outside of a
    /// cluster, reports itself as a master.
    pub(super) async fn connect_with_handshake(
        &self,
        address: &Address,
    ) -> Result<Connection, ConnectError> {
        let connection = self.plain(address).await?;
        let timeout = self.options.connect_timeout;
        match tokio::time::timeout(timeout, self.perform_handshake(connection.clone())).await {
            Err(_) => Err(ConnectError::Late(timeout)),
            Ok(handshake) => handshake.map(|()| Connection::new(connection)),
        }
    }

    async fn perform_handshake(
        &self,
        mut connection: MultiplexedConnection,
    ) -> Result<(), ConnectError> {
        let mut handshake = redis::pipe();
        // A server that forbids names works as well: this reply is ignored.
        handshake.cmd("CLIENT").arg("SETNAME").arg(CLIENT_NAME);
        if self.is_cluster() {
            // A trial, so that a missing permission shows before a slot moves. It affects only the
            // next command, which is harmless.
            handshake.cmd("ASKING");
        }
        for script in &self.scripts {
            handshake.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
        if !self.is_cluster() {
            handshake.cmd("ROLE");
        }
        let count = handshake.len();
        let replies = connection
            .send_packed_commands(&handshake, 0, count)
            .await
            .map_err(ConnectError::Io)?;
        for answer in replies.iter().skip(1) {
            if let Value::ServerError(error) = answer {
                return Err(ConnectError::Server(error.clone()));
            }
        }
        match replies.last().and_then(reply::followed_master) {
            Some(master) if !self.is_cluster() => Err(ConnectError::Replica(master)),
            _ => Ok(()),
        }
    }
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, FileError> {
    let path = path.as_ref();
    input_file::read(path, FILE_MAX_BYTES)
        .map_err(|why| FileError { path: path.display().to_string(), why: why.to_string() })
}
