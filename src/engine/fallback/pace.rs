//! Pace of the replay, and the callers that would wait for it longer than their deadline.
//!
//! A caller is refused only if its turn is certain to come too late: the fastest pace of the replay
//! since its beginning would have to become several times faster. Until a pace was measured, no
//! caller is refused.

use std::collections::HashMap;
use std::time::Duration;

use super::lane::LaneId;
use super::queue::{Queue, State};
use crate::clock::Stopwatch;

/// Time over which the pace of the replay is measured.
const WINDOW: Duration = Duration::from_millis(200);
/// Factor by which the replay may become faster than its fastest pace: entries on one group are
/// merged, and others take turns with them.
const FASTER_MAX: u128 = 4;

/// Number of entries replayed within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    entries: u64,
    time: Duration,
}

impl Rate {
    fn is_above(self, other: Self) -> bool {
        u128::from(self.entries) * other.time.as_micros()
            > u128::from(other.entries) * self.time.as_micros()
    }
}

/// Returns whether that number of entries cannot be replayed in the time that is left.
fn is_too_late(entries: u64, fastest: Option<Rate>, left: Duration) -> bool {
    fastest.is_some_and(|rate| {
        u128::from(entries) * rate.time.as_micros()
            > FASTER_MAX * u128::from(rate.entries) * left.as_micros()
    })
}

/// The pace of the replay since it began.
#[derive(Default)]
pub(super) struct Pace {
    window: Option<(Stopwatch, u64)>,
    fastest: Option<Rate>,
}

impl Pace {
    /// Counts replayed entries.
    pub(super) fn advance(&mut self, entries: usize) {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        // The first entries are not counted: their time may include waiting for the server.
        let Some((since, count)) = &mut self.window else {
            self.window = Some((Stopwatch::start(), 0));
            return;
        };
        *count += entries;
        let rate = Rate { entries: *count, time: since.elapsed() };
        if rate.time >= WINDOW {
            if self.fastest.is_none_or(|fastest| rate.is_above(fastest)) {
                self.fastest = Some(rate);
            }
            self.window = Some((Stopwatch::start(), 0));
        }
    }

    /// Resets the measurement: the replay has ended, or its server failed an entry.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The entries of one lane that callers wait for, counted since there have been any.
#[derive(Debug, Clone, Copy, Default)]
struct Awaited {
    listed: u64,
    gone: u64,
}

/// The turns of entries that callers wait for, by lane.
#[derive(Default)]
pub(super) struct Turns(HashMap<LaneId, Awaited>);

impl Turns {
    /// Gives an entry the last turn.
    fn add(&mut self, lane: &LaneId) -> u64 {
        let awaited = self.0.entry(lane.clone()).or_default();
        awaited.listed += 1;
        awaited.listed
    }

    /// Removes the turn of an entry that no longer needs it.
    fn remove(&mut self, lane: &LaneId) {
        let Some(awaited) = self.0.get_mut(lane) else { return };
        awaited.gone += 1;
        if awaited.gone >= awaited.listed {
            self.0.remove(lane);
        }
    }

    /// Returns the number of entries that have turns up to `turn`.
    fn up_to(&self, lane: &LaneId, turn: u64) -> u64 {
        self.0.get(lane).map_or(0, |awaited| turn.saturating_sub(awaited.gone))
    }
}

impl Queue {
    /// Returns whether an entry that a caller waits for cannot be in the store in the time that is
    /// left.
    pub(super) fn is_too_late(&self, number: u64, left: Duration) -> bool {
        let Some(waiting) = self.entries.get(&number) else { return false };
        let Some(turn) = waiting.turn else { return false };
        is_too_late(self.turns.up_to(&waiting.lane, turn), self.pace.fastest, left)
    }

    /// Gives an entry the last turn of its lane, unless it needs none.
    pub(super) fn give_turn(&mut self, number: u64) {
        let Some(waiting) = self.entries.get_mut(&number) else { return };
        if waiting.state != State::Done && waiting.blocked_by(number).is_none() {
            waiting.turn = Some(self.turns.add(&waiting.lane));
        }
    }

    /// Removes an entry's turn: it is in the store, gone, or held up by a blocked one.
    pub(super) fn end_turn(&mut self, number: u64) {
        if let Some(waiting) = self.entries.get_mut(&number)
            && waiting.turn.take().is_some()
        {
            self.turns.remove(&waiting.lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits::Part;

    #[test]
    fn only_entries_beyond_several_times_the_fastest_pace_are_too_late() {
        let rate = |entries, ms| Some(Rate { entries, time: Duration::from_millis(ms) });
        // Entries up to the caller's, the fastest pace, milliseconds left.
        for (entries, fastest, left_ms, expected) in [
            (1_000_000, None, 1, false),
            (0, rate(1, 200), 0, false),
            (1, rate(1, 200), 0, true),
            (1, rate(1, 200), 50, false),
            (1, rate(1, 200), 49, true),
            (400, rate(20, 200), 1000, false),
            (401, rate(20, 200), 1000, true),
            (40_000, rate(2000, 200), 1000, false),
            (40_001, rate(2000, 200), 1000, true),
            // Nothing was replayed in that time.
            (1, rate(0, 200), 1000, true),
            (u64::MAX, rate(u64::MAX, 200), 200, false),
        ] {
            let found = is_too_late(entries, fastest, Duration::from_millis(left_ms));
            assert_eq!(found, expected, "{entries} {fastest:?} {left_ms} ms");
        }
        assert!(!rate(2, 200).expect("one").is_above(rate(2, 200).expect("one")));
        assert!(rate(3, 200).expect("one").is_above(rate(5, 400).expect("one")));
    }

    #[test]
    fn turns_are_counted_by_lane() {
        let app = crate::domain::id::AppId::try_from("demo").expect("an id");
        let (groups, friends) = ((app.clone(), Some(Part::Groups)), (app, Some(Part::Friends)));
        let mut turns = Turns::default();
        let listed: Vec<u64> = (0..3).map(|_| turns.add(&groups)).collect();
        let friend = turns.add(&friends);
        assert_eq!((turns.up_to(&groups, listed[2]), turns.up_to(&friends, friend)), (3, 1));
        turns.remove(&groups);
        turns.remove(&groups);
        assert_eq!((turns.up_to(&groups, listed[2]), turns.up_to(&groups, listed[0])), (1, 0));
        turns.remove(&groups);
        assert_eq!((turns.add(&groups), turns.up_to(&friends, friend)), (1, 1), "counted anew");
    }
}
