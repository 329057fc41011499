//! Exports as CSV: comma-separated rows below a header, by RFC 4180.
//!
//! A row is a line. Ids contain no line breaks, so a quote that is not closed on its line is an
//! error, and does not consume the rest of the file. The rows of one user or group must be
//! adjacent, so that it is complete before the rest of the file is read.

use super::export::{Item, Kind, Subject};
use super::line_reader::LineReader;
use super::rules;
use crate::cli::error::Error;
use crate::grpc::pb;

const MAX_MEMBERS: &str = "max_members";

/// Returns the required columns; a file of groups may also have `max_members`.
fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Groups => &["group_id", "type", "member_id"],
        Kind::Friends => &["user_id", "friend_id"],
        Kind::Accounts => &["user_id"],
    }
}

/// Reads a CSV file.
#[derive(Debug)]
pub struct CsvReader {
    kind: Kind,
    /// Lines of the file.
    pub lines: LineReader,
    /// Index in a row of each of `columns`, and last of `max_members`, if the file has it.
    positions: Vec<usize>,
    width: usize,
    /// The first row of the next user or group.
    lookahead: Option<Row>,
}

/// A parsed row.
#[derive(Debug)]
struct Row {
    line: u64,
    id: String,
    group_type: String,
    max_members: Option<u32>,
    /// The friend or member; `None` for a group without members.
    listed: Option<String>,
}

impl CsvReader {
    /// Reads the header.
    pub fn new(kind: Kind, mut lines: LineReader) -> Result<Self, Error> {
        let wanted = columns(kind);
        let Some(header) = lines.next()? else {
            let why = format!("is empty; must begin with the header {}", wanted.join(","));
            return Err(lines.fault_at(None, why));
        };
        let names = split(header).map_err(|why| lines.fault(why))?;
        let positions = positions(kind, &names).map_err(|why| lines.fault(why))?;
        Ok(Self { kind, lines, positions, width: names.len(), lookahead: None })
    }

    /// Returns the next user or group; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        let Some(mut first) = self.row()? else { return Ok(None) };
        let line = first.line;
        let mut listed: Vec<String> = first.listed.take().into_iter().collect();
        while self.kind != Kind::Accounts {
            let Some(row) = self.row()? else { break };
            if row.id != first.id {
                self.lookahead = Some(row);
                break;
            }
            self.check_follows(&first, listed.len(), &row)?;
            listed.extend(row.listed);
        }
        if let Some((before, again)) = rules::find_duplicate(&listed) {
            let at = |index: usize| line + u64::try_from(index).unwrap_or(0);
            let why = format!(
                "{} {:?} of {} {:?} is repeated from line {}",
                self.kind.listed(),
                listed[again],
                self.kind.subject(),
                first.id,
                at(before)
            );
            return Err(self.lines.fault_at(Some(at(again)), why));
        }
        let Row { id, group_type, max_members, .. } = first;
        let subject = match self.kind {
            Kind::Groups => Subject::Group(pb::ExportedGroup {
                group_id: id,
                r#type: group_type,
                max_members,
                member_ids: listed,
            }),
            Kind::Friends => {
                Subject::Friends(pb::ExportedFriends { user_id: id, friend_ids: listed })
            }
            Kind::Accounts => Subject::Account(id),
        };
        Ok(Some(Item { line, subject }))
    }

    fn row(&mut self) -> Result<Option<Row>, Error> {
        if let Some(row) = self.lookahead.take() {
            return Ok(Some(row));
        }
        let cells = match self.lines.next()? {
            Some(line) => split(line),
            None => return Ok(None),
        };
        let row = cells.and_then(|cells| self.parse_row(cells));
        row.map(Some).map_err(|why| self.lines.fault(why))
    }

    fn parse_row(&self, mut cells: Vec<String>) -> Result<Row, String> {
        if cells.len() != self.width {
            let plural = if cells.len() == 1 { "" } else { "s" };
            return Err(format!("has {} column{plural}, not {}", cells.len(), self.width));
        }
        let mut cells = self.positions.iter().map(|at| std::mem::take(&mut cells[*at]));
        let mut cell = || cells.next().unwrap_or_default();
        let id = cell();
        let mut row = Row {
            line: self.lines.number(),
            id,
            group_type: String::new(),
            max_members: None,
            listed: None,
        };
        match self.kind {
            Kind::Groups => {
                rules::group("group_id", &row.id)?;
                row.group_type = cell();
                rules::group_type(&row.group_type)?;
                row.listed = Some(cell()).filter(|member| !member.is_empty());
                if let Some(member) = &row.listed {
                    rules::user("member_id", member)?;
                }
                if self.positions.len() > columns(self.kind).len() {
                    row.max_members = Some(max_members(&cell())?);
                }
            }
            Kind::Friends => {
                rules::user("user_id", &row.id)?;
                let friend = cell();
                rules::friend("friend_id", &friend, &row.id)?;
                row.listed = Some(friend);
            }
            Kind::Accounts => rules::user("user_id", &row.id)?,
        }
        Ok(row)
    }

    /// Checks a row that follows `first`, whose list has `listed` ids so far.
    fn check_follows(&self, first: &Row, listed: usize, row: &Row) -> Result<(), Error> {
        let fault = |why| Err(self.lines.fault(why));
        let owner = format!("{} {:?}", self.kind.subject(), row.id);
        if row.group_type != first.group_type {
            let (here, there) = (&row.group_type, &first.group_type);
            return fault(format!(
                "{owner} has the type {here:?} here and {there:?} at line {}; its rows must agree",
                first.line
            ));
        }
        if row.max_members != first.max_members {
            let shown = |most: Option<u32>| match most {
                Some(0) | None => "none".to_owned(),
                Some(most) => most.to_string(),
            };
            let (here, there) = (shown(row.max_members), shown(first.max_members));
            return fault(format!(
                "{owner} has the max_members {here} here and {there} at line {}; its rows must \
                 agree",
                first.line
            ));
        }
        if row.listed.is_none() || listed == 0 {
            return fault(format!(
                "{owner} has a row without a member_id among others; only a group without members \
                 may have one"
            ));
        }
        rules::list(&owner, self.kind.listed(), listed + 1).or_else(fault)
    }
}

