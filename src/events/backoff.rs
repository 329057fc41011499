//! Backoff with jitter after failed attempts.

use std::time::Duration;

/// Returns the pause after that many failed attempts: doubling from `first` to `longest`, and
/// jittered by up to a half, so that sidecars which lost the same peer do not reconnect
/// simultaneously.
#[must_use]
pub fn backoff(attempts: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(longest);
    let half = u64::try_from(doubled.as_millis() / 2).unwrap_or(u64::MAX - 1);
    // Without randomness sidecars merely reconnect simultaneously.
    doubled / 2 + Duration::from_millis(getrandom::u64().unwrap_or_default() % (half + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let of = |attempts| backoff(attempts, Duration::from_secs(1), Duration::from_secs(300));
        for (attempts, most) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (4_000_000, 300)] {
            let (pause, most) = (of(attempts), Duration::from_secs(most));
            assert!(most / 2 <= pause && pause <= most, "{attempts}: {pause:?}");
        }
    }
}
