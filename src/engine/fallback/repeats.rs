//! Calls that repeat operations that are already in the journal.

use super::chain::Chain;
use super::merge::{kind, main};
use super::queue::{Queue, State};
use crate::domain::decision::{Mode, Subject};
use crate::domain::id::{AppId, OperationId, UserId};
use crate::ledger::Operation;

/// Most entries of a group or list that are searched for a repeated call.
const REPEATS_MAX: usize = 64;

impl Queue {
    /// Removes from an operation the users for which it is already the latest entry, with the same
    /// hold; `None` if none are left. So a repeat of an answered call adds nothing to the journal.
    pub(super) fn without_repeats(
        &self,
        app: &AppId,
        mode: Mode,
        operation: Operation,
        hold: Option<&OperationId>,
    ) -> Option<Operation> {
        let kind = kind(&operation);
        if kind.is_none() {
            return Some(operation);
        }
        let main = main(&operation).map(|main| self.hasher.id(app, &main));
        let is_repeated = |user: &UserId| {
            let id = self.hasher.id(app, &Subject::User(user.clone()));
            let Some(last) = self.chains.get(&id).map(Chain::last) else { return false };
            let alike = |number: u64| {
                self.entries.get(&number).is_some_and(|it| {
                    let is_same = it.kind == kind && it.mode == mode;
                    is_same && it.hold.id() == hold && it.state != State::Writing
                })
            };
            let Some(main) = main else { return alike(last) };
            // With two users, either may be the one whose list changes.
            if self.entries.get(&last).is_none_or(|it| it.main != Some(main)) {
                return false;
            }
            // All later entries about the group or list must do the same for other users.
            let since = self.chains.get(&main).map(|chain| chain.iter().rev());
            let since: Vec<u64> = since
                .into_iter()
                .flatten()
                .take(REPEATS_MAX)
                .take_while(|it| *it >= last)
                .collect();
            since.last() == Some(&last) && since.into_iter().all(alike)
        };
        operation.retain_items(|user| !is_repeated(user))
    }
}