/// Returns the positions of the columns in a row, from the header.
fn positions(kind: Kind, names: &[String]) -> Result<Vec<usize>, String> {
    let wanted = columns(kind);
    let optional = (kind == Kind::Groups).then_some(MAX_MEMBERS);
    for (at, name) in names.iter().enumerate() {
        if !wanted.contains(&name.as_str()) && Some(name.as_str()) != optional {
            let also = optional.map(|name| format!(" and optionally {name}")).unwrap_or_default();
            let shown: String = name.chars().take(64).collect();
            return Err(format!(
                "has an unknown column {shown:?}; the columns are {}{also}",
                wanted.join(", ")
            ));
        }
        if names[..at].contains(name) {
            return Err(format!("has the column {name:?} twice"));
        }
    }
    let position = |name: &str| names.iter().position(|found| found == name);
    let required = wanted
        .iter()
        .map(|name| position(name).ok_or_else(|| format!("must have a column {name:?}")));
    required.chain(position(MAX_MEMBERS).map(Ok)).collect()
}

fn max_members(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|most| is_plain && *most > 0).ok_or_else(|| {
        let shown: String = text.chars().take(32).collect();
        format!(
            "max_members must be 1-{}, or empty if the group has no limit of its own, not \
             {shown:?}",
            u32::MAX
        )
    })
}

/// Splits a row into its fields.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => plain(rest)?,
        };
        fields.push(field);
        rest = match after.strip_prefix(',') {
            Some(rest) => rest,
            None if after.is_empty() => return Ok(fields),
            None => return Err("has text between a closing quote and the next comma".to_owned()),
        };
    }
}

/// Splits off a field that does not begin with a quote; returns it and the rest.
fn plain(text: &str) -> Result<(String, &str), String> {
    let (field, after) = text.split_at(text.find(',').unwrap_or(text.len()));
    if field.contains('"') {
        let why = "has a quote in a field that does not begin with one; write such a field as \
                   \"a\"\"b\"";
        return Err(why.to_owned());
    }
    Ok((field.to_owned(), after))
}

/// Splits off a field after its opening quote; returns it and the rest after the closing quote.
fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    while let Some((part, after)) = rest.split_once('"') {
        field += part;
        match after.strip_prefix('"') {
            Some(after) => rest = after,
            None => return Ok((field, after)),
        }
        field.push('"');
    }
    Err("has a quote that is not closed on its line".to_owned())
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
