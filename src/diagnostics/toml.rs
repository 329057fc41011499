//! Reads TOML tables by key and collects all problems, with positions.
//!
//! A reader gets the keys of a [`Table`] and calls [`Table::finish`], which reports the keys that
//! were not read. A method that returns `None` for a value has reported the reason. The parser
//! reports its own errors; a line with such an error is not checked further, and since keys may
//! have been lost with it, missing keys are not reported then.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use super::problem::{Lines, PROBLEMS_MAX, Problems};
use super::suggest::{did_you_mean, join_quoted, truncate_for_display};

/// A text, parsed as TOML, and its problems.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    root: DeTable<'t>,
    lines: Lines<'t>,
    /// Lines that the parser could not read, in order.
    unparsed: Vec<usize>,
    found: RefCell<Vec<(usize, String)>>,
}

impl<'t> Document<'t> {
    pub(crate) fn parse(text: &'t str) -> Self {
        let lines = Lines::of(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        let found: Vec<_> = errors
            .iter()
            .map(|error| {
                let span = error.span().unwrap_or_default();
                let read = text.get(span.clone()).unwrap_or_default();
                (span.start.min(text.len()), explain_parse_error(error.message(), read))
            })
            .collect();
        let mut unparsed: Vec<_> = found.iter().map(|(offset, _)| lines.line_of(*offset)).collect();
        unparsed.sort_unstable();
        Self { root: root.into_inner(), lines, unparsed, found: RefCell::new(found) }
    }

    pub(crate) fn root(&self) -> Table<'_> {
        Table::new(self, &self.root, 0, String::new())
    }

    /// Returns whether the parser could read everything, so that no key was lost.
    fn is_complete(&self) -> bool {
        self.unparsed.is_empty()
    }

    /// Returns the result, unless there were problems.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T, Problems> {
        let found = self.found.into_inner();
        match read {
            Some(read) if found.is_empty() => Ok(read),
            _ => {
                debug_assert!(!found.is_empty(), "a failure was reported");
                Err(self.lines.problems(found))
            }
        }
    }

    /// Returns whether the parser could read the line of that offset.
    fn was_parsed(&self, offset: usize) -> bool {
        self.unparsed.binary_search(&self.lines.line_of(offset)).is_err()
    }

    fn report(&self, offset: usize, path: &str, message: impl Display) {
        if self.was_parsed(offset) {
            let colon = if path.is_empty() { "" } else { ": " };
            self.found.borrow_mut().push((offset, format!("{path}{colon}{message}")));
        }
    }
}

/// Rewrites the parser's message about the text that it read. The parser suggests `inf` for `info`
/// and `nan` for `no`, which does not help if quotes are missing.
fn explain_parse_error(message: &str, read: &str) -> String {
    let is_word = ["invalid float", "invalid boolean"].iter().any(|it| message.starts_with(it));
    if is_word && read.starts_with(char::is_alphabetic) {
        "string values must be quoted".to_owned()
    } else {
        // Each problem is one line.
        message.replace('\n', "; ")
    }
}

/// A table, and the keys that were read.
#[derive(Debug)]
pub(crate) struct Table<'d> {
    document: &'d Document<'d>,
    entries: &'d DeTable<'d>,
    offset: usize,
    path: String,
    requested: RefCell<Vec<String>>,
}

impl<'d> Table<'d> {
    fn new(
        document: &'d Document<'d>,
        entries: &'d DeTable<'d>,
        offset: usize,
        path: String,
    ) -> Self {
        Self { document, entries, offset, path, requested: RefCell::default() }
    }

