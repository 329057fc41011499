//! Calendar months, which are the periods of statements.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate};

use super::calendar::{Day, Zone};
use super::time::Timestamp;

/// Range of years that a month may lie in.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9998;

/// A month of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month {
    year: i32,
    /// From 1 to 12.
    month: u32,
}

/// Error of parsing a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a month from 1970-01 to 9998-12, such as 2019-08")]
pub struct InvalidMonth;

impl Month {
    /// Returns the month of a day.
    #[must_use]
    pub fn of(day: Day) -> Self {
        let date = day.date();
        Self { year: date.year(), month: date.month() }
    }

    /// Returns the month in which an instant lies.
    #[must_use]
    pub fn at(zone: Zone, at: Timestamp) -> Self {
        Self::of(zone.day_of(at))
    }

    /// Returns the first day.
    #[must_use]
    pub fn first_day(self) -> Day {
        self.day(1)
    }

    /// Returns the last day.
    #[must_use]
    pub fn last_day(self) -> Day {
        Day::from_number(self.next().first_day().number() - 1)
    }

    /// Returns a day of the month, from 1; the last one if it has no such day.
    #[must_use]
    pub fn day(self, number: u32) -> Day {
        let date = NaiveDate::from_ymd_opt(self.year, self.month, number.max(1));
        date.map_or_else(|| self.last_day(), Day::of)
    }

    /// Returns the days, in order.
    pub fn days(self) -> impl Iterator<Item = Day> {
        let (first, last) = (self.first_day().number(), self.last_day().number());
        (first..=last).map(Day::from_number)
    }

    /// Returns the month before.
    #[must_use]
    pub fn previous(self) -> Self {
        match self.month {
            1 => Self { year: self.year - 1, month: 12 },
            month => Self { year: self.year, month: month - 1 },
        }
    }

    /// Returns the number of months from another one to this one; 0 if that is later.
    #[must_use]
    pub fn months_after(self, other: Self) -> u32 {
        let number = |it: Self| it.year * 12 + it.month.cast_signed();
        u32::try_from(number(self) - number(other)).unwrap_or(0)
    }

    /// Returns the month after.
    #[must_use]
    pub fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { year: self.year, month: month + 1 },
        }
    }
}

impl FromStr for Month {
    type Err = InvalidMonth;

    fn from_str(text: &str) -> Result<Self, InvalidMonth> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (year, month) = text.split_once('-').ok_or(InvalidMonth)?;
        if year.len() != 4 || month.len() != 2 || !digits(year) || !digits(month) {
            return Err(InvalidMonth);
        }
        let number = |text: &str| text.parse().map_err(|_| InvalidMonth);
        let year: i32 = year.parse().map_err(|_| InvalidMonth)?;
        let month: u32 = number(month)?;
        let is_valid = YEARS.contains(&year) && (1..=12).contains(&month);
        is_valid.then_some(Self { year, month }).ok_or(InvalidMonth)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_have_their_days() {
        // Month, first and last day, and the month after it.
        for (month, first, last, next) in [
            ("2019-08", "2019-08-01", "2019-08-31", "2019-09"),
            ("2019-02", "2019-02-01", "2019-02-28", "2019-03"),
            ("2020-02", "2020-02-01", "2020-02-29", "2020-03"),
            ("2019-12", "2019-12-01", "2019-12-31", "2020-01"),
        ] {
            let parsed: Month = month.parse().expect("a month");
            assert_eq!(parsed.to_string(), month);
            assert_eq!(parsed.first_day().to_string(), first);
            assert_eq!(parsed.last_day().to_string(), last);
            assert_eq!(parsed.next().to_string(), next);
            assert_eq!(parsed.next().previous(), parsed);
            assert_eq!(parsed.next().months_after(parsed.previous()), 2);
            assert_eq!(parsed.months_after(parsed.next()), 0);
            let days: Vec<Day> = parsed.days().collect();
            assert_eq!((days[0], *days.last().expect("days")), (parsed.day(1), parsed.day(31)));
            assert!(days.iter().all(|day| Month::of(*day) == parsed));
        }
    }

    #[test]
    fn texts_that_are_not_months_are_refused() {
        for text in ["", "2019", "2019-13", "2019-00", "2019-8", "19-08", "2019-08-01", "+019-08"] {
            assert_eq!(text.parse::<Month>(), Err(InvalidMonth), "{text:?}");
        }
    }
}
