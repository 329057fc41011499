//! The rules, pure: no I/O, no await, no clock, no protobuf, no store.
//!
//! Time and ids come in as values. Reading order: [`id`] and [`time`] (what everything is made
//! of), [`limit`] and [`group_type`] (what can be limited), [`catalog`] (the numbers),
//! [`calendar`], [`purchase`], [`terms`], [`timeline`] and [`refund`] (what was bought, how long it
//! is valid and what is paid back), [`schedule`] (limits at an instant), [`decision`] (outcome and
//! breaches), [`upgrade`] (what to buy to get past one), [`usage`] (counts against limits),
//! [`warning`] (before a limit bites), [`policy`] (while the store does not
//! answer), [`month`], [`metering`], [`activity`] and [`history`] (what
//! is counted by day), [`postpaid`], [`catalog_history`] and [`billing`] (what that costs, by
//! which catalog, and the monthly statement),
//! [`audit`] (who changed what), [`event`] and [`milestone`] (what is told as it happens),
//! [`clock_guard`] (whether the time can be trusted), [`text`] (how bytes and money are written).

pub mod activity;
pub mod audit;
pub mod billing;
pub mod calendar;
pub mod catalog;
pub mod catalog_history;
pub mod clock_guard;
pub mod decision;
pub mod event;
pub mod group_type;
pub mod history;
pub mod id;
pub mod limit;
pub mod metering;
pub mod milestone;
pub mod month;
pub mod policy;
pub mod postpaid;
pub mod purchase;
pub mod refund;
pub mod schedule;
pub mod terms;
pub mod text;
pub mod time;
pub mod timeline;
pub mod upgrade;
pub mod usage;
pub mod warning;
