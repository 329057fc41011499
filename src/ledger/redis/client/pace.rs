//! How long things may take and how long to pause between attempts.

use std::time::Duration;

use crate::clock::Stopwatch;

/// Shortest pause between attempts; shorter ones only burn the other side's processor.
const PAUSE_MIN_MS: u64 = 10;
/// Longest pause between attempts: a server that is back is noticed within a blink.
const PAUSE_MAX_MS: u64 = 200;

/// The end of somebody's patience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    started: Stopwatch,
    within: Duration,
}

impl Deadline {
    /// From now on.
    pub(super) fn after(within: Duration) -> Self {
        Self { started: Stopwatch::start(), within }
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
