//! Limits how often a line is logged that a caller can provoke.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;

/// Shortest time between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(1);

/// Permits one line a second.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Stopwatch>,
    unlogged: u64,
}

impl LogLimit {
    /// `None` where a line was logged less than a second ago; else how many lines were left out
    /// since that one.
    pub fn permit(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.logged.is_some_and(|last| last.elapsed() < PAUSE) {
            state.unlogged += 1;
            return None;
        }
        state.logged = Some(Stopwatch::start());
        Some(std::mem::take(&mut state.unlogged))
    }
}
