//! The command line: its commands, and the module behind each.
//!
//! # Layout
//!
//! - `serve`: runs the sidecar, and logs the problems if it cannot start.
//! - `connect`: the address and timeout options, and the connection; `tls` encrypts it.
//! - `token`: the token that authenticates calls of the admin service.
//! - `session`: one call over a connection, from the request to the printed response.
//! - `quota`, `usage`, `admin`, `health`, `catalog`: a command each; `inspect` has the read-only
//!   commands of `admin`; `watch` prints events as they arrive.
//! - `journal`: lists, retries and drops operations that are not in the store yet.
//! - `backup`: copies the embedded store to a file.
//! - `reconcile`: compares an export of the IM's database with the stored facts.
//! - `output`: responses as tables or JSON; the only module that writes to the terminal.
//! - `error`: the errors of commands, as sentences; `error_object`: the same errors as JSON.
//! - `connection`: the options shared by commands, which their help does not repeat.
//!
//! A command only builds a request and calls the RPC. Shared code (connection, deadline, output
//! format, exit code) is in `session` and `output`. No rule of the domain is decided here.

mod activate;
mod admin;
mod agreed;
mod backup;
mod catalog;
mod connect;
mod connection;
mod error;
mod error_object;
mod health;
mod inspect;
mod journal;
mod output;
mod quota;
mod reconcile;
mod sales;
mod serve;
mod session;
mod statement;
mod tls;
mod token;
mod usage;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Flags;
use crate::diagnostics::with_causes;

use output::Format;
pub use serve::serve;

#[doc(hidden)]
pub use reconcile::read_export;

const ROOT_HELP: &str = "\
Exit codes:
  0  success: everything was applied, already held or not held
  1  no decision: invalid input, no connection, an error, or the sidecar is not serving
  2  invalid command line
  3  at least one item was denied
  4  a comparison left differences

Example:
  imquota serve
  imquota quota join-group --app demo --group g1 alice bob";

/// Exact quotas for instant-messaging backends.
#[derive(Debug, Parser)]
#[command(version, after_help = ROOT_HELP)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// A command: run the sidecar, or call one.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar.
    #[command(after_help = "Example:\n  imquota serve")]
    Serve(Flags),
    /// Every other command.
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// A command that terminates on its own.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Check whether a sidecar is serving; the exit code is 0 only if it is.
    Health(health::Health),
    /// Register apps, sell, refund and exchange editions and add-ons, and read the audit log.
    Admin(Box<admin::Admin>),
    /// Take and release quota as an IM server does; a repeated call counts once.
    Quota(quota::Quota),
    /// Show the counts and limits of an app, a user or a group.
    Usage(usage::Usage),
    /// Show the statement of an app for a month.
    Statement(statement::Statement),
    /// Copy the embedded store to a file while the sidecar keeps running.
    Backup(Box<backup::Backup>),
    /// Compare the stored facts with an export of the IM's database, and repair differences.
    Reconcile(Box<reconcile::Reconcile>),
    /// Show and validate catalogs of editions, add-ons and group types.
    Catalog(catalog::Catalog),
    /// List the options of every command that calls a sidecar: address, TLS, token, output.
    Connection(Box<connection::Connection>),
    /// Print the completion script for a shell.
    #[command(after_help = "Example:\n  imquota completions bash")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl ClientCommand {
    /// Returns the format of its response and its errors.
    fn format(&self) -> Format {
        match self {
            Self::Health(args) => args.format(),
            Self::Admin(args) => args.format(),
            Self::Quota(args) => args.format(),
            Self::Usage(args) => args.format(),
            Self::Statement(args) => args.format(),
            Self::Backup(args) => args.format(),
            Self::Reconcile(args) => args.format(),
            Self::Catalog(args) => args.format(),
            Self::Connection(_) | Self::Completions { .. } => Format::Table,
        }
    }
}

/// Builds the definition of the command line.
#[must_use]
pub fn command() -> clap::Command {
    connection::hide_in(Cli::command(), false)
}

