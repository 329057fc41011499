//! Thresholds of limits: warnings when a count crosses 70, 90 or 100 % of its limit.
//!
//! Each threshold warns once, and again only after the count fell five points below it. To make
//! that exact, the highest threshold warned of is stored beside the count and is read by every
//! operation that raises the count to [`WATCHED_FROM_PERCENT`] or beyond. A fall takes effect at
//! the next such rise. So a threshold does not warn again if the count fell and was then raised by
//! something that is not decided against limits: an import, or while there was no limit.

use super::decision::Subject;
use super::id::Name;
use super::limit::LimitId;
use super::limits::LimitKind;

/// Thresholds, in percent of the limit.
pub const THRESHOLDS_PERCENT: [u64; 3] = [70, 90, 100];
/// Points that the count has to fall below a threshold before it warns again.
pub const REARMED_BELOW_POINTS: u64 = 5;
/// Percentage below which thresholds are not checked: the lowest threshold less the points.
pub const WATCHED_FROM_PERCENT: u64 = THRESHOLDS_PERCENT[0] - REARMED_BELOW_POINTS;

/// A crossed threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The limit.
    pub limit_id: LimitId,
    /// The subject of the count.
    pub subject: Subject,
    /// The number held now.
    pub used: u64,
    /// The number that may be held.
    pub limit: u64,
    /// The highest threshold that was crossed: 70, 90 or 100.
    pub percent: u64,
}

impl Warning {
    /// The warning of a count that crossed a threshold; by type, of groups of that type. `None` if
    /// the type is missing.
    #[must_use]
    pub fn of(
        limit: LimitKind,
        group_type: Option<&Name>,
        subject: Subject,
        (used, most): (u64, u64),
        percent: u64,
    ) -> Option<Self> {
        Some(Self { limit_id: limit.id(group_type)?, subject, used, limit: most, percent })
    }
}

/// Effect of a rising count on the thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThresholdCrossed {
    /// The highest threshold warned of, to be stored; 0 if none was.
    pub standing: u64,
    /// The threshold to warn of, if one was crossed for the first time.
    pub passed: Option<u64>,
}

/// Computes the effect of a count that rises from `before` to `after`; `standing` is the threshold
/// warned of so far (0: none).
#[must_use]
pub fn rise(standing: u64, before: u64, after: u64, limit: u64) -> ThresholdCrossed {
    let reaches = |count: u64, percent: u64| {
        u128::from(count) * 100 >= u128::from(limit) * u128::from(percent)
    };
    let below = |threshold: &u64| !reaches(before, threshold.saturating_sub(REARMED_BELOW_POINTS));
    let thresholds = THRESHOLDS_PERCENT.iter().rev().copied();
    let still = thresholds.clone().find(|it| *it <= standing && !below(it)).unwrap_or(0);
    let reached = thresholds.clone().find(|it| reaches(after, *it)).unwrap_or(0);
    ThresholdCrossed { standing: still.max(reached), passed: (reached > still).then_some(reached) }
}

/// Returns whether thresholds are checked for a count of that size.
#[must_use]
pub fn is_watched(after: u64, limit: u64) -> bool {
    limit > 0 && u128::from(after) * 100 >= u128::from(limit) * u128::from(WATCHED_FROM_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_warns_once_until_the_count_fell_five_points_below() {
        // Standing, before, after, limit; standing afterwards, and the threshold crossed.
        for (standing, before, after, limit, then, passed) in [
            (0, 68, 69, 100, 0, None),
            (0, 69, 70, 100, 70, Some(70)),
            (70, 70, 71, 100, 70, None),
            (70, 65, 70, 100, 70, None),
            (70, 64, 65, 100, 0, None),
            (0, 65, 70, 100, 70, Some(70)),
            (70, 64, 70, 100, 70, Some(70)),
            (70, 89, 90, 100, 90, Some(90)),
            (90, 85, 90, 100, 90, None),
            (90, 84, 85, 100, 70, None),
            (100, 99, 100, 100, 100, None),
            (100, 94, 95, 100, 90, None),
            (90, 99, 100, 100, 100, Some(100)),
            // Several at the same time: only the highest warns.
            (0, 4, 5, 5, 100, Some(100)),
            (0, 0, 100, 100, 100, Some(100)),
            (0, 3, 4, 5, 70, Some(70)),
            // Over the limit, by force.
            (100, 100, 101, 100, 100, None),
        ] {
            let risen = rise(standing, before, after, limit);
            assert_eq!(
                risen,
                ThresholdCrossed { standing: then, passed },
                "{standing} {before} {after}"
            );
        }
    }

    #[test]
    fn counts_far_below_their_limits_are_not_checked() {
        assert!(!is_watched(64, 100));
        assert!(is_watched(65, 100));
        assert!(!is_watched(0, 0));
    }
}
