//! Lifetime of a connection: when it is closed, and how long its calls have then.
//!
//! HTTP/2 closes a connection by GOAWAY, after which the peer starts no more calls on it, and the
//! open ones are completed. A peer may never do so: the time that it has then depends on why the
//! connection is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::places::ConnectionState;
use crate::config::Connections;

/// Time that a peer has to close a connection after GOAWAY.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Time that a peer has to close a connection that has reached its age: it has open calls, and may
/// have sent one more.
const AGED_CLOSE_GRACE: Duration = Duration::from_secs(10);
/// Interval at which a connection that has its age is checked for the begin of its protocol, and
/// one whose grace is over for calls that have to be completed.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Ages differ by this part in both directions, so that clients that connected together are not
/// disconnected together.
const JITTER_PERCENT: u64 = 10;

/// Reason why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// No call has been open for the idle timeout.
    Idle,
    /// It has reached its age.
    Age,
    /// Another connection needs its place.
    Evicted,
    /// The server stops.
    Stopped,
}

/// Lifetime of one connection.
pub(super) struct Lifetime {
    idle_timeout: Duration,
    /// Age at which it is closed; `None` for none.
    age: Option<Duration>,
    age_grace: Duration,
    state: Arc<ConnectionState>,
    stopped: CancellationToken,
}

impl Lifetime {
    /// Creates the lifetime of a connection, whose age counts from the first poll of
    /// [`Self::ends`].
    pub(super) fn begin(
        bounds: &Connections,
        has_age: bool,
        state: Arc<ConnectionState>,
        stopped: CancellationToken,
    ) -> Self {
        let age = bounds.age_max.filter(|_| has_age);
        Self {
            idle_timeout: bounds.idle_timeout,
            // Without randomness clients are disconnected together.
            age: age.map(|age| jittered(age, getrandom::u64().unwrap_or_default())),
            age_grace: bounds.age_grace,
            state,
            stopped,
        }
    }

    /// Waits until the connection has to be closed, and returns the reason.
    pub(super) async fn ends(&self) -> Ending {
        tokio::select! {
            () = self.state.idle_for(self.idle_timeout) => Ending::Idle,
            () = self.is_of_age() => Ending::Age,
            () = self.state.evicted() => Ending::Evicted,
            () = self.stopped.cancelled() => Ending::Stopped,
        }
    }

    /// Waits until the connection has its age and its protocol is known: one that is closed before
    /// cannot get GOAWAY, and its client would report an error.
    async fn is_of_age(&self) {
        sleep_for(self.age).await;
        while self.state.is_half_open() {
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// Waits until a connection that is closing for `ending` is to be dropped.
    pub(super) async fn is_over(&self, mut ending: Ending) {
        if ending == Ending::Age {
            let state = &self.state;
            let unused = async {
                sleep(AGED_CLOSE_GRACE).await;
                state.idle_for(AGED_CLOSE_GRACE).await;
            };
            ending = tokio::select! {
                () = unused => return,
                () = streams_are_over(state, self.age_grace) => return,
                () = state.evicted() => Ending::Evicted,
                () = self.stopped.cancelled() => Ending::Stopped,
            };
        }
        if self.state.is_half_open() {
            return;
        }
        sleep(CLOSE_GRACE).await;
        if ending != Ending::Evicted {
            // A call that came meanwhile is served to its end, unless the peer does not send the
            // rest of its requests or does not read its responses.
            tokio::select! {
                () = self.state.idle_for(CLOSE_GRACE) => {}
                () = self.state.stalled_for(CLOSE_GRACE) => {}
            }
        }
    }
}

/// Waits for the end of the grace, and then for the calls that are completed at any age.
async fn streams_are_over(state: &ConnectionState, grace: Duration) {
    sleep(grace).await;
    while !state.has_endless_calls_only() {
        sleep(CHECK_INTERVAL).await;
    }
}

async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Returns an age that is longer or shorter by up to a tenth.
fn jittered(age: Duration, random: u64) -> Duration {
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX / 100);
    let jitter_ms = age_ms / 100 * JITTER_PERCENT;
    Duration::from_millis(age_ms - jitter_ms + random % (2 * jitter_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth_in_both_directions() {
        for (age_ms, least, most) in
            [(100, 90, 110), (300, 270, 330), (1_800_000, 1_620_000, 1_980_000)]
        {
            let of = |random| jittered(Duration::from_millis(age_ms), random).as_millis();
            let span = most - least;
            assert_eq!(of(0), u128::from(least));
            assert_eq!(of(span), u128::from(most));
            assert_eq!(of(span + 1), u128::from(least));
            assert_eq!(of(span / 2), u128::from(age_ms));
        }
    }
}
