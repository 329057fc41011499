//! The identity of a store whose facts are in external servers, and the handling of a lost store.
//!
//! Such a store has an id, which never changes, and a generation, which changes when an owner
//! accepts a store that lost its facts. Stores in this process have neither.

use async_trait::async_trait;
use tokio::sync::{OwnedRwLockReadGuard, watch};

use super::StoreError;
use crate::domain::time::Timestamp;

/// The reason why a store refuses all calls, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The evidence.
    pub why: String,
    /// The time of detection, by this machine's clock.
    pub since: Timestamp,
}

/// The store's identity as this process has read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreIdentity {
    /// The store's id, as 32 hexadecimal digits; empty for a store in this process.
    pub id: String,
    /// The generation in the store's marks; empty if it was not read yet.
    pub generation: String,
    /// The loss, if the store is lost.
    pub loss: Option<Loss>,
}

/// An accepted store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The store's id.
    pub id: String,
    /// Its new generation.
    pub generation: String,
    /// The generations that it replaces, the latest first.
    pub previous: Vec<String>,
    /// True if an earlier request with the same id accepted it.
    pub is_repetition: bool,
}

/// The reason why a store is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The store is not lost.
    #[error("the store has not lost its facts; there is nothing to accept")]
    NotLost,
    /// The store is in this process.
    #[error("the store is embedded or in memory; only a store in Redis is accepted")]
    Elsewhere,
    /// The servers hold another store, which has all its facts.
    #[error(
        "the servers hold another store, with id {0}; point the sidecar at the right one, or name \
         that id to take it over"
    )]
    OtherStore(String),
    /// The acceptance was interrupted; the same request resumes it.
    #[error("the store is not accepted yet; repeat the request: {0}")]
    Store(#[from] StoreError),
}

/// Prevents the generation of this process from changing.
pub struct GenerationGuard {
    /// The generation.
    pub generation: String,
    _kept: Option<OwnedRwLockReadGuard<()>>,
}

impl GenerationGuard {
    /// Creates the guard of a generation that does not change while `kept` is held.
    pub(crate) fn new(generation: String, kept: OwnedRwLockReadGuard<()>) -> Self {
        Self { generation, _kept: Some(kept) }
    }
}

/// The identity of a store, and the acceptance of a lost one. The defaults are those of a store in
/// this process.
#[async_trait]
pub trait Identified: Send + Sync + 'static {
    /// Returns the store's identity as this process has read it.
    fn identity(&self) -> StoreIdentity {
        StoreIdentity::default()
    }

    /// Returns whether the store is lost: every call returns [`StoreError::StoreLost`].
    fn is_lost(&self) -> bool {
        false
    }

    /// Returns a receiver that changes with every change of [`Identified::identity`]; `None` if it
    /// never changes.
    fn identity_changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Returns the generation, which does not change until the guard is dropped.
    async fn keep_generation(&self) -> GenerationGuard {
        GenerationGuard { generation: String::new(), _kept: None }
    }

    /// Gives a store that lost its facts a new generation. Limits may be published after it, and
    /// all other calls are refused until [`Identified::finish_acceptance`]. If the servers hold
    /// another store, `found_id` must be its id.
    async fn begin_acceptance(
        &self,
        _request_id: &str,
        _found_id: &str,
    ) -> Result<Accepted, AcceptError> {
        Err(AcceptError::Elsewhere)
    }

    /// Lets every sidecar with an earlier generation resume.
    async fn finish_acceptance(&self, _accepted: &Accepted) -> Result<(), AcceptError> {
        Err(AcceptError::Elsewhere)
    }

    /// Abandons an acceptance that was begun and could not be finished.
    fn abandon_acceptance(&self, _why: &str) {}
}
