//! Runs the sidecar to its end, and logs why it did not start or failed.
//!
//! A log collector is what reads this: each problem is one record at ERROR, in the configured
//! format.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tracing::error;

use super::Exit;
use crate::config::{Config, ConfigErrors, Environment, Flags};
use crate::server;
use crate::telemetry::{LogFormat, log_unfiltered};

/// Runs the sidecar until its end.
#[must_use]
pub fn serve(flags: &Flags) -> Exit {
    let config = match Config::load(flags, &Environment::of_process()) {
        Ok(config) => config,
        Err(errors) => return refused(&errors),
    };
    let format = config.log_format;
    let runtime = match runtime(config.worker_threads) {
        Ok(runtime) => runtime,
        Err(error) => return failed(format, &[format!("cannot start a runtime: {error}")]),
    };
    let end = runtime.block_on(server::serve(config));
    // A store that was still being opened when the end came is not waited for.
    runtime.shutdown_background();
    match end {
        Ok(()) => Exit::Done,
        Err(error) => failed(format, &error.problems()),
    }
}

/// A single thread hands no call to another, which costs more than a decision.
fn runtime(threads: usize) -> io::Result<Runtime> {
    if threads == 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

fn refused(errors: &ConfigErrors) -> Exit {
    log_unfiltered(errors.log_format, || {
        for problem in &errors.errors {
            error!(origin = %problem.source, error = %problem.message, "configuration refused");
        }
    });
    Exit::Failed
}

fn failed(format: LogFormat, problems: &[String]) -> Exit {
    log_unfiltered(format, || {
        for problem in problems {
            error!(error = %problem, "sidecar failed");
        }
    });
    Exit::Failed
}
