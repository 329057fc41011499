//! Takes with a hold, and the end of holds that have expired.
//!
//! Every operation first drops the facts whose holds have expired, so no decision sees one of them.
//! While the clocks of the machine are far apart nothing is dropped: such facts count as held.

use redb::StorageError;

use super::counts::When;
use super::facts::Facts;
use super::held_facts::{Removal, Taking};
use super::hold_record::{HoldKey, HoldKind, Record, State, elements};
use super::members;
use super::rows::{Counter, Held, Rows};
use super::step::{StepError, first_day_not_closed};
use super::tracking::{self, ChangedFact};
use super::{thresholds, unknown_apps};
use crate::domain::calendar::Day;
use crate::domain::catalog::Catalog;
use crate::domain::clock_guard::ClockReading;
use crate::domain::decision::Subject;
use crate::domain::hold::Hold;
use crate::domain::id::OperationId;
use crate::domain::limits::Part;
use crate::domain::time::Timestamp;
use crate::domain::usage::Counts;
use crate::ledger::reconcile::Fact;
use crate::ledger::{Call, LedgerError, Operation};
use crate::store::StoreError;
use crate::store::fingerprint::Fingerprints;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The most facts that one step of a sweep removes.
pub const SWEPT_MAX: usize = 256;
/// The most steps of one sweep.
pub const SWEEP_STEPS_MAX: usize = 16;

/// Returns the hold of a take; `None`: what it takes is permanent, or it takes nothing.
pub fn hold_of<'c>(call: &'c Call, operation: &Operation) -> Option<&'c Hold> {
    call.take.hold.as_ref().filter(|_| operation.kind().takes() && call.mode.writes())
}

/// Returns the time for which the record of a hold is kept after its end.
pub fn kept_for(catalog: &Catalog) -> Duration {
    Duration::from_secs(u64::from(catalog.holds.kept_hours) * 3600)
}

/// Returns the day on which groups are counted: a closed day does not change any more.
pub fn open_day(rows: &impl Rows, call: &Call, now: Timestamp) -> Result<Day, StorageError> {
    Ok(call.catalog.zone.day_of(now).max(first_day_not_closed(rows)?))
}

/// Begins a take, if it has a hold.
pub fn begin(
    facts: &mut Facts<'_, impl Rows>,
    ids: &Fingerprints,
    call: &Call,
    operation: &Operation,
    (reading, today): (ClockReading, Day),
) -> Result<(), StepError> {
    let hold = hold_of(call, operation).zip(HoldKind::of(operation.kind()));
    let Some((hold, kind)) = hold else { return Ok(()) };
    reading.metering().map_err(StoreError::from)?;
    let key = HoldKey { kind, id: hold.id.clone() };
    let stored = facts.hold(&key)?;
    let is_live =
        |record: &Record| record.expires > reading.now && record.states.contains(&State::Held);
    let is_repetition = stored.as_ref().is_some_and(is_live);
    let mut replaced = Vec::new();
    if let Some(record) = stored {
        if is_repetition && *record.operation != *operation {
            return Err(LedgerError::HoldDiffers(key.id).into());
        }
        if !is_repetition {
            replaced = named(ids, &record).filter(|(_, state)| *state == State::Held).collect();
        }
    }
    let of_take = elements(ids, operation);
    let expires = reading.now + Duration::from_secs(u64::from(hold.seconds));
    let new = Record {
        operation: Arc::new(operation.clone()),
        taken_at: reading.now,
        expires,
        kept_until: expires + kept_for(&call.catalog),
        states: vec![State::Absent; of_take.len()],
    };
    let mut indexes = BTreeMap::new();
    for (fact, index) in of_take.into_iter().zip(0..) {
        // A repeat of the same id in the batch is not in the hold.
        indexes.entry(fact).or_insert(index);
    }
    let replaced = replaced.into_iter().map(|(fact, _)| fact).collect();
    let added = BTreeSet::new();
    facts.taking =
        Some(Taking { key, new, replaced, is_repetition, today, elements: indexes, added });
    Ok(())
}

