//! Reads a file by lines of bounded length, so that a file that is not text cannot exhaust memory.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::export::Format;
use crate::cli::error::Error;

/// Longest line of a CSV file: three times the longest ids and names in quotes, with each quote in
/// them doubled.
const ROW_MAX_BYTES: usize = 4096;
/// Longest line of JSON: fits 20,000 ids of 255 bytes, each byte escaped as `\u0041`.
const DOCUMENT_MAX_BYTES: usize = 32 * 1024 * 1024;
/// UTF-8 byte order mark, which some programs write at the beginning of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the lines of a file.
#[derive(Debug)]
pub struct LineReader {
    input: BufReader<File>,
    path: PathBuf,
    longest: usize,
    buffer: Vec<u8>,
    number: u64,
    bytes_read: u64,
    /// The first empty line; empty lines are only allowed at the end.
    empty: Option<u64>,
}

impl LineReader {
    /// Opens the file.
    pub fn open(path: &Path, format: Format) -> Result<Self, Error> {
        let file = File::open(path);
        let file = file.map_err(|error| Error::Read { path: path.to_owned(), error })?;
        Ok(Self {
            input: BufReader::new(file),
            path: path.to_owned(),
            longest: match format {
                Format::Csv => ROW_MAX_BYTES,
                Format::JsonLines => DOCUMENT_MAX_BYTES,
            },
            buffer: Vec::new(),
            number: 0,
            bytes_read: 0,
            empty: None,
        })
    }

    /// Returns the next line, without its line break; `None` after the last one.
    pub fn next(&mut self) -> Result<Option<&str>, Error> {
        loop {
            if !self.fill()? {
                return Ok(None);
            }
            if !self.buffer.is_empty() {
                break;
            }
            self.empty.get_or_insert(self.number);
        }
        if let Some(empty) = self.empty {
            let why = "is empty; only lines at the end of a file may be empty";
            return Err(self.fault_at(Some(empty), why));
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                let offset = error.valid_up_to();
                let byte = self.buffer[offset];
                Err(self.fault(format!("must be UTF-8, but byte {offset} is 0x{byte:02x}")))
            }
        }
    }

    /// Reads a line into the buffer; `false` at the end of the file.
    fn fill(&mut self) -> Result<bool, Error> {
        self.buffer.clear();
        // With the line break, of at most two bytes, and the mark before the first line.
        let most = self.longest + BYTE_ORDER_MARK.len() + 2;
        let mut input = (&mut self.input).take(u64::try_from(most).unwrap_or(u64::MAX));
        let read = input.read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|error| Error::Read { path: self.path.clone(), error })?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        self.bytes_read += u64::try_from(read).unwrap_or(0);
        let has_end = self.buffer.pop_if(|last| *last == b'\n').is_some();
        if has_end {
            self.buffer.pop_if(|last| *last == b'\r');
        }
        if self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.buffer.drain(..BYTE_ORDER_MARK.len());
        }
        if self.buffer.len() > self.longest {
            return Err(self.fault(format!("is longer than {} bytes", self.longest)));
        }
        if !has_end {
            let why = "does not end with a line break, as if the file was truncated; export it \
                       again, or end the line";
            return Err(self.fault(why));
        }
        Ok(true)
    }

    /// Returns the number of the last line read, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns how many bytes were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Creates an error in the last line read.
    pub fn fault(&self, why: impl Into<String>) -> Error {
        self.fault_at(Some(self.number), why)
    }

    /// Creates an error in a line, or in the file.
    pub fn fault_at(&self, line: Option<u64>, why: impl Into<String>) -> Error {
        Error::Export { path: self.path.clone(), line, why: why.into() }
    }
}
