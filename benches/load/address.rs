//! The address of a server, and connections to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use imquota::grpc::pb::admin_service_client::AdminServiceClient;
use imquota::grpc::pb::quota_service_client::QuotaServiceClient;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// An address: `HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            None if text.contains(':') => Ok(Self::Tcp(text.to_owned())),
            _ => Err("must be HOST:PORT or unix:PATH".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Connects to the data plane.
    pub async fn quota(&self) -> Result<QuotaServiceClient<Channel>, String> {
        self.channel().await.map(QuotaServiceClient::new)
    }

    /// Connects to the administration.
    pub async fn admin(&self) -> Result<AdminServiceClient<Channel>, String> {
        self.channel().await.map(AdminServiceClient::new)
    }

    async fn channel(&self) -> Result<Channel, String> {
        let address = Arc::new(self.clone());
        // The name of the endpoint has no effect: the connector uses the address.
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = match &*address {
            Self::Tcp(_) => {
                let dial = service_fn(move |_: Uri| {
                    let address = address.clone();
                    async move {
                        let stream = TcpStream::connect(address.to_string()).await?;
                        stream.set_nodelay(true)?;
                        Ok::<_, std::io::Error>(TokioIo::new(stream))
                    }
                });
                endpoint.connect_with_connector(dial).await
            }
            Self::Unix(path) => {
                let path = path.clone();
                let dial = service_fn(move |_: Uri| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                endpoint.connect_with_connector(dial).await
            }
        };
        channel.map_err(|error| format!("cannot connect to {self}: {error}"))
    }
}
