//! The binary: parses the command line, starts a runtime, dispatches, and converts the result to an
//! exit code.
//!
//! Commands are in `imquota::cli`, the sidecar is in `imquota::server`.

use std::future::Future;
use std::process::ExitCode;

use imquota::cli::{self, Command, Exit};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    match cli::parse().command {
        Command::Serve(flags) => cli::serve(&flags),
        Command::Client(command) => client(cli::run(*command)),
    }
    .into()
}

fn client(command: impl Future<Output = Exit>) -> Exit {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&error),
    };
    let exit = runtime.block_on(command);
    // A name lookup may still hang in a thread of its own, beyond the command's time limit.
    runtime.shutdown_background();
    exit
}
