//! The real binary as a process that is killed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use imquota::clock::Stopwatch;
use imquota::grpc::pb::quota_service_client::QuotaServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

pub type Client = QuotaServiceClient<Channel>;

/// The timeout of a start: a thousand times its duration.
const START_MAX: Duration = Duration::from_secs(60);

pub struct Sidecar {
    child: Child,
    socket: PathBuf,
}

impl Sidecar {
    /// Starts the process on the store in `directory`, with its sockets there.
    pub async fn start(directory: &Path) -> Self {
        let store = format!("embedded:{}", directory.join("store").display());
        Self::start_on(directory, &["--store", &store]).await
    }

    /// Starts the process with that store, and its sockets in `directory`.
    pub async fn start_on(directory: &Path, store: &[&str]) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_imquota"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IMQUOTA_")) {
            command.env_remove(name);
        }
        let child = command
            .arg("serve")
            .args(store)
            .args(["--listen", &format!("unix:{}", at("quota.sock"))])
            .args(["--admin-listen", &format!("unix:{}", at("admin.sock"))])
            .args(["--management-listen", "off"])
            // A process that gets no processor for seconds still answers.
            .args(["--request-timeout-ms", "20000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut sidecar = Self { child, socket: directory.join("quota.sock") };
        sidecar.wait().await;
        sidecar
    }

    /// Waits until the store is open: before, the sidecar listens and refuses every call.
    async fn wait(&mut self) {
        let watch = Stopwatch::start();
        while !self.is_serving().await {
            let ended = self.child.try_wait().expect("the state of the child");
            assert_eq!(ended, None, "the sidecar ended at its start");
            assert!(watch.elapsed() < START_MAX, "the sidecar does not serve");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn is_serving(&self) -> bool {
        let Ok(channel) = self.channel().await else {
            return false;
        };
        let asked = HealthCheckRequest { service: "imquota.v1.QuotaService".to_owned() };
        let answer = HealthClient::new(channel).check(asked).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    }

    /// A new connection.
    pub async fn connect(&self) -> Client {
        Client::new(self.channel().await.expect("the sidecar accepts"))
    }

    async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let socket = self.socket.clone();
        let connector = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) as io::Result<_> }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("the sidecar still ran");
        self.child.wait().expect("the sidecar ends");
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // After a failed test; after `kill` this has no effect.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
