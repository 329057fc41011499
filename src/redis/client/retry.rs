//! Deadlines, the backoff between attempts, and the retry budget of all calls.

use std::time::Duration;

use parking_lot::Mutex;

use super::CallTimeout;
use crate::clock::Stopwatch;

/// Shortest backoff; a shorter one would only burn the server's processor.
const PAUSE_MIN_MS: u64 = 10;
/// Longest backoff: a server that is back is noticed within 0.2 s.
const PAUSE_MAX_MS: u64 = 200;

/// The deadline of a call or of an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    started: Stopwatch,
    pub(super) within: Duration,
    /// True if the call fails fast when its server is absent.
    pub(super) fail_fast: bool,
    /// True if the call can be divided.
    pub(super) is_divisible: bool,
}

impl Deadline {
    /// A deadline after that time from now.
    pub(super) fn after(within: Duration) -> Self {
        Self::of(within.into())
    }

    /// The deadline of a call.
    pub(super) fn of(CallTimeout { within, fail_fast, is_divisible }: CallTimeout) -> Self {
        Self { started: Stopwatch::start(), within, fail_fast, is_divisible }
    }

    /// Returns an earlier deadline of the same start: `reserved` is subtracted.
    pub(super) fn less(self, reserved: Duration) -> Self {
        Self { within: self.within.saturating_sub(reserved), ..self }
    }

    /// Returns the remaining time; zero when it is over.
    pub(super) fn left(&self) -> Duration {
        self.within.saturating_sub(self.started.elapsed())
    }

    /// Returns whether the time is over.
    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}

/// Returns the backoff after that number of failed attempts: it doubles, and has jitter so that
/// sidecars which lost the same server do not return in step.
pub(super) fn pause(attempts: u32) -> Duration {
    let most = (PAUSE_MIN_MS << (attempts.min(8) + 1)).min(PAUSE_MAX_MS);
    Duration::from_millis(most / 2 + random() % (most / 2 + 1))
}

/// Returns a random number below `end`; 0 if `end` is 0.
pub(super) fn random_below(end: usize) -> usize {
    usize::try_from(random()).unwrap_or_default().checked_rem(end).unwrap_or_default()
}

fn random() -> u64 {
    // Without randomness, sidecars are merely in step.
    getrandom::u64().unwrap_or_default()
}

/// Sleeps for the backoff, but not beyond the deadline.
pub(super) async fn rest(attempts: u32, deadline: Deadline) {
    tokio::time::sleep(pause(attempts).min(deadline.left())).await;
}

/// The retry budget of all calls together: while a server is down, many calls wait for it, and they
/// must not all reach it in the moment when it is back.
pub(super) struct RetryBudget(Mutex<(u32, Stopwatch)>);

/// Retries per second, and the size of a burst: a failover or a flush of scripts affects each call
/// in flight once, and there are fewer of those.
const RETRIES_PER_S: u32 = 1000;

impl RetryBudget {
    /// A full budget.
    pub(super) fn new() -> Self {
        Self(Mutex::new((RETRIES_PER_S, Stopwatch::start())))
    }

    /// Sleeps for the backoff, and until the budget has a retry, but not beyond the deadline.
    pub(super) async fn rest(&self, attempts: u32, deadline: Deadline) {
        rest(attempts, deadline).await;
        while !deadline.is_over() && !self.take() {
            tokio::time::sleep(Duration::from_millis(PAUSE_MAX_MS).min(deadline.left())).await;
        }
    }

    fn take(&self) -> bool {
        let mut retries = self.0.lock();
        let (left, since) = *retries;
        let earned = since.elapsed().as_millis() * u128::from(RETRIES_PER_S) / 1000;
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        let available = left.saturating_add(earned).min(RETRIES_PER_S);
        // Time that has not yet earned a whole retry is kept.
        let since = if earned > 0 { Stopwatch::start() } else { since };
        *retries = (available.saturating_sub(1), since);
        available > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::test_time::advance;

    #[test]
    fn retries_are_bounded_and_the_budget_refills_with_time() {
        let retries = RetryBudget::new();
        let taken = (0..3 * RETRIES_PER_S).filter(|_| retries.take()).count();
        let most = RETRIES_PER_S as usize;
        // The burst, and what the budget regains meanwhile on a slow machine.
        assert!((most..3 * most).contains(&taken), "{taken}");
        while retries.take() {}
        advance(Duration::from_millis(20));
        assert!(retries.take());
    }
}
