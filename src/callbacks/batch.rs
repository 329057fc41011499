//! Takes of a whole batch, however large.
//!
//! The store takes a whole batch in one step up to a bound. A larger one is taken in parts under
//! holds, which are all released at the first denial and all confirmed at the end: what is held
//! meanwhile may deny others, so such batches are counted.

use super::answer::{Undecided, is_refused};
use super::work::{Work, new_hold};
use crate::domain::decision::{ItemResult, Mode, Outcome};
use crate::domain::hold::HoldEnd;
use crate::domain::id::{OperationId, UserId};
use crate::engine::{Decision, Denial};
use crate::ledger::{Operation, TakeOptions, WHOLE_BATCH_MAX};

/// The result of a take.
#[derive(Debug, Default)]
pub struct Taken {
    /// The result for the group that was created.
    pub whole: Option<ItemResult<Denial>>,
    /// The result for each user, in the operation's order.
    pub items: Vec<ItemResult<Denial>>,
    /// True if the store did not make the decision.
    pub is_degraded: bool,
}

impl Taken {
    /// Returns all results.
    pub fn results(&self) -> impl Iterator<Item = &ItemResult<Denial>> {
        self.whole.iter().chain(&self.items)
    }

    /// Returns whether any subject is denied, or would be if the mode denied.
    pub fn is_refused(&self) -> bool {
        self.results().any(is_refused)
    }

    fn add(&mut self, decision: Decision) {
        self.is_degraded |= decision.degradation.is_some();
        self.whole = self.whole.take().or(decision.whole);
        self.items.extend(decision.items);
    }

    /// Returns those of the users that had the fact before.
    pub fn already_held(&self, users: &[UserId]) -> Vec<UserId> {
        let held = |result: &ItemResult<_>| result.outcome == Outcome::AlreadyHeld;
        let pairs = users.iter().zip(&self.items);
        pairs.filter(|(_, result)| held(result)).map(|(user, _)| user.clone()).collect()
    }
}

impl Work {
    /// Takes a whole batch: a denial of one writes nothing, unless the mode does not deny.
    pub async fn take_whole(&self, mode: Mode, operation: Operation) -> Result<Taken, Undecided> {
        let parts = parts(operation).into_iter();
        let mut taken = Taken::default();
        if parts.len() > 1 && mode == Mode::Enforce {
            return self.take_in_parts(parts).await;
        }
        // Without a denial there is nothing to release; a check writes nothing anyway.
        for part in parts {
            let take = TakeOptions { all_or_nothing: true, ..TakeOptions::default() };
            taken.add(self.apply(mode, take, part).await?);
        }
        Ok(taken)
    }

    async fn take_in_parts(
        &self,
        parts: impl Iterator<Item = Operation>,
    ) -> Result<Taken, Undecided> {
        self.metrics.callbacks.in_parts(self.protocol());
        let (mut taken, mut holds) = (Taken::default(), Vec::new());
        for part in parts {
            let hold = new_hold()?;
            holds.push(hold.id.clone());
            let take = TakeOptions { all_or_nothing: true, hold: Some(hold), replaces: None };
            match self.apply(Mode::Enforce, take, part).await {
                Ok(decision) => taken.add(decision),
                Err(error) => {
                    // Of a release that fails too, the holds end by themselves.
                    let _ = self.end_holds(&holds, HoldEnd::Release).await;
                    return Err(error.into());
                }
            }
            if taken.is_refused() {
                self.end_holds(&holds, HoldEnd::Release).await?;
                return Ok(taken);
            }
        }
        self.end_holds(&holds, HoldEnd::Confirm).await?;
        Ok(taken)
    }

    async fn end_holds(&self, holds: &[OperationId], end: HoldEnd) -> Result<(), Undecided> {
        let mut ended = Ok(());
        for id in holds {
            // The others end also if one fails.
            let end = self.end_hold(id, end).await;
            ended = ended.and(end.map_err(Undecided::from));
        }
        ended
    }

    /// Takes for each user alone, in steps of at most [`WHOLE_BATCH_MAX`].
    pub async fn take_each(&self, mode: Mode, operation: Operation) -> Result<Taken, Undecided> {
        let mut taken = Taken::default();
        for part in parts(operation) {
            let decision = match mode {
                Mode::Force => self.force(TakeOptions::default(), part).await?,
                mode => self.apply(mode, TakeOptions::default(), part).await?,
            };
            taken.add(decision);
        }
        Ok(taken)
    }
}

/// Divides an operation into parts of at most [`WHOLE_BATCH_MAX`] subjects. Members beyond those
/// of the first part join the group that it creates.
pub fn parts(mut operation: Operation) -> Vec<Operation> {
    let Some(items) = operation.items_mut() else { return vec![operation] };
    let rest = items.split_off(WHOLE_BATCH_MAX.min(items.len()));
    let further: Vec<_> = rest.chunks(WHOLE_BATCH_MAX).map(<[UserId]>::to_vec).collect();
    let part = |users: Vec<UserId>| match &operation {
        Operation::CreateGroup { group, .. } => {
            Operation::JoinGroup { group: group.clone(), users }
        }
        other => {
            let mut part = other.clone();
            if let Some(items) = part.items_mut() {
                *items = users;
            }
            part
        }
    };
    let further: Vec<_> = further.into_iter().map(part).collect();
    std::iter::once(operation).chain(further).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{GroupId, Name};

    fn users(count: usize) -> Vec<UserId> {
        (0..count).map(|n| UserId::try_from(format!("u{n}")).expect("an id")).collect()
    }

    #[test]
    fn parts_hold_every_user_once_and_in_order() {
        let group = || GroupId::try_from("g").expect("an id");
        for (count, lengths) in [
            (0, vec![0]),
            (1, vec![1]),
            (500, vec![500]),
            (501, vec![500, 1]),
            (1201, vec![500, 500, 201]),
        ] {
            let all = parts(Operation::JoinGroup { group: group(), users: users(count) });
            let of_parts: Vec<_> = all.iter().map(|part| part.items().len()).collect();
            assert_eq!(of_parts, lengths);
            let joined: Vec<_> = all.iter().flat_map(Operation::items).cloned().collect();
            assert_eq!(joined, users(count));
        }
    }

    #[test]
    fn further_members_of_a_creation_join_its_group() {
        let (group, owner) = (GroupId::try_from("g").expect("an id"), users(1).pop());
        let (group_type, members) = (Name::from("Public"), users(600));
        let all =
            parts(Operation::CreateGroup { group, group_type, owner, members, max_members: None });
        let [
            Operation::CreateGroup { members: first, .. },
            Operation::JoinGroup { group, users: rest },
        ] = &all[..]
        else {
            panic!("{all:?}");
        };
        assert_eq!((first.len(), rest.len(), group.as_str()), (500, 100, "g"));
    }
}
