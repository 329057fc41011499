//! Traces: decides which calls are traced, and sends their spans to a collector.
//!
//! The sampling decision is made before a span is created, because an unwanted span costs almost as
//! much as a wanted one: by the caller's `traceparent` if there is one (W3C Trace Context), else by
//! a ratio. Spans are sent in the background, from a bounded queue; if the collector is
//! unavailable, spans are lost, with no other effect.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer};
use tracing::{Span, info_span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::domain::id::AppId;

/// The target of every span that is sent.
pub(super) const TARGET: &str = "imquota::trace";
/// Most spans that wait to be sent; more are dropped.
const QUEUE_MAX: usize = 4096;
/// Timeout of an export, and of the last one at shutdown.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Configuration of the collector and of sampling.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceConfig {
    /// The collector's OTLP/gRPC endpoint, such as `http://localhost:4317`.
    pub endpoint: String,
    /// Ratio of the calls without a `traceparent` that are traced: 0 to 1.
    pub ratio: f64,
}

/// Sends spans.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts sending. To be called within the runtime that the exporter uses.
    pub(super) fn start(config: &TraceConfig) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&config.endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE_MAX).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name("imquota").with_attribute(version);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            // The decision was made before the span was created.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource.build())
            .build();
        Ok(Self { provider })
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("imquota")
    }

    /// Sends the remaining spans, for some seconds at most.
    pub async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || {
            self.provider.shutdown_with_timeout(EXPORT_TIMEOUT)
        });
        if let Ok(Err(error)) = ended.await {
            warn!(%error, "spans lost at shutdown");
        }
    }
}

/// Decides which calls are traced.
#[derive(Debug)]
pub struct Sampling {
    /// Numbers of 64 bits below this threshold are sampled.
    below: u64,
    always: bool,
    calls: AtomicU64,
}

/// An odd number near 2^64 divided by the golden ratio: its multiples are distributed evenly.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Sampling {
    /// Creates a sampler that traces this ratio of the calls without a `traceparent`.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a part of 2^64, to 53 bits, and `as` saturates"
    )]
    pub fn new(ratio: f64) -> Self {
        let below = (ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
        Self { below, always: ratio >= 1.0, calls: AtomicU64::new(0) }
    }

    /// Creates the span of a call with these headers; a disabled span if it is not traced.
    pub fn span(&self, headers: &HeaderMap, service: &str, method: &str) -> Span {
        let parent = parent(headers);
        let wanted = match &parent {
            Some(parent) => parent.span().span_context().is_sampled(),
            None => self.sample(),
        };
        if !wanted {
            return Span::none();
        }
        let span = info_span!(
            target: TARGET,
            "call",
            "otel.name" = format!("{service}/{method}"),
            "otel.kind" = "server",
            "rpc.system" = "grpc",
            "rpc.service" = service,
            "rpc.method" = method,
            "rpc.grpc.status_code" = tracing::field::Empty,
            request_id = tracing::field::Empty,
            trace_id = tracing::field::Empty,
        );
        if let Some(parent) = parent {
            // It fails only if no layer receives spans, and then there is no trace.
            let _ = span.set_parent(parent);
        }
        let trace_id = span.context().span().span_context().trace_id();
        span.record("trace_id", trace_id.to_string());
        span
    }

    /// Decides on the next call without a `traceparent`.
    fn sample(&self) -> bool {
        let number = self.calls.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP);
        self.always || number < self.below
    }
}

/// Creates the span of an operation of a stream; a disabled span if the stream is not traced.
#[must_use]
pub fn of_operation(operation: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!(target: TARGET, "operation", "otel.name" = operation)
}

/// Creates the span of a call of the store; a disabled span if its caller is not traced.
#[must_use]
pub fn of_store(call: &'static str, app: &AppId) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!(
        target: TARGET,
        "store",
        "otel.name" = format!("store {call}"),
        "otel.kind" = "client",
        "imquota.app_id" = %app,
        outcome = tracing::field::Empty,
    )
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Extracts the trace context of the caller from its headers; `None` if absent or invalid.
fn parent(headers: &HeaderMap) -> Option<Context> {
    if !headers.contains_key("traceparent") {
        return None;
    }
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    context.span().span_context().is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(traceparent: &str) -> HeaderMap {
        let value = traceparent.parse().expect("a header");
        HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)])
    }

    #[test]
    fn a_parent_is_a_valid_w3c_trace_context() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (text, sampled) in [
            (format!("00-{trace}-{span}-01"), Some(true)),
            (format!("00-{trace}-{span}-00"), Some(false)),
            (format!("00-{trace}-{span}"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{span}-01", "x".repeat(32)), None),
            ("nonsense".to_owned(), None),
            (String::new(), None),
        ] {
            let parent = parent(&headers(&text));
            let found = parent.map(|parent| parent.span().span_context().is_sampled());
            assert_eq!(found, sampled, "{text}");
        }
        assert!(parent(&HeaderMap::new()).is_none());
    }

    #[test]
    fn the_ratio_of_calls_is_sampled() {
        for (ratio, least, most) in
            [(0.0, 0, 0), (1.0, 10_000, 10_000), (0.5, 4990, 5010), (0.01, 95, 105)]
        {
            let sampling = Sampling::new(ratio);
            let sampled = (0..10_000).filter(|_| sampling.sample()).count();
            assert!((least..=most).contains(&sampled), "{ratio}: {sampled}");
        }
    }
}
