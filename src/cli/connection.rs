//! `imquota connection`: lists the options of every command that calls a sidecar.
//!
//! Each of these commands accepts them, but only this help lists them, so that the help of a
//! command shows its own options.

use clap::Args;

use super::connect::{AdminAddress, SHARED};
use super::error::Error;
use super::session::CallFlags;
use super::{Exit, output};

/// Name of the command.
pub const NAME: &str = "connection";

/// Reference to this help, in the help of each command that has these options.
const POINTER: &str = "\
Also accepts --address, --timeout-ms, --output json, and options for TLS and tokens: see
`imquota help connection`.";

const HELP: &str = "\
Without --address, `usage`, `quota` and `health` call the address in IMQUOTA_ADDRESS, or
127.0.0.1:50051; `admin`, `statement`, `backup` and `reconcile` call the admin service at the
address in IMQUOTA_ADMIN_ADDRESS, or 127.0.0.1:50052. Tokens are only sent to the admin service.

With --output json a command prints one JSON object, `admin watch-events` one on each line. An error
is one object on stderr, on one line: code, reason, message and details.

Example:
  imquota connection";

/// Arguments of `imquota connection`: the shared options.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Connection {
    #[command(flatten)]
    to: AdminAddress,
    #[command(flatten)]
    flags: CallFlags,
}

/// Prints the options.
pub fn run() -> Result<Exit, Error> {
    let mut command = super::command();
    command.build();
    let own = command.find_subcommand_mut(NAME).expect("it is a command");
    output::print(&own.render_long_help().to_string())?;
    Ok(Exit::Done)
}

/// Hides the shared options in the help of each command, and adds a reference to this help.
pub fn hide_in(command: clap::Command, is_inherited: bool) -> clap::Command {
    if command.get_name() == NAME {
        let help = "Address of the sidecar: HOST:PORT, http://HOST:PORT, https://HOST:PORT or \
                    unix:PATH";
        let address = |it: clap::Arg| it.help(help).hide_env(true).hide_default_value(true);
        return command.mut_arg("address", address);
    }
    let has_them = is_inherited || command.get_arguments().any(|it| it.get_id() == "address");
    let command = command.mut_subcommands(|sub| hide_in(sub, has_them));
    if !has_them {
        return command;
    }
    let own_help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let is_shared = |it: &clap::Arg| it.get_help_heading() == Some(SHARED);
    let command = command.mut_args(|it| if is_shared(&it) { it.hide(true) } else { it });
    command.after_help(format!("{POINTER}\n\n{own_help}"))
}
