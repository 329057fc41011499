//! Answers for people and for programs, and the only place that writes to the terminal.
//!
//! # Layout
//!
//! - `table`: columns.
//! - `value`: money, instants, limits and sources as words.
//! - `results`, `usage`, `app`, `look`, `reconcile`: the answers, each as a table with its notes.
//! - `journal`: the journal of a sidecar.
//! - `clock`: a clock that was accepted.
//! - `event`: one event as a line.
//! - `progress`: how far a long command has come.
//! - `json`: any answer as JSON.
//!
//! Everything is rendered to a string first and written at once. A reader that goes away early
//! (`| head`) ends the writing and is no error.

mod activated;
mod app;
mod clock;
mod event;
mod history;
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
mod value;

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

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs: JSON, with the field names of the .proto files
    Json,
}

/// An answer that can be shown.
pub trait Report: Message {
    /// The message's name within the protobuf package.
    const NAME: &'static str;

    /// The answer for people, ending with a line break.
    fn text(&self, style: Style) -> String;

    /// Whether anything was denied.
    fn denied(&self) -> bool {
        false
    }
}

/// Prints an answer to stdout.
pub fn show<R: Report>(report: &R, format: Format, zone: Zone) -> Result<(), Error> {
    match format {
        Format::Table => print(&report.text(stdout_style(zone))),
        Format::Json => print(&json::render(report)),
    }
}

/// Prints what a comparison came to.
pub fn show_comparison(comparison: &Comparison, format: Format) -> Result<(), Error> {
    match format {
        // It has no instants.
        Format::Table => print(&comparison.text(stdout_style(Zone::UTC))),
        Format::Json => print(&comparison.json()),
    }
}

/// Prints what is no message: a text for people, or an object for programs.
pub fn show_other(text: &str, object: &serde_json::Value, format: Format) -> Result<(), Error> {
    match format {
        Format::Table => print(text),
        Format::Json => print(&format!("{object:#}\n")),
    }
}

/// Writes text to stdout.
pub fn print(text: &str) -> Result<(), Error> {
    emit_more(text).map(drop)
}

/// Writes text to stdout that more may follow; `false` where nobody reads it any more.
pub fn emit_more(text: &str) -> Result<bool, Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Write(error)),
        written => Ok(written.is_ok()),
    }
}

/// An answer of a stream of events, as a line; none for the one that begins it, which people
/// need not see.
pub fn watched(answer: &pb::WatchEventsResponse, format: Format, zone: Zone) -> String {
    match format {
        Format::Table => event::line(answer, stdout_style(zone)),
        Format::Json => crate::proto::json::compact("WatchEventsResponse", answer) + "\n",
    }
}

/// Writes a line to stderr. There is nowhere to say that it failed.
pub fn print_error(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", table::printable(line));
}

/// The line that a decision ends with which is not exact.
fn degraded(decision: Option<&DecisionInfo>, style: Style) -> String {
    match decision.map(|decision| Cell::new(&decision.degradation)) {
        Some(why) if !why.text().is_empty() => {
            paint(style, Some(Colour::Yellow), &format!("not exact: {}", why.text())) + "\n"
        }
        _ => String::new(),
    }
}

/// What stdout can show; a table is as wide as it has to be where stdout is no terminal.
fn stdout_style(zone: Zone) -> Style {
    let terminal = io::stdout().is_terminal();
    let size = terminal.then(|| terminal_size_of(io::stdout())).flatten();
    let columns = size.map(|(Width(columns), _)| usize::from(columns)).filter(|it| *it > 0);
    // As https://no-color.org has it: set and not empty.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style { bars: terminal, colours: terminal && !no_color, columns, zone }
}
