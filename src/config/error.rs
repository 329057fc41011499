//! What is wrong with a configuration.

use std::fmt;

use super::values::LogFormat;
use crate::catalog::lines;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Who said so, as the operator knows it: `--listen`, `IMQUOTA_LISTEN` or
    /// `imquota.toml:3:10: listen`.
    pub source: String,
    /// What would be right.
    pub message: String,
}

/// Everything that is wrong, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// What is wrong. Never empty.
    pub errors: Vec<ConfigError>,
    /// How log lines look: as configured, else the default.
    pub log_format: LogFormat,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines(f, &self.errors)
    }
}
