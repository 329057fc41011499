//! Those who elect masters: the Sentinels, or the nodes of a cluster. A single server has none.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::cluster;
use super::connect::Connector;
use super::sentinel::Sentinels;
use crate::ledger::redis::options::{Address, Durability};

/// A replica of a single server is left behind once it has been missing for that long: there is
/// no one who could have promoted it, except by hand.
const UNWATCHED_MISSING_MAX: Duration = Duration::from_secs(5);

/// What they say of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stance {
    /// A majority names it, and no failover is under way.
    Master,
    /// No majority was reached, and those reached say that it has that many replicas.
    Undecided {
        /// How many.
        replicas: usize,
    },
    /// It may not be the master, for that reason.
    Doubtful(String),
}

/// See the module's head.
#[derive(Clone)]
pub(super) enum Electors {
    /// Of a single server. Whether it goes on without a replica that is missing.
    None {
        /// Whether it does.
        goes_on: bool,
    },
    /// Of a master that Sentinels watch.
    Sentinels(Arc<Sentinels>),
    /// Of a node of a cluster.
    Cluster(Weak<cluster::Shared>),
}

impl Electors {
    /// None, for a server that no one watches or may be asked about.
    pub(super) fn unwatched(connector: &Connector) -> Self {
        Self::None { goes_on: connector.durability() != Durability::Replicated }
    }

    /// How long a replica has to be missing before they are asked; `None`: they never are.
    pub(super) async fn asked_after(&self) -> Option<Duration> {
        match self {
            Self::None { goes_on } => goes_on.then_some(UNWATCHED_MISSING_MAX),
            Self::Sentinels(_) => Some(Duration::ZERO),
            // By then a master that is cut off serves nothing, and a promotion has got about.
            Self::Cluster(cluster) => Some(cluster.upgrade()?.node_timeout().await),
        }
    }

    /// Asks them all about that master.
    pub(super) async fn ask(&self, master: &Address) -> Stance {
        match self {
            Self::None { .. } => Stance::Master,
            Self::Sentinels(sentinels) => sentinels.ask_about(master).await,
            Self::Cluster(cluster) => match cluster.upgrade() {
                Some(cluster) => cluster.ask_about(master).await,
                None => Stance::Doubtful("the client is closed".to_owned()),
            },
        }
    }

    /// Whether a majority named it a short while ago. A cluster's master that lost the majority
    /// refuses calls by itself.
    pub(super) fn stand_by(&self, master: &Address) -> bool {
        match self {
            Self::None { .. } | Self::Cluster(_) => true,
            Self::Sentinels(sentinels) => sentinels.stand_by(master),
        }
    }

    /// Whether a master may be an old one although it answers.
    pub(super) fn may_name_another(&self) -> bool {
        matches!(self, Self::Sentinels(_))
    }
}
