//! The suites of rules, settings and stores, one module each, in one binary.
//!
//! Suites that start Redis servers in nearly every test are in `tests/redis_suites`, and those that
//! need a process of their own stand beside this folder.

mod access;
mod catalog;
mod catalogs;
mod clock;
mod concurrency;
mod config;
mod conformance;
mod domain_tables;
mod events;
mod events_once;
mod fuzz_corpus;
mod metering;
mod model;
mod statements;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod unknown_apps;
