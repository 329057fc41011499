//! One post over HTTP/1.1, encrypted if the URL requires it. Redirects are not followed: a redirect
//! is a failure like any other response that is not 2xx.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::{Target, signature};
use crate::clock::Clock;
use crate::diagnostics::with_causes;

/// Timeout of a post, from the connection to the end of the response.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// Most of a response that is read: its content is ignored, but a connection can be reused once its
/// response was read to the end.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Connections kept for the next post: there is one post at a time.
const IDLE_MAX: usize = 1;

/// Reason why the webhook cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The URL is invalid.
    #[error("webhook_url cannot be used: {0}")]
    Url(http::uri::InvalidUri),
    /// TLS cannot be set up.
    #[error("encryption for the webhook cannot be set up: {0}")]
    Tls(rustls::Error),
    /// The system has no randomness for the sender's name.
    #[error("cannot make a name for the sender of the webhook: {0}")]
    Random(getrandom::Error),
}

/// Reason why a post was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The response was not 2xx.
    #[error("the receiver returned {0}")]
    Status(StatusCode),
    /// The receiver could not be reached, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// The receiver did not answer in time.
    #[error("the receiver did not answer within {} s", POST_TIMEOUT.as_secs())]
    Silent,
}

/// Returns whether a text is a URL to which events can be posted.
#[must_use]
pub fn is_url(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| {
        let host = uri.host().unwrap_or_default();
        // A user in the URL would end up in logs.
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https")) && !host.is_empty() && !has_user
    })
}

/// HTTP client for posts.
pub struct Poster {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    target: Target,
    clock: Arc<dyn Clock>,
}

impl Poster {
    /// Creates a client; it does not connect yet.
    pub fn new(target: Target, clock: Arc<dyn Clock>) -> Result<Self, SetUpError> {
        let uri = target.url.parse().map_err(SetUpError::Url)?;
        let mut roots = RootCertStore::empty();
        // System certificates that cannot be read are treated as absent.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(SetUpError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config);
        let connector = connector.https_or_http().enable_http1().build();
        let mut client = Client::builder(TokioExecutor::new());
        let client = client.pool_max_idle_per_host(IDLE_MAX).build(connector);
        Ok(Self { client, uri, target, clock })
    }

    /// Posts an event.
    pub async fn post(&self, id: &str, body: String) -> Result<(), Refused> {
        timeout(POST_TIMEOUT, self.try_post(id, body)).await.unwrap_or(Err(Refused::Silent))
    }

    async fn try_post(&self, id: &str, body: String) -> Result<(), Refused> {
        let timestamp_s = self.clock.now().as_millis().div_euclid(1000);
        let signature = signature(&self.target.secret, timestamp_s, body.as_bytes());
        let request = Request::post(&self.uri)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("imquota/", env!("CARGO_PKG_VERSION")))
            .header("imquota-event-id", id)
            .header("imquota-timestamp", timestamp_s)
            .header("imquota-signature", signature)
            .body(Full::from(body))
            .expect("all of it is printable");
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| Refused::Connection(with_causes(&error)))?;
        let status = answer.status();
        // The event is accepted, even if reading the rest of the response fails.
        let _ = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect().await;
        if status.is_success() { Ok(()) } else { Err(Refused::Status(status)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_and_a_host_and_no_user() {
        for good in ["http://127.0.0.1:8080", "https://example.com/hook?x=1", "http://[::1]/"] {
            assert!(is_url(good), "{good}");
        }
        for bad in ["", "/hook", "example.com", "ftp://example.com", "http://", "http://a@b/", "x"]
        {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
