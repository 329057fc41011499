//! Metrics of the replication of each server of the store.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::store::{ServerState, Standing};

/// Each standing and its label.
const STANDINGS: [(Standing, &str); 4] = [
    (Standing::Local, "local"),
    (Standing::Replicated, "replicated"),
    (Standing::Alone, "alone"),
    (Standing::Closed, "closed"),
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StandingLabels {
    node: String,
    durability: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicasLabels {
    node: String,
    replicas: &'static str,
}

/// Gauges of the replication of the store.
#[derive(Default)]
pub(super) struct ReplicationMetrics {
    durability: Family<StandingLabels, Gauge>,
    replicas: Family<ReplicasLabels, Gauge>,
}

impl ReplicationMetrics {
    /// Registers the metrics.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "store_durability",
            "1 for the current durability of a server's responses, by address: local, replicated, \
             alone (no replica) or closed (replicas cannot confirm, no call is served)",
            self.durability.clone(),
        );
        registry.register(
            "store_replicas",
            "Replicas of a server of the store, by address: attached, and required to confirm a \
             response",
            self.replicas.clone(),
        );
    }

    /// Sets the metrics.
    pub(super) fn set(&self, servers: &[ServerState]) {
        self.durability.clear();
        self.replicas.clear();
        for ServerState { address: node, replication, .. } in servers {
            for (standing, durability) in STANDINGS {
                let labels = StandingLabels { node: node.clone(), durability };
                let is_it = replication.standing == standing;
                self.durability.get_or_create(&labels).set(i64::from(is_it));
            }
            for (replicas, count) in
                [("required", replication.required), ("attached", replication.attached)]
            {
                let labels = ReplicasLabels { node: node.clone(), replicas };
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.replicas.get_or_create(&labels).set(count);
            }
        }
    }
}
