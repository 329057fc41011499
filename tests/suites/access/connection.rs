//! Connections of tests to a sidecar.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use imquota::grpc::pb::admin_service_client::AdminServiceClient;
use imquota::grpc::pb::metering_service_client::MeteringServiceClient;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;

use super::certificates::{Authority, Pair};

/// The credentials of a call.
#[derive(Clone, Default)]
pub struct Shown(pub Vec<String>);

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for header in &self.0 {
            let value = header.parse().expect("ASCII");
            request.metadata_mut().append("authorization", value);
        }
        Ok(request)
    }
}

type Way = InterceptedService<Channel, Shown>;

/// Clients of the admin listener's services; dereferences to that of AdminService.
#[derive(Clone)]
pub struct Client {
    admin: AdminServiceClient<Way>,
    pub metering: MeteringServiceClient<Way>,
}

impl Deref for Client {
    type Target = AdminServiceClient<Way>;

    fn deref(&self) -> &Self::Target {
        &self.admin
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.admin
    }
}

impl Client {
    /// A client with these credentials.
    pub fn with(channel: Channel, shown: Shown) -> Self {
        Self {
            admin: AdminServiceClient::with_interceptor(channel.clone(), shown.clone()),
            metering: MeteringServiceClient::with_interceptor(channel, shown),
        }
    }
}

/// A client with a token, or without credentials.
pub fn client(channel: Channel, token: Option<&str>) -> Client {
    let shown = Shown(token.map(|token| format!("Bearer {token}")).into_iter().collect());
    Client::with(channel, shown)
}

pub async fn plain(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::new(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("it accepts")
}

pub async fn unix(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connector).await.expect("it accepts")
}

/// The TLS settings of a client with a trusted authority and a certificate.
pub fn tls_config(trusted: &Authority, own: Option<&Pair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(trusted.certificate()).expect("PEM");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match own {
        Some(Pair { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).expect("PEM")];
            let key = PrivateKeyDer::from_pem_file(key).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// The handshake alone.
pub async fn handshake(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(address.ip());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub async fn encrypted(address: SocketAddr, config: ClientConfig) -> Channel {
    let connector = service_fn(move |_| {
        let config = config.clone();
        async move { handshake(address, config).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::new(format!("https://{address}")).expect("an address");
    endpoint.connect_with_connector(connector).await.expect("it accepts")
}
