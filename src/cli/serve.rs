//! Runs the sidecar until it stops, and logs the problems if it cannot start or fails.
//!
//! The log is for log collectors: each problem is one record at ERROR, in the configured format.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tracing::error;

use super::Exit;
use crate::config::{Config, ConfigErrors, Environment, Flags};
use crate::server;
use crate::telemetry::{LogFormat, log_unfiltered};

/// Runs the sidecar until it stops.
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
    // Do not wait for a store that is still being opened.
    runtime.shutdown_background();
    match end {
        Ok(()) => Exit::Done,
        Err(error) => failed(format, &error.problems()),
    }
}

/// Creates the runtime. A single thread gets the current-thread runtime: handing a call to another
/// thread costs more than a decision.
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