    /// Returns the value of an optional key.
    pub(crate) fn optional(&self, key: &str) -> Option<Value<'d>> {
        if !self.requested.borrow().iter().any(|other| other == key) {
            self.requested.borrow_mut().push(key.to_owned());
        }
        let value = self.entries.get(key)?;
        Some(Value {
            document: self.document,
            node: value.get_ref(),
            offset: value.span().start,
            path: self.path_of(key),
        })
    }

    /// Returns the value of a required key.
    pub(crate) fn required(&self, key: &str) -> Option<Value<'d>> {
        let value = self.optional(key);
        if value.is_none() {
            self.missing(key, "");
        }
        value
    }

    /// Reports that a key is missing, and `why` it is required.
    pub(crate) fn missing(&self, key: &str, why: &str) {
        if self.document.is_complete() {
            let message = format!("\"{key}\" is missing{why}");
            self.document.report(self.offset, &self.path, message);
        }
    }

    /// Returns all keys of the table, read or not.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'d str> {
        self.entries.keys().map(|key| key.get_ref().as_ref())
    }

    /// Reports the keys that were not read; returns the keys that were probably meant.
    pub(crate) fn finish(self) -> Vec<String> {
        let requested = self.requested.borrow();
        let mut meant = Vec::new();
        let unknown =
            self.entries.keys().filter(|key| !requested.iter().any(|a| a == key.get_ref()));
        for (index, key) in unknown.enumerate() {
            let offset = key.span().start;
            // After a line that could not be parsed, keys may be in the wrong table.
            let line = self.document.lines.line_of(offset);
            if self.document.unparsed.first().is_some_and(|unparsed| *unparsed <= line) {
                continue;
            }
            // Each suggestion costs a search, and beyond this number problems are not shown anyway.
            let mut hint = String::new();
            if index < PROBLEMS_MAX {
                let known = self.did_you_mean(key.get_ref(), &requested);
                meant.extend(known.map(ToOwned::to_owned));
                hint = match known {
                    Some(known) => format!("; did you mean \"{known}\"?"),
                    None => format!("; the keys here are {}", join_quoted(requested.iter())),
                };
            }
            let path = self.path_of(key.get_ref());
            self.document.report(offset, &path, format!("unknown key{hint}"));
        }
        meant
    }

    /// Returns the key that was probably meant by an unknown one.
    fn did_you_mean<'k>(&self, key: &str, requested: &'k [String]) -> Option<&'k str> {
        let free = requested.iter().filter(|known| !self.entries.contains_key(known.as_str()));
        did_you_mean(key, free.map(String::as_str))
    }

    fn path_of(&self, key: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let shown = truncate_for_display(key);
        let bare = !shown.is_empty() && shown.bytes().all(plain);
        let shown = if bare { shown } else { format!("{shown:?}") };
        if self.path.is_empty() { shown } else { format!("{}.{shown}", self.path) }
    }
}

/// A value and its position.
#[derive(Debug, Clone)]
pub(crate) struct Value<'d> {
    document: &'d Document<'d>,
    node: &'d DeValue<'d>,
    offset: usize,
    path: String,
}

impl<'d> Value<'d> {
    /// Reports a problem of the value.
    pub(crate) fn problem(&self, message: impl Display) {
        self.document.report(self.offset, &self.path, message);
    }

    /// Returns line and column, from 1.
    pub(crate) fn position(&self) -> (usize, usize) {
        self.document.lines.position(self.offset)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns whether the parser could read the value's line, so that the value is the intended
    /// one.
    pub(crate) fn was_parsed(&self) -> bool {
        self.document.was_parsed(self.offset)
    }

    /// Returns the text, if it is a string; reports nothing.
    pub(crate) fn as_str(&self) -> Option<&'d str> {
        self.node.as_str()
    }

    pub(crate) fn string(&self) -> Option<&'d str> {
        self.or_wrong(self.as_str(), "a string")
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.or_wrong(self.as_boolean(), "true or false")
    }

    /// Returns the value, if it is true or false; reports nothing.
    pub(crate) fn as_boolean(&self) -> Option<bool> {
        self.node.as_bool()
    }

    /// Returns a whole number in that range.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let number = self.as_integer().filter(|number| range.contains(number));
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.or_wrong(number.and_then(|number| T::try_from(number).ok()), &expected)
    }

    /// Returns the number, if it is a whole one that fits; reports nothing.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        let integer = self.node.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    pub(crate) fn table(&self) -> Option<Table<'d>> {
        self.or_wrong(self.as_table(), "a table")
    }

    /// Returns the table, if it is one; reports nothing.
    pub(crate) fn as_table(&self) -> Option<Table<'d>> {
        let entries = self.node.as_table()?;
        Some(Table::new(self.document, entries, self.offset, self.path.clone()))
    }

    /// Returns the elements, if it is an array; reports nothing.
    pub(crate) fn as_array(&self) -> Option<Vec<Self>> {
        let elements = self.node.as_array()?.iter().enumerate().map(|(index, element)| Self {
            document: self.document,
            node: element.get_ref(),
            offset: element.span().start,
            path: format!("{}[{index}]", self.path),
        });
        Some(elements.collect())
    }

    /// Returns an array of tables whose length is in `count`; elements of other types are reported.
    pub(crate) fn tables(&self, count: RangeInclusive<usize>) -> Option<Vec<Table<'d>>> {
        let elements = self.or_wrong(self.as_array(), "an array of tables")?;
        if !count.contains(&elements.len()) {
            let (least, most) = (count.start(), count.end());
            self.problem(format!("must have {least} to {most} entries, not {}", elements.len()));
            return None;
        }
        let tables: Vec<_> = elements.iter().map(Self::table).collect();
        tables.into_iter().collect()
    }

    /// Returns `read`, or reports the expected and the actual value.
    pub(crate) fn or_wrong<T>(&self, read: Option<T>, expected: &str) -> Option<T> {
        if read.is_none() {
            self.problem(format!("must be {expected}, not {}", self.shown()));
        }
        read
    }

    fn shown(&self) -> String {
        match self.node {
            DeValue::String(text) => format!("{:?}", truncate_for_display(text)),
            DeValue::Integer(number) => truncate_for_display(&number.to_string()),
            DeValue::Float(number) => truncate_for_display(number.as_str()),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date or time".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}
