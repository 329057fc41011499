//! What an export consists of: its files, and the users and groups that stand in them.
//!
//! A file is read from its beginning to its end, one user or group at a time, and never held
//! whole: exports are gigabytes. What stands in it is checked wherever it is read, so that the
//! second reading, which sends it, trusts nothing that the first one saw.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::csv::Rows;
use super::jsonl::Documents;
use super::line_reader::Lines;
use crate::cli::error::Error;
use crate::grpc::pb;

/// What one file of an export has.
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
    /// In the order in which they are sent: accounts name the users that were known by their
    /// fingerprints only until then.
    pub const ALL: [Self; 3] = [Self::Groups, Self::Friends, Self::Accounts];

    /// As the flags have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Friends => "friends",
            Self::Accounts => "accounts",
        }
    }

    /// The word for one of its subjects.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Groups => "group",
            Self::Friends => "user",
            Self::Accounts => "account",
        }
    }

    /// The word for one of a subject's list.
    pub fn listed(self) -> &'static str {
        if self == Self::Groups { "member" } else { "friend" }
    }
}

/// How a file is written, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated rows below a header.
    Csv,
    /// A JSON object on each line.
    Lines,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Lines),
            _ => None,
        }
    }
}

/// By what a file that was written to meanwhile is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    /// Its length.
    pub bytes: u64,
    /// When it was written to last, in nanoseconds of Unix time.
    pub modified_ns: u64,
}

impl FileState {
    /// As it is now.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let cannot = |error| Error::Read { path: path.to_owned(), error };
        let metadata = fs::metadata(path).map_err(cannot)?;
        if !metadata.is_file() {
            let why = "is not a regular file; it is read twice, first to check it".to_owned();
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
    /// What it has.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
    /// As it was found.
    pub state: FileState,
    /// How it is written.
    pub format: Format,
}

impl ExportFile {
    /// Looks at the file, without reading it.
    pub fn find(kind: Kind, path: PathBuf) -> Result<Self, Error> {
        let Some(format) = Format::of(&path) else {
            let why = "must end in .csv, .jsonl or .ndjson; nothing else is read".to_owned();
            return Err(Error::Export { path, line: None, why });
        };
        let state = FileState::of(&path)?;
        Ok(Self { kind, path, state, format })
    }

    /// Reads it from its beginning.
    pub fn open(&self) -> Result<Subjects, Error> {
        let lines = Lines::open(&self.path, self.format)?;
        Ok(match self.format {
            Format::Csv => Subjects::Rows(Rows::new(self.kind, lines)?),
            Format::Lines => Subjects::Documents(Documents::new(self.kind, lines)),
        })
    }
}

/// The users or groups of a file, one after the other.
#[derive(Debug)]
pub enum Subjects {
    /// Of a CSV file.
    Rows(Rows),
    /// Of JSON lines.
    Documents(Documents),
}

impl Subjects {
    /// The next one; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        match self {
            Self::Rows(rows) => rows.next(),
            Self::Documents(documents) => documents.next(),
        }
    }

    /// How much was read so far.
    pub fn bytes_read(&self) -> u64 {
        match self {
            Self::Rows(rows) => rows.lines.bytes_read(),
            Self::Documents(documents) => documents.lines.bytes_read(),
        }
    }
}

/// A user or group and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The user or group.
    pub subject: Subject,
}

/// A user or group, with everything that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A group and its members.
    Group(pb::ExportedGroup),
    /// A user and his friends.
    Friends(pb::ExportedFriends),
    /// An account.
    Account(String),
}

impl Subject {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Group(group) => &group.group_id,
            Self::Friends(friends) => &friends.user_id,
            Self::Account(user_id) => user_id,
        }
    }

    /// The same, without the rest.
    pub fn into_id(self) -> String {
        match self {
            Self::Group(group) => group.group_id,
            Self::Friends(friends) => friends.user_id,
            Self::Account(user_id) => user_id,
        }
    }

    /// How many facts it is: the account or group itself, each friend and each member.
    pub fn facts(&self) -> usize {
        match self {
            Self::Group(group) => 1 + group.member_ids.len(),
            Self::Friends(friends) => friends.friend_ids.len(),
            Self::Account(_) => 1,
        }
    }
}
