//! Login days: the recent days on which a user logged in, as one integer a user.
//!
//! It consists of the latest day and a mask of the 33 days up to it. Later logins only shift the
//! mask, so a user's cell never grows, however often they log in.

use super::calendar::Day;
use super::metering::LATE_DAYS_MAX;

/// Days that a cell reaches back from its latest day, which may be tomorrow: a login may lie a
/// little ahead, and must not push out the oldest day, for which late logins are still accepted.
const BACK_MAX: u32 = LATE_DAYS_MAX + 1;
/// Number of values of a mask: one bit for the latest day, and one for each day before it.
const MASKS: u64 = 1 << (BACK_MAX + 1);

/// The days on which a user logged in. Bit i of the mask stands for the latest day less i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    latest: Day,
    mask: u64,
}

/// Effect of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedIn {
    /// It is the user's first one on that day.
    First(Activity),
    /// The user was counted on that day.
    Repeated,
    /// The user has logged in so much later that their cell does not reach back to that day.
    TooLate,
}

impl Activity {
    /// Decodes the value of [`Activity::packed`].
    #[must_use]
    pub fn unpack(packed: u64) -> Self {
        let latest = i32::try_from(packed / MASKS).unwrap_or(i32::MAX);
        Self { latest: Day::from_number(latest), mask: packed % MASKS }
    }

    /// Returns the stored form: the latest day, times 2^33, plus the mask.
    #[must_use]
    pub fn packed(self) -> u64 {
        u64::try_from(self.latest.number()).unwrap_or(0) * MASKS + self.mask
    }

    /// Returns the latest day on which the user logged in.
    #[must_use]
    pub fn latest(self) -> Day {
        self.latest
    }

    /// Computes the effect of a login on a day; `before` is the user's cell so far.
    #[must_use]
    pub fn log_in(before: Option<Self>, day: Day) -> LoggedIn {
        let Some(Self { latest, mask }) = before else {
            return LoggedIn::First(Self { latest: day, mask: 1 });
        };
        let later = i64::from(day.number()) - i64::from(latest.number());
        if later > 0 {
            let shifted = u32::try_from(later).ok().and_then(|days| mask.checked_shl(days));
            let mask = (shifted.unwrap_or(0) % MASKS) | 1;
            return LoggedIn::First(Self { latest: day, mask });
        }
        let back = u32::try_from(-later).unwrap_or(u32::MAX);
        if back > BACK_MAX {
            return LoggedIn::TooLate;
        }
        if mask >> back & 1 == 1 {
            return LoggedIn::Repeated;
        }
        LoggedIn::First(Self { latest, mask: mask | 1 << back })
    }
}

#[cfg(test)]
mod tests {
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
                match Activity::log_in(cell.map(Activity::unpack), Day::from_number(*day)) {
                    LoggedIn::First(activity) => {
                        cell = Some(activity.packed());
                        effects.push('F');
                    }
                    LoggedIn::Repeated => effects.push('R'),
                    LoggedIn::TooLate => effects.push('L'),
                }
            }
            assert_eq!(effects, *expected, "{days:?}");
        }
    }

    #[test]
    fn the_encoding_of_cells_does_not_change() {
        let activity = Activity { latest: Day::from_number(20_000), mask: 0x1_0000_0001 };
        assert_eq!(activity.packed(), 20_000 * 8_589_934_592 + 0x1_0000_0001);
        assert_eq!(Activity::unpack(activity.packed()), activity);
    }
}
