//! Problems of a text, with positions.
//!
//! Positions are for people: lines and columns count from 1, columns in characters.

use std::fmt;

/// Most problems that are listed: a person fixes a file in steps, and a text that is not TOML must
/// not fill the log.
pub const PROBLEMS_MAX: usize = 100;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key's path, and the expected value.
    pub message: String,
}

/// All problems, in the order of the text. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, &self.0)
    }
}

/// Writes one item a line, with no line end after the last.
pub(crate) fn write_lines<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            writeln!(f)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// The offsets at which the lines of a text begin.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(offset, _)| offset + 1)).collect();
        Self { text, starts }
    }

    /// Returns the line of a byte offset, from 0.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset) - 1
    }

    /// Returns line and column of a byte offset, from 1.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_of(offset);
        let start = self.starts[line];
        // A byte order mark is invisible, so no editor counts it.
        let before = self.text[start..].char_indices().take_while(|(at, character)| {
            let is_mark = start == 0 && *at == 0 && *character == '\u{feff}';
            start + at < offset || is_mark
        });
        let mark = usize::from(start == 0 && self.text.starts_with('\u{feff}'));
        (line + 1, before.count() - mark + 1)
    }

    /// Returns the problems at those byte offsets, in the order of the text.
    pub(crate) fn problems(&self, mut found: Vec<(usize, String)>) -> Problems {
        found.sort_by_key(|(offset, _)| *offset);
        found.dedup();
        let left_out = found.len().saturating_sub(PROBLEMS_MAX);
        if left_out > 0 {
            found.truncate(PROBLEMS_MAX);
            let last = found[PROBLEMS_MAX - 1].0;
            found.push((last, format!("{left_out} more problems are not shown")));
        }
        let positioned = found.into_iter().map(|(offset, message)| {
            let (line, column) = self.position(offset);
            Problem { line, column, message }
        });
        Problems(positioned.collect())
    }
}
