//! Clock guard: checks a machine's time of day against its monotonic clock.
//!
//! A store in this process uses the time of day at the start, advanced by the monotonic clock; the
//! base is read again each minute while the two are close. If the time of day differs from it by
//! more than [`SKEW_MAX`], a clock was set, and operations that depend on the time are refused
//! until the clock is right again or is accepted ([`ClockGuard::accept`]).
//!
//! The monotonic clock ends with the process. So the highest trusted instant is recorded: a start
//! before it is detected, and a start after it counts only for operations that can be undone, until
//! it has lasted for [`SETTLED_AFTER`].

use std::time::Duration;

use super::id::RequestId;
use super::time::Timestamp;

/// Largest difference of two clocks for operations that depend on the time: as far as a caller's
/// instants may lie ahead ([`AHEAD_MAX`](super::metering::AHEAD_MAX)).
pub const SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// Difference from which an operator should act: servers that NTP keeps in sync are closer.
pub const SKEW_NOTICED: Duration = Duration::from_secs(1);
/// Time for which both clocks have to agree before operations that cannot be undone use the time:
/// long compared with the time that NTP needs to correct a clock after a start.
pub const SETTLED_AFTER: Duration = Duration::from_secs(10 * 60);
/// Interval of reading the time of day while it is close.
const READ_EVERY: Duration = Duration::from_secs(60);

/// One reading of a machine's two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The time of day.
    pub wall: Timestamp,
    /// Time since some fixed instant; the time of day may be set, this clock cannot.
    pub monotonic: Duration,
}

/// Reason why an operation that depends on the time is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockRefusal {
    /// The time of day was set while the process ran.
    #[error(
        "the time of day and the monotonic clock of this machine are {seconds} s apart; set the \
         clock, or accept it with `imquota admin accept-clock`; nothing was done"
    )]
    Skewed {
        /// The difference, in seconds.
        seconds: u64,
    },
    /// The process was started with a time of day before the latest recorded instant.
    #[error(
        "the time of day is {seconds} s before the latest instant that the store recorded; set \
         the clock, or accept it with `imquota admin accept-clock`; nothing was done"
    )]
    Behind {
        /// The difference, in seconds.
        seconds: u64,
    },
    /// The process was started a short while ago.
    #[error(
        "the store was opened or its clock accepted a short while ago; final statements are \
         issued in {seconds} s at the earliest; nothing was done"
    )]
    Settling {
        /// Remaining time, in seconds.
        seconds: u64,
    },
}

impl ClockRefusal {
    /// Returns the reason as error details use it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Skewed { .. } | Self::Behind { .. } => "clock_skew",
            Self::Settling { .. } => "clock_settling",
        }
    }
}

/// An accepted time of day that differs from the store's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedClock {
    /// The request that accepted it.
    pub request_id: RequestId,
    /// The store's time until then, or the recorded instant if that was later.
    pub before: Timestamp,
    /// The store's time from then on.
    pub after: Timestamp,
}

/// The time, and the operations that it may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The store's time.
    pub now: Timestamp,
    /// The machine's time of day.
    pub wall: Timestamp,
    /// Reason why the time may not be used for all operations.
    refusal: Option<ClockRefusal>,
}

impl ClockReading {
    /// Returns how far the time of day is ahead of the store's time, in milliseconds.
    #[must_use]
    pub fn skew_ms(&self) -> i64 {
        self.wall.as_millis().saturating_sub(self.now.as_millis())
    }

    /// Returns the time of day, if it differs from the store's by more than [`SKEW_MAX`].
    #[must_use]
    pub fn other(&self) -> Option<Timestamp> {
        self.metering().is_err().then_some(self.wall)
    }

