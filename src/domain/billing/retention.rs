//! Retention of messages, and the longest retention of a month.

use crate::domain::id::RequestId;
use crate::domain::purchase::Period;
use crate::domain::time::Timestamp;

/// A change of the retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionChange {
    /// The request that made it.
    pub request_id: RequestId,
    /// Days of retention from then on.
    pub days: u32,
    /// Instant of the change.
    pub at: Timestamp,
}

/// Returns the longest retention that was in force at any instant of a period. `changes` are in the
/// order of their instants; before the first one the retention is `free_days`.
#[must_use]
pub fn longest(changes: &[RetentionChange], free_days: u32, period: Period) -> u32 {
    let begun = changes.iter().rev().find(|change| change.at <= period.from);
    let within = changes.iter().filter(|change| period.contains(change.at));
    let first = begun.map_or(free_days, |change| change.days);
    within.map(|change| change.days).fold(first, u32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_the_longest_retention_of_any_of_its_instants() {
        let at = Timestamp::from_millis;
        let changes = [(10, 30), (20, 7), (35, 90), (36, 7)].map(|(millis, days)| {
            let request_id = RequestId::try_from("r").expect("an id");
            RetentionChange { request_id, days, at: at(millis) }
        });
        for (from, until, expected) in [
            (0, 10, 7),
            (0, 11, 30),
            (10, 20, 30),
            (15, 30, 30),
            (20, 35, 7),
            (30, 40, 90),
            (40, 50, 7),
        ] {
            let period = Period { from: at(from), until: at(until) };
            assert_eq!(longest(&changes, 7, period), expected, "{from}..{until}");
        }
    }
}
