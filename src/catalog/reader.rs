//! Reads TOML tables by key and collects everything that is wrong, with positions.
//!
//! A reader asks a [`Table`] for its keys and calls [`Table::finish`], which reports the keys that
//! nobody asked for. A method that answers `None` for a value has reported why. What the parser
//! could not read it reports itself; a line with such an error is not judged again, and since
//! keys may have been lost with it, missing keys are not reported then.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use super::problem::{Lines, PROBLEMS_MAX, Problems};
use super::words::{clipped, explained, listed, nearest};

/// A text, read as TOML, and what was found wrong with it.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    root: DeTable<'t>,
    lines: Lines<'t>,
    /// Lines that the parser could not read, in order.
    broken: Vec<usize>,
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
                (span.start.min(text.len()), explained(error.message(), read))
            })
            .collect();
        let mut broken: Vec<_> = found.iter().map(|(offset, _)| lines.line_of(*offset)).collect();
        broken.sort_unstable();
        Self { root: root.into_inner(), lines, broken, found: RefCell::new(found) }
    }

    pub(crate) fn root(&self) -> Table<'_> {
        Table::new(self, &self.root, 0, String::new())
    }

    /// Whether the parser could read everything, so that nothing is missing on its account.
    fn whole(&self) -> bool {
        self.broken.is_empty()
    }

    /// What was read, unless anything was wrong.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T, Problems> {
        let found = self.found.into_inner();
        match read {
            Some(read) if found.is_empty() => Ok(read),
            _ => {
                debug_assert!(!found.is_empty(), "what cannot be read was reported");
                Err(self.lines.problems(found))
            }
        }
    }

    /// Whether the parser understood the line of that offset.
    fn legible(&self, offset: usize) -> bool {
        self.broken.binary_search(&self.lines.line_of(offset)).is_err()
    }

    fn note(&self, offset: usize, path: &str, message: impl Display) {
        if self.legible(offset) {
            let colon = if path.is_empty() { "" } else { ": " };
            self.found.borrow_mut().push((offset, format!("{path}{colon}{message}")));
        }
    }
}

/// A table, and the keys that were asked for.
#[derive(Debug)]
pub(crate) struct Table<'d> {
    document: &'d Document<'d>,
    entries: &'d DeTable<'d>,
    offset: usize,
    path: String,
    asked: RefCell<Vec<String>>,
}

impl<'d> Table<'d> {
    fn new(
        document: &'d Document<'d>,
        entries: &'d DeTable<'d>,
        offset: usize,
        path: String,
    ) -> Self {
        Self { document, entries, offset, path, asked: RefCell::default() }
    }

