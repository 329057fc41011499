//! Exports of statements: verifiable JSON, CSV for tables, and a page for people.
//!
//! Pure functions of a statement. The JSON is the document that its hash is computed over; see
//! [`crate::directory::statement`].

use crate::directory::statement::HashedStatement;
use crate::domain::currency::Currency;

mod chart;
mod csv;
mod html;

/// Format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The document itself.
    Json,
    /// A line of the statement a row.
    Csv,
    /// A self-contained page.
    Html,
}

impl Format {
    /// Returns the media type for HTTP.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    /// Returns the extension of a file's name.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Html => "html",
        }
    }
}

/// Returns the statement as a file.
#[must_use]
pub fn file(sealed: &HashedStatement, format: Format) -> Vec<u8> {
    match format {
        Format::Json => sealed.json.clone(),
        Format::Csv => csv::text(&sealed.statement).into_bytes(),
        Format::Html => html::page(sealed).into_bytes(),
    }
}

/// Formats money with a comma between each three digits: `5000000` fen are `50,000.00`.
fn money(currency: Currency, minor: i64) -> String {
    currency.amount(minor, grouped)
}

/// Formats a number with a comma between each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_two_decimals_and_commas() {
        for (fen, text) in [
            (0, "0.00"),
            (5, "0.05"),
            (99_900, "999.00"),
            (1_000_000, "10,000.00"),
            (-123_456_789, "-1,234,567.89"),
            (i64::MIN, "-92,233,720,368,547,758.08"),
        ] {
            assert_eq!(money(Currency::default(), fen), text, "{fen}");
        }
        let yen = Currency::new("JPY", 0).expect("a currency");
        assert_eq!(money(yen, -1_234_567), "-1,234,567");
    }
}
