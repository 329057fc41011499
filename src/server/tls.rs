//! Encryption of the TCP listeners: certificates that can change while the sidecar runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::connections::Accepted;
use crate::access::{CertificateName, Credential, Peer};
use crate::config::TlsFiles;
use crate::diagnostics::{LoadError, read_file};

/// Longest time for a handshake: a distant and slow client needs less than one second.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Protocols within TLS of the listeners of RPCs, the preferred one first.
pub(super) const RPC_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];
/// Protocols within TLS of the callback listener.
pub(super) const CALLBACK_PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// Error of files that do not make an encrypted listener.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{setting}: {error}")]
    File {
        /// Its setting.
        setting: String,
        /// The cause.
        error: LoadError,
    },
    /// A file has other content.
    #[error("{setting}: {}: must hold {expected} in PEM", path.display())]
    Content {
        /// Its setting.
        setting: String,
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
    },
    /// A file cannot be used.
    #[error("{setting}: {}: cannot be used: {why}", path.display())]
    Refused {
        /// Its setting.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Message of the TLS library.
        why: String,
    },
}

/// The certificates of one kind of listener.
pub struct Certificates {
    /// Prefix of the settings: empty, or `admin_`.
    prefix: &'static str,
    files: TlsFiles,
    /// Protocols within TLS, of which a client offers one, or none.
    protocols: &'static [&'static [u8]],
    current: ArcSwap<ServerConfig>,
}

impl Certificates {
    /// Loads the files.
    pub fn open(
        prefix: &'static str,
        files: TlsFiles,
        protocols: &'static [&'static [u8]],
    ) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(load(prefix, &files, protocols)?);
        Ok(Self { prefix, files, protocols, current })
    }

    /// Loads the files again, for new connections. If they are bad, the last good ones stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(load(self.prefix, &self.files, self.protocols)?));
        Ok(())
    }

    /// Returns the paths of the files.
    pub fn paths(files: &TlsFiles) -> Vec<PathBuf> {
        let TlsFiles { certificate, key, client_ca, .. } = files.clone();
        [certificate, key].into_iter().chain(client_ca).collect()
    }
}

/// Accepts a TLS connection, and returns it with its verified peer; `None` if the handshake failed.
pub(super) async fn handshake(
    certificates: Arc<Certificates>,
    accepted: Accepted<TcpStream>,
) -> Option<(TlsStream<TcpStream>, Peer)> {
    let Accepted { stream, peer, .. } = accepted;
    let acceptor = TlsAcceptor::from(certificates.current.load_full());
    let from = peer.from.clone();
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let proof = proof(&stream);
            return Some((stream, Peer { proof, ..peer }));
        }
        Ok(Err(error)) => debug!(peer = %from, %error, "TLS handshake failed"),
        Err(_) => debug!(peer = %from, "TLS handshake timed out"),
    }
    None
}

/// Returns the names in the client's certificate, which the handshake has verified.
fn proof(stream: &TlsStream<TcpStream>) -> Credential {
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some(first) = certificates.first() else { return Credential::None };
    let Ok(certificate) = webpki::EndEntityCert::try_from(first) else { return Credential::None };
    let dns = certificate.valid_dns_names().map(|name| CertificateName::Dns(name.to_owned()));
    let uris = certificate.valid_uri_names().map(|uri| CertificateName::Uri(uri.to_owned()));
    Credential::Names(dns.chain(uris).collect())
}

fn load(prefix: &str, files: &TlsFiles, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
    let setting = |name: &str| format!("{prefix}{name}");
    let chain = certificates(setting("tls_cert"), &files.certificate)?;
    let key = read(setting("tls_key"), &files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::Content {
        setting: setting("tls_key"),
        path: files.key.clone(),
        expected: "a private key without a password",
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refused = |name: &str, path: &Path, error: &dyn std::error::Error| TlsError::Refused {
        setting: setting(name),
        path: path.to_owned(),
        why: error.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("tls_cert", &files.certificate, &error))?;
    let builder = match &files.client_ca {
        Some(path) => builder.with_client_cert_verifier(verifier(
            &setting("tls_client_ca"),
            path,
            files.client_required,
        )?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Refused {
            setting: setting("tls_key"),
            path: files.key.clone(),
            why: format!("it is not the key of {}", files.certificate.display()),
        },
        error => refused("tls_cert", &files.certificate, &error),
    })?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // A session that is resumed would not verify the client's certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn verifier(
    setting: &str,
    path: &Path,
    required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let refused =
        |why: String| TlsError::Refused { setting: setting.to_owned(), path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for authority in certificates(setting.to_owned(), path)? {
        roots.add(authority).map_err(|error| refused(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| refused(error.to_string()))
}

fn certificates(setting: String, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(setting.clone(), path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => {
            let expected = "at least one certificate";
            Err(TlsError::Content { setting, path: path.to_owned(), expected })
        }
    }
}

fn read(setting: String, path: &Path) -> Result<Vec<u8>, TlsError> {
    read_file(path).map_err(|error| TlsError::File { setting, error })
}