    /// The value of a key that may be missing.
    pub(crate) fn optional(&self, key: &str) -> Option<Value<'d>> {
        self.asked.borrow_mut().push(key.to_owned());
        let value = self.entries.get(key)?;
        Some(Value {
            document: self.document,
            node: value.get_ref(),
            offset: value.span().start,
            path: self.path_of(key),
        })
    }

    /// The value of a key that must be there.
    pub(crate) fn required(&self, key: &str) -> Option<Value<'d>> {
        let value = self.optional(key);
        if value.is_none() {
            self.missing(key, "");
        }
        value
    }

    /// Reports that a key is missing, and `why` it must be there.
    pub(crate) fn missing(&self, key: &str, why: &str) {
        if self.document.whole() {
            let message = format!("\"{key}\" is missing{why}");
            self.document.note(self.offset, &self.path, message);
        }
    }

    /// The keys that are there, asked for or not.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'d str> {
        self.entries.keys().map(|key| key.get_ref().as_ref())
    }

    /// Reports the keys that were not read; returns those that were probably meant.
    pub(crate) fn finish(self) -> Vec<String> {
        let asked = self.asked.borrow();
        let mut meant = Vec::new();
        let unknown = self.entries.keys().filter(|key| !asked.iter().any(|a| a == key.get_ref()));
        for (index, key) in unknown.enumerate() {
            let offset = key.span().start;
            // Below a line that was not understood, keys may stand in the wrong table.
            let line = self.document.lines.line_of(offset);
            if self.document.broken.first().is_some_and(|broken| *broken <= line) {
                continue;
            }
            // Each costs a search, and of so many most are not shown anyway.
            let mut hint = String::new();
            if index < PROBLEMS_MAX {
                let known = self.nearest(key.get_ref(), &asked);
                meant.extend(known.map(ToOwned::to_owned));
                hint = match known {
                    Some(known) => format!("; did you mean \"{known}\"?"),
                    None => format!("; the keys here are {}", listed(asked.iter())),
                };
            }
            let path = self.path_of(key.get_ref());
            self.document.note(offset, &path, format!("unknown key{hint}"));
        }
        meant
    }

    /// What may have been meant instead of an unknown key.
    fn nearest<'k>(&self, key: &str, asked: &'k [String]) -> Option<&'k str> {
        let free = asked.iter().filter(|known| !self.entries.contains_key(known.as_str()));
        nearest(key, free.map(String::as_str))
    }

    fn path_of(&self, key: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let shown = clipped(key);
        let bare = !shown.is_empty() && shown.bytes().all(plain);
        let shown = if bare { shown } else { format!("{shown:?}") };
        if self.path.is_empty() { shown } else { format!("{}.{shown}", self.path) }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Value<'d> {
    document: &'d Document<'d>,
    node: &'d DeValue<'d>,
    offset: usize,
    path: String,
}

impl<'d> Value<'d> {
    /// Reports that something is wrong with it.
    pub(crate) fn problem(&self, message: impl Display) {
        self.document.note(self.offset, &self.path, message);
    }

    /// Line and column, from 1.
    pub(crate) fn position(&self) -> (usize, usize) {
        self.document.lines.position(self.offset)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether it stands on a line that the parser understood, so that it is what was meant.
    pub(crate) fn legible(&self) -> bool {
        self.document.legible(self.offset)
    }

    /// The text, where it is a string; reports nothing.
    pub(crate) fn as_str(&self) -> Option<&'d str> {
        self.node.as_str()
    }

    pub(crate) fn string(&self) -> Option<&'d str> {
        self.or_wrong(self.as_str(), "a string")
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.or_wrong(self.node.as_bool(), "true or false")
    }

    /// A whole number of that range.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        let number = self.as_integer().filter(|number| range.contains(number));
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.or_wrong(number.and_then(|number| T::try_from(number).ok()), &expected)
    }

    /// The number, where it is a whole one that fits; reports nothing.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        let integer = self.node.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    pub(crate) fn table(&self) -> Option<Table<'d>> {
        self.or_wrong(self.as_table(), "a table")
    }

    /// The table, where it is one; reports nothing.
    pub(crate) fn as_table(&self) -> Option<Table<'d>> {
        let entries = self.node.as_table()?;
        Some(Table::new(self.document, entries, self.offset, self.path.clone()))
    }

    /// The elements, where it is an array; reports nothing.
    pub(crate) fn as_array(&self) -> Option<Vec<Self>> {
        let elements = self.node.as_array()?.iter().enumerate().map(|(index, element)| Self {
            document: self.document,
            node: element.get_ref(),
            offset: element.span().start,
            path: format!("{}[{index}]", self.path),
        });
        Some(elements.collect())
    }

    /// An array of so many tables. A table that is none is reported and left out.
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

    /// What was read, or a report of what is there instead.
    pub(crate) fn or_wrong<T>(&self, read: Option<T>, expected: &str) -> Option<T> {
        if read.is_none() {
            self.problem(format!("must be {expected}, not {}", self.shown()));
        }
        read
    }

    fn shown(&self) -> String {
        match self.node {
            DeValue::String(text) => format!("{:?}", clipped(text)),
            DeValue::Integer(number) => clipped(&number.to_string()),
            DeValue::Float(number) => clipped(number.as_str()),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date or time".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}