    /// Checks that the time may be used for figures of a day, leases, cursors and limits.
    pub fn metering(&self) -> Result<(), ClockRefusal> {
        match self.refusal {
            Some(refusal @ ClockRefusal::Skewed { .. }) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Checks that the time may be used for a sale, and to advance milestones.
    pub fn selling(&self) -> Result<(), ClockRefusal> {
        match self.refusal {
            Some(ClockRefusal::Settling { .. }) | None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    /// Checks that the time may be used for operations that cannot be undone: to issue a final
    /// statement, or to delete a figure.
    pub fn closing(&self) -> Result<(), ClockRefusal> {
        self.refusal.map_or(Ok(()), Err)
    }

    /// Returns the reason why the time may not be used for all operations; `None` if it may.
    #[must_use]
    pub fn refusal(&self) -> Option<ClockRefusal> {
        self.refusal
    }
}

/// Evaluates successive readings of a machine's clocks. See the module's head.
#[derive(Debug, Clone)]
pub struct ClockGuard {
    /// Reading from which the time is advanced.
    base: Clocks,
    /// Monotonic clock at the start, or when the time of day was accepted.
    began: Duration,
    /// Monotonic clock when the two were last found to differ.
    agreed_since: Duration,
    /// The highest recorded instant.
    recorded: Option<Timestamp>,
    /// True if the start was before the recorded instant, which has not been reached since.
    behind: bool,
}

impl ClockGuard {
    /// Starts with a reading; `recorded` is the highest instant that the store has.
    #[must_use]
    pub fn start(clocks: Clocks, recorded: Option<Timestamp>) -> Self {
        let behind = recorded.is_some_and(|recorded| recorded - clocks.wall > SKEW_MAX);
        let at = clocks.monotonic;
        Self { base: clocks, began: at, agreed_since: at, recorded, behind }
    }

    /// Processes a reading.
    pub fn observe(&mut self, clocks: Clocks) -> ClockReading {
        let Clocks { wall, monotonic } = clocks;
        if self.behind && self.recorded.is_none_or(|recorded| wall >= recorded) {
            // Starts anew at this instant: the time before was wrong.
            *self = Self::start(clocks, self.recorded);
        }
        let carried = self.base.wall + monotonic.saturating_sub(self.base.monotonic);
        let apart = wall.abs_diff(carried);
        if apart >= SKEW_NOTICED {
            self.agreed_since = monotonic;
        }
        let is_due = monotonic.saturating_sub(self.base.monotonic) >= READ_EVERY;
        if is_due && apart <= SKEW_MAX {
            self.base = clocks;
        }
        let now = if self.base == clocks { wall } else { carried };
        ClockReading { now, wall, refusal: self.refusal(now, monotonic, apart) }
    }

    fn refusal(
        &self,
        now: Timestamp,
        monotonic: Duration,
        apart: Duration,
    ) -> Option<ClockRefusal> {
        if apart > SKEW_MAX {
            return Some(ClockRefusal::Skewed { seconds: apart.as_secs() });
        }
        if self.behind {
            let behind = self.recorded.map(|recorded| recorded - now).unwrap_or_default();
            return Some(ClockRefusal::Behind { seconds: behind.as_secs() });
        }
        let left = SETTLED_AFTER.saturating_sub(monotonic.saturating_sub(self.began));
        (!left.is_zero()).then(|| ClockRefusal::Settling { seconds: left.as_secs().max(1) })
    }

    /// Uses the time of day from now on, like a start at this instant.
    pub fn accept(&mut self, clocks: Clocks) {
        *self = Self::start(clocks, None);
        self.recorded = Some(clocks.wall);
    }

    /// Returns the instant to record as the highest, if one is due: a minute after the last one,
    /// once both clocks have agreed for [`SETTLED_AFTER`].
    #[must_use]
    pub fn due(&self, clocks: Clocks) -> Option<Timestamp> {
        let mut guard = self.clone();
        let now = guard.observe(clocks).now;
        let agreed = clocks.monotonic.saturating_sub(guard.agreed_since) >= SETTLED_AFTER;
        let is_due = guard.recorded.is_none_or(|recorded| now >= recorded + READ_EVERY);
        (agreed && is_due).then_some(now)
    }

    /// Notes that an instant was recorded.
    pub fn recorded(&mut self, at: Timestamp) {
        self.recorded = Some(at);
    }
}

#[cfg(test)]
#[path = "clock_guard_tests.rs"]
mod tests;
