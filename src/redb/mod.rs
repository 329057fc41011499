//! The file of the embedded store, below the ledger, the directory and the events: its tables, the
//! thread that writes them with group commit, and the store's clock.
//!
//! The file is locked while it is open, so that no second process can count in it. The directory
//! and the events of the memory store are the same code over redb's in-memory backend.

pub mod file;
mod open;
mod snapshot;
pub(crate) mod store_clock;
pub(crate) mod tables;
pub(crate) mod writer;

pub use self::open::{OpenError, RedbStore};
