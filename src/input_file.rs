//! Reads files that are named by settings: catalogs, tokens, certificates, passwords.
//!
//! Each has to be a regular file, possibly behind symbolic links. Opening a FIFO without a writer
//! would block, and a device may never end; such files are also read repeatedly while the sidecar
//! runs, which a FIFO supports only once.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Longest password or user name, in bytes: Redis generates 64 digits.
pub const SECRET_MAX_BYTES: usize = 1024;
/// Longest line end, in bytes.
const LINE_END_MAX_BYTES: usize = 2;

/// Opens a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

/// Returns the first bytes of a regular file, up to `most_bytes`.
pub fn read(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the password in a file, without the line end. An error does not repeat it.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let most_bytes = (SECRET_MAX_BYTES + LINE_END_MAX_BYTES + 1) as u64;
    let shown = path.display();
    let content = read(path, most_bytes)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData.into()))
        .map_err(|error| format!("must be a file of text ({error}), not \"{shown}\""))?;
    let secret = content.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.len() > SECRET_MAX_BYTES {
        return Err(format!("must be a file of 1 to {SECRET_MAX_BYTES} bytes, not \"{shown}\""));
    }
    Ok(secret.to_owned())
}
