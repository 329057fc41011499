//! A held group that becomes another one: its members, its slots and its holds move to the new id.

use std::sync::Arc;

use redb::StorageError;

use super::facts::Facts;
use super::groups::New;
use super::rows::{Counter, GroupRow, Held, Rows};
use super::step::{Step, StepError};
use crate::domain::id::GroupId;
use crate::ledger::reconcile::Fact;
use crate::ledger::{CannotReplace, LedgerError, REPLACED_MEMBERS_MAX};
use crate::store::fingerprint::{GroupKey, UserKey};

/// Moves the held group of that id to the new one, and makes it permanent unless the take has a
/// hold. Returns false, and does nothing, if it does not exist or the new one does.
pub fn replace(
    step: &mut Step<'_, impl Rows>,
    new: &New<'_>,
    held: &GroupId,
) -> Result<bool, StepError> {
    let (from, to) = (step.ids.group(held), step.ids.group(new.id));
    let Some(mut row) = step.facts.group(from)? else { return Ok(false) };
    if step.facts.group(to)?.is_some() {
        return Ok(false);
    }
    let members = step.facts.members(from, REPLACED_MEMBERS_MAX + 1)?;
    let why = if step.facts.provisional(Fact::Group(from))?.is_none() {
        Some(CannotReplace::Permanent)
    } else if row.group_type != *new.group_type {
        Some(CannotReplace::OtherType)
    } else {
        (members.len() > REPLACED_MEMBERS_MAX).then_some(CannotReplace::TooManyMembers)
    };
    if let Some(why) = why {
        return Err(LedgerError::CannotReplace { group: held.clone(), why }.into());
    }
    row.max_members = new.max_members.or(row.max_members);
    let facts = &mut step.facts;
    facts.move_group(from, to, row)?;
    facts.move_hold(Fact::Group(from), Fact::Group(to), new.id)?;
    for (user, counted) in &members {
        facts.move_membership(*user, from, to, *counted);
        facts.move_hold(Fact::Member(from, *user), Fact::Member(to, *user), new.id)?;
    }
    if facts.taking.is_none() {
        facts.make_permanent(Fact::Group(to), step.today)?;
        for (user, _) in members {
            facts.make_permanent(Fact::Member(to, user), step.today)?;
        }
    }
    Ok(true)
}

impl<R: Rows> Facts<'_, R> {
    /// Moves the row of a group, and how many of its members are held.
    fn move_group(
        &mut self,
        from: GroupKey,
        to: GroupKey,
        row: GroupRow,
    ) -> Result<(), StorageError> {
        self.changes.groups.insert(from, None);
        self.changes.groups.insert(to, Some(row));
        self.changes.moved_group = Some((from, to));
        let held = |group| Counter::Held(Held::Members(group));
        let members = self.counter(&held(from))?;
        self.changes.counters.insert(held(from), 0);
        self.changes.counters.insert(held(to), members);
        Ok(())
    }

    /// Moves a membership; no count changes.
    fn move_membership(&mut self, user: UserKey, from: GroupKey, to: GroupKey, counted: bool) {
        self.changes.memberships.insert((user, from), None);
        self.changes.memberships.insert((user, to), Some(counted));
    }

    /// Moves the holds of a fact; their records name the new group.
    fn move_hold(&mut self, from: Fact, to: Fact, group: &GroupId) -> Result<(), StorageError> {
        let Some(row) = self.provisional(from)? else { return Ok(()) };
        for (key, _) in &row.holds {
            if let Some(mut record) = self.hold(key)? {
                Arc::make_mut(&mut record.operation).set_group(group.clone());
                self.changes.holds.insert(key.clone(), record);
            }
        }
        self.changes.provisional.insert(from, None);
        self.changes.provisional.insert(to, Some(row));
        Ok(())
    }
}
