//! Deadlines of requests.

use std::time::Duration;

use futures_util::FutureExt as _;
use http::HeaderMap;
use tonic::metadata::MetadataMap;

use super::status::Failure;
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::ledger::LedgerError;
use crate::store::StoreError;

/// Time before the caller's own deadline at which a call is given up: the transport ends the call
/// at the deadline as CANCELLED, and the caller should get DEADLINE_EXCEEDED.
const MARGIN_MAX: Duration = Duration::from_millis(5);
/// An operation whose reply is given up this time before the deadline or later is given up because
/// of the deadline.
const GIVEN_UP_BEFORE: Duration = Duration::from_millis(5);

/// Returns the timeout that the caller has set, if there is a valid one.
pub fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    metadata.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?))
}

/// Returns the timeout of a call whose metadata is still HTTP headers.
pub fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    headers.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?))
}

/// Returns the time after which a unary call with this timeout is given up.
pub fn without_margin(timeout: Duration) -> Duration {
    timeout.saturating_sub(MARGIN_MAX.min(timeout / 10))
}

/// The time that a request may take, and whose bound it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The time.
    pub left: Duration,
    /// The sidecar's own bound, if it is earlier than the caller's.
    own: Option<Duration>,
}

impl Bound {
    /// Returns the bound of a request with its own timeout: at most `longest`.
    pub fn of(timeout: Option<Duration>, longest: Duration) -> Self {
        match timeout {
            Some(left) if left <= longest => Self { left, own: None },
            _ => Self { left: longest, own: Some(longest) },
        }
    }

    /// Returns the bound of a request of whose time only that much is left.
    pub fn with_left(self, left: Duration) -> Self {
        Self { left: left.min(self.left), ..self }
    }

    /// Returns the deadline of a request that begins now.
    pub fn from(self, now: Timestamp) -> Deadline {
        Deadline { at: now + self.left, bound: self }
    }

    /// Returns the failure of an operation without a decision at the deadline: a timeout of the
    /// caller's, or else an unavailable store.
    pub fn exceeded(self) -> Failure {
        match self.own {
            None => Failure::TimedOut,
            Some(bound) => {
                LedgerError::Store(StoreError::Unavailable(no_decision_within(bound))).into()
            }
        }
    }
}

/// The instant by which a request must be decided, and its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The instant.
    pub at: Timestamp,
    bound: Bound,
}

/// Returns the deadline of a request: after its own timeout, at most `longest` from now.
pub fn deadline(own: Option<Duration>, now: Timestamp, longest: Duration) -> Deadline {
    Bound::of(own, longest).from(now)
}

impl Deadline {
    /// Returns the failure for an error that was returned at `now`. The store client may give up
    /// its reply just before this deadline, because of it.
    fn failure(self, error: LedgerError, now: Timestamp) -> Failure {
        let is_up = now + GIVEN_UP_BEFORE >= self.at;
        match (error, self.bound.own) {
            (LedgerError::Store(StoreError::Unavailable(_)), _) if is_up => self.bound.exceeded(),
            (LedgerError::Store(StoreError::DeadlinePassed), Some(bound)) => {
                LedgerError::Store(StoreError::Refused(no_decision_within(bound))).into()
            }
            (error, _) => error.into(),
        }
    }
}

fn no_decision_within(bound: Duration) -> String {
    format!("no decision within {} ms (--request-timeout-ms)", bound.as_millis())
}

/// Waits for a future of the engine until the deadline.
pub fn in_time<T, W: Future<Output = Result<T, LedgerError>>>(
    engine: &Engine,
    deadline: Deadline,
    work: W,
) -> impl Future<Output = Result<T, Failure>> + use<'_, T, W> {
    until(engine, deadline, by(engine, deadline, work))
}

/// Ends a future at the deadline.
pub fn until<T, W: Future<Output = Result<T, Failure>>>(
    engine: &Engine,
    deadline: Deadline,
    work: W,
) -> impl Future<Output = Result<T, Failure>> + use<T, W> {
    let left = deadline.at - engine.local_now();
    // Not an async function, which would hold the future twice.
    tokio::time::timeout(left, work)
        .map(move |ended| ended.unwrap_or_else(|_| Err(deadline.bound.exceeded())))
}

/// Converts the error of a future of the engine. The caller of this ends it at the deadline.
pub fn by<T, W: Future<Output = Result<T, LedgerError>>>(
    engine: &Engine,
    deadline: Deadline,
    work: W,
) -> impl Future<Output = Result<T, Failure>> + use<'_, T, W> {
    work.map(move |decided| decided.map_err(|error| deadline.failure(error, engine.local_now())))
}

/// Parses a timeout in gRPC's form: up to 8 digits and a unit.
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
    fn timeouts_are_parsed_in_the_form_of_grpc() {
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
    fn the_callers_bound_fails_as_deadline_exceeded_and_the_sidecars_as_unavailable() {
        use tonic::Code;

        let now = Timestamp::from_millis(1_000);
        let bound = Duration::from_secs(2);
        let (callers, own) = (deadline(Some(bound / 2), now, bound), deadline(None, now, bound));
        let late = || LedgerError::Store(StoreError::Unavailable("no reply within 999 ms".into()));
        let refused = || LedgerError::Store(StoreError::Refused("READONLY".into()));
        let code = |failure| crate::grpc::status::of_failure(failure).code();
        for (deadline, error, at_ms, expected) in [
            (callers, late(), 2_000, Code::DeadlineExceeded),
            (callers, late(), 1_997, Code::DeadlineExceeded),
            (callers, late(), 1_500, Code::Unavailable),
            (callers, refused(), 2_000, Code::Unavailable),
            (
                callers,
                LedgerError::Store(StoreError::DeadlinePassed),
                2_000,
                Code::DeadlineExceeded,
            ),
            (own, late(), 3_000, Code::Unavailable),
            (own, LedgerError::Store(StoreError::DeadlinePassed), 3_000, Code::Unavailable),
        ] {
            let words = format!("{deadline:?} {error} at {at_ms}");
            let failure = deadline.failure(error, Timestamp::from_millis(at_ms));
            assert_eq!(code(failure), expected, "{words}");
        }
        assert_eq!(code(callers.bound.exceeded()), Code::DeadlineExceeded);
        assert_eq!(code(own.bound.exceeded()), Code::Unavailable);
    }

    #[test]
    fn no_deadline_is_later_than_the_servers_own() {
        let now = Timestamp::from_millis(1_000);
        let longest = Duration::from_secs(2);
        let mut metadata = MetadataMap::new();
        let of_call = |metadata: &MetadataMap| {
            deadline(timeout(metadata).map(without_margin), now, longest).at
        };
        assert_eq!(of_call(&metadata), Timestamp::from_millis(3_000));
        metadata.insert("grpc-timeout", "50m".parse().expect("ascii"));
        assert_eq!(of_call(&metadata), Timestamp::from_millis(1_045));
        metadata.insert("grpc-timeout", "1H".parse().expect("ascii"));
        assert_eq!(of_call(&metadata), Timestamp::from_millis(3_000));
    }
}
