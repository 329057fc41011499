//! The results of a run: counts by outcome, and latencies in HDR histograms.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use imquota::grpc::pb;
use imquota::grpc::pb::apply_response::Answer;
use serde::{Deserialize, Serialize};

/// The highest latency that is distinguished.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// The number of significant digits of a latency.
const DIGITS: u8 = 3;

/// Counts during a run. There is one per connection: it is locked for some nanoseconds.
pub struct Recorder(Mutex<Results>);

impl Recorder {
    pub fn new() -> Self {
        Self(Mutex::new(Results::default()))
    }

    /// Records the outcome of an operation and its duration.
    pub fn note(&self, outcome: &'static str, took: Duration) {
        let mut results = self.0.lock().expect("no panic while locked");
        *results.outcomes.entry(outcome.into()).or_default() += 1;
        results.latency.note(took);
    }

    /// Records by how much an operation was sent later than due.
    pub fn note_lateness(&self, late: Duration) {
        self.0.lock().expect("no panic while locked").lateness.note(late);
    }

    /// Records an operation that was due and not sent, since too many were in flight.
    pub fn note_not_sent(&self) {
        self.0.lock().expect("no panic while locked").unsent += 1;
    }

    /// Returns the results so far, and starts anew.
    pub fn take(&self) -> Results {
        std::mem::take(&mut self.0.lock().expect("no panic while locked"))
    }
}

/// The results of the operations of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// The duration of the measurement.
    pub seconds: f64,
    /// Operations by outcome: that of the first result, or the gRPC code of the error.
    pub outcomes: BTreeMap<String, u64>,
    /// The time from when an operation was due (open loop) or sent (closed loop) to its response.
    pub latency: Times,
    /// The time from when it was due to when it was sent; open loop only.
    pub lateness: Times,
    /// Operations that were due and not sent.
    pub unsent: u64,
}

impl Results {
    pub fn operations(&self) -> u64 {
        self.outcomes.values().sum()
    }

    pub fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let operations = self.operations() as f64;
        operations / self.seconds
    }

    /// Returns the number of operations that ended with an error.
    pub fn errors(&self) -> u64 {
        let is_error = |name: &&String| name.starts_with("error");
        self.outcomes.iter().filter(|(name, _)| is_error(name)).map(|(_, count)| count).sum()
    }

    /// Adds the results of another connection or process over the same time.
    pub fn add(&mut self, other: &Self) {
        self.seconds = self.seconds.max(other.seconds);
        for (name, count) in &other.outcomes {
            *self.outcomes.entry(name.clone()).or_default() += count;
        }
        self.latency.0.add(&other.latency.0).expect("the same bounds");
        self.lateness.0.add(&other.lateness.0).expect("the same bounds");
        self.unsent += other.unsent;
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} operations in {:.2} s: {:.0}/s", self.operations(), self.seconds, {
            self.per_second()
        })?;
        for (name, count) in &self.outcomes {
            writeln!(f, "  {name}: {count}")?;
        }
        if self.unsent > 0 {
            writeln!(f, "  not sent, too many were in flight: {}", self.unsent)?;
        }
        write!(f, "latency: {}", self.latency)?;
        if !self.lateness.0.is_empty() {
            write!(f, "\nsent later than due by: {}", self.lateness)?;
        }
        Ok(())
    }
}

/// A histogram of times.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Times(pub Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_max(LATENCY_MAX_NS, DIGITS).expect("good bounds"))
    }
}

impl Times {
    fn note(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(ns.max(1));
    }

    /// Returns the given percentile of the times, in microseconds.
    pub fn us_at(&self, percentile: f64) -> f64 {
        in_us(self.0.value_at_percentile(percentile))
    }

    pub fn max_us(&self) -> f64 {
        in_us(self.0.max())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a minute in nanoseconds is below 2^52")]
fn in_us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for percentile in [50.0, 90.0, 99.0, 99.9] {
            write!(f, "p{percentile} {:.0} us, ", self.us_at(percentile))?;
        }
        write!(f, "max {:.0} us", self.max_us())
    }
}

impl From<Times> for Vec<u8> {
    fn from(times: Times) -> Self {
        let mut bytes = Self::new();
        V2Serializer::new()
            .serialize(&times.0, &mut bytes)
            .expect("writing to a vector cannot fail");
        bytes
    }
}

impl TryFrom<Vec<u8>> for Times {
    type Error = String;

    fn try_from(bytes: Vec<u8>) -> Result<Self, String> {
        let read = Deserializer::new().deserialize(&mut bytes.as_slice());
        let read: Histogram<u64> = read.map_err(|error| error.to_string())?;
        let mut times = Self::default();
        times.0.add(&read).map_err(|error| error.to_string())?;
        Ok(times)
    }
}

/// Returns the outcome of a stream's response.
pub fn outcome_of(answer: Option<&Answer>) -> &'static str {
    match answer {
        Some(Answer::JoinGroup(it)) => first(&it.results),
        Some(Answer::LeaveGroup(it)) => first(&it.results),
        Some(Answer::AddFriends(it)) => first(&it.results),
        Some(Answer::RemoveFriends(it)) => first(&it.results),
        Some(Answer::CreateAccounts(it)) => first(&it.results),
        Some(Answer::DeleteAccounts(it)) => first(&it.results),
        Some(Answer::DissolveGroup(it)) => it.result.as_ref().map_or("no result", one),
        Some(Answer::CreateGroup(it)) => it.group.as_ref().map_or("no result", one),
        Some(Answer::GetUsage(_)) => "read",
        Some(Answer::Error(_)) => "error in the stream",
        _ => "another answer",
    }
}

/// Returns the outcome of the first result.
fn first(results: &[pb::Result]) -> &'static str {
    results.first().map_or("no result", one)
}

fn one(result: &pb::Result) -> &'static str {
    match result.outcome() {
        pb::Outcome::Applied => "applied",
        pb::Outcome::AlreadyHeld => "already held",
        pb::Outcome::NotHeld => "not held",
        pb::Outcome::Denied => "denied",
        pb::Outcome::Aborted => "aborted",
        pb::Outcome::Unspecified => "no outcome",
    }
}

/// Returns the outcome under which an error is counted.
pub fn outcome_of_error(status: &tonic::Status) -> &'static str {
    match status.code() {
        tonic::Code::Unavailable => "error UNAVAILABLE",
        tonic::Code::DeadlineExceeded => "error DEADLINE_EXCEEDED",
        tonic::Code::ResourceExhausted => "error RESOURCE_EXHAUSTED",
        tonic::Code::InvalidArgument => "error INVALID_ARGUMENT",
        tonic::Code::NotFound => "error NOT_FOUND",
        tonic::Code::Internal => "error INTERNAL",
        _ => "error of another kind",
    }
}
