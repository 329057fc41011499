//! Merges operations of the journal that can be one call of the store.

use crate::domain::decision::{Mode, Subject};
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::journal::{Accepted, Entry};
use crate::ledger::{Operation, OperationKind};

/// Most users of a merged operation: one step of the store.
pub(super) const MERGED_USERS_MAX: usize = 256;

/// Kind of an operation, and whether a friendship is one-way; only operations of the same kind are
/// merged. `None`: never merged.
pub(super) type Kind = Option<(OperationKind, bool)>;

/// Returns the kind of an operation.
pub(super) fn kind(operation: &Operation) -> Kind {
    let kind = operation.kind();
    let one_way = matches!(
        operation,
        Operation::AddFriends { one_way: true, .. }
            | Operation::RemoveFriends { one_way: true, .. }
    );
    (!kind.has_whole()).then_some((kind, one_way))
}

/// An operation with others merged into it.
pub(super) struct Merged {
    pub(super) app: AppId,
    pub(super) mode: Mode,
    /// When the first was accepted.
    pub(super) at: Timestamp,
    pub(super) accepted: Accepted,
}

impl Merged {
    /// Starts with one entry.
    pub(super) fn new(first: Entry) -> Self {
        let Entry { app, mode, at, accepted } = first;
        Self { app, mode, at, accepted }
    }

    /// Adds the users of the next operation on the same group or list; returns `false` if the two
    /// must be separate calls.
    pub(super) fn add(&mut self, mut next: Entry) -> bool {
        let operations = (self.accepted.operation_mut(), next.accepted.operation_mut());
        let (Some(own), Some(its)) = operations else { return false };
        let alike = self.app == next.app
            && self.mode == next.mode
            && kind(own) == kind(its)
            && main(its).is_some()
            && main(own) == main(its);
        let lists = (own.items_mut(), its.items_mut());
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
