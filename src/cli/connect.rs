//! Where a sidecar listens, and the connection to it: TCP, TLS or a Unix socket, bounded in time.

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

/// Where the help lists the flags that all calls share.
pub const CALLING: &str = "Connection and output";

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
    /// Where the sidecar listens: HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(long, global = true, value_name = "WHERE", help_heading = CALLING)]
    #[arg(env = "IMQUOTA_ADDRESS", default_value = "127.0.0.1:50051")]
    address: Address,
    #[command(flatten)]
    tls: TlsFlags,
}

/// Where the administration listens.
#[derive(Debug, Clone, Args)]
pub struct AdminAddress {
    /// Where the sidecar's admin service listens: HOST:PORT, http://HOST:PORT, https://HOST:PORT or
    /// unix:PATH
    #[arg(long, global = true, value_name = "WHERE", help_heading = CALLING)]
    #[arg(env = "IMQUOTA_ADMIN_ADDRESS", default_value = "127.0.0.1:50052")]
    address: Address,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    token: TokenFlags,
}

/// A sidecar that is called, and what its calls show.
#[derive(Clone)]
pub struct Target {
    address: Address,
    encryption: Option<Encryption>,
    /// Shows who calls.
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
                let why = "a Unix socket is not encrypted; leave the flags --tls-... out";
                return Err(Error::Tls(why.to_owned()));
            }
            Address::Http(authority) if tls.are_given() => {
                let why = format!(
                    "http:// is not encrypted; use https://{authority}, or leave the flags \
                     --tls-... out"
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
                return Err(Error::Readable { authority: authority.clone() });
            }
            _ => None,
        };
        Ok(Self { address, encryption, bearer })
    }
}

impl Target {
    /// What may be wrong with the way there, once a call has been lost on it.
    pub fn doubt(&self) -> Option<String> {
        match (&self.address, &self.encryption) {
            (Address::Tcp(to) | Address::Http(to), _) => {
                Some(format!("If it is encrypted there, use https://{to}."))
            }
            (_, Some(encryption)) => encryption.doubt().map(ToOwned::to_owned),
            _ => None,
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// `HOST:PORT`, `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and a port; encrypted where flags for TLS are given.
    Tcp(Authority),
    /// A host and a port, not encrypted.
    Http(Authority),
    /// A host and a port, encrypted.
    Tls(Authority),
    /// The path of a socket.
    Unix(PathBuf),
}

/// A text that is no address.
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
            // A URL of a server is often copied with the path `/`.
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

/// Connects within that time.
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
