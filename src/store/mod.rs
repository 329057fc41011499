//! The contract that all stores share: the identity of a store, the fingerprints of its ids, the state
//! of its servers, the loss of acknowledged writes, and the fair queue in front of it.

pub(crate) mod backlog;
pub mod fair;
pub(crate) mod fingerprint;
mod identified;
pub mod loss;
mod server;

pub use fingerprint::Fingerprints;
pub use identified::{AcceptError, Accepted, GenerationGuard, Identified, Loss, StoreIdentity};
pub use server::{Refusal, Replication, ServerState, Standing};
