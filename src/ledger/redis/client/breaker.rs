//! Whether a server is worth waiting for: after some failures in a row, a call that is in a hurry
//! (its caller has another answer at hand, or rather hears at once that there is none) is refused,
//! but for one now and then that finds out.
//!
//! Other calls are not held back here: they wait until their time is up, and what they find out
//! counts.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Failure;
use super::reply;
use crate::clock::Stopwatch;

/// What opens it, each alone: so many failures in a row over so long. One may be a slow script, and
/// a connection that is lost and made anew is no reason; but where few call, few can fail.
const OPENS: [(u32, Duration); 2] = [(5, Duration::from_millis(300)), (2, Duration::from_secs(1))];
/// How often one call finds out whether the server is back.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// One server's breaker; closed at first.
#[derive(Default)]
pub(super) struct Breaker {
    /// Failures in a row.
    failures: AtomicU32,
    open: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    /// When the first failure in a row came.
    failing: Option<Stopwatch>,
    /// When somebody last found out.
    probed: Option<Stopwatch>,
}

impl Breaker {
    /// Whether callers who can do without are refused at present.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// What is to become of a call that is in a hurry.
    pub(super) fn gate(&self) -> Gate {
        if !self.is_open() {
            return Gate::Pass;
        }
        let mut times = self.times();
        if times.probed.is_some_and(|last| last.elapsed() < PROBE_EVERY) {
            return Gate::Refuse;
        }
        times.probed = Some(Stopwatch::start());
        Gate::Probe
    }

    /// Notes what became of a call; `tells` is whether a failure says more about the server than
    /// about the caller's patience. Answers whether it has just opened or closed.
    pub(super) fn note<T>(&self, outcome: &Result<T, Failure>, tells: bool) -> Option<Changed> {
        match outcome {
            Err(failure) if counts(failure) => {
                if tells {
                    self.failed()
                } else {
                    None
                }
            }
            Err(Failure::Overloaded | Failure::Closing) => None,
            _ => self.answered(),
        }
    }

    fn failed(&self) -> Option<Changed> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let mut times = self.times();
        if failures == 1 {
            times.failing = Some(Stopwatch::start());
        }
        let failing = times.failing.map(|first| first.elapsed()).unwrap_or_default();
        let opens = OPENS.iter().any(|(least, long)| failures >= *least && failing >= *long);
        if !opens || self.open.swap(true, Ordering::Relaxed) {
            return None;
        }
        times.probed = Some(Stopwatch::start());
        Some(Changed::Opened)
    }

    fn answered(&self) -> Option<Changed> {
        // Read first: nothing is written while all goes well.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        let closes = self.is_open() && self.open.swap(false, Ordering::Relaxed);
        closes.then_some(Changed::Closed)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to become of a call that is in a hurry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// It is sent.
    Pass,
    /// It is sent to find out, and not waited for as long as its caller would.
    Probe,
    /// It is refused.
    Refuse,
}

/// What a call did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Opened,
    Closed,
}

/// Whether the server does not work; what it merely refuses, it refuses in good health.
fn counts(failure: &Failure) -> bool {
    match failure {
        Failure::Unsent(_) | Failure::Lost(_) => true,
        Failure::Server(error) => reply::is_passing(error.code()),
        Failure::Overloaded | Failure::Closing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_millis(310);
    const MANY: u32 = OPENS[0].0;

    fn failed() -> Result<(), Failure> {
        Err(Failure::Lost("gone".to_owned()))
    }

    fn fail(breaker: &Breaker, times: u32) -> Option<Changed> {
        (0..times).filter_map(|_| breaker.note(&failed(), true)).last()
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_the_first_answer() {
        let breaker = Breaker::default();
        assert_eq!(fail(&breaker, 2 * MANY), None, "many at once are one");
        assert_eq!(breaker.note(&Ok(()), true), None);
        assert_eq!(fail(&breaker, MANY - 2), None);
        std::thread::sleep(LONG);
        assert_eq!(fail(&breaker, 1), None, "long, and not many");
        assert_eq!(breaker.gate(), Gate::Pass);
        assert_eq!(fail(&breaker, 1), Some(Changed::Opened));
        assert!(breaker.is_open());
        assert_eq!(breaker.gate(), Gate::Refuse, "the first probe comes later");
        assert_eq!(fail(&breaker, 1), None, "it is open already");
        assert_eq!(breaker.note(&Ok(()), true), Some(Changed::Closed));
        assert!(!breaker.is_open());
        assert_eq!(breaker.gate(), Gate::Pass);
    }

    #[test]
    fn one_call_now_and_then_finds_out() {
        let breaker = Breaker::default();
        breaker.open.store(true, Ordering::Relaxed);
        assert_eq!([breaker.gate(), breaker.gate()], [Gate::Probe, Gate::Refuse]);
    }

    #[test]
    fn impatient_callers_and_full_queues_say_nothing_about_the_server() {
        let breaker = Breaker::default();
        breaker.note(&failed(), true);
        std::thread::sleep(LONG);
        for _ in 0..2 * MANY {
            assert_eq!(breaker.note(&failed(), false), None);
            assert_eq!(breaker.note::<()>(&Err(Failure::Overloaded), true), None);
        }
        assert!(!breaker.is_open());
    }
}
