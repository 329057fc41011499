//! Tables of text: aligned, coloured if wanted, as wide as the terminal, and safe to print.
//!
//! Widths are in cells of a terminal: a Chinese character takes two. If the columns are wider than
//! the terminal, the text of the widest ones is wrapped; nothing is truncated, so that ids can be
//! copied.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use crate::domain::calendar::Zone;

/// Gap between two columns, in cells.
const GAP: usize = 2;
/// Narrowest column after narrowing, in cells: a narrower terminal wraps the lines itself.
const WIDTH_MIN: usize = 8;

/// Capabilities of the output, and the time zone of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Draw bars.
    pub bars: bool,
    /// Use colours.
    pub colours: bool,
    /// Width of a line in cells; `None`: unlimited.
    pub columns: Option<usize>,
    /// Zone in which times are shown.
    pub zone: Zone,
}

/// A colour, by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Good.
    Green,
    /// Needs attention.
    Yellow,
    /// Denied or full.
    Red,
    /// Secondary text.
    Dim,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Dim => "2",
        }
    }
}

/// One cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    colour: Option<Colour>,
    right: bool,
}

impl Cell {
    /// Creates a cell from text, which is made printable.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self {
            text: printable(text.as_ref()).replace(['\n', '\t'], " "),
            colour: None,
            right: false,
        }
    }

    /// Creates a cell from a number, aligned to the right.
    pub fn number(text: impl AsRef<str>) -> Self {
        Self { right: true, ..Self::new(text) }
    }

    /// Sets the colour.
    pub fn coloured(self, colour: Colour) -> Self {
        Self { colour: Some(colour), ..self }
    }

    /// Sets the colour if the condition holds.
    pub fn coloured_if(self, holds: bool, colour: Colour) -> Self {
        if holds { self.coloured(colour) } else { self }
    }

    /// Returns the text, without its colour.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the width in cells.
    fn width(&self) -> usize {
        self.text.width()
    }

    /// Returns the width of the longest word in cells: a narrower column breaks words.
    fn word_width(&self) -> usize {
        self.text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0)
    }

    /// Wraps the text to lines of at most `width` cells, at blanks, and within words that are
    /// longer. A character that is wider than a line gets its own line.
    fn lines(&self, width: usize) -> Vec<String> {
        let (mut lines, mut line) = (Vec::new(), String::new());
        for word in self.text.split(' ') {
            let gap = usize::from(!line.is_empty());
            if line.width() + gap + word.width() <= width {
                line.extend((gap > 0).then_some(' '));
                line += word;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for letter in word.chars() {
                if !line.is_empty() && line.width() + letter.width().unwrap_or(0) > width {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(letter);
            }
        }
        lines.push(line);
        lines
    }
}

/// A table: a head and rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Creates a table with these columns; a name may be empty.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(|name| Cell::new(name).coloured(Colour::Dim)).into()] }
    }

    /// Adds a row with one cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(self.rows[0].len(), N, "a row is as wide as the head");
        self.rows.push(cells.into());
    }

    /// Formats the rows as lines, without trailing blanks; an empty column is omitted.
    pub fn render(&self, style: Style) -> String {
        let widths = self.widths(style.columns);
        // A column's name is aligned as its cells are.
        let right = |column: usize| self.rows.iter().any(|row| row[column].right);
        let right: Vec<bool> = (0..widths.len()).map(right).collect();
        let mut text = String::new();
        for row in &self.rows {
            let lines = |(cell, width): (&Cell, &usize)| match width {
                0 => Vec::new(),
                width => cell.lines(*width),
            };
            let cells: Vec<Vec<String>> = row.iter().zip(&widths).map(lines).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for index in 0..height {
                let mut line = String::new();
                for (column, cell) in row.iter().enumerate().filter(|(it, _)| widths[*it] > 0) {
                    let part = cells[column].get(index).map_or("", String::as_str);
                    let blanks = " ".repeat(widths[column].saturating_sub(part.width()));
                    let shown = paint(style, cell.colour, part);
                    line += if line.is_empty() { "" } else { "  " };
                    line += &if right[column] { blanks + &shown } else { shown + &blanks };
                }
                text += line.trim_end();
                text.push('\n');
            }
        }
        text
    }

    /// Returns the width of each column: that of its widest cell, or less if the terminal is
    /// narrower.
    fn widths(&self, columns: Option<usize>) -> Vec<usize> {
        let body = self.rows.get(1..).unwrap_or_default();
        let widest = |column: usize, of: fn(&Cell) -> usize| {
            let empty = !body.is_empty() && body.iter().all(|row| row[column].text.is_empty());
            let widest = self.rows.iter().map(|row| of(&row[column])).max();
            if empty { 0 } else { widest.unwrap_or(0) }
        };
        let number = self.rows[0].len();
        let mut widths: Vec<usize> = (0..number).map(|it| widest(it, Cell::width)).collect();
        let Some(columns) = columns else { return widths };
        // Wrap between words first, and within words only if that is not enough.
        let words: Vec<usize> = (0..number).map(|it| widest(it, Cell::word_width)).collect();
        let narrowest = words.iter().map(|word| WIDTH_MIN.min(*word)).collect();
        for least in [words, narrowest] {
            narrow(&mut widths, &least, columns);
        }
        widths
    }
}

