//! The file of the embedded store: its tables, the thread that writes them, and the store's clock.

pub mod file;
pub(crate) mod snapshot;
pub(crate) mod store_clock;
pub(crate) mod tables;
pub(crate) mod writer;
