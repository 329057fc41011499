//! The management port, over HTTP/1.1: `/metrics` for Prometheus, in the format that the scraper
//! accepts, and probes.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::connections::accept_up_to;
use super::readiness::{Probe, Readiness};
use crate::telemetry::{Exposition, Metrics};

/// Most concurrent connections: a few scrapers and a person.
const CONNECTIONS_MAX: usize = 32;
/// Longest time for the head of a request, so that idle connections do not occupy all of them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves until `stopped` is cancelled.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    stopped: CancellationToken,
) {
    let mut connections = pin!(accept_up_to(listener, CONNECTIONS_MAX));
    loop {
        let connection = tokio::select! {
            connection = connections.next() => connection,
            () = stopped.cancelled() => return,
        };
        // The stream never ends, and handles errors itself.
        let Some((connection, permit)) = connection else { continue };
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        tokio::spawn(async move {
            let response = service_fn(move |request| {
                let response = response(&request, &metrics, &readiness);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(connection), response);
            if let Err(error) = served.await {
                debug!(%error, "management connection ended early");
            }
            drop(permit);
        });
    }
}

fn response(
    request: &Request<Incoming>,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let verbose = request.uri().query().is_some_and(|query| {
        query.split('&').any(|field| field == "verbose" || field.starts_with("verbose="))
    });
    let only_get = request.method() == Method::GET || request.method() == Method::HEAD;
    let (status, content_type, text) = match path {
        "/metrics" | "/livez" | "/readyz" | "/startupz" if !only_get => {
            (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET is served here\n".to_owned())
        }
        "/metrics" => {
            let accepts = request.headers().get_all(ACCEPT).iter();
            let format = Exposition::accepted(accepts.filter_map(|value| value.to_str().ok()));
            (StatusCode::OK, format.content_type(), metrics.text(format))
        }
        "/livez" => probed("livez", &Readiness::live(), verbose),
        "/startupz" => probed("startupz", &readiness.started(), verbose),
        "/readyz" => probed("readyz", &readiness.ready(), verbose),
        _ => {
            let text = "only /metrics, /livez, /readyz and /startupz are served here\n";
            (StatusCode::NOT_FOUND, PLAIN, text.to_owned())
        }
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

/// Formats a probe as Kubernetes' own components do: with checks if they are requested or one
/// failed.
fn probed(name: &str, probe: &Probe, verbose: bool) -> (StatusCode, &'static str, String) {
    let mut text = String::new();
    if verbose || !probe.good {
        for check in &probe.checks {
            let _ = writeln!(text, "{check}");
        }
    }
    let end = match (probe.good, verbose) {
        (true, false) => "ok\n".to_owned(),
        (true, true) => format!("{name} check passed\n"),
        (false, _) => format!("{name} check failed\n"),
    };
    let status = if probe.good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, PLAIN, text + &end)
}
