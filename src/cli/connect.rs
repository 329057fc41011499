//! Address of a sidecar, and the connection to it: TCP, TLS or a Unix socket, with a timeout.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use http::uri::Authority;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};

use super::error::{Error, root_cause};
use super::tls::{Encryption, TlsFlags};
use super::token::{Bearer, TokenFlags};

/// Heading in the help for the options shared by all calls.
pub const SHARED: &str = "Connection and output";

/// Timeout option of every command that calls a sidecar.
#[derive(Debug, Clone, Copy, Args)]
pub struct TimeoutFlag {
    /// Timeout for the connection, and then for the response, in milliseconds
    #[arg(long, global = true, value_name = "MS", default_value_t = 5000, help_heading = SHARED)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MS_MAX))]
    timeout_ms: u64,
}

/// Longest timeout in milliseconds, one hour: far below what gRPC can encode.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

impl TimeoutFlag {
    /// Returns the timeout of the connection, and of the call.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Address options for the data plane.
#[derive(Debug, Clone, Args)]
pub struct DataAddress {
    /// Address of the sidecar: HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = SHARED)]
    #[arg(env = "IMQUOTA_ADDRESS", default_value = "127.0.0.1:50051")]
    address: Address,
    #[command(flatten)]
    tls: TlsFlags,
}

/// Address options for the admin service.
#[derive(Debug, Clone, Args)]
pub struct AdminAddress {
    /// Address of the sidecar's admin service: HOST:PORT, http://HOST:PORT, https://HOST:PORT or
    /// unix:PATH
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = SHARED)]
    #[arg(env = "IMQUOTA_ADMIN_ADDRESS", default_value = "127.0.0.1:50052")]
    address: Address,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    token: TokenFlags,
}

/// The sidecar to call, with encryption and credentials.
#[derive(Clone)]
pub struct Target {
    address: Address,
    encryption: Option<Encryption>,
    /// Token that authenticates the caller.
    pub bearer: Option<Bearer>,
}

impl DataAddress {
    /// Reads the files that the flags name.
    pub fn target(&self) -> Result<Target, Error> {
        Target::new(&self.address, &self.tls, None)
    }
}

impl AdminAddress {
    /// Reads the files that the flags name.
    pub fn target(&self) -> Result<Target, Error> {
        Target::new(&self.address, &self.tls, self.token.bearer()?)
    }
}

impl Target {
    fn new(address: &Address, tls: &TlsFlags, bearer: Option<Bearer>) -> Result<Self, Error> {
        let address = match address.clone() {
            Address::Tcp(authority) if tls.are_given() => Address::Tls(authority),
            Address::Unix(_) if tls.are_given() => {
                let why = "a Unix socket is not encrypted; omit the options --tls-...";
                return Err(Error::Tls(why.to_owned()));
            }
            Address::Http(authority) if tls.are_given() => {
                let why = format!(
                    "http:// is not encrypted; use https://{authority}, or omit the options \
                     --tls-..."
                );
                return Err(Error::Tls(why));
            }
            address => address,
        };
        let encryption = match &address {
            Address::Tls(authority) => Some(tls.encryption(authority.host())?),
            Address::Tcp(authority) | Address::Http(authority)
                if bearer.is_some() && !is_loopback(authority.host()) =>
            {
                return Err(Error::TokenNotEncrypted { authority: authority.clone() });
            }
            _ => None,
        };
        Ok(Self { address, encryption, bearer })
    }
}

impl Target {
    /// Returns a hint at the likely cause after the connection was lost during a call.
    pub fn hint(&self) -> Option<String> {
        match (&self.address, &self.encryption) {
            (Address::Tcp(to) | Address::Http(to), _) => {
                Some(format!("If the sidecar requires TLS there, use https://{to}."))
            }
            (_, Some(encryption)) => encryption.hint().map(ToOwned::to_owned),
            _ => None,
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Address of a listener: `HOST:PORT`, `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and a port; encrypted if TLS options are given.
    Tcp(Authority),
    /// A host and a port, not encrypted.
    Http(Authority),
    /// A host and a port, encrypted.
    Tls(Authority),
    /// The path of a socket.
    Unix(PathBuf),
}

/// The text is not a valid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051, http://HOST:PORT, \
     https://HOST:PORT or unix:PATH"
)]
pub struct BadAddress;

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(BadAddress) } else { Ok(Self::Unix(path.into())) };
        }
        let schemes = [("http://", Self::Http as fn(_) -> _), ("https://", Self::Tls)];
        let named = schemes.into_iter().find_map(|(prefix, scheme)| {
            let rest = text.strip_prefix(prefix)?;
            // URLs are often copied with the path `/`.
            Some((scheme, rest.strip_suffix('/').unwrap_or(rest)))
        });
        let (scheme, text) = named.unwrap_or((Self::Tcp, text));
        let authority: Authority = text.parse().map_err(|_| BadAddress)?;
        let good = authority.port_u16().is_some_and(|port| port > 0)
            && !authority.host().is_empty()
            && !text.contains('@');
        if good { Ok(scheme(authority)) } else { Err(BadAddress) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "{authority}"),
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Tls(authority) => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Connects within the timeout.
pub async fn connect(target: &Target, timeout: Duration) -> Result<Channel, Error> {
    let fail = |why| Error::Connect { address: target.address.clone(), why };
    match tokio::time::timeout(timeout, dial(target)).await {
        Ok(connected) => connected.map_err(|error| fail(root_cause(&error))),
        Err(_) => Err(fail(format!("no connection within {} ms", timeout.as_millis()))),
    }
}

async fn dial(target: &Target) -> Result<Channel, tonic::transport::Error> {
    let encryption = target.encryption.clone();
    match (target.address.clone(), encryption) {
        (
            Address::Tls(authority) | Address::Tcp(authority) | Address::Http(authority),
            Some(encryption),
        ) => {
            let endpoint = Endpoint::new(format!("https://{authority}"))?;
            let connector = tower::service_fn(move |_| {
                let (encryption, to) = (encryption.clone(), authority.to_string());
                async move {
                    let stream = TcpStream::connect(to).await?;
                    stream.set_nodelay(true)?;
                    encryption.encrypt(stream).await.map(TokioIo::new)
                }
            });
            endpoint.connect_with_connector(connector).await
        }
        (Address::Tls(authority) | Address::Tcp(authority) | Address::Http(authority), None) => {
            Endpoint::new(format!("http://{authority}"))?.connect().await
        }
        (Address::Unix(path), _) => {
            let connector = tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            // Only becomes the `:authority` header; the connector uses the path.
            Endpoint::from_static("http://localhost").connect_with_connector(connector).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_port_or_a_socket() {
        for good in [
            "127.0.0.1:50051",
            "[::1]:50051",
            "imquota.local:1",
            "http://imquota.local:1",
            "https://imquota.local:1",
            "unix:/run/imquota.sock",
        ] {
            assert_eq!(good.parse::<Address>().map(|address| address.to_string()), Ok(good.into()));
        }
        for scheme in ["http", "https"] {
            let copied: Address = format!("{scheme}://a:1/").parse().unwrap();
            assert_eq!(copied.to_string(), format!("{scheme}://a:1"));
        }
        let bad = [
            "",
            "host",
            "host:",
            "host:0",
            "host:99999",
            ":50051",
            "http://a",
            "http://a:1/path",
            "ftp://a:1",
            "https://a",
            "a@b:1",
            "unix:",
        ];
        for bad in bad {
            assert_eq!(bad.parse::<Address>(), Err(BadAddress), "{bad:?}");
        }
    }
}
