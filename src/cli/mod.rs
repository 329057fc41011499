//! The command line: what can be asked, and which module answers.
//!
//! # Layout
//!
//! - `serve`: runs the sidecar, and logs why it did not start.
//! - `connect`: the flags that reach a sidecar, and the connection; `tls` encrypts it.
//! - `token`: what shows who calls.
//! - `session`: one call over it, from the request to what is printed.
//! - `quota`, `usage`, `admin`, `health`, `catalog`: a command each; `look` is what `admin` has
//!   that changes nothing; `watch` prints events as they come.
//! - `journal`: what a sidecar has not brought to the store, and what to do about it.
//! - `backup`: copies the embedded store to a file.
//! - `reconcile`: compares an export of the IM's database with what is held; a folder of its own.
//! - `output`: answers as tables or JSON; the only place that writes to the terminal.
//! - `error`: why a command came to nothing, in sentences; `error_object`: the same for programs.
//! - `connection`: the options that commands share, which their help does not repeat.
//!
//! A command only makes a request and names the RPC. What all share (connection, deadline, output
//! format, exit code) is in `session` and `output`. No rule of the domain is decided here.

mod activate;
mod admin;
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
  0  done: everything was applied, already held or not held
  1  no decision was made: bad input, no connection, an error, or not serving
  2  the command line is wrong
  3  something was denied
  4  a comparison found differences, and they are left

Example:
  imquota serve
  imquota quota join-group --app demo --group g1 alice bob";

/// Exact quotas for instant-messaging backends.
#[derive(Debug, Parser)]
#[command(version, after_help = ROOT_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do: be the sidecar, or talk to one.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar.
    #[command(after_help = "Example:\n  imquota serve")]
    Serve(Flags),
    /// Everything else.
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// A command that ends by itself.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Ask whether a sidecar is serving; the exit code is 0 only when it is.
    Health(health::Health),
    /// Register apps, sell them editions and add-ons, refund them, and see who did what.
    Admin(Box<admin::Admin>),
    /// Take quota and give it back, as an IM server would; a repeated call counts once.
    Quota(quota::Quota),
    /// Show what an app, a user or a group holds, and what it may hold.
    Usage(usage::Usage),
    /// Show what an app has to pay for a month, and why.
    Statement(statement::Statement),
    /// Copy the embedded store to a file while the sidecar goes on.
    Backup(Box<backup::Backup>),
    /// Compare what is held with an export of the IM's database, and repair the differences.
    Reconcile(Box<reconcile::Reconcile>),
    /// Show and check catalogs of editions, add-ons and group types.
    Catalog(catalog::Catalog),
    /// List the options of every command that calls a sidecar: address, TLS, token, output.
    Connection(Box<connection::Connection>),
    /// Print a script that completes commands and flags in a shell.
    #[command(after_help = "Example:\n  imquota completions bash")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl ClientCommand {
    /// How its answer and its error are printed.
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

/// The whole command line.
#[must_use]
pub fn command() -> clap::Command {
    connection::hide_in(Cli::command(), false)
}

/// Reads the command line of this process, or says what is wrong with it and ends.
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

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked for.
    Done,
    /// It came to nothing; why was printed.
    Failed,
    /// It was answered, and something was denied.
    Denied,
    /// It compared, and differences are left.
    Differs,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            // 2 is clap's, for a wrong command line.
            Exit::Denied => Self::from(3),
            Exit::Differs => Self::from(4),
        }
    }
}

/// Carries a command out and prints its answer, or why there is none.
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

    fn each(command: &clap::Command, check: &mut impl FnMut(&clap::Command)) {
        check(command);
        command.get_subcommands().for_each(|sub| each(sub, check));
    }

    #[test]
    fn the_commands_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn no_help_but_that_of_connection_lists_the_shared_options() {
        let mut built = command();
        built.build();
        let mut seen = 0;
        each(&built, &mut |command| {
            let takes_them = command.get_arguments().any(|it| it.get_id() == "timeout_ms");
            let help = command.clone().render_long_help().to_string();
            let lists = ["--tls-ca <", "--timeout-ms <"].iter().any(|it| help.contains(it));
            // `help` has a command of each name, without options.
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
        each(&command(), &mut |command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = help.split("Example:\n").nth(1).unwrap_or_default();
            assert!(example.contains(command.get_name()), "{}: {help:?}", command.get_name());
        });
    }

    #[test]
    fn every_example_is_a_command_that_parses() {
        each(&command(), &mut |command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split("Example:\n").nth(1).unwrap_or_default();
            for example in examples.lines() {
                let parsed = Cli::try_parse_from(example.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {:?}", parsed.err());
            }
        });
    }
}
