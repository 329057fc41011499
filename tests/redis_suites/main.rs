//! The suites that start Redis servers in nearly every test, one module each, in one binary.
//!
//! No test changes what belongs to the process: its environment, folder, panic hook, or log but
//! through `support::logs`.

mod absence;
mod administration;
mod catalogs;
mod clocks;
mod coalesced;
mod facts_lost;
mod holds;
mod login_cells;
mod redis_acl;
mod redis_client;
mod redis_costs;
mod redis_passwords;
mod redis_steps;
mod starts;
mod store_loss;
#[path = "../support/mod.rs"]
mod support;
mod topologies;
