//! The pacer of the open loop: operation `i` is due at `start + i / rate`, whatever became of
//! those before it. A latency is taken from that instant, so that a server that stalls is seen by
//! everything that came due meanwhile (no coordinated omission).
//!
//! A thread of its own sleeps from one instant to the next: the runtime's timers tick in
//! milliseconds. How late it was is measured too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::drive::Shared;

/// An operation that is due.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub number: u64,
    pub at: Instant,
}

/// Tells what is due, until the run is stopped.
pub fn start(per_second: f64, shared: Arc<Shared>) -> mpsc::UnboundedReceiver<Due> {
    // Never longer than what came due while the runtime was busy: it is emptied without waiting.
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let start = Instant::now();
        for index in 0_u32.. {
            let at = start + Duration::from_secs_f64(f64::from(index) / per_second);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            let due = Due { number: shared.numbers.next(), at };
            if shared.is_stopped() || sender.send(due).is_err() {
                return;
            }
        }
    });
    receiver
}
