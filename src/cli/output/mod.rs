//! Responses as tables and as JSON, and the only module that writes to the terminal.
//!
//! # Layout
//!
//! - `table`: columns.
//! - `value`: money, instants, limits and sources as words.
//! - `results`, `usage`, `app`, `inspect`, `reconcile`, `statement`, `store`, `top`: responses,
//!   each as a table with its notes; `history` is a part of `usage`.
//! - `journal`: the journal of a sidecar.
//! - `clock`, `activated`: an accepted clock and an activated catalog.
//! - `event`: one event as a line.
//! - `progress`: the progress bar of long commands.
//! - `json`: any response as JSON.
//!
//! Output is rendered to a string first and written in one call. A reader that closes stdout early
//! (`| head`) ends the output, and is not an error.

mod activated;
mod app;
mod clock;
mod event;
mod history;
mod holds;
mod inspect;
mod journal;
mod json;
mod progress;
mod reconcile;
mod results;
mod statement;
mod store;
mod table;
mod top;
mod usage;
pub mod value;

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use clap::ValueEnum;
use prost::Message;
use terminal_size::{Width, terminal_size_of};

use super::error::Error;
use crate::domain::calendar::Zone;
use crate::grpc::pb::{self, DecisionInfo};
pub use event::kind_name;
pub use progress::Progress;
pub use reconcile::Comparison;
use table::{Cell, Colour, Style, paint};
pub use value::count;

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs: JSON, with the field names of the .proto files
    Json,
}

/// A response that can be printed.
pub trait Report: Message {
    /// Name of the message within the protobuf package.
    const NAME: &'static str;

    /// Formats the response as text, ending with a line break.
    fn text(&self, style: Style) -> String;

    /// Returns whether at least one item was denied.
    fn denied(&self) -> bool {
        false
    }
}

/// Prints a response to stdout.
pub fn show<R: Report>(report: &R, format: Format, zone: Zone) -> Result<(), Error> {
    match format {
        Format::Table => print(&report.text(stdout_style(zone))),
        Format::Json => print(&json::render(report)),
    }
}

/// Prints the result of a comparison.
pub fn show_comparison(comparison: &Comparison, format: Format) -> Result<(), Error> {
    match format {
        // The text has no times.
        Format::Table => print(&comparison.text(stdout_style(Zone::UTC))),
        Format::Json => print(&comparison.json()),
    }
}

/// Prints a result that is not a protobuf message: the text, or the JSON object.
pub fn show_other(text: &str, object: &serde_json::Value, format: Format) -> Result<(), Error> {
    match format {
        Format::Table => print(text),
        Format::Json => print(&format!("{object:#}\n")),
    }
}

/// Writes text to stdout.
pub fn print(text: &str) -> Result<(), Error> {
    print_more(text).map(drop)
}

/// Writes text to stdout that more may follow; `false` if the reader has closed stdout.
pub fn print_more(text: &str) -> Result<bool, Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Write(error)),
        written => Ok(written.is_ok()),
    }
}

/// Formats a response of a stream of events as a line; as text, the first one is empty, because it
/// has no event.
pub fn event_text(response: &pb::WatchEventsResponse, format: Format, zone: Zone) -> String {
    match format {
        Format::Table => event::line(response, stdout_style(zone)),
        Format::Json => crate::proto::json::compact("WatchEventsResponse", response) + "\n",
    }
}

/// Writes a line to stderr. A failure is ignored: there is no other place to report it.
pub fn print_error(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", table::printable(line));
}

/// Formats the last line of a degraded decision; empty for an exact one.
fn degraded(decision: Option<&DecisionInfo>, style: Style) -> String {
    match decision.map(|decision| Cell::new(&decision.degradation)) {
        Some(why) if !why.text().is_empty() => {
            paint(style, Some(Colour::Yellow), &format!("not exact: {}", why.text())) + "\n"
        }
        _ => String::new(),
    }
}

/// Returns the style for stdout; without a terminal, the width of a table is unlimited.
fn stdout_style(zone: Zone) -> Style {
    let terminal = io::stdout().is_terminal();
    let size = terminal.then(|| terminal_size_of(io::stdout())).flatten();
    let columns = size.map(|(Width(columns), _)| usize::from(columns)).filter(|it| *it > 0);
    // By https://no-color.org: set and not empty.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style { bars: terminal, colours: terminal && !no_color, columns, zone }
}
