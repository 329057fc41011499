//! The store in Redis, below the ledger, the directory and the events.
//!
//! | part | files |
//! |---|---|
//! | connections, topology, retries | `client`, `options` |
//! | scripts, which are loaded once and called by their digests | `script`, `scripts` |
//! | keys, and values within replies | `keys`, `marks`, `reply` |
//! | calls of scripts, and the clocks of the servers | `store`, `skew` |
//! | identity of the store | `identity`, `state_file`, `seen` |
//! | loss of the store, and its acceptance | `standing`, `checks`, `generation`, `acceptance` |
//! | detection of lost writes | `known` |
//! | opening and closing | `open`, `commands` |
//!
//! All scripts are in one registry, so that each new connection loads them, and their commands are
//! checked at the start. Their arguments and replies belong to the modules that call them.

mod acceptance;
mod checks;
pub mod client;
mod commands;
mod generation;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod known;
mod marks;
mod open;
pub mod options;
// Public for the fuzz targets only.
#[doc(hidden)]
pub mod reply;
pub mod script;
pub(crate) mod scripts;
mod seen;
mod skew;
mod standing;
mod state_file;
pub(crate) mod store;

pub use self::open::{OpenError, RedisStore};
pub use self::state_file::{StateFileError, StoreMemory};
