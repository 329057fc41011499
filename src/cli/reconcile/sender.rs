//! Reads the files of an export once more and cuts them into messages.
//!
//! A user or group is never split, since what its message does not have counts as gone.

use tokio::sync::mpsc::Sender;

use super::check::Checked;
use super::export::{ExportFile, FileState, Kind, Subject};
use crate::cli::error::Error;
use crate::grpc::pb::ReconcileFacts;

/// Facts of a message, unless one user or group has more: a tenth of what the protocol allows,
/// so that an answer comes, and a checkpoint moves, many times a second.
const FACTS: usize = 1000;
/// Ids of a message that only names what is done.
const DONE_IDS: usize = 4000;

/// A file and how much of it is to be compared.
#[derive(Debug, Clone)]
pub struct Share {
    /// The file.
    pub checked: Checked,
    /// So many users or groups at its beginning were compared already.
    pub done: u64,
}

/// One message and what it has.
#[derive(Debug)]
pub struct Part {
    /// What is sent.
    pub message: ReconcileFacts,
    /// What it is about.
    pub content: Content,
    /// How much of a message's room it takes.
    weight: usize,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Of which file.
    pub kind: Kind,
    /// How many users or groups.
    pub subjects: u64,
    /// How many facts.
    pub facts: u64,
    /// They were compared before, and are only named.
    pub is_done: bool,
}

/// Sends the messages of all files, or why they come to an end; stops when nobody listens.
pub fn feed(shares: &[Share], to: &Sender<Result<Part, Error>>) {
    let mut send = |part: Part| to.blocking_send(Ok(part)).is_ok();
    for share in shares {
        match feed_one(share, &mut send) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // Nobody listens: then nobody wants to know either.
                let _ = to.blocking_send(Err(error));
                return;
            }
        }
    }
}

/// The messages of one file; `false` when nobody wants them any more.
fn feed_one(share: &Share, send: &mut dyn FnMut(Part) -> bool) -> Result<bool, Error> {
    let Checked { file, facts } = &share.checked;
    check_unchanged(file)?;
    let mut subjects = file.open()?;
    let (mut count, mut sent) = (0, 0);
    let mut part = Part::new(file.kind, share.done > 0);
    while let Some(item) = subjects.next().map_err(|error| changed(file, &error.to_string()))? {
        let is_done = count < share.done;
        count += 1;
        if !part.has_room_for(&item.subject, is_done) {
            sent += part.content.facts;
            let full = std::mem::replace(&mut part, Part::new(file.kind, is_done));
            if !send(full) {
                return Ok(false);
            }
        }
        part.add(item.subject);
    }
    sent += part.content.facts;
    if sent != *facts {
        return Err(changed(file, "it has another number of facts"));
    }
    check_unchanged(file)?;
    Ok(part.content.subjects == 0 || send(part))
}

fn check_unchanged(file: &ExportFile) -> Result<(), Error> {
    if FileState::of(&file.path)? == file.state {
        return Ok(());
    }
    Err(changed(file, "its size or time is another"))
}

fn changed(file: &ExportFile, how: &str) -> Error {
    let why = format!(
        "was changed after it was checked ({how}); run the command again when nobody writes to it"
    );
    Error::Export { path: file.path.clone(), line: None, why }
}

impl Part {
    fn new(kind: Kind, is_done: bool) -> Self {
        let content = Content { kind, subjects: 0, facts: 0, is_done };
        Self { message: ReconcileFacts::default(), content, weight: 0 }
    }

    fn has_room_for(&self, subject: &Subject, is_done: bool) -> bool {
        let most = if is_done { DONE_IDS } else { FACTS };
        let fits = self.weight + weight(subject, is_done) <= most;
        is_done == self.content.is_done && (fits || self.weight == 0)
    }

    fn add(&mut self, subject: Subject) {
        let Content { is_done, .. } = self.content;
        self.weight += weight(&subject, is_done);
        self.content.subjects += 1;
        self.content.facts += u64::try_from(subject.facts()).unwrap_or(0);
        let message = &mut self.message;
        match (subject, is_done) {
            (Subject::Group(group), false) => message.groups.push(group),
            (Subject::Friends(friends), false) => message.friends.push(friends),
            (Subject::Account(user_id), false) => message.account_user_ids.push(user_id),
            (subject @ Subject::Group(_), true) => message.done_group_ids.push(subject.into_id()),
            (subject @ Subject::Friends(_), true) => {
                message.done_friends_user_ids.push(subject.into_id());
            }
            (Subject::Account(user_id), true) => message.done_account_user_ids.push(user_id),
        }
    }
}

/// A user without friends takes room too.
fn weight(subject: &Subject, is_done: bool) -> usize {
    if is_done { 1 } else { subject.facts().max(1) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;

    use super::*;

    fn share(kind: Kind, name: &str, text: &str, done: u64) -> (tempfile::TempDir, Share) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let file = ExportFile::find(kind, path).unwrap();
        let checked = super::super::check::check(vec![file]).unwrap().remove(0);
        (folder, Share { checked, done })
    }

    fn parts(share: &Share) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        feed_one(share, &mut |part| {
            parts.push(part);
            true
        })?;
        Ok(parts)
    }

    /// A group a line, with so many members each.
    fn groups(sizes: &[usize]) -> String {
        let mut text = String::new();
        for (number, size) in sizes.iter().enumerate() {
            let members: Vec<_> = (0..*size).map(|member| format!("\"u{member}\"")).collect();
            let members = members.join(",");
            let _ = write!(text, "{{\"group_id\":\"g{number}\",\"type\":\"A\",");
            let _ = writeln!(text, "\"member_ids\":[{members}]}}");
        }
        text
    }

    #[test]
    fn a_message_has_about_a_thousand_facts_and_never_half_a_group() {
        let text = groups(&[399, 599, 0, 1500, 0, 998]);
        let (_folder, share) = share(Kind::Groups, "g.jsonl", &text, 0);
        let parts = parts(&share).unwrap();
        let facts: Vec<_> = parts.iter().map(|part| part.content.facts).collect();
        assert_eq!(facts, [1000, 1, 1501, 1000]);
        let sent = |part: &Part| part.message.groups.len();
        assert_eq!(parts.iter().map(sent).collect::<Vec<_>>(), [2, 1, 1, 2]);
    }

    #[test]
    fn what_is_done_is_only_named() {
        let text = groups(&[1, 2, 3]);
        let (_folder, share) = share(Kind::Groups, "g.jsonl", &text, 2);
        let parts = parts(&share).unwrap();
        assert_eq!(parts[0].message.done_group_ids, ["g0", "g1"]);
        let content = Content { kind: Kind::Groups, subjects: 2, facts: 5, is_done: true };
        assert_eq!(parts[0].content, content);
        assert_eq!(parts[1].message.groups[0].group_id, "g2");
        assert_eq!((parts[1].content.facts, parts.len()), (4, 2));
    }

    #[test]
    fn a_file_that_is_written_to_meanwhile_ends_the_run() {
        let (_folder, share) = share(Kind::Accounts, "a.csv", "user_id\nu1\n", 0);
        fs::write(&share.checked.file.path, "user_id\nu1\nu2\n").unwrap();
        let error = parts(&share).unwrap_err().to_string();
        assert!(error.contains("its size or time is another"), "{error}");
    }
}
