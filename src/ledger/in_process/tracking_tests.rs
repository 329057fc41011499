//! Tests of the tracking of changes, over both backends of rows.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use redb::Database;
use redb::backends::InMemoryBackend;

use super::rows::{Result, Rows, TrackingRow};
use super::tracking::{ChangedFact, begin, current, has_any, record};
use crate::domain::time::Timestamp;
use crate::ledger::embedded::rows::TableRows;
use crate::ledger::memory::app::{App, MemoryRows};
use crate::ledger::reconcile::{Fact, TRACKED_MAX, Tracking};
use crate::redb::tables::Tables;
use crate::redb::writer::{Schedules, Unit};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Runs a test on the rows of an app in a transaction.
fn in_tables(test: impl FnOnce(&mut TableRows<'_, '_, '_>) -> Result<()>) {
    let database = Database::builder().create_with_backend(InMemoryBackend::new());
    let txn = database.expect("opens").begin_write().expect("begins");
    let mut tables = Tables::open(&txn).expect("opens");
    let mut schedules = Schedules::new();
    let mut unit = Unit { tables: &mut tables, schedules: &mut schedules, wrote: false };
    test(&mut TableRows::new(&mut unit, 7)).expect("the store works");
}

/// Runs a test on the rows of an app in memory.
fn in_memory(test: impl FnOnce(&mut MemoryRows<'_>) -> Result<()>) {
    let (mut app, unknown) = (App::default(), AtomicU64::new(0));
    test(&mut MemoryRows::new(&mut app, &unknown, false)).expect("memory has no errors");
}

fn accounts(users: std::ops::Range<u64>) -> Vec<ChangedFact> {
    users.map(|user| ChangedFact::Of(Fact::Account(user))).collect()
}

/// Tracks changes like an operation at that instant.
fn record_at(rows: &mut impl Rows, millis: i64, traces: Vec<ChangedFact>) -> Result<()> {
    let tracking = current(rows, at(millis))?.expect("changes are tracked");
    record(rows, tracking, traces)
}

fn is_removed_gradually(rows: &mut impl Rows) -> Result<()> {
    let first = begin(rows, at(5), HOUR)?;
    record_at(rows, 6, accounts(0..10))?;
    assert!(has_any(rows, first.since, &accounts(9..10))?);
    // Also if the clock was set back.
    let second = begin(rows, at(1), HOUR)?;
    assert!(second.since > first.since);
    assert!(!has_any(rows, second.since, &accounts(0..10))?);
    record_at(rows, 2, accounts(0..2))?;
    let mut left = 0;
    for user in 0..10 {
        left += usize::from(has_any(rows, first.since, &accounts(user..user + 1))?);
    }
    assert_eq!(left, 10 - 2 * 2);
    assert!(has_any(rows, second.since, &accounts(1..2))?);
    Ok(())
}

#[test]
fn records_of_an_earlier_tracking_are_removed_gradually() {
    in_tables(|rows| is_removed_gradually(rows));
    in_memory(|rows| is_removed_gradually(rows));
}

fn ends(rows: &mut impl Rows) -> Result<()> {
    assert_eq!(current(rows, at(0))?, None);
    let Tracking { since, until } = begin(rows, at(5), HOUR)?;
    assert!(current(rows, at(until.as_millis() - 1))?.is_some());
    assert_eq!(current(rows, until)?, None);
    rows.put_tracking(TrackingRow { since, until, changes: TRACKED_MAX - 1 })?;
    record_at(rows, 6, accounts(0..1))?;
    assert!(current(rows, at(7))?.is_some());
    // A change that is recorded already does not count again.
    record_at(rows, 7, accounts(0..1))?;
    assert!(current(rows, at(8))?.is_some());
    record_at(rows, 8, accounts(1..2))?;
    assert_eq!(current(rows, at(9))?, None);
    assert!(begin(rows, at(9), HOUR)?.since > since);
    Ok(())
}

#[test]
fn tracking_ends_at_its_deadline_and_after_too_many_changes() {
    in_tables(|rows| ends(rows));
    in_memory(|rows| ends(rows));
}
