//! Takes facts of an expired hold anew, permanently.

use std::sync::Arc;

use super::argument::HoldArgument;
use super::record::Record;
use crate::domain::decision::{ItemResult, Outcome, Violation};
use crate::domain::hold::{Hold, HoldOutcome};
use crate::domain::id::UserId;
use crate::domain::schedule::Limits;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::ledger::holds::{Ending, HoldResult};
use crate::ledger::redis::apply::carry_out;
use crate::ledger::redis::shared::Shared;
use crate::ledger::redis::takes::{NewGroup, create_group};
use crate::ledger::redis::work::OperationRun;
use crate::ledger::{Answer, Call, LedgerError, Operation, TakeOptions};

/// What was taken anew.
pub struct Retaken {
    /// The states of the hold.
    pub states: String,
    /// The results of facts, by their index from 0.
    pub results: Vec<(usize, HoldResult)>,
    /// The server's clock at the last decision.
    pub decided_at: Timestamp,
    /// The limits used for the decision, if any result has violations.
    pub limits: Option<Limits>,
    /// Thresholds that were crossed.
    pub warnings: Vec<Warning>,
}

/// The result of a new take.
pub enum Retake {
    /// It was decided.
    Taken(Retaken),
    /// The hold has changed since it was read.
    Changed,
    /// The group has ended, and its members cannot be taken without it.
    GroupEnded,
}

/// A take of some facts of a hold.
struct Take {
    operation: Operation,
    /// True if the group that the operation creates must be there, and is only joined.
    joins: bool,
    /// The index in the hold of each fact of the take, from 1; 0 for a fact that is not in it.
    indexes: Vec<usize>,
}

/// Takes the facts anew that are held by the states of the record: they have expired.
pub async fn retake(
    shared: &Arc<Shared>,
    call: &Call,
    ending: &Ending,
    record: &Record,
) -> Result<Retake, LedgerError> {
    // With a hold all subjects are one step.
    let hold = Some(Hold { id: ending.id.clone(), seconds: 0 });
    let take = TakeOptions { hold, ..TakeOptions::default() };
    let call = Call { take, ..call.clone() };
    if is_group_ended(record) {
        return Ok(Retake::GroupEnded);
    }
    let mut retaken = Retaken {
        states: record.states.clone(),
        results: Vec::new(),
        decided_at: record.read_at,
        limits: None,
        warnings: Vec::new(),
    };
    let Some(take) = take_of(record) else { return Ok(Retake::Taken(retaken)) };
    let hold = (record.number.as_str(), record.states.as_str());
    let argument = HoldArgument::of_retake(&call, &record.name, hold, &take.indexes);
    let run = OperationRun::new(shared, &call).holding(Some(argument));
    match Box::pin(take.carry_out(&run)).await {
        Ok(answer) => {
            retaken.add(&take.indexes, results(&take.operation, answer.whole, answer.items));
            let Answer { decided_at, limits, warnings, .. } = answer;
            Ok(Retake::Taken(Retaken { decided_at, limits, warnings, ..retaken }))
        }
        Err(LedgerError::HoldDiffers(_)) => Ok(Retake::Changed),
        Err(LedgerError::GroupNotFound(_) | LedgerError::GroupTypeDiffers { .. }) => {
            Ok(Retake::GroupEnded)
        }
        Err(error) => Err(error),
    }
}

/// Returns whether the group that was taken or joined has ended otherwise since.
fn is_group_ended(record: &Record) -> bool {
    let is_of_group = record.operation.group().is_some();
    is_of_group && record.states.starts_with(['o', 'r'])
}

impl Take {
    fn new(operation: Operation, indexes: Vec<usize>) -> Self {
        Self { operation, joins: false, indexes }
    }

    async fn carry_out(&self, run: &OperationRun<'_>) -> Result<Answer, LedgerError> {
        match &self.operation {
            Operation::CreateGroup { group, group_type, owner, members, max_members } => {
                let new = NewGroup {
                    id: group,
                    group_type,
                    owner: owner.as_ref(),
                    members,
                    max_members: *max_members,
                    joins: self.joins,
                };
                create_group(run, &new).await
            }
            other => carry_out(run, other).await,
        }
    }
}

