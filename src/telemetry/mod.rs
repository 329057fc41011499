//! Logs, metrics and traces.

mod callbacks;
mod calls;
mod exposition;
mod health_metrics;
mod known_series;
mod log_limit;
mod metrics;
mod operations;
mod panics;
mod process;
mod replication;
pub mod trace;

pub use callbacks::CallbackMetrics;
pub use calls::{CallMetrics, Protocol};
pub use exposition::Exposition;
pub use health_metrics::{Condition, Degraded, Replayed};
pub use log_limit::LogLimit;
pub use metrics::Metrics;
pub use panics::log_panics;

use std::io::IsTerminal;

use tracing::warn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, filter};

use trace::{TraceConfig, Traces};

/// Directives that silence warnings of the HTTP/2 libraries, unless the filter names them: a caller
/// can cause them at any rate, and they do not contain the caller. The server logs one line a
/// second instead.
const QUIET: &str = "h2=error,hyper=error";

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Creates the layer that writes log lines to standard error.
fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let logs = tracing_subscriber::fmt::layer();
    let logs = logs.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.boxed(),
        LogFormat::Json => logs.json().flatten_event(true).boxed(),
    }
}

/// Runs `log` with logging even if it was not started yet, and without filters, so that the reason
/// why the process ends is always logged.
pub fn log_unfiltered(format: LogFormat, log: impl FnOnce()) {
    tracing::subscriber::with_default(Registry::default().with(lines(format)), log);
}

/// Starts logging to standard error and, if a collector is configured, sending spans to it.
/// `filter` was validated with the configuration.
pub fn start(format: LogFormat, filter: &str, traces: Option<&TraceConfig>) -> Option<Traces> {
    let filter =
        EnvFilter::try_new(format!("{QUIET},{filter}")).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = lines(format).with_filter(filter);
    let started = traces.map(Traces::start).transpose();
    let spans = started.as_ref().ok().and_then(Option::as_ref).map(|traces| {
        let spans = tracing_opentelemetry::layer().with_tracer(traces.tracer());
        let spans = spans.with_location(false).with_threads(false).with_target(false);
        spans.with_filter(filter::filter_fn(|of| of.is_span() && of.target() == trace::TARGET))
    });
    // An error means that logging was started already.
    let _ = Registry::default().with(logs).with(spans).try_init();
    started.unwrap_or_else(|error| {
        warn!(%error, "span export not started");
        None
    })
}
