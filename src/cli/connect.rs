//! Where a sidecar listens, and the connection to it: TCP or a Unix socket, without TLS, bounded
//! in time.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use http::uri::Authority;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::error::{Error, root_cause};

/// Where the help lists the flags that all calls share.
pub const CALLING: &str = "Calling";

/// How long a command waits; flags of every command that talks to a sidecar.
#[derive(Debug, Clone, Copy, Args)]
pub struct Patience {
    /// How long to wait for the connection, and then for the answer, in milliseconds
    #[arg(long, global = true, value_name = "MS", default_value_t = 5000, help_heading = CALLING)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MS_MAX))]
    timeout_ms: u64,
}

/// One hour: gRPC cannot express more than some days, and nobody waits that long.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

impl Patience {
    /// The bound of the connection and of the call.
    pub fn timeout(self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Where the data plane listens.
#[derive(Debug, Clone, Args)]
pub struct DataAddress {
    /// Where the sidecar listens: HOST:PORT, or unix:PATH
    #[arg(long, global = true, value_name = "WHERE", help_heading = CALLING)]
    #[arg(env = "IMQUOTA_ADDRESS", default_value = "127.0.0.1:50051")]
    pub address: Address,
}

/// Where the administration listens.
#[derive(Debug, Clone, Args)]
pub struct AdminAddress {
    /// Where the sidecar's administration listens: HOST:PORT, or unix:PATH
    #[arg(long, global = true, value_name = "WHERE", help_heading = CALLING)]
    #[arg(env = "IMQUOTA_ADMIN_ADDRESS", default_value = "127.0.0.1:50052")]
    pub address: Address,
}

/// `HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and a port.
    Tcp(Authority),
    /// The path of a socket.
    Unix(PathBuf),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051, or unix:PATH")]
pub struct BadAddress;

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(BadAddress) } else { Ok(Self::Unix(path.into())) };
        }
        let authority: Authority = text.parse().map_err(|_| BadAddress)?;
        let good = authority.port_u16().is_some_and(|port| port > 0)
            && !authority.host().is_empty()
            && !text.contains('@');
        if good { Ok(Self::Tcp(authority)) } else { Err(BadAddress) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Connects within that time.
pub async fn connect(address: &Address, timeout: Duration) -> Result<Channel, Error> {
    let fail = |why| Error::Connect { address: address.clone(), why };
    match tokio::time::timeout(timeout, dial(address)).await {
        Ok(connected) => connected.map_err(|error| fail(root_cause(&error))),
        Err(_) => Err(fail(format!("no connection within {} ms", timeout.as_millis()))),
    }
}

async fn dial(address: &Address) -> Result<Channel, tonic::transport::Error> {
    match address {
        Address::Tcp(authority) => Endpoint::new(format!("http://{authority}"))?.connect().await,
        Address::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            // Only becomes the `:authority` header; the connector knows the way.
            Endpoint::from_static("http://localhost").connect_with_connector(connector).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_port_or_a_socket() {
        for good in ["127.0.0.1:50051", "[::1]:50051", "imquota.local:1", "unix:/run/imquota.sock"]
        {
            assert_eq!(good.parse::<Address>().map(|address| address.to_string()), Ok(good.into()));
        }
        let bad =
            ["", "host", "host:", "host:0", "host:99999", ":50051", "http://a:1", "a@b:1", "unix:"];
        for bad in bad {
            assert_eq!(bad.parse::<Address>(), Err(BadAddress), "{bad:?}");
        }
    }
}
