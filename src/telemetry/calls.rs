//! Counters of calls by protocol and code, with a handle for each series.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tonic::Code;

/// Protocol of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Connect, over HTTP/1.1 or HTTP/2; requests that are of neither protocol too.
    Connect,
}

const PROTOCOLS: [&str; 2] = ["grpc", "connect"];
/// The codes in the order of their numbers.
const CODES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    protocol: &'static str,
    code: &'static str,
}

/// Counters of the calls of all listeners. Cheap to clone, as each call does.
#[derive(Debug, Clone)]
pub struct CallMetrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    calls: Family<CallLabels, Counter>,
    handles: [[Counter; CODES.len()]; PROTOCOLS.len()],
}

impl CallMetrics {
    /// Creates the counters, at 0.
    pub(super) fn new() -> Self {
        let calls = Family::<CallLabels, Counter>::default();
        let handles = PROTOCOLS.map(|protocol| {
            CODES.map(|code| calls.get_or_create(&CallLabels { protocol, code }).clone())
        });
        Self(Arc::new(Series { calls, handles }))
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "calls",
            "Calls by protocol and the code with which their answer began; refused requests too",
            self.0.calls.clone(),
        );
    }

    /// Counts a call whose answer begins with that code.
    pub fn answered(&self, protocol: Protocol, code: Code) {
        self.0.handles[protocol as usize][code as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_counted_by_its_own_name() {
        let metrics = CallMetrics::new();
        for number in 0..17 {
            for _ in 0..=number {
                metrics.answered(Protocol::Connect, Code::from(number));
            }
        }
        for (number, code) in (1..).zip(CODES) {
            for (protocol, expected) in [("grpc", 0), ("connect", number)] {
                let counted = metrics.0.calls.get_or_create(&CallLabels { protocol, code }).get();
                assert_eq!(counted, expected, "{protocol} {code}");
            }
        }
    }
}
