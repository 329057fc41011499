//! Login days: the recent days on which a user logged in, as one integer a user.
//!
//! It consists of the latest day and a mask of the 33 days up to it. Later logins only shift the
//! mask, so a user's cell never grows, however often they log in.
//!
//! Where users are counted by month too, a cell has three more bits: the months in which the user
//! is counted, from that of the latest day backwards. A login may lie 32 days before the latest
//! day, and thus in the second month before it. Such a cell is in a range of its own, so that both
//! forms may be side by side; a cell without months gets them from its mask.

use super::calendar::Day;
use super::metering::LATE_DAYS_MAX;
use super::month::Month;

/// Days that a cell reaches back from its latest day, which may be tomorrow: a login may lie a
/// little ahead, and must not push out the oldest day, for which late logins are still accepted.
const BACK_MAX: u32 = LATE_DAYS_MAX + 1;
/// Number of values of a mask: one bit for the latest day, and one for each day before it.
const MASKS: u64 = 1 << (BACK_MAX + 1);

/// Months that a cell reaches back, including that of its latest day.
const MONTHS: u32 = 3;
/// Number of values of the months of a cell: one bit for each.
const MONTH_SETS: u64 = 1 << MONTHS;
/// Added to a cell with months: no cell without them is as large before the year 3405, and none
/// with them exceeds what a double of Redis holds exactly before the year 2149.
const WITH_MONTHS: u64 = 1 << 52;

/// The days on which a user logged in. Bit i of the mask stands for the latest day less i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    latest: Day,
    mask: u64,
    /// Bit i: the user is counted in the month of the latest day less i. `None`: the cell is of an
    /// app that did not count by month.
    months: Option<u64>,
}

/// Effect of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedIn {
    /// It is the user's first one on that day, and the first one in the month if that is given.
    First(Activity, Option<Month>),
    /// The user was counted on that day.
    Repeated,
    /// The user has logged in so much later that their cell does not reach back to that day.
    TooLate,
}

impl Activity {
    /// Decodes the value of [`Activity::packed`].
    #[must_use]
    pub fn unpack(packed: u64) -> Self {
        let has_months = packed >= WITH_MONTHS;
        let head = if has_months { packed - WITH_MONTHS } else { packed } / MASKS;
        let (latest, months) =
            if has_months { (head / MONTH_SETS, Some(head % MONTH_SETS)) } else { (head, None) };
        let latest = Day::from_number(i32::try_from(latest).unwrap_or(i32::MAX));
        Self { latest, mask: packed % MASKS, months }
    }

    /// Returns the stored form: the latest day, times 2^33, plus the mask. With months: 2^52, plus
    /// the latest day times 2^36, the months times 2^33, and the mask.
    #[must_use]
    pub fn packed(self) -> u64 {
        let latest = u64::try_from(self.latest.number()).unwrap_or(0);
        match self.months {
            None => latest * MASKS + self.mask,
            Some(months) => WITH_MONTHS + (latest * MONTH_SETS + months) * MASKS + self.mask,
        }
    }

    /// Returns whether the cell has the months in which the user is counted.
    #[must_use]
    pub fn has_months(self) -> bool {
        self.months.is_some()
    }

    /// Returns the cell with months, and those in which the user is to be counted now: if it had
    /// none, all months of its days.
    #[must_use]
    pub fn counted_by_month(self) -> (Self, Vec<Month>) {
        if self.has_months() {
            return (self, Vec::new());
        }
        let (mut months, mut counted) = (0, Vec::new());
        let of_latest = Month::of(self.latest);
        for back in (0..=BACK_MAX).filter(|back| self.mask >> back & 1 == 1) {
            let day = Day::from_number(self.latest.number().saturating_sub_unsigned(back));
            let month = Month::of(day);
            let bit = 1 << of_latest.months_after(month);
            if months & bit == 0 {
                months |= bit;
                counted.push(month);
            }
        }
        (Self { months: Some(months), ..self }, counted)
    }

    /// Returns the latest day on which the user logged in.
    #[must_use]
    pub fn latest(self) -> Day {
        self.latest
    }

