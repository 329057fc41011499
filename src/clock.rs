//! The only file that reads a clock.
//!
//! Everything else gets a [`Clock`] or a [`Stopwatch`]; clippy forbids the rest (`clippy.toml`).
//! The sidecar uses a [`SteadyClock`]: a change of the machine's time of day while it runs counts
//! only once it has lasted for some time.

#![allow(clippy::disallowed_methods)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Interval at which a [`SteadyClock`] reads the time of day again: a clock that is wrong for some
/// seconds has no effect, and a correction counts soon.
pub const WALL_CLOCK_READ_INTERVAL: Duration = Duration::from_secs(60);

/// Source of the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current instant, in UTC.
    fn now(&self) -> Timestamp;

    /// Returns the machine's time of day at this very moment, which may have been set since the
    /// reading that [`Clock::now`] uses.
    fn wall(&self) -> Timestamp {
        self.now()
    }

    /// Returns the time since some fixed instant, unaffected by changes of the time of day. By
    /// default it agrees with [`Clock::now`].
    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.now().as_millis()).unwrap_or(0))
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        millis(wall_micros())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(u64::try_from(monotonic::micros()).unwrap_or(0))
    }
}

/// The machine's time of day at the start, advanced by its monotonic clock, and read again each
/// [`WALL_CLOCK_READ_INTERVAL`].
#[derive(Debug)]
pub struct SteadyClock {
    /// Difference between the time of day and the monotonic clock, in microseconds, at the last
    /// reading.
    offset: AtomicI64,
    /// Monotonic clock at the last reading, in microseconds.
    read_at: AtomicI64,
}

impl SteadyClock {
    /// Reads the time of day for the first time.
    #[must_use]
    pub fn start() -> Self {
        let monotonic = monotonic::micros();
        let offset = AtomicI64::new(wall_micros() - monotonic);
        Self { offset, read_at: AtomicI64::new(monotonic) }
    }

    /// Returns the time of day, given a reading of both clocks; that of the time of day is used
    /// only when it is due.
    fn at(&self, monotonic: i64, wall: impl FnOnce() -> i64) -> i64 {
        let since = monotonic - self.read_at.load(Ordering::Relaxed);
        if since >= READ_INTERVAL_MICROS {
            self.offset.store(wall() - monotonic, Ordering::Relaxed);
            self.read_at.store(monotonic, Ordering::Relaxed);
        }
        monotonic + self.offset.load(Ordering::Relaxed)
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        millis(self.at(monotonic::micros(), wall_micros))
    }

    fn wall(&self) -> Timestamp {
        SystemClock.now()
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

/// [`WALL_CLOCK_READ_INTERVAL`] in microseconds.
const READ_INTERVAL_MICROS: i64 = 60 * 1_000_000;

fn wall_micros() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

fn millis(micros: i64) -> Timestamp {
    Timestamp::from_millis(micros.div_euclid(1000))
}

/// Linux's monotonic clock that advances while the machine is suspended: a sidecar that wakes up
/// immediately has the right time.
#[cfg(target_os = "linux")]
mod monotonic {
    use rustix::time::{ClockId, clock_gettime};

    pub(super) fn micros() -> i64 {
        let time = clock_gettime(ClockId::Boottime);
        time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
    }
}

/// The monotonic clock since its first reading.
#[cfg(not(target_os = "linux"))]
mod monotonic {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(super) fn micros() -> i64 {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let since = FIRST.get_or_init(Instant::now).elapsed();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Measures durations, unaffected by changes of the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts a stopwatch.
    #[must_use]
    pub fn start() -> Self {
        Self(stopwatch_now())
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        stopwatch_now().saturating_duration_since(self.0)
    }
}

/// Returns the instant by which stopwatches measure.
#[cfg(not(test))]
fn stopwatch_now() -> Instant {
    Instant::now()
}

#[cfg(test)]
fn stopwatch_now() -> Instant {
    Instant::now() + test_time::advanced_by()
}

/// Advances the stopwatches of a test's thread, so that a unit test need not sleep.
#[cfg(test)]
pub(crate) mod test_time {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        static ADVANCED_BY: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// Lets all stopwatches of this thread measure that much more.
    pub(crate) fn advance(by: Duration) {
        ADVANCED_BY.set(ADVANCED_BY.get() + by);
    }

    pub(super) fn advanced_by() -> Duration {
        ADVANCED_BY.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_jump_of_the_time_of_day_counts_once_it_is_read_again() {
        let clock = SteadyClock { offset: AtomicI64::new(500 * SECOND), read_at: 0.into() };
        // The monotonic clock, the time of day, and the resulting steady clock.
        for (monotonic, wall, now) in [
            (SECOND, 501, 501),
            // For a second the time of day is days ahead, and then behind.
            (2 * SECOND, 900_000, 502),
            (3 * SECOND, 7, 503),
            (60 * SECOND - 1, 900_000, 559),
            // It was corrected by two seconds, and is read again.
            (60 * SECOND, 562, 562),
            (61 * SECOND, 900_000, 563),
            (120 * SECOND, 622, 622),
        ] {
            let steady = clock.at(monotonic, || wall * SECOND) / SECOND;
            assert_eq!(steady, now, "{monotonic}");
        }
        assert_eq!(
            Duration::from_micros(READ_INTERVAL_MICROS.unsigned_abs()),
            WALL_CLOCK_READ_INTERVAL
        );
    }

    #[test]
    fn a_steady_clock_agrees_with_the_time_of_day() {
        let clock = SteadyClock::start();
        let apart = clock.now().as_millis() - SystemClock.now().as_millis();
        assert!((-50..=50).contains(&apart), "{apart} ms");
        let before = clock.monotonic();
        assert!(clock.monotonic() >= before);
    }
}
