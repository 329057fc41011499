//! Days, months and the end of validity, in the catalog's time zone.
//!
//! A purchase on day T is valid through day T-1 of the next month (pricing rules, section 5). If
//! the next month is shorter, the last valid day is min(T-1, its last day). Renewals count from the
//! first purchase's day, the anchor, and so never drift.

use std::fmt;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;

use super::time::Timestamp;

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

/// The last valid day of a purchase on day T.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LastDay {
    /// The day before T of the last month.
    #[default]
    Before,
    /// Day T of the last month.
    Same,
}

/// A calendar day in some zone, stored as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i32);

impl Day {
    /// Creates a day from days since 1970-01-01.
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Returns days since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    pub(super) fn of(date: NaiveDate) -> Self {
        Self(date.to_epoch_days())
    }

    pub(super) fn date(self) -> NaiveDate {
        NaiveDate::from_epoch_days(self.0).unwrap_or(NaiveDate::MAX)
    }

    /// Returns the day in UTC on which an instant falls.
    #[must_use]
    pub fn of_utc(at: Timestamp) -> Self {
        let utc = DateTime::from_timestamp_millis(at.as_millis()).unwrap_or_default();
        Self::of(utc.date_naive())
    }

    /// Parses a text such as `2019-08-01`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self::of)
    }

    /// Returns the day that is `days` days later.
    #[must_use]
    pub fn plus_days(self, days: u32) -> Self {
        Self::of(self.date().checked_add_days(Days::new(days.into())).unwrap_or(NaiveDate::MAX))
    }

    /// Returns the first day after `months` months that began on this day. If the last valid day is
    /// the day before, it is the same day of the month; if it is the same day, the day after it. If
    /// that month has no such day, it is the first day of the month after it.
    #[must_use]
    pub fn end_after_months(self, months: u32, last_day: LastDay) -> Self {
        let date = self.date();
        let first = date.with_day(1).unwrap_or(date);
        let month = first.checked_add_months(Months::new(months)).unwrap_or(NaiveDate::MAX);
        match (month.with_day(date.day()).map(Self::of), last_day) {
            (Some(day), LastDay::Before) => day,
            (Some(day), LastDay::Same) => day.plus_days(1),
            (None, _) => {
                Self::of(month.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX))
            }
        }
    }
}

