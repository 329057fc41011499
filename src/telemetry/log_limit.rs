//! Rate limit for log lines that a caller can cause.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Stopwatch;

/// Shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Permits one line a second.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Stopwatch>,
    unlogged: u64,
}

impl LogLimit {
    /// Returns `None` if a line was logged less than a second ago; else the number of lines
    /// suppressed since the last one.
    pub fn permit(&self) -> Option<u64> {
        let mut state = self.0.lock();
        if state.logged.is_some_and(|last| last.elapsed() < INTERVAL) {
            state.unlogged += 1;
            return None;
        }
        state.logged = Some(Stopwatch::start());
        Some(std::mem::take(&mut state.unlogged))
    }
}
