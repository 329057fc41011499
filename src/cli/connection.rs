//! `imquota connection`: the options that all commands share which call a sidecar.
//!
//! They are accepted by each of these commands and listed here alone, so that the help of a command
//! shows what is its own.

use clap::Args;

use super::connect::{AdminAddress, CALLING};
use super::error::Error;
use super::session::Calling;
use super::{Exit, output};

/// The name of the command.
pub const NAME: &str = "connection";

/// Stands in the help of each command that has these options.
const POINTER: &str = "\
Also takes --address, --timeout-ms, --output json, and options for TLS and tokens: see
`imquota help connection`.";

const HELP: &str = "\
Without --address, `usage`, `quota` and `health` call 127.0.0.1:50051, or what IMQUOTA_ADDRESS
names; `admin`, `statement`, `backup` and `reconcile` call the admin service at 127.0.0.1:50052, or
what IMQUOTA_ADMIN_ADDRESS names. Tokens are for the admin service alone.

With --output json a command prints one JSON object, `admin watch-events` one on each line. An error
is one object on stderr, on one line: code, reason, message and details.

Example:
  imquota connection";

/// Arguments of `imquota connection`, which are those of the other commands.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Connection {
    #[command(flatten)]
    to: AdminAddress,
    #[command(flatten)]
    calling: Calling,
}

/// Prints the options.
pub fn run() -> Result<Exit, Error> {
    let mut command = super::command();
    command.build();
    let own = command.find_subcommand_mut(NAME).expect("it is a command");
    output::print(&own.render_long_help().to_string())?;
    Ok(Exit::Done)
}

/// Hides the options in the help of each command that has them, and says where they are listed.
pub fn hide_in(command: clap::Command, is_inherited: bool) -> clap::Command {
    if command.get_name() == NAME {
        let where_to = "Where the sidecar listens: HOST:PORT, http://HOST:PORT, https://HOST:PORT \
                        or unix:PATH";
        let address = |it: clap::Arg| it.help(where_to).hide_env(true).hide_default_value(true);
        return command.mut_arg("address", address);
    }
    let has_them = is_inherited || command.get_arguments().any(|it| it.get_id() == "address");
    let command = command.mut_subcommands(|sub| hide_in(sub, has_them));
    if !has_them {
        return command;
    }
    let own_help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let is_shared = |it: &clap::Arg| it.get_help_heading() == Some(CALLING);
    let command = command.mut_args(|it| if is_shared(&it) { it.hide(true) } else { it });
    command.after_help(format!("{POINTER}\n\n{own_help}"))
}
