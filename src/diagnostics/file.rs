//! Reads whole files of text, within a bound, and reports the reason if one is refused.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::problem::{Lines, Problems, write_lines};
use crate::input_file;

/// Most bytes of a catalog or configuration file: a hundred times the built-in catalog.
pub const FILE_MAX_BYTES: u64 = 1 << 20;

/// Error of loading a file of text. Its text has one line for each problem, each beginning with the
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
        write_lines(f, &located)
    }
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
        let problems = Lines::of(good).problems(vec![(good.len(), message)]);
        LoadError::Invalid { path: path.to_owned(), problems }
    })
}
