//! What became of the operations of a run: counts by outcome, and latencies in HDR histograms.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use imquota::grpc::pb;
use imquota::grpc::pb::apply_response::Answer;
use serde::{Deserialize, Serialize};

/// Longest latency that is told from longer ones.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// Counts while a run goes on. One a connection: it is locked for some nanoseconds.
pub struct Recorder(Mutex<Results>);

impl Recorder {
    pub fn new() -> Self {
        Self(Mutex::new(Results::default()))
    }

    /// Notes the outcome of an operation and how long it took.
    pub fn note(&self, outcome: &'static str, took: Duration) {
        let mut results = self.0.lock().expect("nobody panics");
        *results.outcomes.entry(outcome.into()).or_default() += 1;
        results.latency.note(took);
    }

    /// Notes how much later than due an operation was sent.
    pub fn note_lateness(&self, late: Duration) {
        self.0.lock().expect("nobody panics").lateness.note(late);
    }

    /// Notes an operation that was due and never sent: too many were in flight.
    pub fn note_unsent(&self) {
        self.0.lock().expect("nobody panics").unsent += 1;
    }

    /// Everything so far, from then on anew.
    pub fn take(&self) -> Results {
        std::mem::take(&mut self.0.lock().expect("nobody panics"))
    }
}

/// What became of the operations of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// How long was measured.
    pub seconds: f64,
    /// Operations by outcome: that of the first result, or the gRPC code of the error.
    pub outcomes: BTreeMap<String, u64>,
    /// From when an operation was due (open loop) or sent (closed loop) to its answer.
    pub latency: Times,
    /// From when it was due to when it was sent; open loop only.
    pub lateness: Times,
    /// Due, and never sent.
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

    /// Operations that ended with an error.
    pub fn errors(&self) -> u64 {
        let is_error = |name: &&String| name.starts_with("error");
        self.outcomes.iter().filter(|(name, _)| is_error(name)).map(|(_, count)| count).sum()
    }

    /// Adds those of another connection or process over the same time.
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
            writeln!(f, "  never sent, too many were in flight: {}", self.unsent)?;
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

    /// The time that so many percent do not exceed, in microseconds.
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
        V2Serializer::new().serialize(&times.0, &mut bytes).expect("a vector takes all");
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

/// The outcome of a stream's answer.
pub fn outcome_of(answer: Option<&Answer>) -> &'static str {
    match answer {
        Some(Answer::JoinGroup(it)) => first(&it.results),
        Some(Answer::LeaveGroup(it)) => first(&it.results),
        Some(Answer::AddFriends(it)) => first(&it.results),
        Some(Answer::RemoveFriends(it)) => first(&it.results),
        Some(Answer::CreateGroup(it)) => it.group.as_ref().map_or("no result", one),
        Some(Answer::GetUsage(_)) => "read",
        Some(Answer::Error(_)) => "error in the stream",
        _ => "another answer",
    }
}

/// The outcome of the first result.
pub fn first(results: &[pb::Result]) -> &'static str {
    results.first().map_or("no result", one)
}

fn one(result: &pb::Result) -> &'static str {
    match result.outcome() {
        pb::Outcome::Applied => "applied",
        pb::Outcome::AlreadyHeld => "already held",
        pb::Outcome::NotHeld => "not held",
        pb::Outcome::Denied => "denied",
        pb::Outcome::Unspecified => "no outcome",
    }
}

/// How an error is counted.
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
