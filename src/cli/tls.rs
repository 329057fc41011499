//! The encrypted way to a sidecar: whom to trust, who we are, and what went wrong, in words.

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

use super::connect::CALLING;
use super::error::Error;

/// How to connect to an encrypted listener.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsFlags {
    /// Whom to trust as the sidecar, in PEM [default: the system's authorities]
    #[arg(id = "tls-ca", long, global = true, value_name = "FILE", help_heading = CALLING)]
    ca: Option<PathBuf>,
    /// Our certificate, in PEM; needs --tls-key
    #[arg(id = "tls-cert", long, global = true, value_name = "FILE", help_heading = CALLING)]
    certificate: Option<PathBuf>,
    /// The key of --tls-cert, in PEM
    #[arg(id = "tls-key", long, global = true, value_name = "FILE", help_heading = CALLING)]
    key: Option<PathBuf>,
    /// The name in the sidecar's certificate [default: the host of the address]
    #[arg(id = "tls-server-name", long, global = true, value_name = "NAME", help_heading = CALLING)]
    server_name: Option<String>,
}

/// What an encrypted connection is made with.
#[derive(Clone)]
pub struct Encryption {
    connector: TlsConnector,
    name: ServerName<'static>,
    identity: Arc<Identity>,
}

/// Our certificate, if any, and whether the sidecar asked for it: in TLS 1.3 the handshake is over
/// for us before it has looked at the answer.
#[derive(Debug)]
struct Identity {
    certificate: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certificate.clone()
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}

impl TlsFlags {
    /// Whether any is given.
    pub fn are_given(&self) -> bool {
        let Self { ca, certificate, key, server_name } = self;
        [ca, certificate, key].into_iter().any(Option::is_some) || server_name.is_some()
    }

    /// Reads the files. `host` is the one that is connected to.
    pub fn encryption(&self, host: &str) -> Result<Encryption, Error> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for authority in certificates("--tls-ca", path)? {
                    roots.add(authority).map_err(|error| bad("--tls-ca", path, &error))?;
                }
            }
            None => {
                // Those of the system that cannot be read are as good as absent.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let useless = |error: &dyn std::error::Error| Error::Tls(error.to_string());
        let roots = Arc::new(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        let verifier = verifier.build().map_err(|_| {
            Error::Tls("the system trusts no authorities; give one with --tls-ca".to_owned())
        })?;
        let identity = Arc::new(self.identity(&provider)?);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| useless(&error))?
            .with_webpki_verifier(verifier);
        let mut config = builder.with_client_cert_resolver(identity.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name)
            .map_err(|error| Error::Tls(format!("--tls-server-name is no name: {error}")))?;
        Ok(Encryption { connector: TlsConnector::from(Arc::new(config)), name, identity })
    }

    fn identity(&self, provider: &CryptoProvider) -> Result<Identity, Error> {
        let certificate = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("--tls-cert", certificate)?;
                let loaded = PrivateKeyDer::from_pem_slice(&read(key)?);
                let loaded = loaded.map_err(|_| no_pem("--tls-key", key, "a private key"))?;
                let pair = CertifiedKey::from_der(chain, loaded, provider);
                Some(Arc::new(pair.map_err(|error| bad("--tls-cert", certificate, &error))?))
            }
            (None, None) => None,
            _ => return Err(Error::Tls("--tls-cert and --tls-key need each other".to_owned())),
        };
        Ok(Identity { certificate, asked: AtomicBool::new(false) })
    }
}

impl Encryption {
    /// What may have ended a connection that was encrypted already.
    pub fn doubt(&self) -> Option<&'static str> {
        let asked = self.identity.asked.load(Ordering::Relaxed);
        asked.then_some(match self.identity.certificate {
            Some(_) => "The sidecar asked for a client certificate, and may not accept ours.",
            None => "The sidecar asked for a client certificate: --tls-cert and --tls-key.",
        })
    }

    /// Makes the connection encrypted.
    pub async fn encrypt(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connected = self.connector.connect(self.name.clone(), stream).await;
        connected.map_err(|error| match in_words(&error) {
            Some(words) => io::Error::other(words),
            None => error,
        })
    }
}

/// What a TLS error means for the person who typed the command; `None` for others.
fn in_words(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(why) => match why {
            // A bad signature: by an authority of the same name with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the sidecar's certificate is not trusted: --tls-ca names whom to trust".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "the sidecar's certificate is for another name ({why}); --tls-server-name \
                     says which one to expect"
                )
            }
            why => format!("the sidecar's certificate is not valid: {why}"),
        },
        rustls::Error::InvalidMessage(_) => {
            "the sidecar does not speak TLS there; use http://HOST:PORT, without flags --tls-..."
                .to_owned()
        }
        rustls::Error::AlertReceived(alert) => {
            format!("the sidecar does not accept our certificate or our TLS: {alert:?}")
        }
        error => format!("the encrypted connection failed: {error}"),
    })
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(no_pem(flag, path, "at least one certificate")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), error })
}

fn no_pem(flag: &str, path: &Path, expected: &str) -> Error {
    Error::Tls(format!("{flag}: {} must hold {expected} in PEM", path.display()))
}

fn bad(flag: &str, path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Tls(format!("{flag}: {} cannot be used: {error}", path.display()))
}
