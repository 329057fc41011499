//! Fair turns in front of what carries calls out: a Redis server, or the thread that writes the
//! embedded store.
//!
//! [`Turns`] has the apps take turns, counted in subjects, and `window` finds out how many subjects
//! may be in work at once without a queue at the other side. What waits, waits here, where an app
//! with one call does not stand behind another app's thousands.

mod turns;
mod window;

pub use turns::{Load, Places, Turn, Turns};