impl fmt::Display for Day {
    /// Writes the day as in `2019-08-01`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.date().format("%Y-%m-%d"))
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Tz::UTC);
    /// That of the built-in catalog, for tests of what people read.
    #[cfg(test)]
    pub const SHANGHAI: Self = Self(Tz::Asia__Shanghai);

    /// Returns the zone with an IANA name, such as `Asia/Shanghai`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    /// Returns the IANA name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Returns the day on which an instant falls.
    #[must_use]
    pub fn day_of(self, at: Timestamp) -> Day {
        let utc = DateTime::from_timestamp_millis(at.as_millis()).unwrap_or_default();
        Day::of(utc.with_timezone(&self.0).date_naive())
    }

    /// Returns the first instant of a day.
    #[must_use]
    pub fn start_of(self, day: Day) -> Timestamp {
        let midnight = NaiveDateTime::new(day.date(), NaiveTime::MIN);
        // If a change to summer time skips midnight, the day begins an hour later.
        let start = self.0.from_local_datetime(&midnight).earliest().unwrap_or_else(|| {
            let later = midnight + chrono::TimeDelta::hours(1);
            self.0
                .from_local_datetime(&later)
                .earliest()
                .unwrap_or_else(|| self.0.from_utc_datetime(&midnight))
        });
        Timestamp::from_millis(start.timestamp_millis())
    }

    /// Formats an instant as `2019-03-12 00:00:00 +08:00`, for messages and tables.
    #[must_use]
    pub fn show(self, at: Timestamp) -> String {
        DateTime::from_timestamp_millis(at.as_millis())
            .unwrap_or_default()
            .with_timezone(&self.0)
            .format("%Y-%m-%dT%H:%M:%S%:z")
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day::of(text.parse().expect("a date"))
    }

    /// Bought, months, last valid day (pricing rules, section 5; other rows computed by hand).
    const VALIDITY: &[(&str, u32, &str)] = &[
        ("2019-02-12", 1, "2019-03-11"),
        ("2019-01-31", 1, "2019-02-28"),
        ("2020-01-31", 1, "2020-02-29"),
        ("2019-01-30", 1, "2019-02-28"),
        ("2020-01-30", 1, "2020-02-29"),
        ("2019-01-29", 1, "2019-02-28"),
        ("2020-01-29", 1, "2020-02-28"),
        ("2019-01-28", 1, "2019-02-27"),
        ("2019-03-31", 1, "2019-04-30"),
        ("2019-03-30", 1, "2019-04-29"),
        ("2019-05-31", 1, "2019-06-30"),
        ("2019-08-31", 1, "2019-09-30"),
        ("2019-10-31", 1, "2019-11-30"),
        ("2019-12-31", 1, "2020-01-30"),
        ("2019-07-31", 1, "2019-08-30"),
        ("2019-02-28", 1, "2019-03-27"),
        ("2020-02-29", 1, "2020-03-28"),
        ("2019-01-01", 1, "2019-01-31"),
        ("2019-02-01", 1, "2019-02-28"),
        ("2020-02-01", 1, "2020-02-29"),
        ("2019-12-01", 1, "2019-12-31"),
        ("2019-01-31", 2, "2019-03-30"),
        ("2019-01-31", 3, "2019-04-30"),
        ("2019-01-31", 13, "2020-02-29"),
        ("2020-02-29", 12, "2021-02-28"),
        ("2020-02-29", 24, "2022-02-28"),
        ("2019-11-15", 24, "2021-11-14"),
    ];

    #[test]
    fn months_end_on_the_day_before_or_at_the_end_of_a_shorter_month() {
        for (bought, months, last_valid) in VALIDITY {
            let end = day(bought).end_after_months(*months, LastDay::Before);
            assert_eq!(end, day(last_valid).plus_days(1), "{bought} + {months}");
        }
    }

    /// Bought, months, last valid day if that is the same day of the month, computed by hand.
    const VALIDITY_SAME: &[(&str, u32, &str)] = &[
        ("2019-02-12", 1, "2019-03-12"),
        ("2019-01-31", 1, "2019-02-28"),
        ("2020-01-31", 1, "2020-02-29"),
        ("2019-01-29", 1, "2019-02-28"),
        ("2020-01-29", 1, "2020-02-29"),
        ("2019-01-28", 1, "2019-02-28"),
        ("2019-03-31", 1, "2019-04-30"),
        ("2019-03-30", 1, "2019-04-30"),
        ("2019-02-28", 1, "2019-03-28"),
        ("2020-02-29", 12, "2021-02-28"),
        ("2019-01-01", 1, "2019-02-01"),
        ("2019-12-31", 1, "2020-01-31"),
        ("2019-01-31", 2, "2019-03-31"),
    ];

    #[test]
    fn months_may_end_on_the_same_day_of_the_month() {
        for (bought, months, last_valid) in VALIDITY_SAME {
            let end = day(bought).end_after_months(*months, LastDay::Same);
            assert_eq!(end, day(last_valid).plus_days(1), "{bought} + {months}");
        }
    }

    #[test]
    fn days_begin_at_midnight_in_shanghai() {
        let zone = Zone::named("Asia/Shanghai").expect("a zone of the database");
        let start = zone.start_of(day("2019-03-12"));
        assert_eq!(zone.show(start), "2019-03-12T00:00:00+08:00");
        assert_eq!(zone.day_of(start), day("2019-03-12"));
        assert_eq!(zone.day_of(Timestamp::from_millis(start.as_millis() - 1)), day("2019-03-11"));
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_an_hour_later() {
        let zone = Zone::named("America/Sao_Paulo").expect("a zone of the database");
        let start = zone.start_of(day("2018-11-04"));
        assert_eq!(zone.show(start), "2018-11-04T01:00:00-02:00");
    }
}
