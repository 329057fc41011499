//! Fair queueing in front of the executor of calls: a Redis server, or the thread that writes the
//! embedded store.
//!
//! [`Turns`] schedules the apps round robin, by subjects, and `window` finds how many subjects may
//! be in flight without a queue at the other side. Calls wait here, where an app with one call does
//! not wait behind another app's thousands.

mod turns;
mod window;

pub use turns::{Load, Places, Turn, Turns};
