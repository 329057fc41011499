//! The suites of rules, settings and stores, one module each, in one binary.
//!
//! A test that starts a Redis has `standalone`, `sentinel` or `cluster` as a module in its path, or
//! `in_redis`, `under_sentinels` or `in_a_cluster` in its name: `tests/run quick` leaves those out.
//! Suites that are about Redis alone are in `tests/redis_suites`, and those that need a process of
//! their own stand beside this folder.

mod access;
mod agreed;
mod callback_notes;
mod callbacks;
mod catalog;
mod clock;
mod concurrency;
mod config;
mod conformance;
mod currency;
mod domain_tables;
mod events;
mod events_once;
mod exchanges;
mod fuzz_corpus;
mod login_months;
mod metering;
mod model;
mod reconciliation;
mod samples;
mod statements;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod unknown_apps;
