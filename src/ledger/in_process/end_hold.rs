//! Confirmation and release of a hold.
//!
//! A confirmation first makes permanent what is there, and takes anew what has expired; a release
//! ends this hold's part of each fact, members before their group.

use redb::StorageError;

use super::facts::Facts;
use super::held_facts::Removal;
use super::hold_record::{HoldKey, Record, State, elements};
use super::holds::{self, drop_due, open_day};
use super::retake::{self, Retaken};
use super::rows::Rows;
use super::step::{Step, StepError, begin};
use super::{thresholds, unknown_apps};
use crate::domain::calendar::Day;
use crate::domain::catalog::Catalog;
use crate::domain::clock_guard::ClockReading;
use crate::domain::decision::Mode;
use crate::domain::hold::{HoldEnd, HoldOutcome};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::ledger::holds::{EndedHold, Ending, HoldResult};
use crate::ledger::reconcile::Fact;
use crate::ledger::{Call, LedgerError, Operation, TakeOptions};
use crate::store::fingerprint::Fingerprints;

/// The indexes of a record's facts by the results that they belong to.
struct Layout {
    whole: Vec<usize>,
    items: Vec<Vec<usize>>,
}

impl Layout {
    fn of(operation: &Operation) -> Self {
        let items = operation.items().len();
        let (whole, each) = match operation {
            Operation::AddFriends { one_way: false, .. } => (0, 2),
            Operation::CreateGroup { owner, .. } => (1 + usize::from(owner.is_some()), 1),
            _ => (0, 1),
        };
        // The group of a join has no result.
        let first = whole + usize::from(matches!(operation, Operation::JoinGroup { .. }));
        let item = |index| (first + each * index..first + each * (index + 1)).collect();
        Self { whole: (0..whole).collect(), items: (0..items).map(item).collect() }
    }
}

/// Ends the holds of operations with an id in one part of an app.
pub fn end_hold(
    rows: &mut impl Rows,
    ids: &Fingerprints,
    call: &Call,
    reading: ClockReading,
    ending: &Ending,
) -> Result<Vec<EndedHold>, StepError> {
    let schedule = begin(rows, call, reading.now)?;
    let mut ended = Vec::new();
    for key in holds::keys(&ending.id, ending.part) {
        ended.extend(end_one(rows, ids, call, (reading, &schedule), (&key, ending))?);
    }
    Ok(ended)
}

/// Ends one hold; returns `None` if it has no record.
fn end_one(
    rows: &mut impl Rows,
    ids: &Fingerprints,
    call: &Call,
    (reading, schedule): (ClockReading, &Schedule),
    (key, ending): (&HoldKey, &Ending),
) -> Result<Option<EndedHold>, StepError> {
    let now = reading.now;
    let Some(record) = rows.hold(key)? else { return Ok(None) };
    let today = open_day(rows, call, now)?;
    let confirms = ending.end == HoldEnd::Confirm;
    let in_time = confirms && ending.as_of.is_some_and(|at| at < record.expires);
    if in_time {
        // Before it is dropped what may be due: no decision has counted it as absent.
        let mut facts = Facts::new(&mut *rows);
        confirm(&mut facts, ids, (key, &record), today)?;
        holds::write(facts, now, Vec::new())?;
    }
    drop_due(rows, call, reading, usize::MAX)?;
    let is_expired = reading.other().is_none() && record.expires <= now;
    let call = Call {
        mode: if in_time { Mode::Force } else { call.mode },
        take: TakeOptions::default(),
        ..call.clone()
    };
    let Some(record) = rows.hold(key)? else { return Ok(None) };
    if is_expired && confirms && record.has_held() {
        unknown_apps::count_app(rows, &call, now)?;
    }
    let limits = schedule.at(now);
    let (kind, releases_max) = (record.operation.kind(), usize::MAX);
    let facts = Facts::new(&mut *rows);
    let mut step = Step { facts, ids, limits, call: &call, today, kind, releases_max };
    let mut is_late = is_expired && record.has_held();
    let mut retaken = Retaken::default();
    if confirms {
        if !is_expired {
            confirm(&mut step.facts, ids, (key, &record), today)?;
        }
        // The rest had expired, perhaps before the clocks went apart.
        let rest = step.facts.hold(key)?.filter(Record::has_held);
        is_late = rest.is_some();
        if let Some(rest) = rest {
            retaken = retake::retake(&mut step, key, &rest)?;
        }
    } else {
        // While the clocks are apart no hold has expired.
        let expired_by = if reading.other().is_none() { now } else { Timestamp::from_millis(0) };
        let how = (&*call.catalog, today, expired_by);
        release(&mut step.facts, ids, how, (key, &record, is_expired))?;
    }
    let most = call.catalog.unknown_apps.facts_per_app_max;
    let is_bounded = !retaken.taken.is_empty() && call.is_bounded();
    if let Some(bound) = step.facts.count_facts(is_bounded.then_some(most))? {
        return Err(LedgerError::UnknownAppsFull { app: call.app.clone(), bound, most }.into());
    }
    let mut warnings = Vec::new();
    if !retaken.taken.is_empty() {
        warnings = thresholds::warnings(&mut step, &record.operation)?;
    }
    let record = keep_record(&mut step.facts, (key, record), (&call, reading))?;
    let named = elements(ids, &record.operation);
    let traces = retaken.taken.iter().map(|index| named[*index]).collect();
    holds::write(step.facts, now, traces)?;
    let limits = retaken.has_violations().then(|| limits.clone());
    let expired_at = is_late.then_some(record.expires);
    let (whole, items) = merged(&record, ending.end, &retaken);
    let operation = (*record.operation).clone();
    Ok(Some(EndedHold { operation, decided_at: now, expired_at, whole, items, limits, warnings }))
}

