//! The currency of a catalog's prices. Amounts are whole numbers of its minor unit, such as fen or
//! cents; fields and keys of amounts end in `_fen` whatever the currency is.

use std::fmt;

/// Most decimals of a currency: more than any of ISO 4217 has.
pub const MINOR_DIGITS_MAX: u32 = 4;
/// Letters of a code.
const LETTERS: usize = 3;

/// A currency: its code, and the number of decimals of its minor unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency {
    code: [u8; LETTERS],
    minor_digits: u32,
}

impl Default for Currency {
    /// Returns yuan and fen, the currency of catalogs that name none.
    fn default() -> Self {
        Self { code: *b"CNY", minor_digits: 2 }
    }
}

impl Currency {
    /// Creates a currency from a code of three capital letters, such as `USD` (ISO 4217), and the
    /// number of decimals, at most [`MINOR_DIGITS_MAX`]; `None` if either is anything else.
    #[must_use]
    pub fn new(code: &str, minor_digits: u32) -> Option<Self> {
        let code: [u8; LETTERS] = code.as_bytes().try_into().ok()?;
        let is_valid = code.iter().all(u8::is_ascii_uppercase) && minor_digits <= MINOR_DIGITS_MAX;
        is_valid.then_some(Self { code, minor_digits })
    }

    /// Returns the code, such as `CNY`.
    #[must_use]
    pub fn code(&self) -> &str {
        // The code was checked to be ASCII.
        std::str::from_utf8(&self.code).unwrap_or_default()
    }

    /// Returns the number of decimals.
    #[must_use]
    pub fn minor_digits(self) -> u32 {
        self.minor_digits
    }

    /// Formats an amount of minor units with the code: `50000` fen are `500.00 CNY`.
    #[must_use]
    pub fn money(self, minor: i64) -> String {
        self.amount(minor, |whole| whole.to_string()) + " " + self.code()
    }

    /// Formats an amount of minor units without the code; `whole` formats its whole part.
    pub fn amount(self, minor: i64, whole: impl FnOnce(u64) -> String) -> String {
        let sign = if minor < 0 { "-" } else { "" };
        let (minor, unit) = (minor.unsigned_abs(), 10_u64.pow(self.minor_digits));
        let text = format!("{sign}{}", whole(minor / unit));
        if self.minor_digits == 0 {
            return text;
        }
        let width = usize::try_from(self.minor_digits).unwrap_or_default();
        format!("{text}.{:0width$}", minor % unit)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} with {} decimals", self.code(), self.minor_digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_and_the_code_of_their_currency() {
        let yuan = Currency::default();
        let shown = [0, 5, 99_900, 50_000, 123_456_789, -150].map(|fen| yuan.money(fen));
        let wanted = ["0.00", "0.05", "999.00", "500.00", "1234567.89", "-1.50"];
        assert_eq!(shown, wanted.map(|yuan| format!("{yuan} CNY")));
        assert_eq!(yuan.money(i64::MIN), "-92233720368547758.08 CNY");
        for (code, digits, minor, shown) in [
            ("JPY", 0, 1500, "1500 JPY"),
            ("JPY", 0, -1, "-1 JPY"),
            ("USD", 2, 34_900, "349.00 USD"),
            ("KWD", 3, -1_005, "-1.005 KWD"),
            ("CLF", 4, 10_000, "1.0000 CLF"),
        ] {
            let currency = Currency::new(code, digits).expect("a currency");
            assert_eq!(currency.money(minor), shown);
        }
    }

    #[test]
    fn a_code_is_three_capital_letters() {
        for code in ["", "US", "USDT", "usd", "U$D", "Â1"] {
            assert_eq!(Currency::new(code, 2), None, "{code}");
        }
        assert_eq!(Currency::new("USD", 5), None);
    }
}
