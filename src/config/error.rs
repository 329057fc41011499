//! Problems of a configuration.

use std::fmt;

use crate::diagnostics::write_lines;
use crate::telemetry::LogFormat;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Source of the setting: `--listen`, `IMQUOTA_LISTEN` or `imquota.toml:3:10: listen`.
    pub source: String,
    /// The expected value.
    pub message: String,
}

/// All problems, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The problems. Never empty.
    pub errors: Vec<ConfigError>,
    /// Format of log lines: as configured, else the default.
    pub log_format: LogFormat,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, &self.errors)
    }
}
