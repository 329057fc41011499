//! Whether a machine's time of day can be trusted, judged against its monotonic clock.
//!
//! The time of day at the start, carried on by the monotonic clock, is the time that a store in
//! this process goes by; it is read again each minute while the two are close. Where the time of
//! day differs from it by more than [`SKEW_MAX`], a clock was set, and what depends on the
//! time is refused until it is right again or is accepted ([`ClockGuard::accept`]).
//!
//! The monotonic clock ends with the process. So the highest instant that can be trusted is
//! recorded: a start before it is noticed, and a start after it counts only for what can be undone
//! until it has lasted for [`SETTLED_AFTER`].

use std::time::Duration;

use super::id::RequestId;
use super::time::Timestamp;

/// Furthest that two clocks may be apart for what depends on the time: as far as a caller's
/// instants may lie ahead ([`AHEAD_MAX`](super::metering::AHEAD_MAX)).
pub const SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// From this difference on an operator should look: servers that are kept by NTP are closer.
pub const SKEW_NOTICED: Duration = Duration::from_secs(1);
/// How long both clocks have to agree before the time is used for what cannot be undone: long
/// beside the time that NTP takes to correct a clock after a start.
pub const SETTLED_AFTER: Duration = Duration::from_secs(10 * 60);
/// How often the time of day is taken over while it is close.
const READ_EVERY: Duration = Duration::from_secs(60);

/// One reading of a machine's two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The time of day.
    pub wall: Timestamp,
    /// The time since some fixed instant; the time of day may be set, this one cannot.
    pub monotonic: Duration,
}

/// Why something that depends on the time is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockRefusal {
    /// The time of day was set while the process ran.
    #[error(
        "the time of day and the monotonic clock of this machine are {seconds} s apart; set the \
         clock, or accept it with `imquota admin accept-clock`; nothing was done"
    )]
    Skewed {
        /// How far they are apart.
        seconds: u64,
    },
    /// The process was started with an earlier time of day than the store has seen.
    #[error(
        "the time of day is {seconds} s before the latest instant that the store recorded; set \
         the clock, or accept it with `imquota admin accept-clock`; nothing was done"
    )]
    Behind {
        /// How far it is behind.
        seconds: u64,
    },
    /// The process was started a short while ago.
    #[error(
        "the store was opened or its clock accepted a short while ago; final statements are \
         issued in {seconds} s at the earliest; nothing was done"
    )]
    Settling {
        /// How long it still takes.
        seconds: u64,
    },
}

impl ClockRefusal {
    /// In words that error details can use as a reason.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Skewed { .. } | Self::Behind { .. } => "clock_skew",
            Self::Settling { .. } => "clock_settling",
        }
    }
}

/// A time of day that was accepted although it is not the one that the store went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedClock {
    /// The request that accepted it.
    pub request_id: RequestId,
    /// The time that the store went by until then, or the recorded instant where that was later.
    pub before: Timestamp,
    /// The time that it goes by from then on.
    pub after: Timestamp,
}

/// The time, and what it may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The time that the store goes by.
    pub now: Timestamp,
    /// The machine's time of day.
    pub wall: Timestamp,
    /// What stands in the way of using it for everything.
    refusal: Option<ClockRefusal>,
}

impl ClockReading {
    /// How far the time of day is ahead of the time that the store goes by, in milliseconds.
    #[must_use]
    pub fn skew_ms(&self) -> i64 {
        self.wall.as_millis().saturating_sub(self.now.as_millis())
    }

    /// The time of day, where it is another one than the store's by more than [`SKEW_MAX`].
    #[must_use]
    pub fn other(&self) -> Option<Timestamp> {
        self.metering().is_err().then_some(self.wall)
    }

    /// Whether the time may be used for figures of a day, leases, cursors and limits.
    pub fn metering(&self) -> Result<(), ClockRefusal> {
        match self.refusal {
            Some(refusal @ ClockRefusal::Skewed { .. }) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Whether the time may be used for a sale, or to go on with what follows from time passing.
    pub fn selling(&self) -> Result<(), ClockRefusal> {
        match self.refusal {
            Some(ClockRefusal::Settling { .. }) | None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    /// Whether the time may be used for what cannot be undone: to issue a final statement, or to
    /// delete a figure.
    pub fn closing(&self) -> Result<(), ClockRefusal> {
        self.refusal.map_or(Ok(()), Err)
    }

    /// What stands in the way of using the time for everything; `None`: nothing.
    #[must_use]
    pub fn refusal(&self) -> Option<ClockRefusal> {
        self.refusal
    }
}

/// Judges readings of a machine's clocks, one after the other. See the module's head.
#[derive(Debug, Clone)]
pub struct ClockGuard {
    /// What the time is carried on from.
    base: Clocks,
    /// The monotonic clock at the start, or when the time of day was accepted.
    began: Duration,
    /// The monotonic clock when both were last found to differ.
    agreed_since: Duration,
    /// The highest instant that was recorded.
    recorded: Option<Timestamp>,
    /// Whether the time was begun with before the recorded instant, which was not reached since.
    behind: bool,
}

impl ClockGuard {
    /// Begins with a reading; `recorded` is the highest instant that the store has.
    #[must_use]
    pub fn start(clocks: Clocks, recorded: Option<Timestamp>) -> Self {
        let behind = recorded.is_some_and(|recorded| recorded - clocks.wall > SKEW_MAX);
        let at = clocks.monotonic;
        Self { base: clocks, began: at, agreed_since: at, recorded, behind }
    }

    /// Takes in a reading.
    pub fn observe(&mut self, clocks: Clocks) -> ClockReading {
        let Clocks { wall, monotonic } = clocks;
        if self.behind && self.recorded.is_none_or(|recorded| wall >= recorded) {
            // As a start at this instant would: the time before was wrong.
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

    /// Goes by the time of day from now on, as a start at this instant would.
    pub fn accept(&mut self, clocks: Clocks) {
        *self = Self::start(clocks, None);
        self.recorded = Some(clocks.wall);
    }

    /// The instant to be recorded as the highest, where that is due: a minute after the last one,
    /// once both clocks have agreed for [`SETTLED_AFTER`].
    #[must_use]
    pub fn due(&self, clocks: Clocks) -> Option<Timestamp> {
        let mut guard = self.clone();
        let now = guard.observe(clocks).now;
        let agreed = clocks.monotonic.saturating_sub(guard.agreed_since) >= SETTLED_AFTER;
        let is_due = guard.recorded.is_none_or(|recorded| now >= recorded + READ_EVERY);
        (agreed && is_due).then_some(now)
    }

    /// Takes in that an instant was recorded.
    pub fn recorded(&mut self, at: Timestamp) {
        self.recorded = Some(at);
    }
}

#[cfg(test)]
#[path = "clock_guard_tests.rs"]
mod tests;