impl Retaken {
    fn add(&mut self, indexes: &[usize], results: Vec<HoldResult>) {
        for (index, result) in indexes.iter().zip(results) {
            let Some(index) = index.checked_sub(1) else { continue };
            if result.outcome == HoldOutcome::Retaken {
                self.states.replace_range(index..=index, "c");
            }
            self.results.push((index, result));
        }
    }
}

/// Returns the result of each fact of a take, in the order of its hold.
fn results(
    operation: &Operation,
    whole: Option<ItemResult<Violation>>,
    items: Vec<ItemResult<Violation>>,
) -> Vec<HoldResult> {
    let result = |result: ItemResult<Violation>| match result.outcome {
        Outcome::Denied | Outcome::Aborted => {
            HoldResult { outcome: HoldOutcome::Denied, violations: result.violations }
        }
        _ => HoldResult::of(HoldOutcome::Retaken),
    };
    let items = items.into_iter().map(result);
    match operation {
        Operation::CreateGroup { owner, .. } => {
            let whole = whole.map(result);
            let owner = whole.clone().filter(|_| owner.is_some());
            whole.into_iter().chain(owner).chain(items).collect()
        }
        // The group that is joined.
        Operation::JoinGroup { .. } => {
            std::iter::once(HoldResult::of(HoldOutcome::Retaken)).chain(items).collect()
        }
        Operation::AddFriends { .. } => items.flat_map(|item| [item.clone(), item]).collect(),
        _ => items.collect(),
    }
}

/// Returns the take of the facts that are held.
fn take_of(record: &Record) -> Option<Take> {
    let states = record.states.as_bytes();
    let is_held = |index: usize| index.checked_sub(1).and_then(|at| states.get(at)) == Some(&b'h');
    // The users of which the fact at their index is held.
    let held = |users: &[UserId], first: usize| -> (Vec<UserId>, Vec<usize>) {
        let each = users.iter().zip(first..).filter(|(_, index)| is_held(*index));
        each.map(|(user, index)| (user.clone(), index)).unzip()
    };
    let group_index = usize::from(is_held(1));
    match &record.operation {
        Operation::CreateAccounts { users } => {
            let (users, indexes) = held(users, 1);
            Some(Take::new(Operation::CreateAccounts { users }, indexes))
        }
        Operation::JoinGroup { group, users } => {
            let (users, indexes) = held(users, 2);
            let indexes = [vec![group_index], indexes].concat();
            Some(Take::new(Operation::JoinGroup { group: group.clone(), users }, indexes))
        }
        Operation::CreateGroup { group, group_type, owner, members, max_members } => {
            let first = 2 + usize::from(owner.is_some());
            let owner = owner.clone().filter(|_| is_held(2));
            let (members, indexes) = held(members, first);
            let owner_index = owner.iter().map(|_| 2);
            let indexes = [group_index].into_iter().chain(owner_index).chain(indexes).collect();
            let (group, max_members) = (group.clone(), *max_members);
            let group_type = group_type.clone();
            let operation =
                Operation::CreateGroup { group, group_type, owner, members, max_members };
            // A group that the hold does not have any more is not created again.
            Some(Take { joins: group_index == 0, ..Take::new(operation, indexes) })
        }
        Operation::AddFriends { user, friends, one_way } => {
            let each = friends.iter().zip((1..).step_by(2));
            let held = each.filter(|(_, index)| is_held(*index) || is_held(index + 1));
            let (friends, firsts): (Vec<UserId>, Vec<usize>) =
                held.map(|(friend, index)| (friend.clone(), index)).unzip();
            // A side that the hold does not have is not taken.
            let side = |index| if is_held(index) { index } else { 0 };
            let indexes = firsts.iter().flat_map(|first| [side(*first), side(first + 1)]).collect();
            let (user, one_way) = (user.clone(), *one_way);
            Some(Take::new(Operation::AddFriends { user, friends, one_way }, indexes))
        }
        _ => None,
    }
}
