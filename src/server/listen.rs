//! Listeners: TCP and Unix sockets, bound before anything else is opened.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::ServedRoutes;
use super::credentials::Credentials;
use super::serving::{CallerBounds, Serving, serve, serve_encrypted};
use crate::config::{Config, Listen};
use crate::telemetry::CallMetrics;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// Error of a listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; end the process that has the address, or choose another \
     one"
)]
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

/// A listening Unix socket.
pub struct UnixSocket {
    pub(super) listener: UnixListener,
    file: SocketFile,
}

impl UnixSocket {
    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.0
    }
}

/// The file of a Unix socket; removed when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that cannot be removed is removed by the next start, which finds it dead.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// All listeners of the sidecar.
pub struct Listeners {
    /// For QuotaService.
    pub data: Vec<Listener>,
    /// For AdminService.
    pub admin: Vec<Listener>,
    /// For metrics over HTTP.
    pub management: Option<TcpListener>,
    /// For callbacks over HTTP/1.1.
    pub callbacks: Option<Listener>,
    /// Bounds of all callers.
    pub(super) bounds: Arc<CallerBounds>,
}

impl Listeners {
    /// Opens the listeners of the configuration.
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let access = &config.access;
        let admin_mode = access.admin_unix_socket_mode;
        let callbacks = config.callback_listen.as_slice();
        let count = config.listen.len() + config.admin_listen.len() + callbacks.len();
        Ok(Self {
            data: bind_all(&config.listen, access.unix_socket_mode, "data").await?,
            admin: bind_all(&config.admin_listen, admin_mode, "admin").await?,
            management: match config.management_listen {
                Some(address) => Some(bind_tcp(address, "management").await?),
                None => None,
            },
            callbacks: bind_all(callbacks, access.unix_socket_mode, "callback").await?.pop(),
            bounds: CallerBounds::new(config, count),
        })
    }

    /// Serves data and admin listeners until `stopped` is cancelled. The listeners stay open.
    pub(super) fn serve(
        &self,
        servers: &mut JoinSet<()>,
        routes: &ServedRoutes,
        credentials: &Credentials,
        metrics: &CallMetrics,
        stopped: &CancellationToken,
    ) {
        for (listeners, routes_of_listener, certificates) in [
            (&self.data, &routes.data, &credentials.data),
            (&self.admin, &routes.admin, &credentials.admin),
        ] {
            for listener in listeners.iter().cloned() {
                // Behind a Unix socket there is no other sidecar for a client to connect to.
                let has_age = matches!(listener, Listener::Tcp(_));
                let serving =
                    Serving::new(routes_of_listener, &self.bounds, has_age, metrics.clone());
                let stopped = stopped.clone();
                match (listener, certificates.clone()) {
                    (Listener::Tcp(listener), Some(certificates)) => {
                        servers.spawn(serve_encrypted(listener, certificates, serving, stopped))
                    }
                    (Listener::Tcp(listener), None) => {
                        servers.spawn(serve(listener, serving, stopped))
                    }
                    (Listener::Unix(socket), _) => servers.spawn(serve(socket, serving, stopped)),
                };
            }
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
        // No client can connect before it listens, so none gets in by the mode of its creation.
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        let listener = socket.listen(BACKLOG)?;
        info!(address = %path.display(), role, "listening");
        Ok(Listener::Unix(Arc::new(UnixSocket { listener, file })))
    };
    bound.await.map_err(|source| BindError { address: format!("unix:{}", path.display()), source })
}

/// Removes the socket file of a process that was killed: one on which no process listens. Any other
/// file is left alone.
async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is not a socket",
        ));
    }
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}
