//! Logs and metrics.

mod condition;
mod metrics;

pub use condition::{Condition, Degraded, Replayed, Shed};
pub use metrics::Metrics;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Sends logs to standard error from now on. `filter` has been validated with the configuration.
pub fn start_logging(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter);
    let logs = logs.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // An error means that logging has been started already, which is as good.
    let _ = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}
