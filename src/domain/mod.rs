//! The rules of the product. Pure: no I/O, no await, no clock, no protobuf, no store.
//!
//! Time and ids are passed in as values. Reading order: [`id`] and [`time`] (the basic types),
//! [`limits`] (the table of limits), [`limit`] and [`group_type`] (values), [`catalog`] (the
//! numbers), [`bounds`] (the value that applies), [`calendar`],
//! [`purchase`], [`terms`], [`timeline`], [`refund`] and [`exchange`] (purchases, their validity,
//! and their refunds and exchanges), [`schedule`] (limits at an instant), [`decision`] (outcomes
//! and violations), [`im_code`] (codes for IM clients), [`operation`] (operations and their
//! effects), [`take`] (how takes are carried out), [`hold`] (provisional takes),
//! [`checks`] (violations by the counts of a store),
//! [`selling`] (conditions of sale, and rules of prices), [`agreed`] (limits of a contract),
//! [`upgrade`] (purchases that would lift a violation), [`usage`] (counts against limits),
//! [`warning`] (thresholds below a limit), [`failure_policy`] (limits that fail open),
//! [`month`], [`metering`], [`login_days`] and [`history`] (values metered by day), [`price`],
//! [`meter`], [`postpaid`], [`catalog_history`] and [`billing`] (charges, the catalog that they are
//! computed by, and the monthly statement), [`audit`] (audit entries of administrative changes),
//! [`event`] and [`milestone`] (published events), [`clock_guard`] (detection of clock jumps),
//! [`text`] (formatting of bytes and money).

pub mod agreed;
pub mod app_details;
pub mod audit;
pub mod billing;
pub mod bounds;
pub mod calendar;
pub mod catalog;
pub mod catalog_history;
pub mod checks;
pub mod clock_guard;
pub mod currency;
pub mod decision;
pub mod event;
pub mod exchange;
pub mod failure_policy;
pub mod group_type;
pub mod history;
pub mod hold;
pub mod id;
pub mod id_rules;
pub mod im_code;
pub mod limit;
pub mod limits;
pub mod login_days;
pub mod meter;
pub mod metering;
pub mod milestone;
pub mod month;
pub mod operation;
pub mod postpaid;
pub mod price;
pub mod purchase;
pub mod refund;
pub mod schedule;
pub mod selling;
pub mod take;
pub mod terms;
pub mod text;
pub mod time;
pub mod timeline;
pub mod upgrade;
pub mod usage;
pub mod warning;
