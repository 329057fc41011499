//! The contract that all stores share: their errors, the identity of a store, the fingerprints of
//! its ids, the state of its servers, the loss of acknowledged writes, and the fair queue in front
//! of it.
//!
//! Not here: the facts and the decisions about them, which are the ledger's.

use std::time::Duration;

pub(crate) mod backlog;
mod error;
pub mod fair;
pub(crate) mod fingerprint;
mod identified;
pub mod loss;
mod server;

pub use error::{Overload, SnapshotError, StoreError};
pub use fingerprint::Fingerprints;
pub use identified::{AcceptError, Accepted, GenerationGuard, Identified, Loss, StoreIdentity};
pub use server::{Refusal, Replication, ServerState, Standing};

/// The largest difference between the store's clock and this process's that operations depending on
/// the time accept: more than maintained clocks drift apart, and little compared with a day.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);
