//! How bytes and money are written, wherever they are shown.

use std::fmt::Write as _;

/// Bytes in hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Money: `50000` fen are `500.00 CNY`.
#[must_use]
pub fn money(fen: i64) -> String {
    let sign = if fen < 0 { "-" } else { "" };
    let fen = fen.unsigned_abs();
    format!("{sign}{}.{:02} CNY", fen / 100, fen % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!([hex(&[]), hex(&[0, 0x0f, 0xa0, 0xff])], ["", "000fa0ff"]);
    }

    #[test]
    fn fen_are_shown_as_yuan() {
        let shown = [0, 5, 99_900, 50_000, 123_456_789, -150].map(money);
        let wanted = ["0.00", "0.05", "999.00", "500.00", "1234567.89", "-1.50"];
        assert_eq!(shown, wanted.map(|yuan| format!("{yuan} CNY")));
        assert_eq!(money(i64::MIN), "-92233720368547758.08 CNY");
    }
}
