//! The authority that decides which server is the master: the Sentinels, or the masters of a
//! cluster. A single server has none.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::cluster;
use super::connect::Connector;
use super::sentinel::Sentinels;
use crate::redis::options::{Address, Durability};

/// Time after which a missing replica of a single server is left behind: no authority can determine
/// whether it was promoted, and only an operator could have done that.
const UNWATCHED_MISSING_MAX: Duration = Duration::from_secs(5);

/// The authority's view of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MasterStatus {
    /// A majority names it as the master, and no failover is under way.
    Current,
    /// A majority names it as the master, and the other replicas are being pointed at it.
    JustPromoted,
    /// No majority answered; the ones that did name it as the master.
    NoMajority {
        /// Number of the master's replicas, as counted by the ones that answered.
        replicas: usize,
        /// The number of answers, for the error.
        why: String,
    },
    /// It may not be the master, for this reason.
    Uncertain(String),
}

/// Decides which server is the master.
#[derive(Clone)]
pub(super) enum Authority {
    /// No authority, for a single server.
    None {
        /// True if calls continue while a replica is missing.
        continues_without_replica: bool,
    },
    /// The Sentinels that monitor the master.
    Sentinels(Arc<Sentinels>),
    /// The other masters of a cluster.
    Cluster(Weak<cluster::Shared>),
}

impl Authority {
    /// No authority, or one that the user may not query.
    pub(super) fn unwatched(connector: &Connector) -> Self {
        Self::None { continues_without_replica: connector.durability() != Durability::Replicated }
    }

    /// Shortest time that a replica has to be missing before the authority is queried about it;
    /// `None`: the replica is never left behind.
    pub(super) async fn missing_min(&self) -> Option<Duration> {
        match self {
            Self::None { continues_without_replica } => {
                continues_without_replica.then_some(UNWATCHED_MISSING_MAX)
            }
            Self::Sentinels(_) => Some(Duration::ZERO),
            // After that time a master that is cut off serves nothing, and a promotion has been
            // propagated.
            Self::Cluster(cluster) => Some(cluster.upgrade()?.node_timeout().await),
        }
    }

    /// Queries all members of the authority about a server.
    pub(super) async fn status_of(&self, master: &Address) -> MasterStatus {
        match self {
            Self::None { .. } => MasterStatus::Current,
            Self::Sentinels(sentinels) => sentinels.status_of(master).await,
            Self::Cluster(cluster) => match cluster.upgrade() {
                Some(cluster) => cluster.status_of(master).await,
                None => MasterStatus::Uncertain("the client is closed".to_owned()),
            },
        }
    }

    /// Returns whether a majority named the server as the master within the last seconds. In a
    /// cluster, a master that lost the majority refuses calls by itself.
    pub(super) fn names(&self, master: &Address) -> bool {
        match self {
            Self::None { .. } | Self::Cluster(_) => true,
            Self::Sentinels(sentinels) => sentinels.names(master),
        }
    }

    /// Returns whether a server may have been replaced as the master although it accepts writes.
    pub(super) fn can_replace_master(&self) -> bool {
        matches!(self, Self::Sentinels(_))
    }
}
