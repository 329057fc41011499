//! imquota: a quota-enforcement sidecar for instant-messaging backends.
//!
//! An IM server calls it before every account creation, friend add, group create, join, leave and
//! dissolve; the result is applied, already held or denied, exactly. It stores *facts* (user u is
//! in group g), and a count is the number of facts.
//!
//! # Rooms
//!
//! The foundation comes first: a room names only rooms that stand earlier in this table.
//!
//! | room | holds |
//! |---|---|
//! | [`domain`] | ids, limits, calendar, purchases, decisions, bills. Pure: no I/O, no clock |
//! | [`clock`] | the only reader of the machine's clocks |
//! | [`input_file`] | reads the files that settings name |
//! | [`private_file`] | creates every file, for its owner alone |
//! | [`diagnostics`] | problems of texts with positions, TOML, suggestions, file watch |
//! | [`catalog`] | the built-in catalog; loading and watching catalogs |
//! | [`store`] | what all stores share: errors, identity, losses, fair queue |
//! | [`redis`] | the store in Redis: client, scripts, keys, detection of losses |
//! | [`redb`] | the store in a file: tables, the thread that writes, clock |
//! | [`ledger`] | the contract of a store that decides and meters; its three stores |
//! | [`directory`] | apps, their purchases, and their final statements; the audit log |
//! | [`events`] | the log of events for watchers |
//! | [`journal`] | operations decided without the store, on disk |
//! | [`export`] | statements as JSON, CSV and a page |
//! | [`proto`] | the protobuf messages, and events rendered as them |
//! | [`telemetry`] | logs, metrics, traces |
//! | [`access`] | authentication of admin callers: tokens, certificates, users |
//! | [`webhook`] | posts every event to a URL, signed, until it is accepted |
//! | [`engine`] | one operation from request to decision; admin service; events |
//! | [`callbacks`] | callbacks of OpenIM and Tencent: requests, their operations, answers |
//! | [`config`] | settings from flags, environment and file |
//! | [`grpc`] | protobuf to domain and back; errors to status; thin services |
//! | [`connect`] | the same services over HTTP with JSON, by the Connect protocol |
//! | [`server`] | the process: listeners, background tasks, start and end |
//! | [`cli`] | the command line |
//!
//! `tests/tidy/rooms.rs` lists the rooms that each may name, and the crates that it must not.
//!
//! # Invariants, and the test behind each
//!
//! - Nothing is admitted over a limit and nothing denied below one, in any interleaving:
//!   `tests/suites/concurrency.rs`, and `tests/suites/model.rs` against a model that shares no
//!   code.
//! - Acknowledged operations survive SIGKILL, and others are done as a whole or not at all:
//!   `tests/crash`.
//! - "Already held" comes before any limit, and a denial names every violated limit:
//!   `tests/suites/domain_tables.rs`.
//! - Every store decides alike: `tests/suites/conformance.rs`. The results that concurrent clients
//!   of several sidecars get have a legal order: `tests/linearizability`.
//! - An operation that is decided together with others has the result that it would have alone:
//!   `tests/redis_suites/coalesced.rs`.
//! - A call to Redis is sent again only if the server replied that it did nothing:
//!   `tests/redis_suites/redis_client`.
//! - A Redis that lost its facts serves nothing until an owner accepts it:
//!   `tests/redis_suites/store_loss.rs`, `tests/e2e/outage/test_store_loss.py`.
//! - No caller can make an admin call without the role for it, over any listener:
//!   `tests/suites/access.rs`.
//! - Reconciling repairs differences from an export, and nothing that live traffic changed since:
//!   `tests/e2e/reconcile/test_reconcile.py`, `tests/suites/conformance.rs`.
//! - A user counts once on a day, and the number of groups has its peak of each day:
//!   `tests/suites/metering.rs` against a model that shares no code.
//! - A statement equals that of an independent script for the same events, and a final one never
//!   changes: `tests/e2e/billing/test_billing_month.py`, `tests/suites/statements.rs`.
//! - A count that crosses 70, 90 or 100 % of its limit causes one event until it fell five points
//!   below: `tests/suites/conformance.rs`. Changes and ends cause one event each:
//!   `tests/suites/events_once.rs`.
//! - A flood of events about limits displaces no change, and a reader gets a report of dropped
//!   events: `tests/suites/events.rs` against a model that shares no code.
//! - What is taken with a hold counts until its hold ends, and in no answer after that; what a
//!   leave or a dissolution has ended is never taken anew: `tests/suites/conformance`,
//!   `tests/suites/model.rs`.
//! - A whole batch is written completely or not at all, and so is a group that replaces another:
//!   `tests/suites/conformance`.
//! - Unregistered apps are bounded in number and in facts: `tests/suites/unknown_apps.rs`.
//! - In memory no operation on an app, however large, holds up another app:
//!   `src/ledger/memory/tests.rs`.
//! - The failure policy decides only while a server is absent by its own probe, and only for that
//!   server's apps: `tests/redis_suites/absence.rs`, `tests/e2e/outage/test_drills.py`.
//! - Takes admitted while the store is unavailable are on disk first, within their budget, and
//!   counted later: `tests/e2e/outage/test_drills.py`.
//! - With `auto` and `replicated` no acknowledged write is lost when a replica is promoted, even
//!   while the old master is alive, and no two masters decide: `tests/failover`,
//!   `src/redis/client/replicas/simulation.rs`.
//! - A loss of acknowledged writes by Redis is detected by each sidecar that had seen them, and
//!   nothing else is reported as a loss: `tests/redis_suites/facts_lost`.
//! - Files that imquota writes can be read by its user alone, whatever the umask is:
//!   `tests/e2e/security/test_private_files.py`.
//! - Unfinished requests and unread responses are bounded, and delay no other caller:
//!   `tests/e2e/security/test_resource_exhaustion.py`.
//! - An error of bad input names the field, and nothing is changed:
//!   `tests/e2e/errors/test_errors.py`.
//!
//! # Accuracy
//!
//! | store | promise | lost by a crash |
//! |---|---|---|
//! | `embedded` | exact | nothing that was acknowledged |
//! | `memory` | exact | everything |
//! | Redis, `local` | exact over the facts of the master | writes that a promoted replica lacks |
//! | Redis, `auto` | exact | nothing that was acknowledged while there was a replica |
//! | Redis, `replicated` | exact | nothing that was acknowledged |
//!
//! While Redis is unavailable, a decision with `degradation` is exact up to the budget of the
//! catalog's failure policy; with `journal = "off"` there are none.

pub mod access;
pub mod callbacks;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod diagnostics;
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
pub mod proto;
pub mod redb;
pub mod redis;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod webhook;
