//! The store in Redis: the client, the scripts, the keys, and the identity of the store.

pub(crate) mod acceptance;
pub(crate) mod checks;
pub mod client;
pub(crate) mod commands;
pub(crate) mod generation;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod known;
mod marks;
pub mod options;
pub mod script;
pub(crate) mod scripts;
pub(crate) mod seen;
pub(crate) mod skew;
pub(crate) mod standing;
pub(crate) mod state_file;
pub(crate) mod store;

pub use self::state_file::{StateFileError, StoreMemory};
