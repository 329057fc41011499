//! Diagnostics of the texts that operators write: catalogs, configuration, tokens.
//!
//! A text is accepted as a whole or refused with all of its problems, each with line and column.
//! [`LoadError`] is a file that was refused, [`Problems`] are the rules that it violates, `suggest`
//! finds the word that was probably meant, `toml` reads TOML documents by key, and [`watch`]
//! notices that a file has changed.

mod causes;
mod file;
mod problem;
mod suggest;
pub(crate) mod toml;
pub mod watch;

pub(crate) use causes::with_causes;
pub use file::{FILE_MAX_BYTES, LoadError};
pub(crate) use file::{read_file, text_of};
pub(crate) use problem::write_lines;
pub use problem::{PROBLEMS_MAX, Problem, Problems};
pub(crate) use suggest::{did_you_mean, join_quoted, truncate_for_display};
