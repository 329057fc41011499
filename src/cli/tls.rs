//! TLS to a sidecar: certificate authorities, the client certificate, and readable errors.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connect::SHARED;
use super::error::Error;

/// Options for an encrypted listener.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsFlags {
    /// Certificate authorities that sign the sidecar's certificate, in PEM [default: those of the
    /// system]
    #[arg(id = "tls-ca", long, global = true, value_name = "FILE", help_heading = SHARED)]
    ca: Option<PathBuf>,
    /// Client certificate, in PEM; requires --tls-key
    #[arg(id = "tls-cert", long, global = true, value_name = "FILE", help_heading = SHARED)]
    certificate: Option<PathBuf>,
    /// Private key of --tls-cert, in PEM
    #[arg(id = "tls-key", long, global = true, value_name = "FILE", help_heading = SHARED)]
    key: Option<PathBuf>,
    /// Expected name in the sidecar's certificate [default: the host of the address]
    #[arg(id = "tls-server-name", long, global = true, value_name = "NAME", help_heading = SHARED)]
    server_name: Option<String>,
}

/// Configuration of an encrypted connection.
#[derive(Clone)]
pub struct Encryption {
    connector: TlsConnector,
    name: ServerName<'static>,
    identity: Arc<ClientIdentity>,
}

/// The client certificate, if any, and whether the sidecar requested one: in TLS 1.3 the client
/// completes the handshake before the server verifies the certificate.
#[derive(Debug)]
struct ClientIdentity {
    certificate: Option<Arc<CertifiedKey>>,
    was_requested: AtomicBool,
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_requested.store(true, Ordering::Relaxed);
        self.certificate.clone()
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}

impl TlsFlags {
    /// Returns whether any TLS option is given.
    pub fn are_given(&self) -> bool {
        let Self { ca, certificate, key, server_name } = self;
        [ca, certificate, key].into_iter().any(Option::is_some) || server_name.is_some()
    }

    /// Reads the files. `host` is the host of the address.
    pub fn encryption(&self, host: &str) -> Result<Encryption, Error> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for authority in certificates("--tls-ca", path)? {
                    roots.add(authority).map_err(|error| unusable("--tls-ca", path, &error))?;
                }
            }
            None => {
                // System certificates that cannot be read are treated as absent.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls_error = |error: &dyn std::error::Error| Error::Tls(error.to_string());
        let roots = Arc::new(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        let verifier = verifier.build().map_err(|_| {
            Error::Tls("the system has no certificate authorities; use --tls-ca".to_owned())
        })?;
        let identity = Arc::new(self.identity(&provider)?);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| tls_error(&error))?
            .with_webpki_verifier(verifier);
        let mut config = builder.with_client_cert_resolver(identity.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name)
            .map_err(|error| Error::Tls(format!("--tls-server-name is invalid: {error}")))?;
        Ok(Encryption { connector: TlsConnector::from(Arc::new(config)), name, identity })
    }

    fn identity(&self, provider: &CryptoProvider) -> Result<ClientIdentity, Error> {
        let certificate = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("--tls-cert", certificate)?;
                let loaded = PrivateKeyDer::from_pem_slice(&read(key)?);
                let loaded = loaded.map_err(|_| not_pem("--tls-key", key, "a private key"))?;
                let pair = CertifiedKey::from_der(chain, loaded, provider);
                Some(Arc::new(pair.map_err(|error| unusable("--tls-cert", certificate, &error))?))
            }
            (None, None) => None,
            _ => {
                return Err(Error::Tls(
                    "--tls-cert and --tls-key are only valid together; add the missing one"
                        .to_owned(),
                ));
            }
        };
        Ok(ClientIdentity { certificate, was_requested: AtomicBool::new(false) })
    }
}

impl Encryption {
    /// Returns the likely reason why the server closed an encrypted connection.
    pub fn hint(&self) -> Option<&'static str> {
        let was_requested = self.identity.was_requested.load(Ordering::Relaxed);
        was_requested.then_some(match self.identity.certificate {
            Some(_) => "The sidecar requested a client certificate, and may not accept this one.",
            None => "The sidecar requested a client certificate: use --tls-cert and --tls-key.",
        })
    }

    /// Performs the TLS handshake.
    pub async fn encrypt(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connected = self.connector.connect(self.name.clone(), stream).await;
        connected.map_err(|error| match describe(&error) {
            Some(words) => io::Error::other(words),
            None => error,
        })
    }
}

/// Describes a TLS error for the person who typed the command; `None` for other errors.
fn describe(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(why) => match why {
            // A bad signature is by an authority with the same name and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the sidecar's certificate is not trusted: give its authority with --tls-ca"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "the sidecar's certificate is for another name ({why}); give the expected \
                     name with --tls-server-name"
                )
            }
            why => format!("the sidecar's certificate is invalid: {why}"),
        },
        rustls::Error::InvalidMessage(_) => {
            "the sidecar does not use TLS there; use http://HOST:PORT, without options --tls-..."
                .to_owned()
        }
        rustls::Error::AlertReceived(alert) => {
            format!("the sidecar rejected the client certificate or the TLS version: {alert:?}")
        }
        error => format!("the TLS handshake failed: {error}"),
    })
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(not_pem(flag, path, "at least one certificate")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), error })
}

fn not_pem(flag: &str, path: &Path, expected: &str) -> Error {
    Error::Tls(format!("{flag}: {} must hold {expected} in PEM", path.display()))
}

fn unusable(flag: &str, path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Tls(format!("{flag}: {} cannot be used: {error}", path.display()))
}
