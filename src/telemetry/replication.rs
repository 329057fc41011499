//! Metrics of the replication behind the answers of each server of the store.

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
    /// Has them exported.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "store_durability",
            "1 for what an answer of a server means now, by address: local, replicated, alone \
             (there is no replica) or closed (the replicas cannot confirm, nothing is answered)",
            self.durability.clone(),
        );
        registry.register(
            "store_replicas",
            "Replicas of a server of the store, by address: attached ones, and those that have to \
             confirm an answer (required)",
            self.replicas.clone(),
        );
    }

    /// Sets them.
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
