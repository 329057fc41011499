//! Detects from the results of its probe whether a server is absent: a pure state machine.
//!
//! A server is absent once it has given its probe no answer for the allowed time. Refused and
//! broken connections, a missing reply, and the replies `LOADING`, `CLUSTERDOWN` and `MASTERDOWN`
//! are no answers. Every other reply is an answer, errors included. A reply that took longer than
//! the allowed time does not end an absence.

use std::time::Duration;

/// The time for which a server has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silence {
    /// Longest time without an answer before the server is absent.
    allowed: Duration,
    /// Longest time that one observation may add: a process that was stopped for a while has
    /// observed nothing meanwhile, which is no evidence of silence.
    step_max: Duration,
    silent: Duration,
    is_absent: bool,
}

impl Silence {
    /// The state of a server that has just answered.
    pub(super) fn new(allowed: Duration, step_max: Duration) -> Self {
        Self { allowed, step_max, silent: Duration::ZERO, is_absent: false }
    }

    /// Adds time without an answer.
    pub(super) fn waited(&mut self, elapsed: Duration) {
        self.silent = self.silent.saturating_add(elapsed.min(self.step_max));
        if self.silent >= self.allowed {
            self.is_absent = true;
        }
    }

    /// Records an answer that came `after` its probe was sent.
    pub(super) fn answered(&mut self, after: Duration) {
        if self.is_absent && after >= self.allowed {
            return;
        }
        self.silent = Duration::ZERO;
        self.is_absent = false;
    }

    /// Returns whether the server is absent.
    pub(super) fn is_absent(&self) -> bool {
        self.is_absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_millis(500);
    const STEP_MAX: Duration = Duration::from_millis(100);

    /// One result of a probe, in milliseconds.
    enum Seen {
        Silence(u64),
        Answer(u64),
    }
    use Seen::{Answer, Silence as Silent};

    fn after(seen: &[Seen]) -> bool {
        let mut silence = Silence::new(ALLOWED, STEP_MAX);
        for one in seen {
            match one {
                Silent(ms) => silence.waited(Duration::from_millis(*ms)),
                Answer(ms) => silence.answered(Duration::from_millis(*ms)),
            }
        }
        silence.is_absent()
    }

    #[test]
    fn a_server_is_absent_after_the_allowed_time_without_an_answer() {
        for (seen, is_absent) in [
            (&[][..], false),
            (&[Silent(100), Silent(100), Silent(100), Silent(100), Silent(99)], false),
            (&[Silent(100), Silent(100), Silent(100), Silent(100), Silent(100)], true),
            // An answer resets the time.
            (
                &[Silent(100), Silent(100), Silent(100), Answer(300), Silent(100), Silent(100)],
                false,
            ),
            // A process that was stopped for an hour counts one step of silence.
            (&[Silent(3_600_000), Silent(3_600_000)], false),
        ] {
            assert_eq!(after(seen), is_absent);
        }
    }

    #[test]
    fn an_absence_ends_with_an_answer_in_time() {
        let absent = || [100; 5].map(Silent).into_iter();
        for (answer_ms, is_absent) in [(499, false), (500, true), (700, true)] {
            let seen: Vec<_> = absent().chain([Answer(answer_ms)]).collect();
            assert_eq!(after(&seen), is_absent, "{answer_ms}");
        }
    }
}
