//! imquota: a quota-enforcement sidecar for instant-messaging backends.
//!
//! An IM server asks it before every account creation, friend add, group create, join, leave and
//! dissolve; it answers applied, already held or denied, exactly. It keeps *facts* (user u is in
//! group g), and a count is the number of facts.
//!
//! # Layout, in reading order
//!
//! | module | holds | must not use |
//! |---|---|---|
//! | [`domain`] | ids, limits, calendar, purchases, decisions, bills. Pure | I/O, clocks |
//! | [`ledger`] | the contract of a store that decides and meters; its two stores | engine, grpc |
//! | [`directory`] | apps, what they have bought, and their final statements | engine, grpc |
//! | [`events`] | the log of what is told to whoever watches | engine, grpc |
//! | [`engine`] | one operation from request to decision; administration; what is told | stores |
//! | [`journal`] | what was decided without the store, on disk | engine, grpc, stores |
//! | [`export`] | statements as JSON, CSV and a page | engine, grpc, stores |
//! | [`grpc`] | protobuf to domain and back; errors to status; thin services | stores |
//! | [`catalog`] | the built-in catalog, loading and watching one | engine, grpc, stores |
//! | [`access`] | who may call the administration: tokens, certificates, users | engine, stores |
//! | [`webhook`] | posts every event to a URL, signed, until it is taken | engine, stores |
//! | [`input_file`] | reads the files that settings name | engine, grpc, stores |
//! | [`private_file`] | creates every file, for its owner alone | engine, grpc, stores |
//! | [`config`], [`telemetry`], [`server`], [`cli`], [`clock`] | the shell | - |
//!
//! `tests/tidy.rs` keeps the table.
//!
//! # Invariants, and the test behind each
//!
//! - Nothing is admitted over a limit and nothing denied below one, in any interleaving:
//!   `tests/concurrency.rs`, and `tests/model.rs` against a model that shares no code.
//! - What was acknowledged survives SIGKILL, and what was not is whole or absent:
//!   `tests/crash.rs`.
//! - "Already held" comes before any limit, and a denial names every limit in the way:
//!   `tests/domain_tables.rs`.
//! - Every store decides alike: `tests/conformance.rs`. What concurrent clients of several sidecars
//!   saw has a legal order: `tests/history.rs`.
//! - A call to Redis is sent again only when the server said that it did nothing:
//!   `tests/redis_client`.
//! - A Redis that lost its facts answers nothing until an owner accepts it: `tests/store_loss.rs`,
//!   `tests/outside/test_store_loss.py`.
//! - Nobody calls the administration without the role for it, however they come:
//!   `tests/access.rs`.
//! - Reconciling repairs what differs from an export, and nothing that live traffic asked for
//!   since: `tests/outside/test_reconcile.py`, `tests/conformance.rs`.
//! - A user counts once on a day, and the number of groups has its peak of each day:
//!   `tests/metering.rs` against a model that shares no code.
//! - A statement is what an independent script makes of the same events, and a final one never
//!   changes: `tests/outside/test_month.py`, `tests/statements.rs`.
//! - A count that passes 70, 90 or 100 % of its limit is told once until it fell five points below:
//!   `tests/conformance.rs`. What is told of changes and ends is told once: `tests/told.rs`.
//! - A flood of events about limits displaces no change, and a reader gets a report of what was
//!   dropped: `tests/events.rs` against a model that shares no code.
//! - Unregistered apps are bounded in number and in facts: `tests/unknown_apps.rs`.
//! - Only a server that is absent by its own probe opens the failure policy, and for its own apps
//!   alone: `tests/absence.rs`, `tests/outside/test_drills.py`.
//! - What is admitted while the store is away is on disk first, within its budget, and counted
//!   after: `tests/outside/test_drills.py`.
//! - With `auto` and `replicated` nothing that was acknowledged is lost where a replica is
//!   promoted, also while the old master lives, and no two masters answer: `tests/failover`,
//!   `ledger/redis/client/replicas/simulation.rs`.
//! - Acknowledged writes that Redis has lost are noticed by each sidecar that had seen them, and
//!   nothing else is taken for a loss: `tests/facts_lost`.
//! - What imquota writes to disk can be read by its user alone, whatever the umask is:
//!   `tests/outside/test_private_files.py`.
//! - What callers hold without finishing or reading it is bounded, and keeps nobody waiting:
//!   `tests/outside/test_floods.py`.
//! - Bad input names the field and touches nothing: `tests/outside/test_errors.py`.
//!
//! # Accuracy
//!
//! | store | promise | lost by a crash |
//! |---|---|---|
//! | `embedded` | exact | nothing that was acknowledged |
//! | `memory` | exact | everything |
//! | Redis, `local` | exact over what the master holds | what a promoted replica had not got |
//! | Redis, `auto` | exact | nothing that was acknowledged while there was a replica |
//! | Redis, `replicated` | exact | nothing that was acknowledged |
//!
//! While Redis does not answer, an answer with `degradation` is exact up to the budget of the
//! catalog's failure policy; with `journal = "off"` there are none.

pub mod access;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
pub mod domain;
pub mod engine;
pub mod events;
pub mod export;
pub mod grpc;
pub mod input_file;
pub mod journal;
pub mod ledger;
pub mod private_file;
pub mod server;
pub mod telemetry;
pub mod webhook;
