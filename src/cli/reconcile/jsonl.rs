//! Exports as JSON lines: each line is an object with a whole user or group.

use std::num::NonZeroU32;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::export::{Item, Kind, Subject};
use super::line_reader::LineReader;
use super::rules;
use crate::cli::error::Error;
use crate::grpc::pb;

/// Longest parse error that is shown, in characters; it may quote megabytes.
const WHY_MAX_CHARS: usize = 160;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountLine {
    user_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FriendsLine {
    user_id: String,
    friend_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupLine {
    group_id: String,
    r#type: String,
    #[serde(default, deserialize_with = "own_limit")]
    max_members: Option<u32>,
    #[serde(default)]
    member_ids: Vec<String>,
}

/// Deserializes a group's own limit: `null` becomes 0, a group without a limit of its own; an
/// absent field is not compared.
fn own_limit<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u32>, D::Error> {
    let limit = Option::<NonZeroU32>::deserialize(value)?;
    Ok(Some(limit.map_or(0, NonZeroU32::get)))
}

/// Reads a file of JSON lines.
#[derive(Debug)]
pub struct JsonlReader {
    kind: Kind,
    /// Lines of the file.
    pub lines: LineReader,
}

impl JsonlReader {
    /// Creates a reader; it reads nothing yet.
    pub fn new(kind: Kind, lines: LineReader) -> Self {
        Self { kind, lines }
    }

    /// Returns the next user or group; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        let is_first = self.lines.number() == 0;
        let subject = match self.lines.next()? {
            Some(line) => subject(self.kind, line),
            None if is_first => {
                let why = format!(
                    "is empty, as if the export had failed; if there are no {}, give a CSV file \
                     with only its header",
                    self.kind.name()
                );
                return Err(self.lines.fault_at(None, why));
            }
            None => return Ok(None),
        };
        let subject = subject.map_err(|why| self.lines.fault(why))?;
        Ok(Some(Item { line: self.lines.number(), subject }))
    }
}

fn subject(kind: Kind, line: &str) -> Result<Subject, String> {
    Ok(match kind {
        Kind::Groups => {
            let example =
                r#"{"group_id":"g1","type":"Public","max_members":200,"member_ids":["u1"]}"#;
            let GroupLine { group_id, r#type, max_members, member_ids } = parse(line, example)?;
            rules::group("group_id", &group_id)?;
            rules::group_type(&r#type)?;
            list(kind, &group_id, "member_ids", &member_ids, rules::user)?;
            Subject::Group(pb::ExportedGroup { group_id, r#type, max_members, member_ids })
        }
        Kind::Friends => {
            let example = r#"{"user_id":"u1","friend_ids":["u2","u3"]}"#;
            let FriendsLine { user_id, friend_ids } = parse(line, example)?;
            rules::user("user_id", &user_id)?;
            let friend = |field: &str, id: &str| rules::friend(field, id, &user_id);
            list(kind, &user_id, "friend_ids", &friend_ids, friend)?;
            Subject::Friends(pb::ExportedFriends { user_id, friend_ids })
        }
        Kind::Accounts => {
            let AccountLine { user_id } = parse(line, r#"{"user_id":"u1"}"#)?;
            rules::user("user_id", &user_id)?;
            Subject::Account(user_id)
        }
    })
}

fn parse<T: DeserializeOwned>(line: &str, example: &str) -> Result<T, String> {
    // serde would also accept an array with the values in the order of the fields.
    if !line.trim_start().starts_with('{') {
        return Err(format!("must be an object such as {example}"));
    }
    serde_json::from_str(line).map_err(|error| {
        let text = error.to_string();
        // The line number in the text is always 1.
        let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
        let why: String = why.chars().take(WHY_MAX_CHARS).collect();
        format!("must be an object such as {example}; at byte {}: {why}", error.column())
    })
}

fn list(
    kind: Kind,
    owner: &str,
    field: &str,
    ids: &[String],
    check: impl Fn(&str, &str) -> Result<(), String>,
) -> Result<(), String> {
    rules::list(&format!("{} {owner:?}", kind.subject()), kind.listed(), ids.len())?;
    for (at, id) in ids.iter().enumerate() {
        // The field's name is only formatted for an error.
        check("", id).or_else(|_| check(&format!("{field}[{at}]"), id))?;
    }
    match rules::find_duplicate(ids) {
        Some((first, again)) => Err(format!(
            "{field}[{again}] is {:?}, as {field}[{first}] is; a {} must not be repeated",
            ids[again],
            kind.listed()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "jsonl_tests.rs"]
mod tests;
