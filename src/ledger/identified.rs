//! What identifies a store whose facts lie in servers of its own, and whether it has lost them.
//!
//! Such a store has an id, which never changes, and a generation, which changes when an owner
//! accepts a store that lost its facts. Stores in this process have neither.

use async_trait::async_trait;
use tokio::sync::{OwnedRwLockReadGuard, watch};

use super::LedgerError;
use crate::domain::time::Timestamp;

/// Why a store answers nothing, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What was found.
    pub why: String,
    /// When, by this machine's clock.
    pub since: Timestamp,
}

/// The identity of a store as this process has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreIdentity {
    /// The store's id, as 32 hexadecimal digits; empty for a store in this process.
    pub id: String,
    /// The generation that its marks carry; empty where none is known.
    pub generation: String,
    /// Why it is lost, where it is.
    pub loss: Option<Loss>,
}

/// A store that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The store's id.
    pub id: String,
    /// Its new generation.
    pub generation: String,
    /// The generations that it replaces, the latest first.
    pub previous: Vec<String>,
    /// Whether the same request accepted it before.
    pub is_repetition: bool,
}

/// Why a store is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// There is nothing to accept.
    #[error("the store has not lost its facts; there is nothing to accept")]
    NotLost,
    /// The facts are in this process.
    #[error("the facts are in this process; only a store in Redis is accepted")]
    Elsewhere,
    /// Another store is there, and it is whole.
    #[error(
        "the store there is another one, with id {0}; point the sidecar at the right one, or name \
         that id to take it over"
    )]
    OtherStore(String),
    /// It could not be carried through; the same request goes on.
    #[error("the store is not accepted yet; repeat the request: {0}")]
    Ledger(#[from] LedgerError),
}

/// Keeps a process at the generation that it holds.
pub struct GenerationGuard {
    /// The generation.
    pub generation: String,
    pub(super) _kept: Option<OwnedRwLockReadGuard<()>>,
}

/// A store's identity, and what is done about a loss. By default that of a store in this process.
#[async_trait]
pub trait Identified: Send + Sync + 'static {
    /// What this process has of the store's identity.
    fn identity(&self) -> StoreIdentity {
        StoreIdentity::default()
    }

    /// Whether the store is lost: every call answers [`LedgerError::StoreLost`].
    fn is_lost(&self) -> bool {
        false
    }

    /// Changes with every change of [`Identified::identity`]; `None` where it never changes.
    fn identity_changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// The generation, which does not change before the guard is dropped.
    async fn keep_generation(&self) -> GenerationGuard {
        GenerationGuard { generation: String::new(), _kept: None }
    }

    /// Gives a store that lost its facts a new generation. Limits may be published after it, and
    /// nothing else is answered before [`Identified::finish_acceptance`]. Where another store is
    /// there, its id has to be `found_id`.
    async fn begin_acceptance(
        &self,
        _request_id: &str,
        _found_id: &str,
    ) -> Result<Accepted, AcceptError> {
        Err(AcceptError::Elsewhere)
    }

    /// Lets every sidecar that had an earlier generation go on.
    async fn finish_acceptance(&self, _accepted: &Accepted) -> Result<(), AcceptError> {
        Err(AcceptError::Elsewhere)
    }

    /// Gives an acceptance up that was begun and could not be finished.
    fn abandon_acceptance(&self, _why: &str) {}
}