/// Returns the facts of a record with their states.
pub fn named(ids: &Fingerprints, record: &Record) -> impl Iterator<Item = (Fact, State)> {
    elements(ids, &record.operation).into_iter().zip(record.states.clone())
}

/// Ends a take with a hold, which is not written yet; returns an error if there is no room for its
/// record.
pub fn finish(facts: &mut Facts<'_, impl Rows>, call: &Call) -> Result<(), StepError> {
    let Some(taking) = facts.taking.take() else { return Ok(()) };
    if taking.added.is_empty() {
        return Ok(());
    }
    let Some(record) = facts.changes.holds.get_mut(&taking.key) else { return Ok(()) };
    record.expires = taking.new.expires;
    record.kept_until = taking.new.kept_until;
    let (states, after) = (record.states.clone(), record.facts());
    for (fact, index) in &taking.elements {
        let state = usize::try_from(*index).ok().and_then(|index| states.get(index));
        if state == Some(&State::Held) {
            facts.reset_expiry(*fact)?;
        }
    }
    let before = facts.rows.hold(&taking.key)?.map_or(0, |record| record.facts());
    let counter = Counter::HoldFacts(part_of(taking.key.kind));
    let count = (facts.counter(&counter)? + after).saturating_sub(before);
    let most = call.catalog.holds.facts_max;
    if after > before && count > most {
        return Err(LedgerError::HoldsFull { app: call.app.clone(), most }.into());
    }
    facts.changes.counters.insert(counter, count);
    Ok(())
}

/// Removes the first facts whose holds have expired, and writes that; returns their number.
pub fn drop_due(
    rows: &mut impl Rows,
    call: &Call,
    reading: ClockReading,
    max: usize,
) -> Result<usize, StorageError> {
    if reading.other().is_some() || rows.due(reading.now, 1)?.is_empty() {
        return Ok(0);
    }
    let today = open_day(rows, call, reading.now)?;
    let mut facts = Facts::new(&mut *rows);
    let dropped = end_due(&mut facts, (&call.catalog, today), reading.now, max)?;
    facts.count_facts(None)?;
    write(facts, reading.now, Vec::new())?;
    Ok(dropped)
}

/// Returns the facts of an app as of an instant, without those whose holds have expired; nothing is
/// written.
pub fn view<'r, R: Rows>(
    rows: &'r mut R,
    call: &Call,
    reading: ClockReading,
) -> Result<Facts<'r, R>, StorageError> {
    if reading.other().is_some() || rows.due(reading.now, 1)?.is_empty() {
        return Ok(Facts::new(rows));
    }
    let today = open_day(rows, call, reading.now)?;
    let mut facts = Facts::new(rows);
    end_due(&mut facts, (&call.catalog, today), reading.now, usize::MAX)?;
    Ok(facts)
}

/// Removes the first facts whose holds have expired; returns their number.
fn end_due(
    facts: &mut Facts<'_, impl Rows>,
    (catalog, today): (&Catalog, Day),
    now: Timestamp,
    max: usize,
) -> Result<usize, StorageError> {
    let due = facts.rows.due(now, max)?;
    facts.removal = Removal::Expiry(now);
    for fact in &due {
        // A group may have been reclaimed with its last member.
        if facts.provisional(*fact)?.is_some() {
            remove(facts, (catalog, today), *fact)?;
        }
    }
    Ok(due.len())
}

/// Removes a fact that exists; a group is reclaimed with its last member.
pub fn remove(
    facts: &mut Facts<'_, impl Rows>,
    (catalog, today): (&Catalog, Day),
    fact: Fact,
) -> Result<(), StorageError> {
    match fact {
        Fact::Account(user) => facts.set_account(user, false),
        Fact::Friend(user, friend) => facts.set_friend(user, friend, false),
        Fact::Member(group, user) => {
            if let Some(counted) = facts.membership(user, group)? {
                members::leave_group(facts, (catalog, today), (user, group), counted)?;
            }
            Ok(())
        }
        Fact::Group(group) => {
            if let Some(row) = facts.group(group)? {
                facts.remove_group(group, &row.group_type, When::Now(today))?;
            }
            Ok(())
        }
    }
}

