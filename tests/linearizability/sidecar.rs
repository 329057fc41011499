//! The real binary as a process over any store.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use imquota::clock::Stopwatch;
use imquota::grpc::pb::admin_service_client::AdminServiceClient;
use imquota::grpc::pb::quota_service_client::QuotaServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

pub type Client = QuotaServiceClient<Channel>;
pub type AdminClient = AdminServiceClient<Channel>;

/// The timeout of a start: a thousand times its duration.
const START_MAX: Duration = Duration::from_secs(60);

pub struct Sidecar {
    child: Child,
    socket: PathBuf,
    admin_socket: PathBuf,
}

impl Sidecar {
    /// Starts the sidecar of that number over `store`, with its sockets in `directory`.
    pub async fn start(
        directory: &Path,
        number: usize,
        store: &str,
        timeout_ms: u32,
        more: &[&str],
    ) -> Self {
        let at = |name: &str| directory.join(format!("{number}-{name}"));
        let listen = |name: &str| format!("unix:{}", at(name).display());
        let catalog = at("catalog.toml");
        std::fs::write(&catalog, super::catalog::TEXT).expect("the catalog is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_imquota"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IMQUOTA_")) {
            command.env_remove(name);
        }
        let child = command
            .arg("serve")
            .args(["--store", store])
            .args(["--listen", &listen("quota.sock")])
            .args(["--admin-listen", &listen("admin.sock")])
            .args(["--management-listen", "off"])
            // Every result is checked as exact.
            .args(["--journal", "off"])
            .arg("--state-dir")
            .arg(at("state"))
            .args(["--shutdown-delay-ms", "0"])
            .args(["--request-timeout-ms", &timeout_ms.to_string()])
            .args(["--log-filter", "warn"])
            .args(more)
            .arg("--catalog")
            .arg(&catalog)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut sidecar = Self { child, socket: at("quota.sock"), admin_socket: at("admin.sock") };
        sidecar.wait().await;
        sidecar
    }

    /// Waits until it decides: it listens before its store is open.
    async fn wait(&mut self) {
        let watch = Stopwatch::start();
        while !self.decides().await {
            let ended = self.child.try_wait().expect("the state of the child");
            assert_eq!(ended, None, "the sidecar ended at its start");
            assert!(watch.elapsed() < START_MAX, "the sidecar does not listen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn decides(&self) -> bool {
        // A connection may be closed in the moment in which the store is open.
        let Ok(mut client) = self.try_connect().await else { return false };
        let nothing = tokio_stream::empty::<imquota::grpc::pb::ApplyRequest>();
        client.apply(nothing).await.is_ok()
    }

    /// A new connection.
    pub async fn connect(&self) -> Client {
        self.try_connect().await.expect("the sidecar accepts")
    }

    /// A new connection of an administrator.
    pub async fn connect_as_admin(&self) -> AdminClient {
        let channel = channel(&self.admin_socket).await;
        AdminClient::new(channel.expect("the sidecar accepts"))
    }

    async fn try_connect(&self) -> Result<Client, tonic::transport::Error> {
        channel(&self.socket).await.map(Client::new)
    }
}

async fn channel(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_owned();
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) as io::Result<_> }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
