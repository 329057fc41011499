//! A new take of the facts of a hold that has expired, when it is confirmed.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::{self, New};
use super::hold_record::{HoldKey, Record, State};
use super::rows::Rows;
use super::step::{Step, StepError};
use super::{accounts, friends, members};
use crate::domain::decision::{ItemResult, Violation};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, UserId};
use crate::ledger::Operation;
use crate::ledger::reconcile::Fact;

/// The facts that were taken anew, by their indexes in the record, and those that were denied.
#[derive(Debug, Default)]
pub struct Retaken {
    /// Those that are permanent now.
    pub taken: BTreeSet<usize>,
    /// Those that a limit denies, with the violations.
    pub denied: BTreeMap<usize, Vec<Violation>>,
}

impl Retaken {
    /// Returns whether any denial has violations.
    pub fn has_violations(&self) -> bool {
        self.denied.values().any(|violations| !violations.is_empty())
    }
}

/// A new take in progress.
struct Retake<'s, 'u, 'k, R> {
    step: &'s mut Step<'u, R>,
    key: &'k HoldKey,
    record: &'k Record,
    retaken: Retaken,
}

/// Takes what the hold had when it expired anew, permanently, in the mode of the call.
pub fn retake<R: Rows>(
    step: &mut Step<'_, R>,
    key: &HoldKey,
    record: &Record,
) -> Result<Retaken, StepError> {
    let mut retake = Retake { step, key, record, retaken: Retaken::default() };
    match &*record.operation {
        Operation::CreateAccounts { users } => {
            for (index, user) in users.iter().enumerate() {
                if retake.had(index) {
                    let result = accounts::take(retake.step, user)?;
                    retake.note(&[index], &result)?;
                }
            }
        }
        Operation::AddFriends { user, friends, one_way } => {
            retake.friends(user, friends, *one_way)?;
        }
        Operation::CreateGroup { group, owner, members, .. } => {
            retake.group(group, owner.as_ref(), members)?;
        }
        Operation::JoinGroup { group, users } => retake.group(group, None, users)?,
        _ => {}
    }
    Ok(retake.retaken)
}

impl<R: Rows> Retake<'_, '_, '_, R> {
    /// Returns whether a fact was held until the record expired.
    fn had(&self, index: usize) -> bool {
        self.record.states.get(index) == Some(&State::Held)
    }

    /// Records the result of some facts.
    fn note(&mut self, indexes: &[usize], result: &ItemResult<Violation>) -> Result<(), StepError> {
        for index in indexes.iter().copied() {
            if !self.had(index) {
                continue;
            }
            if result.denied() {
                self.retaken.denied.insert(index, result.violations.clone());
            } else {
                self.retaken.taken.insert(index);
                self.set(index, State::Confirmed)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, index: usize, state: State) -> Result<(), StepError> {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Ok(self.step.facts.set_state(self.key, index, state)?)
    }

    fn friends(
        &mut self,
        user: &UserId,
        friends: &[UserId],
        one_way: bool,
    ) -> Result<(), StepError> {
        for (number, friend) in friends.iter().enumerate() {
            let indexes = if one_way { vec![number] } else { vec![2 * number, 2 * number + 1] };
            let wanted = [0, 1].map(|side| indexes.get(side).is_some_and(|index| self.had(*index)));
            if wanted.contains(&true) {
                let result = friends::take(self.step, user, friend, wanted)?;
                self.note(&indexes, &result)?;
            }
        }
        Ok(())
    }

    /// Takes a group and its members, or members of a group that exists.
    fn group(
        &mut self,
        group: &GroupId,
        owner: Option<&UserId>,
        users: &[UserId],
    ) -> Result<(), StepError> {
        let implicit = self.record.implicit();
        let takes_group = implicit.is_none() && self.had(0);
        let existing = self.step.facts.group(self.step.ids.group(group))?;
        let created = self.record.operation.group_type();
        let group_type = existing.as_ref().map(|row| &row.group_type).or(created);
        let is_over = match self.record.states.first() {
            Some(State::Ended | State::Released) => true,
            _ if existing.is_none() => !takes_group,
            _ => created.is_some() && created != group_type,
        };
        let Some(group_type) = group_type.filter(|_| !is_over) else { return self.end_all() };
        let kind = self.step.group_type(group, group_type)?;
        let first = 1 + usize::from(owner.is_some());
        let owner = owner.filter(|_| self.had(1));
        let result = if takes_group && existing.is_none() {
            self.create(&kind, group, owner)?
        } else {
            self.join_owner(&kind, group, owner, takes_group)?
        };
        for (index, user) in users.iter().enumerate().map(|(index, user)| (first + index, user)) {
            if !self.had(index) {
                continue;
            }
            let result = match &result {
                Some(result) if result.denied() => ItemResult::of(result.outcome),
                _ => members::add_member(self.step, &kind, group, user)?,
            };
            self.note(&[index], &result)?;
        }
        Ok(())
    }

    /// Creates the group with its owner.
    fn create(
        &mut self,
        kind: &GroupType,
        group: &GroupId,
        owner: Option<&UserId>,
    ) -> Result<Option<ItemResult<Violation>>, StepError> {
        let Operation::CreateGroup { group_type, max_members, .. } = &*self.record.operation else {
            return Ok(None);
        };
        let new = New { id: group, group_type, owner, members: &[], max_members: *max_members };
        let result = groups::create_new(self.step, kind, &new)?;
        let indexes = if owner.is_some() { vec![0, 1] } else { vec![0] };
        self.note(&indexes, &result)?;
        Ok(Some(result))
    }

    /// Makes the owner a member of a group that exists, and the group permanent.
    fn join_owner(
        &mut self,
        kind: &GroupType,
        group: &GroupId,
        owner: Option<&UserId>,
        takes_group: bool,
    ) -> Result<Option<ItemResult<Violation>>, StepError> {
        if let Some(owner) = owner {
            let result = members::add_member(self.step, kind, group, owner)?;
            self.note(&[1], &result)?;
            if result.denied() {
                return Ok(Some(result));
            }
        }
        if takes_group {
            let fact = Fact::Group(self.step.ids.group(group));
            let outcome = self.step.facts.keep(fact, self.step.today)?;
            self.note(&[0], &ItemResult::of(outcome))?;
        }
        Ok(None)
    }

    /// Ends the rest of a hold whose group was ended by something else.
    fn end_all(&mut self) -> Result<(), StepError> {
        for index in 0..self.record.states.len() {
            if self.had(index) && self.record.implicit() != Some(index) {
                self.set(index, State::Ended)?;
            }
        }
        Ok(())
    }
}
