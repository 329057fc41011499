//! Loads the catalog: from the binary itself, or from an operator's file.
//!
//! A catalog is one TOML text; `builtin.toml` is the published one and documents every key. A text
//! is accepted as a whole or not at all, and all of its problems are reported together, each with
//! line and column. Reading order: [`Problems`], `reader` (TOML with positions), `decode` and
//! `offers` (the rules), [`watch`] (reloading). The domain defines the meaning of the numbers
//! ([`crate::domain::catalog`]).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::catalog::Catalog;
use crate::input_file;

mod decode;
mod failure;
mod offers;
mod postpaid;
mod problem;
pub(crate) mod reader;
pub mod watch;
mod words;

pub(crate) use problem::lines;
pub use problem::{PROBLEMS_MAX, Problem, Problems};
pub(crate) use words::{did_you_mean, truncate_for_display};

/// Most bytes of a catalog or configuration file: a hundred times the built-in catalog.
pub const FILE_MAX_BYTES: u64 = 1 << 20;

/// Text of the built-in catalog, as an operator copies it.
pub const BUILTIN: &str = include_str!("builtin.toml");

/// Error of loading a catalog file. Its text has one line for each problem, each beginning with the
/// path.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Reason.
        error: io::Error,
    },
    /// The file has more than [`FILE_MAX_BYTES`].
    #[error("{}: must not have more than {FILE_MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file violates rules.
    #[error("{}", InFile(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The rules and positions.
        problems: Problems,
    },
}

/// Formats problems with the file's path before each.
struct InFile<'a>(&'a Path, &'a Problems);

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.display();
        let located: Vec<_> = self.1.0.iter().map(|problem| format!("{path}:{problem}")).collect();
        lines(f, &located)
    }
}

/// Returns the built-in catalog.
///
/// # Panics
///
/// Never: a test reads it.
#[must_use]
pub fn builtin() -> Catalog {
    parse(BUILTIN).expect("the built-in catalog keeps its own rules")
}

/// Parses a catalog.
pub fn parse(text: &str) -> Result<Catalog, Problems> {
    let document = reader::Document::parse(text);
    let catalog = decode::catalog(&document);
    document.finish(catalog)
}

/// Loads a catalog from a file.
pub fn load(path: &Path) -> Result<Catalog, LoadError> {
    parse_file(path, &read_file(path)?)
}

/// Parses a catalog from a file's bytes.
fn parse_file(path: &Path, bytes: &[u8]) -> Result<Catalog, LoadError> {
    text_of(path, bytes).and_then(|text| {
        parse(text).map_err(|problems| LoadError::Invalid { path: path.to_owned(), problems })
    })
}

/// Returns the bytes of a file, unless there are too many.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    let bytes = input_file::read(path, FILE_MAX_BYTES + 1)
        .map_err(|error| LoadError::Io { path: path.to_owned(), error })?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Returns a file's bytes as text.
pub(crate) fn text_of<'b>(path: &Path, bytes: &'b [u8]) -> Result<&'b str, LoadError> {
    str::from_utf8(bytes).map_err(|error| {
        let good = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let message = "is not UTF-8 from here on".to_owned();
        let problems = problem::Lines::of(good).problems(vec![(good.len(), message)]);
        LoadError::Invalid { path: path.to_owned(), problems }
    })
}
