//! The binary: reads the command line, starts a runtime, dispatches, and turns the end into an
//! exit code.
//!
//! What a command does stands in `imquota::cli`, what the sidecar does in `imquota::server`.

use std::future::Future;
use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use imquota::cli::{self, Cli, Command, Exit};
use imquota::config::{Config, Flags};
use imquota::server;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(flags) => match serve(&flags) {
            Ok(()) => Exit::Done,
            Err(exit) => exit,
        },
        Command::Client(command) => client(cli::run(*command)),
    }
    .into()
}

fn serve(flags: &Flags) -> Result<(), Exit> {
    let env = |name: &str| std::env::var(name).ok();
    let config = Config::load(flags, &env).map_err(|error| cli::fail(&error))?;
    let runtime = runtime(workers(config.worker_threads))?;
    let end = runtime.block_on(server::serve(config)).map_err(|error| cli::fail(&error));
    // A store that was still being opened when the end came is not waited for.
    runtime.shutdown_background();
    end
}

/// One thread hands nothing to another, which costs a call more than its decision.
fn workers(count: usize) -> Builder {
    if count == 1 {
        return Builder::new_current_thread();
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(count);
    builder
}

fn client(command: impl Future<Output = Exit>) -> Exit {
    let runtime = match runtime(Builder::new_current_thread()) {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let exit = runtime.block_on(command);
    // A name lookup may still hang in a thread of its own, past the command's time limit.
    runtime.shutdown_background();
    exit
}

fn runtime(mut builder: Builder) -> Result<Runtime, Exit> {
    builder.enable_all().build().map_err(|error: io::Error| cli::fail(&error))
}