/// Writes the changes of a step that ends or confirms holds, and tracks them; `more` are other
/// facts that it has taken.
pub fn write(
    mut facts: Facts<'_, impl Rows>,
    now: Timestamp,
    more: Vec<Fact>,
) -> Result<(), StorageError> {
    thresholds::clear_groups(&mut facts)?;
    let removed = facts.removed_groups().into_iter().map(Fact::Group);
    let changed: Vec<_> = facts.settled().chain(removed).chain(more).map(ChangedFact::Of).collect();
    if let Some(tracking) = tracking::current(facts.rows, now)? {
        tracking::record(facts.rows, tracking, changed)?;
    }
    facts.write()
}

/// Does one step of a sweep: removes facts whose holds have expired, and records that are no longer
/// kept. Returns the number of facts, and whether there may be more to do.
pub fn sweep(
    rows: &mut impl Rows,
    call: &Call,
    reading: ClockReading,
) -> Result<(u64, bool), StorageError> {
    if reading.other().is_some() {
        return Ok((0, false));
    }
    let dropped = drop_due(rows, call, reading, SWEPT_MAX)?;
    let ended = rows.ended_holds(reading.now, SWEPT_MAX)?;
    for key in &ended {
        let facts = rows.hold(key)?.map_or(0, |record| record.facts());
        let counter = Counter::HoldFacts(part_of(key.kind));
        let count = rows.counter(&counter)?.unwrap_or(0).saturating_sub(facts);
        rows.put_counter(&counter, count)?;
        rows.put_hold(key, None)?;
    }
    let is_unfinished = dropped == SWEPT_MAX || ended.len() == SWEPT_MAX;
    Ok((u64::try_from(dropped).unwrap_or(u64::MAX), is_unfinished))
}

/// Returns the numbers of provisional facts beside the counts of a subject.
pub fn held_counts(
    facts: &Facts<'_, impl Rows>,
    ids: &Fingerprints,
    (subject, today): (&Subject, Day),
    counts: &Counts,
) -> Result<Counts, StorageError> {
    let mut held = counts.none();
    match (&mut held, subject) {
        (Counts::App { accounts, groups, net_new_today, net_new_today_of_all_types, .. }, _) => {
            let Counts::App { groups: types, .. } = counts else { return Ok(held) };
            *accounts = facts.held(Held::Accounts)?;
            for (name, _) in types {
                groups.push((name.clone(), facts.held(Held::Groups(name.clone()))?));
                let of_day = facts.held(Held::GroupsOn(today, name.clone()))?;
                let of_day = i64::try_from(of_day).unwrap_or(i64::MAX);
                net_new_today.push((name.clone(), of_day));
                *net_new_today_of_all_types += of_day;
            }
        }
        (Counts::User { friends, groups }, Subject::User(user)) => {
            let user = ids.user(user);
            *friends = facts.held(Held::Friends(user))?;
            *groups = facts.held(Held::GroupsOf(user))?;
        }
        (Counts::Group { members, .. }, Subject::Group(group)) => {
            *members = facts.held(Held::Members(ids.group(group)))?;
        }
        _ => {}
    }
    Ok(held)
}

/// Returns the part in which the facts of a kind of hold are counted.
fn part_of(kind: HoldKind) -> unknown_apps::Part {
    match kind.part() {
        Part::Accounts => unknown_apps::Part::Accounts,
        Part::Friends => unknown_apps::Part::Friends,
        Part::Groups => unknown_apps::Part::Groups,
    }
}

/// Returns the keys of the holds that operations with an id may have in a part.
pub fn keys(id: &OperationId, part: Part) -> impl Iterator<Item = HoldKey> {
    HoldKind::in_part(part).iter().map(|kind| HoldKey { kind: *kind, id: id.clone() })
}
