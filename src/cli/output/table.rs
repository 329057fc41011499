//! Columns of text: aligned, coloured where that is wanted, and safe to print.

/// What the reader can take in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Draw bars.
    pub bars: bool,
    /// Use colours.
    pub colours: bool,
}

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Good.
    Green,
    /// Watch out.
    Yellow,
    /// Denied or full.
    Red,
    /// Beside the point.
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

/// One cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    colour: Option<Colour>,
    right: bool,
}

impl Cell {
    /// Text, which is made printable.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self {
            text: printable(text.as_ref()).replace(['\n', '\t'], " "),
            colour: None,
            right: false,
        }
    }

    /// A number, to the right of its column.
    pub fn number(text: impl AsRef<str>) -> Self {
        Self { right: true, ..Self::new(text) }
    }

    /// The same in a colour.
    pub fn coloured(self, colour: Colour) -> Self {
        Self { colour: Some(colour), ..self }
    }

    /// What is shown, without its colour.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns; one with an empty head holds what needs no name.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(|name| Cell::new(name).coloured(Colour::Dim)).into()] }
    }

    /// Adds a row, as wide as the head.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(self.rows[0].len(), N, "a row is as wide as the head");
        self.rows.push(cells.into());
    }

    /// The rows as lines, without blanks at their ends; a column that nothing stands in is left
    /// out.
    pub fn render(&self, style: Style) -> String {
        let columns = self.rows[0].len();
        let body = self.rows.get(1..).unwrap_or_default();
        let width = |column: usize| {
            let empty = !body.is_empty() && body.iter().all(|row| row[column].text.is_empty());
            let widest = self.rows.iter().map(|row| row[column].width()).max();
            if empty { 0 } else { widest.unwrap_or(0) }
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        // A head goes to the side of what stands below it.
        let right = |column: usize| self.rows.iter().any(|row| row[column].right);
        let right: Vec<bool> = (0..columns).map(right).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate().filter(|(column, _)| widths[*column] > 0) {
                let blanks = " ".repeat(widths[column] - cell.width());
                let shown = paint(style, cell.colour, &cell.text);
                line += if column == 0 { "" } else { "  " };
                line += &if right[column] { blanks + &shown } else { shown + &blanks };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// The text in that colour, where colours are wanted.
pub fn paint(style: Style, colour: Option<Colour>, text: &str) -> String {
    match colour {
        Some(colour) if style.colours && !text.is_empty() => {
            format!("\u{1b}[{}m{text}\u{1b}[0m", colour.code())
        }
        _ => text.to_owned(),
    }
}

/// Text of others without what could steer a terminal; line breaks and tabs stay.
pub fn printable(text: &str) -> String {
    let keep = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    text.chars().map(|c| if keep(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
pub const PLAIN: Style = Style { bars: false, colours: false };

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
    fn a_column_that_nothing_stands_in_is_left_out() {
        let mut table = Table::new(["ID", "BAR", "WHY"]);
        assert_eq!(table.render(PLAIN), "ID  BAR  WHY\n");
        table.row([Cell::new("alice"), Cell::default(), Cell::new("so")]);
        assert_eq!(table.render(PLAIN), "ID     WHY\nalice  so\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let mut table = Table::new(["A", "B"]);
        table.row([Cell::new("x").coloured(Colour::Red), Cell::new("y")]);
        let text = table.render(Style { bars: false, colours: true });
        assert_eq!(text, "\u{1b}[2mA\u{1b}[0m  \u{1b}[2mB\u{1b}[0m\n\u{1b}[31mx\u{1b}[0m  y\n");
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(["A"]);
        table.row([Cell::new("x\u{1b}[2J\ny")]);
        assert_eq!(table.render(PLAIN), "A\nx\u{fffd}[2J y\n");
    }
}