    /// Computes the effect of a login on a day; `before` is the user's cell so far, and `by_month`
    /// is whether a first cell counts by month. A later one does if the cell has months.
    #[must_use]
    pub fn log_in(before: Option<Self>, day: Day, by_month: bool) -> LoggedIn {
        let Some(Self { latest, mask, months }) = before else {
            let (months, counted) = (by_month.then_some(1), by_month.then(|| Month::of(day)));
            return LoggedIn::First(Self { latest: day, mask: 1, months }, counted);
        };
        let later = i64::from(day.number()) - i64::from(latest.number());
        if later > 0 {
            let shifted = u32::try_from(later).ok().and_then(|days| mask.checked_shl(days));
            let mask = (shifted.unwrap_or(0) % MASKS) | 1;
            let months = months.map(|months| {
                let ahead = Month::of(day).months_after(Month::of(latest));
                months.checked_shl(ahead).unwrap_or(0) % MONTH_SETS
            });
            return Self { latest: day, mask, months }.counting(day);
        }
        let back = u32::try_from(-later).unwrap_or(u32::MAX);
        if back > BACK_MAX {
            return LoggedIn::TooLate;
        }
        if mask >> back & 1 == 1 {
            return LoggedIn::Repeated;
        }
        Self { latest, mask: mask | 1 << back, months }.counting(day)
    }

