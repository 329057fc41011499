//! Formatting and parsing of bytes, and lists of names, used wherever they are shown.

use std::fmt::Write as _;

use super::calendar::Zone;
use super::currency::Currency;

/// How instants and amounts are written in texts for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conventions {
    /// The time zone of instants.
    pub zone: Zone,
    /// The currency of amounts.
    pub currency: Currency,
}

/// Formats bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Parses hexadecimal digits of either case, two for each byte; `None` if the text is anything
/// else.
#[must_use]
pub fn unhex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

/// Most names that a message lists.
pub const NAMES_SHOWN_MAX: usize = 20;

/// Returns the names that could have been meant, each once, in quotes, in their order; those beyond
/// [`NAMES_SHOWN_MAX`] are counted. Returns `none` if there are none.
#[must_use]
pub fn quoted_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut each: Vec<&str> = Vec::new();
    for name in names {
        if !each.contains(&name) {
            each.push(name);
        }
    }
    if each.is_empty() {
        return "none".to_owned();
    }
    let more = each.len().saturating_sub(NAMES_SHOWN_MAX);
    let shown: Vec<_> =
        each.iter().take(NAMES_SHOWN_MAX).map(|name| format!("\"{name}\"")).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_once_each_and_not_without_end() {
        assert_eq!(quoted_names([]), "none");
        assert_eq!(quoted_names(["a", "b", "a"]), "\"a\", \"b\"");
        let many: Vec<String> = (0..23).map(|number| format!("n{number}")).collect();
        let shown = quoted_names(many.iter().map(String::as_str));
        assert!(shown.ends_with("\"n19\" and 3 more"), "{shown}");
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!([hex(&[]), hex(&[0, 0x0f, 0xa0, 0xff])], ["", "000fa0ff"]);
        assert_eq!(unhex("000fA0ff"), Some([0, 0x0f, 0xa0, 0xff]));
        for other in ["", "000fa0", "000fa0ff00", "000fa0fg", "00 fa0ff", "+00fa0ff"] {
            assert_eq!(unhex::<4>(other), None, "{other:?}");
        }
    }
}