/// Narrows the widest columns until all fit into a line, each to at least its minimum.
fn narrow(widths: &mut [usize], least: &[usize], columns: usize) {
    let gaps = GAP * widths.iter().filter(|width| **width > 0).count().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns {
        let may_shrink = |column: &usize| widths[*column] > least[*column];
        let widest = (0..widths.len()).filter(may_shrink).max_by_key(|column| widths[*column]);
        let Some(widest) = widest else { return };
        widths[widest] -= 1;
    }
}

/// Adds the colour to the text, if the style has colours.
pub fn paint(style: Style, colour: Option<Colour>, text: &str) -> String {
    match colour {
        Some(colour) if style.colours && !text.is_empty() => {
            format!("\u{1b}[{}m{text}\u{1b}[0m", colour.code())
        }
        _ => text.to_owned(),
    }
}

/// Replaces control characters of external text, which could control the terminal; line breaks and
/// tabs are kept.
pub fn printable(text: &str) -> String {
    let keep = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    text.chars().map(|c| if keep(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
pub const PLAIN: Style = Style { bars: false, colours: false, columns: None, zone: Zone::SHANGHAI };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let mut table = Table::new(["ID", "USED", "WHY"]);
        table.row([Cell::new("alice"), Cell::number("7"), Cell::default()]);
        table.row([Cell::new("bo"), Cell::number("12345"), Cell::new("so")]);
        assert_eq!(
            table.render(PLAIN),
            "\
ID      USED  WHY
alice      7
bo     12345  so
"
        );
    }

    #[test]
    fn an_empty_column_is_omitted() {
        let mut table = Table::new(["ID", "BAR", "WHY"]);
        assert_eq!(table.render(PLAIN), "ID  BAR  WHY\n");
        table.row([Cell::new("alice"), Cell::default(), Cell::new("so")]);
        assert_eq!(table.render(PLAIN), "ID     WHY\nalice  so\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::new(["A", "B"]);
        table.row([Cell::new("x").coloured(Colour::Red), Cell::new("y")]);
        let text = table.render(Style { bars: false, colours: true, ..PLAIN });
        assert_eq!(text, "\u{1b}[2mA\u{1b}[0m  \u{1b}[2mB\u{1b}[0m\n\u{1b}[31mx\u{1b}[0m  y\n");
    }

    #[test]
    fn a_chinese_character_takes_two_cells() {
        let mut table = Table::new(["WHAT", "LABEL", "N"]);
        table.row([Cell::new("a"), Cell::new("\u{4e13}\u{4e1a}\u{7248}"), Cell::number("1")]);
        table.row([Cell::new("b"), Cell::new("plain"), Cell::number("22")]);
        // Six cells of three characters, and five.
        assert_eq!(
            table.render(PLAIN),
            "WHAT  LABEL    N\na     \u{4e13}\u{4e1a}\u{7248}   1\nb     plain   22\n"
        );
    }

    #[test]
    fn a_table_is_no_wider_than_the_terminal_and_loses_nothing() {
        let mut table = Table::new(["ID", "WHY", "N"]);
        let why = "the app has 100 of at most 100 accounts; buy edition professional";
        table.row([Cell::new("user-101"), Cell::new(why), Cell::number("7")]);
        let narrow = |columns| table.render(Style { columns: Some(columns), ..PLAIN });
        assert_eq!(
            narrow(40),
            "\
ID        WHY                          N
user-101  the app has 100 of at most   7
          100 accounts; buy edition
          professional
"
        );
        assert_eq!(narrow(400), table.render(PLAIN));
        // Words are broken only if necessary.
        let mut wide = Table::new(["ID", "HASH"]);
        let hash = "\u{4e13}0123456789abcdef".repeat(3);
        wide.row([Cell::new("x"), Cell::new(&hash)]);
        for columns in [12, 20, 33] {
            let text = wide.render(Style { columns: Some(columns), ..PLAIN });
            assert!(text.lines().all(|line| line.width() <= columns), "{columns}:\n{text}");
            let parts = text.lines().skip(1).map(|line| line.trim_start_matches('x').trim());
            assert_eq!(parts.collect::<String>(), hash, "{columns}:\n{text}");
        }
        // If there is no room at all, the columns keep their minimum.
        assert!(narrow(3).contains("accounts"), "{}", narrow(3));
    }

    #[test]
    fn a_cell_has_no_terminal_controls() {
        let mut table = Table::new(["A"]);
        table.row([Cell::new("x\u{1b}[2J\ny")]);
        assert_eq!(table.render(PLAIN), "A\nx\u{fffd}[2J y\n");
    }
}
