//! How many calls of one part of an app may be in flight: few where the round trip is short, so
//! that more operations are decided by each call.
//!
//! The round trip is the shortest time of a call without its work, over the last one or two
//! periods, and at most the response time of the server while it is idle, which the fair queue
//! measures: so a busy server does not look like a far one.

use std::time::Duration;

/// The time between two calls in flight: with a longer round trip, more calls are in flight.
const CALL_EVERY: Duration = Duration::from_micros(250);
/// The work of a server per operation, at most.
const WORK: Duration = Duration::from_micros(8);
/// The time after which the shortest round trip is measured anew.
const PERIOD: Duration = Duration::from_secs(10);
/// Most calls of one part in flight.
const CALLS_MAX: usize = 64;

/// A call that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// The time that it took.
    pub took: Duration,
    /// Its operations.
    pub operations: usize,
    /// The response time of the server while it is idle.
    pub idle: Duration,
}

/// The shortest round trips of the current period and of the one before.
#[derive(Debug, Default)]
pub struct Pace {
    since: Duration,
    current: Option<Duration>,
    before: Option<Duration>,
}

impl Pace {
    /// Records a call. `now`: any clock.
    pub fn answered(&mut self, now: Duration, answered: Answered) {
        let Answered { took, operations, idle } = answered;
        if now.saturating_sub(self.since) > PERIOD {
            (self.before, self.current, self.since) = (self.current.take(), None, now);
        }
        let work = WORK * u32::try_from(operations).unwrap_or(u32::MAX);
        let round_trip = took.saturating_sub(work).min(idle);
        self.current = Some(self.current.map_or(round_trip, |least| least.min(round_trip)));
    }

    /// Returns how many calls may be in flight; one until the first call was answered.
    pub fn calls_max(&self) -> usize {
        let least = self.current.into_iter().chain(self.before).min().unwrap_or_default();
        let calls = least.as_micros() / CALL_EVERY.as_micros();
        usize::try_from(calls).unwrap_or(CALLS_MAX).clamp(1, CALLS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_flight_follow_the_round_trip_and_not_the_work() {
        let us = Duration::from_micros;
        for (took, operations, calls) in
            [(90, 1, 1), (1_000, 1, 3), (3_000, 1, 11), (2_100, 256, 1), (1_000_000, 1, CALLS_MAX)]
        {
            let mut pace = Pace::default();
            assert_eq!(pace.calls_max(), 1);
            let answered = |took| Answered { took, operations, idle: Duration::MAX };
            pace.answered(us(1), answered(us(took)));
            // A call that waited at a busy server changes nothing.
            pace.answered(us(2), answered(us(50 * took)));
            assert_eq!(pace.calls_max(), calls, "{took} {operations}");
        }
    }

    #[test]
    fn a_server_that_moved_away_is_measured_after_two_periods() {
        let mut pace = Pace::default();
        let answered = |took| Answered { took, operations: 1, idle: Duration::MAX };
        pace.answered(Duration::ZERO, answered(Duration::from_micros(90)));
        for period in 1..=2 {
            let now = period * (PERIOD + Duration::from_secs(1));
            pace.answered(now, answered(Duration::from_millis(3)));
        }
        assert_eq!(pace.calls_max(), 11);
    }

    #[test]
    fn a_server_that_is_busy_for_long_stays_a_near_one() {
        let mut pace = Pace::default();
        let (took, idle) = (Duration::from_millis(20), Duration::from_micros(120));
        for second in 0..100 {
            let answered = Answered { took, operations: 1, idle };
            pace.answered(Duration::from_secs(second), answered);
        }
        assert_eq!(pace.calls_max(), 1);
    }
}
