//! Keeps the refusals of a server that answers, for the log, readiness and events.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::{Failure, reply};
use crate::clock::Stopwatch;
use crate::redis::options::Address;
use crate::store::Refusal;

/// Time for which a refusal is reported after its reply.
const REPORTED_FOR: Duration = Duration::from_secs(10);
/// Time between two log lines about the same code.
const LOGGED_EVERY: Duration = Duration::from_secs(60);
/// Most codes per server whose last log line is remembered: more than Redis has.
const CODES_MAX: usize = 32;

/// The recent refusals of one server.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    last: Option<(Refusal, Stopwatch)>,
    /// Codes that were logged, and when.
    logged: Vec<(String, Stopwatch)>,
}

impl Refusals {
    /// Records the outcome of a call, if the server refused it or no replica confirmed it.
    pub(super) fn record<T>(&self, server: &Address, outcome: &Result<T, Failure>) {
        let (code, words) = match outcome {
            Err(Failure::Server(error)) if reply::is_refusal(error.code()) => {
                (error.code(), reply::words(error))
            }
            Err(Failure::Unconfirmed(why)) => ("UNCONFIRMED", why.clone()),
            _ => return,
        };
        let mut seen = self.seen();
        if seen.is_due(code) {
            tracing::warn!(%server, code, reason = words, "Redis refuses calls");
        }
        seen.last = Some((Refusal { code: code.to_owned(), words }, Stopwatch::start()));
    }

    /// Returns the last refusal, if it is recent.
    pub(super) fn current(&self) -> Option<Refusal> {
        let seen = self.seen();
        let recent = seen.last.as_ref().filter(|(_, since)| since.elapsed() < REPORTED_FOR);
        recent.map(|(refusal, _)| refusal.clone())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock()
    }
}

impl Seen {
    /// Returns whether a code is to be logged now, and records it as logged.
    fn is_due(&mut self, code: &str) -> bool {
        self.logged.retain(|(_, since)| since.elapsed() < LOGGED_EVERY);
        if self.logged.len() >= CODES_MAX || self.logged.iter().any(|(known, _)| known == code) {
            return false;
        }
        self.logged.push((code.to_owned(), Stopwatch::start()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_alternate_are_logged_once_each() {
        let mut seen = Seen::default();
        let mut due = 0;
        for _ in 0..100 {
            due += usize::from(seen.is_due("OOM")) + usize::from(seen.is_due("READONLY"));
        }
        assert_eq!(due, 2);
        for number in 0..100 {
            seen.is_due(&format!("CODE{number}"));
        }
        assert_eq!(seen.logged.len(), CODES_MAX);
    }
}
