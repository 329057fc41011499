//! Reads the files of an export for the second time and splits them into messages.
//!
//! A user or group is never split, since facts that its message does not have count as removed.

use tokio::sync::mpsc::Sender;

use super::check::Checked;
use super::export::{ExportFile, FileState, Kind, Subject};
use crate::cli::error::Error;
use crate::grpc::pb::ReconcileFacts;

/// Most facts of a message, unless one user or group has more: a tenth of the protocol's limit, so
/// that responses arrive, and the checkpoint advances, many times a second.
const FACTS_PER_MESSAGE: usize = 1000;
/// Most ids of a message that only names users or groups that are done.
const DONE_IDS_PER_MESSAGE: usize = 4000;

/// A file, and the number of its users or groups that were compared by an earlier run.
#[derive(Debug, Clone)]
pub struct PendingFile {
    /// The file.
    pub checked: Checked,
    /// Number of users or groups at its beginning that were compared already.
    pub done: u64,
}

/// One message and a description of its content.
#[derive(Debug)]
pub struct Part {
    /// The message.
    pub message: ReconcileFacts,
    /// Its content.
    pub content: Content,
    /// Sum of the weights of its users or groups.
    weight: usize,
}

/// Content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Kind of the file.
    pub kind: Kind,
    /// Number of users or groups.
    pub subjects: u64,
    /// Number of facts.
    pub facts: u64,
    /// `true` if they were compared by an earlier run, and are only named.
    pub is_done: bool,
}

/// Sends the messages of all files, and last an error, if any; stops when the receiver is dropped.
pub fn send_files(files: &[PendingFile], to: &Sender<Result<Part, Error>>) {
    let mut send = |part: Part| to.blocking_send(Ok(part)).is_ok();
    for file in files {
        match send_file(file, &mut send) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // It fails only if the receiver was dropped.
                let _ = to.blocking_send(Err(error));
                return;
            }
        }
    }
}

/// Sends the messages of one file; returns `false` if the receiver was dropped.
fn send_file(pending: &PendingFile, send: &mut dyn FnMut(Part) -> bool) -> Result<bool, Error> {
    let Checked { file, facts } = &pending.checked;
    check_unchanged(file)?;
    let mut subjects = file.open()?;
    let (mut count, mut sent) = (0, 0);
    let mut part = Part::new(file.kind, pending.done > 0);
    while let Some(item) = subjects.next().map_err(|error| changed(file, &error.to_string()))? {
        let is_done = count < pending.done;
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
        return Err(changed(file, "its number of facts differs"));
    }
    check_unchanged(file)?;
    Ok(part.content.subjects == 0 || send(part))
}

fn check_unchanged(file: &ExportFile) -> Result<(), Error> {
    if FileState::of(&file.path)? == file.state {
        return Ok(());
    }
    Err(changed(file, "its size or modification time differs"))
}

fn changed(file: &ExportFile, how: &str) -> Error {
    let why = format!(
        "was changed after it was checked ({how}); run the command again when it is not written to"
    );
    Error::Export { path: file.path.clone(), line: None, why }
}

impl Part {
    fn new(kind: Kind, is_done: bool) -> Self {
        let content = Content { kind, subjects: 0, facts: 0, is_done };
        Self { message: ReconcileFacts::default(), content, weight: 0 }
    }

    fn has_room_for(&self, subject: &Subject, is_done: bool) -> bool {
        let most = if is_done { DONE_IDS_PER_MESSAGE } else { FACTS_PER_MESSAGE };
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

/// Returns the weight of a user or group; at least 1, also for a user without friends.
fn weight(subject: &Subject, is_done: bool) -> usize {
    if is_done { 1 } else { subject.facts().max(1) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;

    use super::*;

    fn pending(kind: Kind, name: &str, text: &str, done: u64) -> (tempfile::TempDir, PendingFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let file = ExportFile::find(kind, path).unwrap();
        let checked = super::super::check::check(vec![file]).unwrap().remove(0);
        (folder, PendingFile { checked, done })
    }

    fn parts(pending: &PendingFile) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        send_file(pending, &mut |part| {
            parts.push(part);
            true
        })?;
        Ok(parts)
    }

    /// Returns JSON lines of groups with these numbers of members.
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
    fn a_message_has_about_a_thousand_facts_and_whole_groups() {
        let text = groups(&[399, 599, 0, 1500, 0, 998]);
        let (_folder, pending) = pending(Kind::Groups, "g.jsonl", &text, 0);
        let parts = parts(&pending).unwrap();
        let facts: Vec<_> = parts.iter().map(|part| part.content.facts).collect();
        assert_eq!(facts, [1000, 1, 1501, 1000]);
        let sent = |part: &Part| part.message.groups.len();
        assert_eq!(parts.iter().map(sent).collect::<Vec<_>>(), [2, 1, 1, 2]);
    }

    #[test]
    fn groups_that_are_done_are_only_named() {
        let text = groups(&[1, 2, 3]);
        let (_folder, pending) = pending(Kind::Groups, "g.jsonl", &text, 2);
        let parts = parts(&pending).unwrap();
        assert_eq!(parts[0].message.done_group_ids, ["g0", "g1"]);
        let content = Content { kind: Kind::Groups, subjects: 2, facts: 5, is_done: true };
        assert_eq!(parts[0].content, content);
        assert_eq!(parts[1].message.groups[0].group_id, "g2");
        assert_eq!((parts[1].content.facts, parts.len()), (4, 2));
    }

    #[test]
    fn a_file_that_is_changed_meanwhile_ends_the_run() {
        let (_folder, pending) = pending(Kind::Accounts, "a.csv", "user_id\nu1\n", 0);
        fs::write(&pending.checked.file.path, "user_id\nu1\nu2\n").unwrap();
        let error = parts(&pending).unwrap_err().to_string();
        assert!(error.contains("its size or modification time differs"), "{error}");
    }
}
