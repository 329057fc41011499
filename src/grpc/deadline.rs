//! When an answer has become useless.

use std::time::Duration;

use futures_util::TryFutureExt as _;
use http::HeaderMap;
use tonic::metadata::MetadataMap;

use super::status::Failure;
use crate::domain::time::Timestamp;
use crate::engine::Engine;

/// How much before the caller's own deadline the answer is given up: the transport ends the call
/// at the deadline as CANCELLED, and the caller is to hear DEADLINE_EXCEEDED.
const MARGIN_MAX: Duration = Duration::from_millis(5);

/// The time that the caller gives a call, where he gives one that can be read.
pub fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    metadata.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?))
}

/// The same of a call whose metadata is still HTTP headers.
pub fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    headers.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?))
}

/// The time after which a unary call that has so much is given up.
pub fn less_margin(timeout: Duration) -> Duration {
    timeout.saturating_sub(MARGIN_MAX.min(timeout / 10))
}

/// The instant by which a request must be decided: after its own timeout, at most `longest` from
/// now.
pub fn deadline(own: Option<Duration>, now: Timestamp, longest: Duration) -> Timestamp {
    now + own.unwrap_or(longest).min(longest)
}

/// Waits for an engine's work until the deadline.
pub fn in_time<T, W: Future<Output = T>>(
    engine: &Engine,
    deadline: Timestamp,
    work: W,
) -> impl Future<Output = Result<T, Failure>> + use<T, W> {
    let left = deadline - engine.local_now();
    // Not an async function, which would hold the work twice.
    tokio::time::timeout(left, work).map_err(|_| Failure::TimedOut)
}

/// A timeout as gRPC writes it: up to 8 digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("4S", Some(Duration::from_secs(4))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("1u", Some(Duration::from_micros(1))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5x", None),
            ("+5S", None),
            ("123456789S", None),
            ("5秒", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn no_deadline_is_later_than_the_servers_own() {
        let now = Timestamp::from_millis(1_000);
        let longest = Duration::from_secs(2);
        let mut metadata = MetadataMap::new();
        let of_call =
            |metadata: &MetadataMap| deadline(timeout(metadata).map(less_margin), now, longest);
        assert_eq!(of_call(&metadata), Timestamp::from_millis(3_000));
        metadata.insert("grpc-timeout", "50m".parse().expect("ascii"));
        assert_eq!(of_call(&metadata), Timestamp::from_millis(1_045));
        metadata.insert("grpc-timeout", "1H".parse().expect("ascii"));
        assert_eq!(of_call(&metadata), Timestamp::from_millis(3_000));
    }
}
