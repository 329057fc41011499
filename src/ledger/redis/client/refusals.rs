//! What a server that answers refuses, for the log and for readiness.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Failure, reply};
use crate::clock::Stopwatch;
use crate::ledger::redis::options::Address;

/// How long a refusal is reported after it was seen.
const REPORTED_FOR: Duration = Duration::from_secs(10);
/// Time between two log lines about the same code.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// The last refusal of one server.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Option<Refusal>>);

struct Refusal {
    code: String,
    words: String,
    seen: Stopwatch,
    logged: Stopwatch,
}

impl Refusals {
    /// Records what became of a call, where the server refused it or no replica confirmed it.
    pub(super) fn record<T>(&self, server: &Address, outcome: &Result<T, Failure>) {
        let (code, words) = match outcome {
            Err(Failure::Server(error)) if reply::is_refusal(error.code()) => {
                (error.code(), reply::words(error))
            }
            Err(Failure::Unconfirmed(_, why)) => ("UNCONFIRMED", why.clone()),
            _ => return,
        };
        let mut last = self.last();
        let known =
            last.take().filter(|known| known.code == code && known.logged.elapsed() < LOGGED_EVERY);
        let logged = known.map_or_else(
            || {
                tracing::warn!(%server, code, reason = words, "Redis refuses calls");
                Stopwatch::start()
            },
            |known| known.logged,
        );
        *last = Some(Refusal { code: code.to_owned(), words, seen: Stopwatch::start(), logged });
    }

    /// The server's words, where it has refused a call a short while ago.
    pub(super) fn current(&self) -> Option<String> {
        let last = self.last();
        let recent = last.as_ref().filter(|last| last.seen.elapsed() < REPORTED_FOR);
        recent.map(|last| last.words.clone())
    }

    fn last(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
