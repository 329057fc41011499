//! Paces long admin work, so that decisions on the same thread and in the same store run in
//! between.
//!
//! Previews, lists, comparisons, statements, and rounds over all apps do their work in slices of
//! about a millisecond. All calls of the process share one pace: slices begin some time apart, in
//! the order in which they were requested. Many concurrent callers slow down one another, but not
//! decisions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

use crate::clock::Stopwatch;

/// Users, groups, apps or entries of one slice.
pub const SLICE_ITEMS: usize = 8;
/// Slices of reads that wait for the store at the same time.
const READING_MAX: usize = 4;
/// Time between the beginnings of two slices.
const INTERVAL: Duration = Duration::from_millis(2);
/// Delay by which a timer fires late on a thread that is not busy.
const TIMER_RESOLUTION: Duration = Duration::from_millis(2);
/// Longest additional interval.
const EXTRA_INTERVAL_MAX: Duration = Duration::from_millis(20);

/// The pace; see the module's head.
#[derive(Debug)]
pub struct Pace {
    started: Stopwatch,
    /// Beginning of the last requested slice, since the start. Never locked while anything is
    /// awaited: a caller whose connection is stuck stops no other.
    last_begins: Mutex<Duration>,
    reading: Semaphore,
    begun: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        let (last_begins, begun) = Default::default();
        let (started, reading) = (Stopwatch::start(), Semaphore::new(READING_MAX));
        Self { started, last_begins, reading, begun }
    }
}

impl Pace {
    /// Waits until one more slice may begin.
    pub async fn next_slice(&self) {
        let turn = Turn::after_all_others(self);
        sleep(turn.begins.saturating_sub(self.started.elapsed())).await;
        turn.begin();
    }

    /// Returns the number of slices that have begun.
    #[must_use]
    pub fn slices_begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits until one more slice of reads may begin, which lasts until the permit is dropped. The
    /// permit is for work that proceeds on its own, whatever its caller does with the result.
    pub(in crate::engine::admin) async fn next_reads(&self) -> SemaphorePermit<'_> {
        let permit = self.reading.acquire().await.expect("the semaphore is never closed");
        self.next_slice().await;
        permit
    }

    fn last_begins(&self) -> MutexGuard<'_, Duration> {
        self.last_begins.lock()
    }
}

/// The turn of one slice; returned if it is dropped before the slice begins.
struct Turn<'p> {
    pace: &'p Pace,
    begins: Duration,
    has_begun: bool,
}

impl<'p> Turn<'p> {
    fn after_all_others(pace: &'p Pace) -> Self {
        let now = pace.started.elapsed();
        let mut last_begins = pace.last_begins();
        *last_begins = (*last_begins).max(now) + INTERVAL;
        Self { pace, begins: *last_begins, has_begun: false }
    }

    /// Begins the slice. A late timer shows that the threads are busy: then decisions wait too, and
    /// the next slices are further apart.
    fn begin(mut self) {
        self.has_begun = true;
        self.pace.begun.fetch_add(1, Ordering::Relaxed);
        let now = self.pace.started.elapsed();
        let late = now.saturating_sub(self.begins + TIMER_RESOLUTION);
        if !late.is_zero() {
            let mut last_begins = self.pace.last_begins();
            *last_begins = (*last_begins).max(now + late.min(EXTRA_INTERVAL_MAX));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.has_begun {
            let mut last_begins = self.pace.last_begins();
            *last_begins = last_begins.saturating_sub(INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Waker};

    use super::*;

    /// Two loops, one paced and one that only yields, on one thread.
    #[tokio::test]
    async fn other_tasks_run_before_each_slice() {
        let (pace, turns) = (Arc::new(Pace::default()), Arc::new(AtomicUsize::new(0)));
        let counted = turns.clone();
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..20 {
            let before = turns.load(Ordering::Relaxed);
            pace.next_slice().await;
            assert!(turns.load(Ordering::Relaxed) > before);
        }
        other.abort();
    }

    #[tokio::test]
    async fn callers_take_slices_in_turns() {
        let pace = Arc::new(Pace::default());
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let callers = ["a", "b", "c"].map(|name| {
            let (pace, order) = (pace.clone(), order.clone());
            tokio::spawn(async move {
                for _ in 0..4 {
                    pace.next_slice().await;
                    order.lock().unwrap().push(name);
                }
            })
        });
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["a", "b", "c"].repeat(4));
    }

    /// A caller that waits for its turn and is not polled, or goes away, holds up no other.
    #[tokio::test]
    async fn a_turn_that_is_not_taken_holds_up_no_other() {
        let pace = Pace::default();
        let mut stuck: Vec<_> = (0..1000).map(|_| Box::pin(pace.next_slice())).collect();
        for one in &mut stuck {
            assert!(one.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let ahead = *pace.last_begins();
        assert!(ahead >= 1000 * INTERVAL);
        stuck.truncate(1);
        assert!(*pace.last_begins() + 999 * INTERVAL <= ahead, "turns are returned");
        pace.next_slice().await;
        pace.next_slice().await;
        drop(stuck);
    }

    #[tokio::test]
    async fn reads_that_do_not_come_back_are_bounded() {
        let pace = Pace::default();
        let mut reading = Vec::new();
        for _ in 0..READING_MAX {
            reading.push(pace.next_reads().await);
        }
        let one_more = tokio::time::timeout(10 * INTERVAL, pace.next_reads()).await;
        assert!(one_more.is_err(), "{READING_MAX} slices wait for the store");
        reading.pop();
        drop(pace.next_reads().await);
    }
}
