//! The files of an export, and the users and groups in them.
//!
//! A file is read from beginning to end, one user or group at a time, and never loaded as a whole:
//! exports are gigabytes. Content is validated whenever it is read, so that the second reading,
//! which sends it, does not rely on the first one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::csv::CsvReader;
use super::jsonl::JsonlReader;
use super::line_reader::LineReader;
use crate::cli::error::Error;
use crate::grpc::pb;

/// Content of a file of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every group and its members.
    Groups,
    /// Every user's friends.
    Friends,
    /// Every account.
    Accounts,
}

impl Kind {
    /// All kinds, in the order in which they are sent: accounts resolve the ids of users reported
    /// by their fingerprints before.
    pub const ALL: [Self; 3] = [Self::Groups, Self::Friends, Self::Accounts];

    /// Returns the name of the option for the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Friends => "friends",
            Self::Accounts => "accounts",
        }
    }

    /// Returns the noun for one of its subjects.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Groups => "group",
            Self::Friends => "user",
            Self::Accounts => "account",
        }
    }

    /// Returns the noun for an entry of a subject's list.
    pub fn listed(self) -> &'static str {
        if self == Self::Groups { "member" } else { "friend" }
    }
}

/// Format of a file, by the extension of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated rows below a header.
    Csv,
    /// A JSON object on each line.
    JsonLines,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// Size and modification time of a file, by which a change is detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    /// Length in bytes.
    pub bytes: u64,
    /// Modification time, in nanoseconds of Unix time.
    pub modified_ns: u64,
}

impl FileState {
    /// Reads the current state of a file.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let cannot = |error| Error::Read { path: path.to_owned(), error };
        let metadata = fs::metadata(path).map_err(cannot)?;
        if !metadata.is_file() {
            let why = "is not a regular file; it must be readable twice".to_owned();
            return Err(Error::Export { path: path.to_owned(), line: None, why });
        }
        let modified = metadata.modified().map_err(cannot)?;
        let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let modified_ns = u64::try_from(modified).unwrap_or(u64::MAX);
        Ok(Self { bytes: metadata.len(), modified_ns })
    }
}

/// One file of an export.
#[derive(Debug, Clone)]
pub struct ExportFile {
    /// Content of the file.
    pub kind: Kind,
    /// Path of the file.
    pub path: PathBuf,
    /// Size and time of the file when it was found.
    pub state: FileState,
    /// Format of the file.
    pub format: Format,
}

impl ExportFile {
    /// Determines format and state of a file, without reading it.
    pub fn find(kind: Kind, path: PathBuf) -> Result<Self, Error> {
        let Some(format) = Format::of(&path) else {
            let why = "must end in .csv, .jsonl or .ndjson".to_owned();
            return Err(Error::Export { path, line: None, why });
        };
        let state = FileState::of(&path)?;
        Ok(Self { kind, path, state, format })
    }

    /// Opens the file at its beginning.
    pub fn open(&self) -> Result<Subjects, Error> {
        let lines = LineReader::open(&self.path, self.format)?;
        Ok(match self.format {
            Format::Csv => Subjects::Csv(CsvReader::new(self.kind, lines)?),
            Format::JsonLines => Subjects::Jsonl(JsonlReader::new(self.kind, lines)),
        })
    }
}

/// Iterates over the users or groups of a file.
#[derive(Debug)]
pub enum Subjects {
    /// Of a CSV file.
    Csv(CsvReader),
    /// Of JSON lines.
    Jsonl(JsonlReader),
}

impl Subjects {
    /// Returns the next user or group; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Jsonl(documents) => documents.next(),
        }
    }

    /// Returns how many bytes were read so far.
    pub fn bytes_read(&self) -> u64 {
        match self {
            Self::Csv(rows) => rows.lines.bytes_read(),
            Self::Jsonl(documents) => documents.lines.bytes_read(),
        }
    }
}

/// A user or group and its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The user or group.
    pub subject: Subject,
}

/// A user or group, with its list.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A group and its members.
    Group(pb::ExportedGroup),
    /// A user and their friends.
    Friends(pb::ExportedFriends),
    /// An account.
    Account(String),
}

impl Subject {
    /// Returns the id.
    pub fn id(&self) -> &str {
        match self {
            Self::Group(group) => &group.group_id,
            Self::Friends(friends) => &friends.user_id,
            Self::Account(user_id) => user_id,
        }
    }

    /// Returns the id, without a copy.
    pub fn into_id(self) -> String {
        match self {
            Self::Group(group) => group.group_id,
            Self::Friends(friends) => friends.user_id,
            Self::Account(user_id) => user_id,
        }
    }

    /// Returns the number of facts: the account or group itself, each friend and each member.
    pub fn facts(&self) -> usize {
        match self {
            Self::Group(group) => 1 + group.member_ids.len(),
            Self::Friends(friends) => friends.friend_ids.len(),
            Self::Account(_) => 1,
        }
    }
}
