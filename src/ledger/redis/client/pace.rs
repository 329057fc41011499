//! How long things may take and how long to pause between attempts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Patience;
use crate::clock::Stopwatch;

/// Shortest pause between attempts; shorter ones only burn the other side's processor.
const PAUSE_MIN_MS: u64 = 10;
/// Longest pause between attempts: a server that is back is noticed within a blink.
const PAUSE_MAX_MS: u64 = 200;

/// The end of somebody's patience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    started: Stopwatch,
    pub(super) within: Duration,
    /// Whether a server that has not answered for a while is not waited for.
    pub(super) hurried: bool,
}

impl Deadline {
    /// From now on.
    pub(super) fn after(within: Duration) -> Self {
        Self::of(within.into())
    }

    /// The same, for a caller who may be in a hurry.
    pub(super) fn of(Patience { within, hurried }: Patience) -> Self {
        Self { started: Stopwatch::start(), within, hurried }
    }

    /// The same, and so much earlier.
    pub(super) fn less(self, kept: Duration) -> Self {
        Self { within: self.within.saturating_sub(kept), ..self }
    }

    /// What is left; zero when it is over.
    pub(super) fn left(&self) -> Duration {
        self.within.saturating_sub(self.started.elapsed())
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}

/// The pause after so many failed attempts: doubling, and jittered so that sidecars which lost
/// the same server do not return in step.
pub(super) fn pause(attempts: u32) -> Duration {
    let most = (PAUSE_MIN_MS << (attempts.min(8) + 1)).min(PAUSE_MAX_MS);
    Duration::from_millis(most / 2 + random() % (most / 2 + 1))
}

/// Some number below that one; zero below zero.
pub(super) fn random_below(end: usize) -> usize {
    usize::try_from(random()).unwrap_or_default().checked_rem(end).unwrap_or_default()
}

fn random() -> u64 {
    // Without randomness sidecars are merely in step.
    getrandom::u64().unwrap_or_default()
}

/// Sleeps for that pause, and no longer than until the deadline.
pub(super) async fn rest(attempts: u32, deadline: Deadline) {
    tokio::time::sleep(pause(attempts).min(deadline.left())).await;
}

/// Second attempts of all calls together: while a server is away, many wait for it, and it is not
/// to be found by all of them at once.
pub(super) struct Retries(Mutex<(u32, Stopwatch)>);

/// Second attempts a second, and as many at once: a failover or a flush of scripts meets each call
/// in work once, and of those there are fewer.
const RETRIES_PER_S: u32 = 1000;

impl Retries {
    /// None was made yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new((RETRIES_PER_S, Stopwatch::start())))
    }

    /// Pauses after so many attempts, and until there is one to be had, but not beyond the
    /// deadline.
    pub(super) async fn rest(&self, attempts: u32, deadline: Deadline) {
        rest(attempts, deadline).await;
        while !deadline.is_over() && !self.take() {
            tokio::time::sleep(Duration::from_millis(PAUSE_MAX_MS).min(deadline.left())).await;
        }
    }

    fn take(&self) -> bool {
        let mut retries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *retries;
        let earned = since.elapsed().as_millis() * u128::from(RETRIES_PER_S) / 1000;
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        let there = left.saturating_add(earned).min(RETRIES_PER_S);
        // What was earned by less than one is not forgotten.
        let since = if earned > 0 { Stopwatch::start() } else { since };
        *retries = (there.saturating_sub(1), since);
        there > 0
    }
}

/// A background task that ends with its owner.
#[derive(Debug)]
pub(super) struct Task(tokio::task::JoinHandle<()>);

impl Task {
    /// Starts it.
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_attempts_are_bounded_and_come_back_with_time() {
        let retries = Retries::new();
        let taken = (0..3 * RETRIES_PER_S).filter(|_| retries.take()).count();
        let most = RETRIES_PER_S as usize;
        // As many as there are at once, and what a slow machine earns meanwhile.
        assert!((most..3 * most).contains(&taken), "{taken}");
        while retries.take() {}
        std::thread::sleep(Duration::from_millis(20));
        assert!(retries.take());
    }
}
