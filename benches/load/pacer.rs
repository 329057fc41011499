//! The pacer of the open loop: operation `i` is due at `start + i / rate`, regardless of earlier
//! ones. Latency is measured from that instant, so that a stall of the server affects every
//! operation due meanwhile (no coordinated omission).
//!
//! A separate thread sleeps from one instant to the next, since the runtime's timers tick in
//! milliseconds. Its lateness is measured too.

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

/// Starts a thread that sends due operations, until the run is stopped.
pub fn start(per_second: f64, shared: Arc<Shared>) -> mpsc::UnboundedReceiver<Due> {
    // Its length is bounded by the operations due while the runtime was busy: it is emptied without
    // waiting.
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
