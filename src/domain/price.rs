//! Prices as decimal text in the major unit of the currency, and amounts computed from them.
//!
//! A price is a whole number of millionths, so nothing is rounded until the amount of a line is:
//! once, half up. Floating-point numbers have no part in it, and a decimal type would not do: a
//! fraction of a unit, such as a third, is no decimal number.

use std::fmt;
use std::str::FromStr;

use super::currency::Currency;

/// Most decimal digits of a price: more than price lists have.
pub const DECIMALS_MAX: u32 = 6;
/// Greatest price, in the major unit: the greatest price of an edition.
pub const PRICE_MAX: u64 = 10_000_000_000;

const MILLIONTHS: u64 = 10_u64.pow(DECIMALS_MAX);

/// A price in the major unit of the currency, such as 0.015.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price {
    millionths: u64,
}

/// Error of parsing a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a decimal text from \"0\" to \"10000000000\" with at most 6 decimals")]
pub struct InvalidPrice;

impl Price {
    /// Returns the price in minor units, if it is a whole number of them.
    #[must_use]
    pub fn in_minor_units(self, currency: Currency) -> Option<i64> {
        let minor = minor_unit(currency);
        self.millionths
            .is_multiple_of(minor)
            .then(|| saturated(u128::from(self.millionths / minor)))
    }
}

impl FromStr for Price {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str, most: usize| {
            (1..=most).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit())
        };
        if !is_number(whole, 11) || !is_number(decimals, 6) {
            return Err(InvalidPrice);
        }
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| InvalidPrice);
        let millionths = number(whole)? * MILLIONTHS + number(&format!("{decimals:0<6}"))?;
        let is_in_range = millionths <= PRICE_MAX * MILLIONTHS;
        is_in_range.then_some(Self { millionths }).ok_or(InvalidPrice)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.millionths / MILLIONTHS, self.millionths % MILLIONTHS);
        if rest == 0 {
            return write!(out, "{whole}");
        }
        write!(out, "{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
    }
}

/// A sum of quantities at prices, exact until it is rounded.
///
/// The quantities have to be below 2^70, which the figures of a month are: 31 numbers of 64 bits.
/// With [`PRICE_MAX`] nothing overflows then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    millionths: u128,
}

impl Sum {
    /// Adds a quantity at a price.
    #[must_use]
    pub fn plus(self, quantity: u128, price: Price) -> Self {
        Self { millionths: self.millionths + quantity * u128::from(price.millionths) }
    }

    /// Returns the amount in minor units, rounded half up, if the quantities are parts of a unit
    /// of that size.
    #[must_use]
    pub fn rounded(self, unit: u64, currency: Currency) -> i64 {
        let minor = u128::from(unit.max(1)) * u128::from(minor_unit(currency));
        saturated((2 * self.millionths + minor) / (2 * minor))
    }
}

/// Returns the minor unit of a currency in millionths.
fn minor_unit(currency: Currency) -> u64 {
    MILLIONTHS / 10_u64.pow(currency.minor_digits())
}

fn saturated(number: u128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        text.parse().expect("a price")
    }

    #[test]
    fn prices_are_shown_without_needless_digits() {
        for (text, shown, minor) in [
            ("0", "0", Some(0)),
            ("0.015", "0.015", None),
            ("0.0150", "0.015", None),
            ("00.10", "0.1", Some(10)),
            ("300", "300", Some(30_000)),
            ("0.000001", "0.000001", None),
            ("10000000000", "10000000000", Some(1_000_000_000_000)),
        ] {
            assert_eq!(price(text).to_string(), shown);
            assert_eq!(price(shown), price(text));
            assert_eq!(price(text).in_minor_units(Currency::default()), minor, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_prices() {
        for text in [
            "",
            ".",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "1,5",
            " 1",
            "0.0000001",
            "10000000000.000001",
            "10000000001",
            "100000000000",
            "99999999999999999999",
            "1.5.5",
            "\u{661}",
        ] {
            assert_eq!(text.parse::<Price>(), Err(InvalidPrice), "{text:?}");
        }
    }

    #[test]
    fn an_amount_is_rounded_half_up_and_once() {
        let cent = price("0.01");
        for (quantity, of, unit, minor) in [
            (1, price("0.015"), 1, 2),
            (1, price("0.014999"), 1, 1),
            (3, price("0.015"), 1, 5),
            (5, cent, 10, 1),
            (4, cent, 10, 0),
            (1, cent, 3, 0),
            (2, cent, 3, 1),
            (0, price("10000000000"), 1, 0),
        ] {
            let sum = Sum::default().plus(quantity, of).rounded(unit, Currency::default());
            assert_eq!(sum, minor, "{quantity} {of}");
        }
        let twice = Sum::default().plus(1, price("0.005")).plus(1, price("0.005"));
        assert_eq!(twice.rounded(1, Currency::default()), 1);
        let most = Sum::default().plus((1 << 70) - 1, price("10000000000"));
        assert_eq!(most.rounded(1, Currency::default()), i64::MAX);
        for (code, digits, minor) in [("JPY", 0, 2), ("USD", 2, 150), ("CLF", 4, 15_000)] {
            let currency = Currency::new(code, digits).expect("a currency");
            assert_eq!(Sum::default().plus(100, price("0.015")).rounded(1, currency), minor);
        }
    }
}
