//! What is known of a server's clock, from what its replies said.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::time::Timestamp;

/// Nothing is known yet.
const UNKNOWN: i64 = i64::MIN;

/// The offset of one server's clock from this process's.
#[derive(Debug)]
pub struct ServerClock {
    /// The server's clock less this process's, in milliseconds.
    offset_ms: AtomicI64,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self { offset_ms: AtomicI64::new(UNKNOWN) }
    }
}

impl ServerClock {
    /// The server's clock less this process's, in milliseconds, once a reply has said it.
    pub fn offset_ms(&self) -> Option<i64> {
        Some(self.offset_ms.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN)
    }

    /// Takes in the server's clock from a reply to a call that was sent at `sent_at` and has been
    /// answered by `now`.
    pub fn observe(&self, server_now: i64, sent_at: Timestamp, now: Timestamp) {
        let at_least = server_now - now.as_millis();
        let at_most = at_least.max(server_now - sent_at.as_millis());
        let known = self.offset_ms().unwrap_or(at_least);
        self.offset_ms.store(known.clamp(at_least, at_most), Ordering::Relaxed);
    }

    /// Takes in the server's clock where what was known of it turned out wrong.
    pub fn reset(&self, server_now: i64, now: Timestamp) {
        self.offset_ms.store(server_now - now.as_millis(), Ordering::Relaxed);
    }
}

/// The clock of a server as it was read just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReading {
    /// The server's address.
    pub server: String,
    /// By how many milliseconds its clock is ahead of this process's, or behind it where negative:
    /// the least that the reading allows.
    pub ahead_ms: i64,
}

impl ClockReading {
    /// Of a server whose clock said `server_now` some time between `sent_at` and `now`.
    #[must_use]
    pub fn new(server: String, server_now: i64, sent_at: Timestamp, now: Timestamp) -> Self {
        let (least, most) = (server_now - now.as_millis(), server_now - sent_at.as_millis());
        Self { server, ahead_ms: 0.clamp(least.min(most), most.max(least)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_follows_what_replies_allow() {
        let clock = ServerClock::default();
        assert_eq!(clock.offset_ms(), None);
        let at = Timestamp::from_millis;
        // The server's clock in a reply, when it was sent and answered, and the offset by then.
        for (server_now, sent_at, now, offset) in [
            (5_010, 0, 20, 4_990),
            // It lies within what this one allows: at least 4,980 and at most 5,020.
            (5_120, 100, 140, 4_990),
            // This one was answered at once.
            (5_200, 200, 200, 5_000),
            (1_300, 300, 310, 1_000),
        ] {
            clock.observe(server_now, at(sent_at), at(now));
            assert_eq!(clock.offset_ms(), Some(offset), "{server_now}");
        }
        clock.reset(9_000, at(1_000));
        assert_eq!(clock.offset_ms(), Some(8_000));
    }

    #[test]
    fn a_reading_says_the_least_difference() {
        let at = Timestamp::from_millis;
        for (server_now, sent_at, now, ahead_ms) in
            [(1_005, 1_000, 1_010, 0), (3_000, 1_000, 1_500, 1_500), (100, 1_000, 1_500, -900)]
        {
            let reading = ClockReading::new(String::new(), server_now, at(sent_at), at(now));
            assert_eq!(reading.ahead_ms, ahead_ms, "{server_now}");
        }
    }
}
