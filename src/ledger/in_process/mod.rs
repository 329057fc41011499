//! The decisions of the stores in this process: one code over two backends of rows.
//!
//! An operation reads the [`Rows`](rows::Rows) of its app, decides, and only then writes
//! ([`facts`]), in one step that no other one interleaves with: the backend has the app's rows for
//! itself meanwhile. The embedded store has them in a transaction of its file, the memory store in
//! maps under the app's lock.

pub mod accounts;
pub mod checks;
pub mod counts;
pub mod end_hold;
pub mod facts;
pub mod friends;
pub mod groups;
pub mod held_facts;
pub mod hold_record;
#[cfg(test)]
mod hold_tests;
pub mod holdings;
pub mod holds;
mod login_months;
mod logins;
mod members;
pub mod metering;
pub mod reconcile;
mod replace;
mod retake;
pub mod rows;
pub mod step;
pub mod thresholds;
pub mod tracking;
#[cfg(test)]
mod tracking_tests;
pub mod unknown_apps;
