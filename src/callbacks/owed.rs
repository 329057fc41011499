//! Order of OpenIM's callbacks, which carry no instant and overtake each other.
//!
//! A take is written while OpenIM waits, right before its commit; the callback of a leave comes
//! from a queue, and may arrive after that of a later join. OpenIM lets no member join, so a take
//! that finds its fact held owes a leave: that leave is then dropped, once. A leave whose take
//! wrote the fact is carried out at once.
//!
//! Owed leaves are in the store for [`OWED_FOR`]. In every interleaving of a take and a leave on
//! two sidecars one of the two sees the other: the take owes, and takes again; the leave looks for
//! owed leaves before and after it is written. A take after a commit that failed owes a leave in
//! vain: then a real one may be dropped, and the ledger is above OpenIM's database until a
//! reconcile.

use std::time::Duration;

use super::answer::{Answer, Kind, Undecided};
use super::batch::Taken;
use super::work::Work;
use crate::domain::decision::{Mode, Outcome};
use crate::domain::id::{GroupId, UserId};
use crate::ledger::callback_notes::NAMES_MAX;
use crate::ledger::{LedgerError, Operation, TakeOptions};

/// Time for which a leave is owed: longer than OpenIM waits for an answer, after which it sends the
/// next one of its queue.
const OWED_FOR: Duration = Duration::from_secs(10);
/// Time for which a repeated callback is recognized.
const REPEATED_FOR: Duration = Duration::from_secs(60);
/// Longest part of an operation's id in a name, in characters; OpenIM's have about 30.
const OPERATION_ID_CHARS: usize = 128;

/// The name of a note about an operation and a group.
pub fn of_operation(kind: &str, operation_id: &str, group: &GroupId) -> String {
    let id: String = operation_id.chars().take(OPERATION_ID_CHARS).collect();
    format!("openim/{kind}/{id}/{group}")
}

fn owed(group: &GroupId, user: &UserId) -> String {
    // Ids may contain slashes; the length keeps two pairs apart.
    format!("openim/owed/{}/{group}/{user}", group.as_str().len())
}

impl Work {
    /// Owes the leaves of users that a take found held, and takes them again in case that a leave
    /// came in between. A repetition of the same callback owes nothing.
    pub(super) async fn owe_leaves(
        &self,
        operation_id: &str,
        group: &GroupId,
        users: &[UserId],
        taken: &Taken,
    ) -> Result<(), LedgerError> {
        let now = self.engine.local_now();
        let repeated = [of_operation("taken", operation_id, group)];
        let has_id = !operation_id.is_empty();
        let held = taken.already_held(users);
        if !held.is_empty() {
            let before = if has_id {
                self.notes.instants(&self.app, &repeated, self.deadline).await?
            } else {
                Vec::new()
            };
            if before.iter().any(Option::is_some) {
                return Ok(());
            }
            let names: Vec<_> = held.iter().map(|user| owed(group, user)).collect();
            for name in &names {
                self.notes.push(&self.app, name, "leave", OWED_FOR, self.deadline).await?;
            }
            for names in names.chunks(NAMES_MAX) {
                self.notes.raise_instants(&self.app, names, now, OWED_FOR, self.deadline).await?;
            }
            self.take_again(group, held).await?;
        }
        if has_id {
            let notes = &self.notes;
            notes.raise_instants(&self.app, &repeated, now, REPEATED_FOR, self.deadline).await?;
        }
        Ok(())
    }

    /// Takes users again that were held. A user who is not any more has left meanwhile, so that
    /// their leave is not owed.
    async fn take_again(&self, group: &GroupId, users: Vec<UserId>) -> Result<(), LedgerError> {
        let operation = Operation::JoinGroup { group: group.clone(), users: users.clone() };
        let taken = match self.take_each(Mode::Force, operation).await {
            Ok(taken) => taken,
            Err(Undecided::Engine(error)) => return Err(error),
            // The store fails, and the leave stays owed.
            Err(_) => return Ok(()),
        };
        for (user, result) in users.iter().zip(&taken.items) {
            if result.outcome == Outcome::Applied {
                self.notes.pop(&self.app, &owed(group, user), self.deadline).await?;
            }
        }
        Ok(())
    }

    /// Removes users from a group, but those whose leave is owed.
    pub(super) async fn leave(
        &self,
        group: GroupId,
        users: Vec<UserId>,
    ) -> Result<Answer, Undecided> {
        let overtaken = self.pop_owed(&group, &users).await;
        self.metrics.callbacks.dropped(self.protocol(), overtaken.len());
        let users: Vec<_> = users.into_iter().filter(|user| !overtaken.contains(user)).collect();
        if users.is_empty() {
            return Ok(Answer::of(Kind::Dropped));
        }
        let operation = Operation::LeaveGroup { group: group.clone(), users: users.clone() };
        match self.take_each(Mode::Enforce, operation).await {
            Ok(_) | Err(Undecided::Engine(LedgerError::GroupNotFound(_))) => {}
            Err(undecided) => return Err(undecided),
        }
        let overtaken = self.pop_owed(&group, &users).await;
        if !overtaken.is_empty() {
            self.metrics.callbacks.dropped(self.protocol(), overtaken.len());
            let operation = Operation::JoinGroup { group, users: overtaken };
            self.force(TakeOptions::default(), operation).await?;
        }
        Ok(Answer::of(Kind::Done))
    }

    /// Returns those of the users whose leave is owed, which it is not any more. While notes cannot
    /// be read there are none: the failure policy decides about the release.
    async fn pop_owed(&self, group: &GroupId, users: &[UserId]) -> Vec<UserId> {
        let mut popped = Vec::new();
        for users in users.chunks(NAMES_MAX) {
            let names: Vec<_> = users.iter().map(|user| owed(group, user)).collect();
            let noted = self.notes.instants(&self.app, &names, self.deadline).await;
            let noted = noted.unwrap_or_default();
            for ((user, name), at) in users.iter().zip(&names).zip(noted) {
                if at.is_some()
                    && let Ok(Some(_)) = self.notes.pop(&self.app, name, self.deadline).await
                {
                    popped.push(user.clone());
                }
            }
        }
        popped
    }
}
