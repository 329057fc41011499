//! Listeners: TCP and Unix sockets, bound before anything else is opened.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::{Error, Server};
use tracing::info;

use super::ServedRoutes;
use super::calls::CallLayer;
use super::connections::{Connection, incoming};
use super::credentials::Credentials;
use super::tls::{Certificates, encrypted};
use crate::config::{Config, Listen};

/// Most requests of one connection in work at once; more wait in the client.
const STREAMS_MAX: u32 = 1024;

/// Time after which a silent connection is asked for a sign of life, and the time it has to give
/// it: a peer that vanished does not hold its connection for ever.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// See [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of one call that may be under way and not yet read: a stream of small requests is far
/// ahead with less.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same of one connection. HTTP/2 keeps a record for each frame, however small, and h2 closes a
/// connection whose small frames take half of this: two streams of the smallest requests, whose
/// callers send without pause while nothing is decided, stay below it.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Longest header of a request, all fields together: a token and a deadline are a few hundred
/// bytes.
const HEADER_MAX_BYTES: u32 = 16 * 1024;
/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// A listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    address: String,
    source: io::Error,
}

/// One open listener.
#[derive(Clone)]
pub enum Listener {
    /// A TCP port.
    Tcp(Arc<TcpListener>),
    /// A Unix socket, whose file is removed when it is closed.
    Unix(Arc<UnixSocket>),
}

/// A Unix socket that listens.
pub struct UnixSocket {
    pub(super) listener: UnixListener,
    file: SocketFile,
}

impl UnixSocket {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.0
    }
}

/// The file of a Unix socket; removed when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Where it cannot be removed, the next start finds it dead and removes it.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Every listener of the sidecar.
pub struct Listeners {
    /// For QuotaService.
    pub data: Vec<Listener>,
    /// For AdminService.
    pub admin: Vec<Listener>,
    /// For metrics over HTTP.
    pub management: Option<TcpListener>,
}

impl Listeners {
    /// Opens what the configuration names.
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let access = &config.access;
        let admin_mode = access.admin_unix_socket_mode;
        Ok(Self {
            data: bind_all(&config.listen, access.unix_socket_mode, "data").await?,
            admin: bind_all(&config.admin_listen, admin_mode, "admin").await?,
            management: match config.management_listen {
                Some(address) => Some(bind_tcp(address, "management").await?),
                None => None,
            },
        })
    }

    /// Serves data and administration until `stopped` turns true. The listeners stay open.
    pub(super) fn serve(
        &self,
        servers: &mut JoinSet<Result<(), Error>>,
        routes: &ServedRoutes,
        credentials: &Credentials,
        stopped: &watch::Receiver<bool>,
    ) {
        for listener in self.data.iter().cloned() {
            let certificates = credentials.data.clone();
            let (routes, calls) = (routes.data.clone(), routes.calls.clone());
            servers.spawn(serve(listener, certificates, routes, calls, stopped.clone()));
        }
        for listener in self.admin.iter().cloned() {
            let certificates = credentials.admin.clone();
            let (routes, calls) = (routes.admin.clone(), routes.calls.clone());
            servers.spawn(serve(listener, certificates, routes, calls, stopped.clone()));
        }
    }
}

async fn bind_all(addresses: &[Listen], mode: u32, role: &str) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        listeners.push(match address {
            Listen::Tcp(address) => Listener::Tcp(Arc::new(bind_tcp(*address, role).await?)),
            Listen::Unix(path) => bind_unix(path, mode, role).await?,
        });
    }
    Ok(listeners)
}

async fn bind_tcp(address: SocketAddr, role: &str) -> Result<TcpListener, BindError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        info!(address = %listener.local_addr()?, role, "listening");
        Ok(listener)
    };
    bound.await.map_err(|source| BindError { address: address.to_string(), source })
}

async fn bind_unix(path: &Path, mode: u32, role: &str) -> Result<Listener, BindError> {
    let bound = async {
        remove_dead_socket(path).await?;
        let socket = tokio::net::UnixSocket::new_stream()?;
        socket.bind(path)?;
        let file = SocketFile(path.to_owned());
        // Nobody can connect before it listens, so nobody slips in by the mode it was made with.
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        let listener = socket.listen(BACKLOG)?;
        info!(address = %path.display(), role, "listening");
        Ok(Listener::Unix(Arc::new(UnixSocket { listener, file })))
    };
    bound.await.map_err(|source| BindError { address: format!("unix:{}", path.display()), source })
}

/// A socket file outlives a process that was killed. It is removed if nobody answers there; any
/// other file is left alone.
async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file is in the way"));
    }
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

async fn serve(
    listener: Listener,
    certificates: Option<Arc<Certificates>>,
    routes: Routes,
    calls: CallLayer,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Error> {
    let stop = async move {
        // An error means that the sender is gone, which is the end too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_MAX_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(calls)
        .add_routes(routes);
    match (listener, certificates) {
        (Listener::Tcp(listener), Some(certificates)) => {
            let incoming = encrypted(incoming(listener), certificates).map(Connection::http2);
            server.serve_with_incoming_shutdown(incoming.map(io::Result::Ok), stop).await
        }
        (Listener::Tcp(listener), None) => {
            let incoming = incoming(listener).map(Connection::http2);
            server.serve_with_incoming_shutdown(incoming.map(io::Result::Ok), stop).await
        }
        (Listener::Unix(socket), _) => {
            let incoming = incoming(socket).map(Connection::http2);
            server.serve_with_incoming_shutdown(incoming.map(io::Result::Ok), stop).await
        }
    }
}
