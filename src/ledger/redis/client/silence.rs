//! Whether a server is absent: a pure state machine over what its probe sees.
//!
//! A server is absent once it has given its probe no answer for as long as allowed. Refused and
//! broken connections, no reply, and the replies `LOADING`, `CLUSTERDOWN` and `MASTERDOWN` are no
//! answers. Every other reply is one, errors too. A reply that took longer than allowed does not
//! end an absence.

use std::time::Duration;

/// Time without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silence {
    /// Longest time without an answer of a server that is not absent.
    allowed: Duration,
    /// Longest time that one observation may add: a process that was stopped for a while saw
    /// nothing meanwhile, and cannot say that the server was silent.
    step_max: Duration,
    silent: Duration,
    is_absent: bool,
}

impl Silence {
    /// Of a server that has just answered.
    pub(super) fn new(allowed: Duration, step_max: Duration) -> Self {
        Self { allowed, step_max, silent: Duration::ZERO, is_absent: false }
    }

    /// Time has passed without an answer.
    pub(super) fn waited(&mut self, elapsed: Duration) {
        self.silent = self.silent.saturating_add(elapsed.min(self.step_max));
        if self.silent >= self.allowed {
            self.is_absent = true;
        }
    }

    /// An answer came, so long after its question.
    pub(super) fn answered(&mut self, after: Duration) {
        if self.is_absent && after >= self.allowed {
            return;
        }
        self.silent = Duration::ZERO;
        self.is_absent = false;
    }

    /// Whether the server is absent.
    pub(super) fn is_absent(&self) -> bool {
        self.is_absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_millis(500);
    const STEP_MAX: Duration = Duration::from_millis(100);

    /// What a probe sees at a time, in milliseconds.
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
            // An answer begins the time anew.
            (
                &[Silent(100), Silent(100), Silent(100), Answer(300), Silent(100), Silent(100)],
                false,
            ),
            // A process that was stopped for an hour has seen one step of silence.
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
