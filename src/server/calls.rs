//! Common handling of calls to all services: returns the `x-request-id`, opens a span if the call
//! is traced, and names the catalog's time zone on the admin listeners.
//!
//! A call that needs none of these passes unchanged.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{HeaderName, HeaderValue, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Instrument as _, Level, Span, debug_span};

use crate::engine::Engine;
use crate::grpc::TIME_ZONE_HEADER;
use crate::telemetry::trace::Sampling;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is returned: twice the length of ids in use.
const REQUEST_ID_MAX_BYTES: usize = 128;
/// Prefix of the names of imquota's services; health and reflection are not traced.
const OURS: &str = "/imquota.";

/// Wraps every service of a listener.
#[derive(Clone)]
pub(super) struct CallLayer {
    sampling: Option<Arc<Sampling>>,
    /// The engine whose catalog's time zone responses name.
    zone_of: Option<Arc<Engine>>,
}

impl CallLayer {
    /// Creates the layer, which traces calls if there is a sampler.
    pub(super) fn new(sampling: Option<Arc<Sampling>>) -> Self {
        Self { sampling, zone_of: None }
    }

    /// Makes responses name the time zone of the engine's catalog.
    pub(super) fn naming_zone_of(self, engine: Arc<Engine>) -> Self {
        Self { zone_of: Some(engine), ..self }
    }

    fn span<B>(&self, request: &Request<B>, id: Option<&HeaderValue>) -> Span {
        let path = request.uri().path();
        let names = path.strip_prefix('/').and_then(|names| names.split_once('/'));
        let span = match (&self.sampling, names) {
            (Some(sampling), Some((service, method))) if path.starts_with(OURS) => {
                sampling.span(request.headers(), service, method)
            }
            _ => Span::none(),
        };
        // It was checked to be ASCII.
        let Some(id) = id.and_then(|id| id.to_str().ok()) else { return span };
        if span.is_none() && tracing::enabled!(Level::DEBUG) {
            return debug_span!("call", request_id = id);
        }
        span.record("request_id", id);
        span
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, layer: self.clone() }
    }
}

/// A service wrapped by [`CallLayer`].
#[derive(Clone)]
pub(super) struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

type Wrapped<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Wrapped<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let id = request.headers().get(REQUEST_ID).filter(|id| is_id(id)).cloned();
        let span = self.layer.span(&request, id.as_ref());
        let zone_of = self.layer.zone_of.clone();
        if id.is_none() && span.is_none() && zone_of.is_none() {
            return Either::Left(self.inner.call(request));
        }
        let response = span.in_scope(|| self.inner.call(request));
        let response_span = span.clone();
        let response = async move {
            let mut response = response.await?;
            // Only an error has its status in the headers; any other response counts as good here.
            let status = response.headers().get("grpc-status");
            let status = status.and_then(|status| status.to_str().ok()?.parse::<i64>().ok());
            response_span.record("rpc.grpc.status_code", status.unwrap_or(0));
            if let Some(id) = id {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            if let Some(engine) = zone_of {
                let zone = HeaderValue::from_static(engine.catalog().zone.name());
                response.headers_mut().insert(TIME_ZONE_HEADER, zone);
            }
            Ok(response)
        };
        Either::Right(Box::pin(response.instrument(span)))
    }
}

fn is_id(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=REQUEST_ID_MAX_BYTES).contains(&bytes.len())
        && bytes.iter().all(|byte| (0x20..=0x7e).contains(byte))
}
