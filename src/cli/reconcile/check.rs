//! Reads every file of an export through before anything is sent: a mistake in its last line is
//! found while nothing was changed yet, and the number of facts is known.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::export::{ExportFile, Format, Kind};
use crate::cli::error::Error;
use crate::cli::output::Progress;

/// How many users or groups are read before the bar moves.
const BAR_EVERY: u64 = 1024;

/// A file that was checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The file, as it was before the check began.
    pub file: ExportFile,
    /// How many facts it has.
    pub facts: u64,
}

/// Checks all of them, up to the first mistake.
pub fn check(files: Vec<ExportFile>) -> Result<Vec<Checked>, Error> {
    let bytes = files.iter().map(|file| file.state.bytes).sum();
    let bar = Progress::of_bytes("checking", bytes);
    let mut before = 0;
    let mut checked = Vec::with_capacity(files.len());
    for file in files {
        let facts = check_one(&file, |read| bar.reach(before + read))?;
        before += file.state.bytes;
        checked.push(Checked { file, facts });
    }
    Ok(checked)
}

/// Reads a file through and counts its facts.
fn check_one(file: &ExportFile, read: impl Fn(u64)) -> Result<u64, Error> {
    let mut subjects = file.open()?;
    // Of each id only a hash is kept: 8 bytes instead of a text. Two ids that share one are told
    // apart by looking for the first of them in the file.
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
                why: came_before(file, id, first),
            });
        }
        facts += u64::try_from(item.subject.facts()).unwrap_or(0);
        count += 1;
        if count % BAR_EVERY == 0 {
            read(subjects.bytes_read());
        }
    }
    read(subjects.bytes_read());
    Ok(facts)
}

/// The line before that one on which a user or group of this id begins.
fn line_of(file: &ExportFile, id: &str, before: u64) -> Result<Option<u64>, Error> {
    let mut subjects = file.open()?;
    while let Some(item) = subjects.next()?.filter(|item| item.line < before) {
        if item.subject.id() == id {
            return Ok(Some(item.line));
        }
    }
    Ok(None)
}

fn came_before(file: &ExportFile, id: &str, first: u64) -> String {
    let what = file.kind.subject();
    let rule = match (file.kind, file.format) {
        (Kind::Accounts, _) => "each account stands once".to_owned(),
        (Kind::Groups, Format::Csv) => {
            "rows of a group have to stand together (sort by group_id)".to_owned()
        }
        (Kind::Friends, Format::Csv) => {
            "rows of a user have to stand together (sort by user_id)".to_owned()
        }
        (_, Format::Lines) => format!("each {what} has one line"),
    };
    format!("{what} {id:?} came before at line {first}; {rule}")
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
        let said = |error: Error| error.to_string().replace(&prefix, "");
        check_one(&file, |_| ()).map_err(said)
    }

    #[test]
    fn an_account_a_friend_a_group_and_a_member_are_a_fact_each() {
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
    fn what_stands_twice_is_named_with_both_its_lines() {
        for (kind, name, text, wanted) in [
            (
                Kind::Groups,
                "groups.csv",
                "group_id,type,member_id\ng1,A,u1\ng1,A,u2\ng2,A,u1\ng1,A,u3\n",
                "groups.csv:5: group \"g1\" came before at line 2; rows of a group have to stand \
                 together (sort by group_id)",
            ),
            (
                Kind::Friends,
                "f.csv",
                "user_id,friend_id\nu1,u2\nu2,u1\nu1,u3\n",
                "f.csv:4: user \"u1\" came before at line 2; rows of a user have to stand \
                 together (sort by user_id)",
            ),
            (
                Kind::Accounts,
                "a.csv",
                "user_id\nu1\nu1\n",
                "a.csv:3: account \"u1\" came before at line 2; each account stands once",
            ),
            (
                Kind::Groups,
                "g.ndjson",
                "{\"group_id\":\"g\",\"type\":\"A\"}\n{\"group_id\":\"g\",\"type\":\"A\"}\n",
                "g.ndjson:2: group \"g\" came before at line 1; each group has one line",
            ),
        ] {
            assert_eq!(found(kind, name, text), Err(wanted.to_owned()));
        }
    }
}
