//! Reads every file of an export before anything is sent: an error in the last line is found before
//! anything is changed, and the facts are counted.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::export::{ExportFile, Format, Kind};
use crate::cli::error::Error;
use crate::cli::output::Progress;

/// Users or groups between two updates of the progress bar.
const SUBJECTS_PER_UPDATE: u64 = 1024;

/// A checked file.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The file, with its state before the check began.
    pub file: ExportFile,
    /// Number of its facts.
    pub facts: u64,
}

/// Checks all files, up to the first error.
pub fn check(files: Vec<ExportFile>) -> Result<Vec<Checked>, Error> {
    let bytes = files.iter().map(|file| file.state.bytes).sum();
    let bar = Progress::of_bytes("checking", bytes);
    let mut before = 0;
    let mut checked = Vec::with_capacity(files.len());
    for file in files {
        let facts = check_one(&file, |read| bar.set_position(before + read))?;
        before += file.state.bytes;
        checked.push(Checked { file, facts });
    }
    Ok(checked)
}

/// Reads a file and counts its facts.
fn check_one(file: &ExportFile, read: impl Fn(u64)) -> Result<u64, Error> {
    let mut subjects = file.open()?;
    // Only a hash of each id is kept: 8 bytes instead of a text. If two hashes are equal, the file
    // is searched for the first id, to rule out a collision.
    let hashing = RandomState::new();
    let mut seen: HashSet<u64> = HashSet::new();
    let (mut facts, mut count) = (0, 0);
    while let Some(item) = subjects.next()? {
        let id = item.subject.id();
        if !seen.insert(hashing.hash_one(id))
            && let Some(first) = line_of(file, id, item.line)?
        {
            return Err(Error::Export {
                path: file.path.clone(),
                line: Some(item.line),
                why: duplicate_error(file, id, first),
            });
        }
        facts += u64::try_from(item.subject.facts()).unwrap_or(0);
        count += 1;
        if count % SUBJECTS_PER_UPDATE == 0 {
            read(subjects.bytes_read());
        }
    }
    read(subjects.bytes_read());
    Ok(facts)
}

/// Returns the line before `before` on which the user or group with this id begins.
fn line_of(file: &ExportFile, id: &str, before: u64) -> Result<Option<u64>, Error> {
    let mut subjects = file.open()?;
    while let Some(item) = subjects.next()?.filter(|item| item.line < before) {
        if item.subject.id() == id {
            return Ok(Some(item.line));
        }
    }
    Ok(None)
}

fn duplicate_error(file: &ExportFile, id: &str, first: u64) -> String {
    let what = file.kind.subject();
    let rule = match (file.kind, file.format) {
        (Kind::Accounts, _) => "an account must not be repeated".to_owned(),
        (Kind::Groups, Format::Csv) => {
            "the rows of a group must be adjacent (sort by group_id)".to_owned()
        }
        (Kind::Friends, Format::Csv) => {
            "the rows of a user must be adjacent (sort by user_id)".to_owned()
        }
        (_, Format::JsonLines) => format!("a {what} must have only one line"),
    };
    format!("{what} {id:?} is repeated from line {first}; {rule}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(kind: Kind, name: &str, text: &str) -> Result<u64, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let file = ExportFile::find(kind, path).unwrap();
        let prefix = format!("{}/", folder.path().display());
        let text = |error: Error| error.to_string().replace(&prefix, "");
        check_one(&file, |_| ()).map_err(text)
    }

    #[test]
    fn accounts_friends_groups_and_members_are_counted_as_facts() {
        for (kind, name, text, facts) in [
            (Kind::Accounts, "a.csv", "user_id\nu1\nu2\n", 2),
            (Kind::Accounts, "a.csv", "user_id\n", 0),
            (Kind::Friends, "f.csv", "user_id,friend_id\nu1,u2\nu1,u3\nu2,u1\n", 3),
            (Kind::Friends, "f.jsonl", "{\"user_id\":\"u1\",\"friend_ids\":[]}\n", 0),
            (Kind::Groups, "g.csv", "group_id,type,member_id\ng1,A,u1\ng1,A,u2\ng2,A,\n", 4),
        ] {
            assert_eq!(found(kind, name, text), Ok(facts), "{text}");
        }
    }

    #[test]
    fn a_repeated_subject_is_reported_with_both_lines() {
        for (kind, name, text, wanted) in [
            (
                Kind::Groups,
                "groups.csv",
                "group_id,type,member_id\ng1,A,u1\ng1,A,u2\ng2,A,u1\ng1,A,u3\n",
                "groups.csv:5: group \"g1\" is repeated from line 2; the rows of a group must be \
                 adjacent (sort by group_id)",
            ),
            (
                Kind::Friends,
                "f.csv",
                "user_id,friend_id\nu1,u2\nu2,u1\nu1,u3\n",
                "f.csv:4: user \"u1\" is repeated from line 2; the rows of a user must be adjacent \
                 (sort by user_id)",
            ),
            (
                Kind::Accounts,
                "a.csv",
                "user_id\nu1\nu1\n",
                "a.csv:3: account \"u1\" is repeated from line 2; an account must not be repeated",
            ),
            (
                Kind::Groups,
                "g.ndjson",
                "{\"group_id\":\"g\",\"type\":\"A\"}\n{\"group_id\":\"g\",\"type\":\"A\"}\n",
                "g.ndjson:2: group \"g\" is repeated from line 1; a group must have only one line",
            ),
        ] {
            assert_eq!(found(kind, name, text), Err(wanted.to_owned()));
        }
    }
}
