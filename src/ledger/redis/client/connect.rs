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

use super::link::Link;
use super::password::Password;
use super::probe::ProbeThread;
use super::reply;
use crate::input_file;
use crate::ledger::redis::known::Known;
use crate::ledger::redis::marks::Marks;
use crate::ledger::redis::options::{Address, Durability, HostPort, Options, Topology};
use crate::ledger::redis::script::Script;

/// The kernel gives a connection up when sent bytes stay unacknowledged for so long: well before
/// its own fifteen minutes, well after a lost packet's repetition.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is tried so late, for subscriptions to Sentinels that nothing else tries.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
/// How often it is tried from then on.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// What `CLIENT LIST` shows for our connections.
const CLIENT_NAME: &str = "imquota";

/// Most bytes of a file of certificates: the authorities of a whole system have a third of it.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Why there is no connection.
#[derive(Debug, Clone, Error)]
pub(super) enum ConnectError {
    /// It was not made.
    #[error("{0}")]
    Io(RedisError),
    /// The server refused to greet us.
    #[error("{}", reply::words(.0))]
    Server(ServerError),
    /// Neither the name nor the password were accepted.
    #[error("it does not accept the user and password")]
    Credentials,
    /// The server follows another one.
    #[error("it is a replica of {0}")]
    Replica(String),
    /// Nothing was answered in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

impl ConnectError {
    /// Whether it shows that the server works: see [`super::silence`].
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

/// Why no connections can be made at all.
#[derive(Debug, Error)]
pub(super) enum NewError {
    /// A file is of no use.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system has no more threads or descriptors.
    #[error("cannot start the thread of the probes: {0}")]
    Thread(#[from] std::io::Error),
}

/// A file that was needed for encryption, and why it is of no use.
#[derive(Debug, Clone, Error)]
#[error("{path}: {why}")]
pub(super) struct FileError {
    path: String,
    why: String,
}

/// Makes connections.
pub(super) struct Connector {
    pub(super) options: Options,
    pub(super) scripts: Vec<Script>,
    /// What each new connection is compared with.
    pub(super) known: Arc<Known>,
    /// Where the marks lie.
    pub(super) marks: Marks,
    /// Where probes run.
    pub(super) probes: ProbeThread,
    /// The durability in force, if it is not the configured one.
    durability: OnceLock<Durability>,
    /// Set where a cluster's nodes may not be asked about its masters.
    asks_no_one: OnceLock<()>,
    certificates: Option<TlsCertificates>,
    /// Of the servers that hold data.
    password: Password,
    sentinel_password: Password,
}

impl Connector {
    /// Reads the files that encryption needs, and starts the thread of the probes.
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
        let (durability, asks_no_one) = (OnceLock::new(), OnceLock::new());
        let password = Password::of(&options.credentials);
        let sentinel_password = Password::of(&options.sentinel_credentials);
        Ok(Self {
            options,
            scripts,
            known,
            marks,
            probes,
            durability,
            asks_no_one,
            certificates,
            password,
            sentinel_password,
        })
    }

    /// When an answer is given.
    pub(super) fn durability(&self) -> Durability {
        self.durability.get().copied().unwrap_or(self.options.durability)
    }

    /// Answers are given when the master has written, since replicas cannot be asked to confirm.
    pub(super) fn make_local(&self) {
        // Where it was set before it is the same.
        let _ = self.durability.set(Durability::Local);
    }

    /// The nodes of the cluster are not asked about its masters.
    pub(super) fn ask_no_one(&self) {
        // Where it was set before it is the same.
        let _ = self.asks_no_one.set(());
    }

    /// Whether the nodes of the cluster are not asked about its masters.
    pub(super) fn asks_no_one(&self) -> bool {
        self.asks_no_one.get().is_some()
    }

    /// Whether servers form a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.options.topology, Topology::Cluster { .. })
    }

    /// A client of the crate for a server that holds data.
    async fn server_client(&self, address: &Address) -> Result<redis::Client, RedisError> {
        let database = match self.options.topology {
            Topology::Standalone { database, .. } | Topology::Sentinel { database, .. } => database,
            Topology::Cluster { .. } => 0,
        };
        let password = self.password.current(self.options.connect_timeout).await;
        self.client(address, (&self.options.credentials.username, password), database)
    }

    /// A client of the crate for a Sentinel.
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
        let place = match (address, &self.certificates) {
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
        let mut greeting = RedisConnectionInfo::default().set_db(database);
        if let Some(username) = username {
            greeting = greeting.set_username(username);
        }
        if let Some(password) = &password {
            greeting = greeting.set_password(password);
        }
        let keepalive =
            TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_user_timeout(TCP_USER_TIMEOUT)
            .set_keepalive(keepalive);
        let info = place.into_connection_info()?.set_redis_settings(greeting).set_tcp_settings(tcp);
        match (address, &self.certificates) {
            (Address::Tcp(_), Some(certificates)) => {
                redis::Client::build_with_tls(info, certificates.clone())
            }
            _ => redis::Client::open(info),
        }
    }

    /// A connection to a server, greeted by nothing but its password.
    pub(super) async fn plain(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, ConnectError> {
        self.connect(self.server_client(address).await).await
    }

    /// A connection to a Sentinel.
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
        let patience = self.options.connect_timeout;
        // Calls bring their own patience, so that the crate's is switched off.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(self.options.subjects_in_flight_max.max(1));
        let client = client.map_err(ConnectError::Io)?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(patience, connecting).await {
            Err(_) => Err(ConnectError::Late(patience)),
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(why)) if why.kind() == ErrorKind::AuthenticationFailed => {
                Err(ConnectError::Credentials)
            }
            Ok(Err(why)) => Err(ConnectError::Io(why)),
        }
    }

    /// A connection that calls may use: the server has every script and, outside of a cluster,
    /// says itself that it is a master.
    pub(super) async fn greeted(&self, address: &Address) -> Result<Link, ConnectError> {
        let connection = self.plain(address).await?;
        let patience = self.options.connect_timeout;
        match tokio::time::timeout(patience, self.greet(connection.clone())).await {
            Err(_) => Err(ConnectError::Late(patience)),
            Ok(greeting) => greeting.map(|()| Link::new(connection)),
        }
    }

    async fn greet(&self, mut connection: MultiplexedConnection) -> Result<(), ConnectError> {
        let mut greeting = redis::pipe();
        // A server that forbids names is no worse for it: this reply is not looked at.
        greeting.cmd("CLIENT").arg("SETNAME").arg(CLIENT_NAME);
        if self.is_cluster() {
            // For a try, so that a lacking permission shows before a slot moves. It holds for the
            // next command only, which is a harmless one.
            greeting.cmd("ASKING");
        }
        for script in &self.scripts {
            greeting.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
        if !self.is_cluster() {
            greeting.cmd("ROLE");
        }
        let count = greeting.len();
        let replies =
            connection.send_packed_commands(&greeting, 0, count).await.map_err(ConnectError::Io)?;
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
