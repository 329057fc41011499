//! The clock offset of a server, from the times in its replies.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::time::Timestamp;

/// The value before the first observation.
const UNKNOWN: i64 = i64::MIN;

/// The offset of one server's clock to this process's.
#[derive(Debug)]
pub struct ServerClock {
    /// The server's clock minus this process's, in milliseconds.
    offset_ms: AtomicI64,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self { offset_ms: AtomicI64::new(UNKNOWN) }
    }
}

impl ServerClock {
    /// Returns the server's clock minus this process's, in milliseconds; `None` before the first
    /// reply.
    pub fn offset_ms(&self) -> Option<i64> {
        Some(self.offset_ms.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN)
    }

    /// Adjusts the offset to the server's clock in a reply to a call that was sent at `sent_at` and
    /// answered by `now`.
    pub fn observe(&self, server_now: i64, sent_at: Timestamp, now: Timestamp) {
        let at_least = server_now - now.as_millis();
        let at_most = at_least.max(server_now - sent_at.as_millis());
        let offset = self.offset_ms().unwrap_or(at_least);
        self.offset_ms.store(offset.clamp(at_least, at_most), Ordering::Relaxed);
    }

    /// Replaces an offset that has turned out to be wrong.
    pub fn reset(&self, server_now: i64, now: Timestamp) {
        self.offset_ms.store(server_now - now.as_millis(), Ordering::Relaxed);
    }
}

/// A reading of a server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReading {
    /// The server's address.
    pub server: String,
    /// By how many milliseconds its clock is ahead of this process's, or behind it if negative: the
    /// smallest difference that the reading allows.
    pub ahead_ms: i64,
}

impl ClockReading {
    /// A reading of `server_now` that was taken at some time between `sent_at` and `now`.
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
        // The server's clock in a reply, when the call was sent and answered, and the offset after
        // it.
        for (server_now, sent_at, now, offset) in [
            (5_010, 0, 20, 4_990),
            // This one allows 4,980 to 5,020: the offset stays.
            (5_120, 100, 140, 4_990),
            // This one was answered within the same millisecond.
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
    fn a_reading_has_the_smallest_possible_difference() {
        let at = Timestamp::from_millis;
        for (server_now, sent_at, now, ahead_ms) in
            [(1_005, 1_000, 1_010, 0), (3_000, 1_000, 1_500, 1_500), (100, 1_000, 1_500, -900)]
        {
            let reading = ClockReading::new(String::new(), server_now, at(sent_at), at(now));
            assert_eq!(reading.ahead_ms, ahead_ms, "{server_now}");
        }
    }
}