/// Parses the command line of this process; if it is invalid, prints an error and exits.
#[must_use]
pub fn parse() -> Cli {
    let parsed = command().try_get_matches().and_then(|it| Cli::from_arg_matches(&it));
    parsed.unwrap_or_else(|error| {
        let arguments: Vec<_> = std::env::args_os().collect();
        let is_json = arguments.iter().any(|it| it == "--output=json")
            || arguments.windows(2).any(|it| it[0] == "--output" && it[1] == "json");
        if is_json && error.use_stderr() {
            output::print_error(&error_object::line_of_usage(&error));
            std::process::exit(error.exit_code());
        }
        error.exit()
    })
}

/// Result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done,
    /// Failure; the error was printed.
    Failed,
    /// Success, but at least one item was denied.
    Denied,
    /// The comparison left differences.
    Differs,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            // clap uses 2 for an invalid command line.
            Exit::Denied => Self::from(3),
            Exit::Differs => Self::from(4),
        }
    }
}

/// Runs a command and prints its response or its error.
pub async fn run(command: ClientCommand) -> Exit {
    let format = command.format();
    let end = match command {
        ClientCommand::Health(args) => health::run(args).await,
        ClientCommand::Admin(args) => admin::run(*args).await,
        ClientCommand::Quota(args) => quota::run(args).await,
        ClientCommand::Usage(args) => usage::run(args).await,
        ClientCommand::Statement(args) => statement::run(args).await,
        ClientCommand::Backup(args) => backup::run(*args).await,
        ClientCommand::Reconcile(args) => reconcile::run(*args).await,
        ClientCommand::Catalog(args) => catalog::run(args),
        ClientCommand::Connection(_) => connection::run(),
        ClientCommand::Completions { shell } => completions(shell),
    };
    end.unwrap_or_else(|error| match format {
        Format::Table => fail(&error),
        Format::Json => {
            output::print_error(&error_object::line(&error));
            Exit::Failed
        }
    })
}

fn completions(shell: Shell) -> Result<Exit, error::Error> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Prints an error and its causes to stderr.
pub fn fail(error: &dyn std::error::Error) -> Exit {
    output::print_error(&format!("error: {}", with_causes(error)));
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_each(command: &clap::Command, check: &mut impl FnMut(&clap::Command)) {
        check(command);
        command.get_subcommands().for_each(|sub| for_each(sub, check));
    }

    #[test]
    fn the_command_definitions_are_valid() {
        command().debug_assert();
    }

    #[test]
    fn only_the_help_of_connection_lists_the_shared_options() {
        let mut built = command();
        built.build();
        let mut seen = 0;
        for_each(&built, &mut |command| {
            let takes_them = command.get_arguments().any(|it| it.get_id() == "timeout_ms");
            let help = command.clone().render_long_help().to_string();
            let lists = ["--tls-ca <", "--timeout-ms <"].iter().any(|it| help.contains(it));
            // `help` has a subcommand for each command, without options.
            let is_list = takes_them && command.get_name() == connection::NAME;
            assert_eq!(lists, is_list, "{}:\n{help}", command.get_name());
            let points = help.contains("`imquota help connection`");
            assert_eq!(points, takes_them && !is_list, "{}:\n{help}", command.get_name());
            seen += usize::from(points);
        });
        assert!(seen > 30, "{seen} commands");
    }

    #[test]
    fn the_help_of_every_command_ends_with_an_example() {
        for_each(&command(), &mut |command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = help.split("Example:\n").nth(1).unwrap_or_default();
            assert!(example.contains(command.get_name()), "{}: {help:?}", command.get_name());
        });
    }

    #[test]
    fn every_example_is_a_command_that_parses() {
        for_each(&command(), &mut |command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split("Example:\n").nth(1).unwrap_or_default();
            for example in examples.lines() {
                let parsed = Cli::try_parse_from(example.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {:?}", parsed.err());
            }
        });
    }
}
