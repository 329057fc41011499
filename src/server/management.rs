//! The management port: `/metrics` for Prometheus, over HTTP/1.1.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Error;
use tracing::debug;

use super::connections::{Connection, accept_up_to};
use crate::telemetry::Metrics;

/// Most connections at once: a few scrapers and a person.
const CONNECTIONS_MAX: usize = 32;
/// Longest time for the head of a request, so that idle connections do not use up all of them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stopped` turns true.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Error> {
    let mut connections = pin!(accept_up_to(listener, CONNECTIONS_MAX));
    loop {
        let connection = tokio::select! {
            connection = connections.next() => connection,
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        };
        // The stream never ends, and pauses over errors by itself.
        let Some(connection) = connection.map(Connection::patient) else { continue };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let answer = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(connection), answer);
            if let Err(error) = served.await {
                debug!(%error, "a management connection ended early");
            }
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, content_type, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, OPEN_METRICS, metrics.text()),
        (_, "/metrics") => {
            (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is served here\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "only /metrics is served here\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