    /// Counts the user in the month of a new day, unless they are.
    fn counting(self, day: Day) -> LoggedIn {
        let month = Month::of(day);
        let bit = 1 << Month::of(self.latest).months_after(month);
        match self.months.filter(|months| months & bit == 0) {
            None => LoggedIn::First(self, None),
            Some(months) => {
                LoggedIn::First(Self { months: Some(months | bit), ..self }, Some(month))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    /// Days on which a user logs in, in the order in which they are reported, and the effect of
    /// each: F first, R repeated, L too late.
    const LOGINS: &[(&[i32], &str)] = &[
        (&[100], "F"),
        (&[100, 100, 100], "FRR"),
        (&[100, 101, 100, 101], "FFRR"),
        (&[101, 100, 101, 100], "FFRR"),
        (&[131, 100, 131, 100], "FFRR"),
        (&[132, 100, 100], "FFR"),
        (&[133, 100], "FL"),
        (&[100, 132, 100], "FFR"),
        (&[100, 133, 100, 101, 101], "FFLFR"),
        (&[100, 500, 468, 467, 500], "FFFLR"),
        (&[20_000, 20_031, 20_000, 20_062, 20_031], "FFRFR"),
    ];

    #[test]
    fn a_user_counts_once_on_each_day() {
        for (days, expected) in LOGINS {
            let (mut cell, mut effects) = (None, String::new());
            for day in *days {
                let before = cell.map(Activity::unpack);
                match Activity::log_in(before, Day::from_number(*day), false) {
                    LoggedIn::First(activity, None) => {
                        cell = Some(activity.packed());
                        effects.push('F');
                    }
                    LoggedIn::Repeated => effects.push('R'),
                    LoggedIn::TooLate => effects.push('L'),
                    LoggedIn::First(_, Some(month)) => panic!("counted in {month}"),
                }
            }
            assert_eq!(effects, *expected, "{days:?}");
        }
    }

    #[test]
    fn the_encoding_of_cells_does_not_change() {
        let (latest, mask) = (Day::from_number(20_000), 0x1_0000_0001);
        // 2^52 is 4503599627370496.
        for (months, golden) in [
            (None, 171_802_986_807_297),
            (Some(0), 5_877_993_457_057_793),
            (Some(0b101), 5_878_036_406_730_753),
        ] {
            let activity = Activity { latest, mask, months };
            assert_eq!(activity.packed(), golden);
            assert_eq!(Activity::unpack(golden), activity);
        }
        // Both ranges end before the other begins, and where doubles are no longer exact.
        let last = |latest, months| {
            Activity { latest: Day::from_number(latest), mask: MASKS - 1, months }.packed()
        };
        assert!(last(500_000, None) < WITH_MONTHS);
        assert_eq!(last(65_535, Some(7)), (1 << 53) - 1);
    }

    fn day(text: &str) -> Day {
        Day::of(text.parse().expect("a date"))
    }

    #[test]
    fn a_user_counts_once_in_each_month() {
        // Days in the order in which logins are reported, and the months of each in which it counts
        // the user first.
        for (days, expected) in [
            ("2020-02-01 2020-02-29 2020-03-01 2020-02-10", "2020-02 - 2020-03 -"),
            // A late login reaches the second month before the latest day.
            ("2019-03-01 2019-01-31 2019-02-10 2019-01-30", "2019-03 2019-01 2019-02 -"),
            ("2019-01-31 2019-03-01 2019-01-30 2019-02-02", "2019-01 2019-03 - 2019-02"),
            ("2019-12-31 2020-01-01 2019-12-30 2020-01-31", "2019-12 2020-01 - -"),
            ("2019-01-05 2019-04-30 2019-04-01 2019-03-31", "2019-01 2019-04 - 2019-03"),
            ("2019-01-05 2029-01-05 2029-01-04 2028-12-31", "2019-01 2029-01 - 2028-12"),
        ] {
            let (mut cell, mut counted) = (None, Vec::new());
            for of in days.split(' ').map(day) {
                let before = cell.map(Activity::unpack);
                let LoggedIn::First(activity, month) = Activity::log_in(before, of, true) else {
                    panic!("{days}: {of} is not the first");
                };
                cell = Some(activity.packed());
                counted.push(month.map_or("-".to_owned(), |month| month.to_string()));
            }
            assert_eq!(counted.join(" "), expected, "{days}");
        }
    }

    /// Without the cut-offs of months, which leave fewer late logins.
    #[test]
    fn logins_up_to_a_month_late_count_like_plain_sets() {
        for seed in 0..400_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut below = |most: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                i32::try_from(state % most).expect("small")
            };
            // In the beginning of 2019, or of the leap year after it.
            let mut today = [17_897, 18_262][usize::from(seed % 2 == 0)] + below(90);
            let (mut cell, mut seen) = (None, std::collections::BTreeSet::new());
            for login in 0..80 {
                today += if below(3) == 0 { below(12) } else { 0 };
                // Some are of tomorrow, since clocks differ.
                let of = Day::from_number(today + 1 - below(33));
                let month = Month::of(of);
                let is_new = !seen.iter().any(|(seen, _)| *seen == month);
                let is_first = seen.insert((month, of));
                let before = cell.map(Activity::unpack);
                match Activity::log_in(before, of, true) {
                    LoggedIn::First(activity, counted) => {
                        assert!(is_first, "{seed}: login {login} on {of}");
                        assert_eq!(counted, is_new.then_some(month), "{seed}: login {login}");
                        cell = Some(activity.packed());
                    }
                    LoggedIn::Repeated => assert!(!is_first, "{seed}: login {login} on {of}"),
                    LoggedIn::TooLate => panic!("{seed}: login {login} on {of}"),
                }
            }
        }
    }

    #[test]
    fn months_follow_from_the_days_of_a_cell_without_them() {
        for (days, months) in [
            ("2019-03-01", "2019-03"),
            ("2019-03-01 2019-01-28", "2019-03 2019-01"),
            ("2019-03-01 2019-02-28 2019-02-01 2019-01-31", "2019-03 2019-02 2019-01"),
            ("2020-03-31 2020-02-29 2020-02-28", "2020-03 2020-02"),
            ("2019-01-31 2019-01-01", "2019-01"),
        ] {
            let mut cell = None;
            for of in days.split(' ').map(day) {
                match Activity::log_in(cell, of, false) {
                    LoggedIn::First(activity, None) => cell = Some(activity),
                    other => panic!("{days}: {other:?}"),
                }
            }
            let (with, counted) = cell.expect("a cell").counted_by_month();
            let counted: Vec<String> = counted.iter().map(Month::to_string).collect();
            assert_eq!(counted.join(" "), months, "{days}");
            assert_eq!(with.counted_by_month(), (with, Vec::new()));
            // Each further login in these months counts in none.
            for month in counted {
                let first = Month::from_str(&month).expect("a month").day(20);
                if let LoggedIn::First(_, counted) = Activity::log_in(Some(with), first, true) {
                    assert_eq!(counted, None, "{days}: {first}");
                }
            }
        }
    }
}
