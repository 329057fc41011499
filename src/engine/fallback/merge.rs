//! Merges operations of the journal that can be one call of the store.

use crate::domain::decision::{Mode, Subject};
use crate::domain::id::{AppId, UserId};
use crate::journal::Entry;
use crate::ledger::Operation;

/// Most users of a merged operation: one step of the store.
pub(super) const MERGED_USERS_MAX: usize = 256;

/// Kind of an operation; only operations of the same kind are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Join,
    Leave,
    Befriend,
    BefriendOneWay,
    Unfriend,
    UnfriendOneWay,
    /// Accounts are created concurrently.
    Accounts,
    /// Never merged.
    Single,
}

/// Returns the kind of an operation.
pub(super) fn kind(operation: &Operation) -> Kind {
    match operation {
        Operation::JoinGroup { .. } => Kind::Join,
        Operation::LeaveGroup { .. } => Kind::Leave,
        Operation::AddFriends { one_way: false, .. } => Kind::Befriend,
        Operation::AddFriends { one_way: true, .. } => Kind::BefriendOneWay,
        Operation::RemoveFriends { one_way: false, .. } => Kind::Unfriend,
        Operation::RemoveFriends { one_way: true, .. } => Kind::UnfriendOneWay,
        Operation::CreateAccounts { .. } => Kind::Accounts,
        _ => Kind::Single,
    }
}

/// An operation with others merged into it.
pub(super) struct Merged {
    pub(super) app: AppId,
    pub(super) mode: Mode,
    pub(super) operation: Operation,
}

impl Merged {
    /// Starts with one entry.
    pub(super) fn new(first: Entry) -> Self {
        let Entry { app, mode, operation, .. } = first;
        Self { app, mode, operation }
    }

    /// Adds the users of the next operation on the same group or list; returns `false` if the two
    /// must be separate calls.
    pub(super) fn add(&mut self, mut next: Entry) -> bool {
        let alike = self.app == next.app
            && self.mode == next.mode
            && kind(&self.operation) == kind(&next.operation)
            && main(&next.operation).is_some()
            && main(&self.operation) == main(&next.operation);
        let lists = (users_mut(&mut self.operation), users_mut(&mut next.operation));
        let (Some(there), Some(more)) = lists else { return false };
        let fits = there.len() + more.len() <= MERGED_USERS_MAX;
        // The store's contract refuses duplicate names in one operation.
        if !alike || !fits || more.iter().any(|user| there.contains(user)) {
            return false;
        }
        there.append(more);
        true
    }
}

/// Returns the group, or the user whose list the operation changes.
pub(super) fn main(operation: &Operation) -> Option<Subject> {
    match operation {
        Operation::JoinGroup { group, .. } | Operation::LeaveGroup { group, .. } => {
            Some(Subject::Group(group.clone()))
        }
        Operation::AddFriends { user, .. } | Operation::RemoveFriends { user, .. } => {
            Some(Subject::User(user.clone()))
        }
        _ => None,
    }
}

/// Returns the users that an operation adds or removes.
fn users_mut(operation: &mut Operation) -> Option<&mut Vec<UserId>> {
    match operation {
        Operation::CreateAccounts { users }
        | Operation::JoinGroup { users, .. }
        | Operation::LeaveGroup { users, .. } => Some(users),
        Operation::AddFriends { friends, .. } | Operation::RemoveFriends { friends, .. } => {
            Some(friends)
        }
        _ => None,
    }
}

/// Removes from an operation those users for which `is_redundant` returns true; `None` if no user
/// is left.
pub(super) fn without(
    operation: Operation,
    mut is_redundant: impl FnMut(&UserId) -> bool,
) -> Option<Operation> {
    let mut operation = operation;
    let Some(users) = users_mut(&mut operation) else { return Some(operation) };
    users.retain(|user| !is_redundant(user));
    if users.is_empty() { None } else { Some(operation) }
}