/// Returns the result for the operation as a whole, and for each of its users.
fn merged(
    record: &Record,
    end: HoldEnd,
    retaken: &Retaken,
) -> (Option<HoldResult>, Vec<Option<HoldResult>>) {
    let results = results(record, end, retaken);
    let layout = Layout::of(&record.operation);
    let merge = |indexes: &Vec<usize>| worst(indexes.iter().map(|index| results[*index].clone()));
    (merge(&layout.whole), layout.items.iter().map(merge).collect())
}

/// Keeps the record for some time after its end, and returns it.
fn keep_record(
    facts: &mut Facts<'_, impl Rows>,
    (key, before): (&HoldKey, Record),
    (call, reading): (&Call, ClockReading),
) -> Result<Record, StorageError> {
    let mut record = facts.hold(key)?.unwrap_or(before);
    // A group may be held further for members who are not.
    record.kept_until = record.expires.max(reading.now) + holds::kept_for(&call.catalog);
    if !record.states.contains(&State::Held) {
        record.kept_until = reading.now + holds::kept_for(&call.catalog);
    }
    facts.changes.holds.insert(key.clone(), record.clone());
    Ok(record)
}

/// Makes permanent what the hold has and what is there.
fn confirm(
    facts: &mut Facts<'_, impl Rows>,
    ids: &Fingerprints,
    (key, record): (&HoldKey, &Record),
    today: Day,
) -> Result<(), StorageError> {
    for ((fact, state), index) in holds::named(ids, record).zip(0..) {
        let is_implicit = record.implicit() == Some(0) && index == 0;
        if state != State::Held || is_implicit {
            continue;
        }
        if !facts.provisional(fact)?.is_some_and(|row| row.has(key)) {
            continue;
        }
        match fact {
            // Left of a dissolved group.
            Fact::Member(group, _) if facts.group(group)?.is_none() => {
                facts.set_state(key, index, State::Ended)?;
            }
            _ => facts.make_permanent(fact, today)?,
        }
    }
    Ok(())
}

/// Ends this hold's part of each fact, and removes those that have no other hold.
fn release(
    facts: &mut Facts<'_, impl Rows>,
    ids: &Fingerprints,
    (catalog, today, expired_by): (&Catalog, Day, Timestamp),
    (key, record, is_expired): (&HoldKey, &Record, bool),
) -> Result<(), StorageError> {
    facts.removal = Removal::Release(key.clone(), expired_by);
    let named: Vec<_> = holds::named(ids, record).zip(0..).collect();
    // The group is first, and ends after its members.
    for ((fact, state), index) in named.into_iter().rev() {
        if state != State::Held {
            continue;
        }
        facts.set_state(key, index, State::Released)?;
        if facts.detach(fact, key)? && !is_expired {
            holds::remove(facts, (catalog, today), fact)?;
        }
    }
    Ok(())
}

/// Returns the result of each fact of a record.
fn results(record: &Record, end: HoldEnd, retaken: &Retaken) -> Vec<Option<HoldResult>> {
    let result = |(index, state): (usize, &State)| {
        let outcome = match (state, end) {
            (State::Absent, _) => return None,
            (State::Confirmed, HoldEnd::Confirm) if retaken.taken.contains(&index) => {
                HoldOutcome::Retaken
            }
            (State::Confirmed, HoldEnd::Confirm) => HoldOutcome::Confirmed,
            (State::Held, HoldEnd::Confirm) => {
                let violations = retaken.denied.get(&index).cloned().unwrap_or_default();
                return Some(HoldResult { outcome: HoldOutcome::Denied, violations });
            }
            (State::Released, HoldEnd::Release) => HoldOutcome::Released,
            _ => HoldOutcome::EndedOtherwise,
        };
        Some(HoldResult::of(outcome))
    };
    record.states.iter().enumerate().map(result).collect()
}

/// Returns the worst of some results.
fn worst(results: impl Iterator<Item = Option<HoldResult>>) -> Option<HoldResult> {
    results.flatten().max_by_key(|result| (result.outcome, result.violations.len()))
}
