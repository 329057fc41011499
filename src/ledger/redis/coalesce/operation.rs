//! The operations that a coalesced call can decide, and the form in which its script reads them.

use super::queues::PartKey;
use crate::domain::id::UserId;
use crate::ledger::Operation;
use crate::redis::keys::{Cell, Keys, Part};
use crate::redis::scripts::ScriptId;

/// An operation of one step about one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneStep {
    /// Creates an account.
    Create {
        /// The user.
        user: Cell,
    },
    /// Adds a friend.
    Add {
        /// The user, and the friend.
        users: [Cell; 2],
        /// True if only the user's list changes.
        one_way: bool,
    },
    /// Removes a friend.
    Remove {
        /// The user, and the friend.
        users: [Cell; 2],
        /// True if only the user's list changes.
        one_way: bool,
    },
    /// Adds a user to a group.
    Join {
        /// The group.
        group: Cell,
        /// The user.
        user: Cell,
    },
    /// Removes a user from a group.
    Leave {
        /// The group.
        group: Cell,
        /// The user.
        user: Cell,
    },
}

impl OneStep {
    /// Returns the operation as one step; `None` if it is about another number of users, or of
    /// another kind.
    pub fn of(keys: &Keys, operation: &Operation) -> Option<Self> {
        let only = |users: &[UserId]| match users {
            [user] => Some(keys.user(user)),
            _ => None,
        };
        match operation {
            Operation::CreateAccounts { users } => only(users).map(|user| Self::Create { user }),
            Operation::AddFriends { user, friends, one_way } => {
                let users = [keys.user(user), only(friends)?];
                Some(Self::Add { users, one_way: *one_way })
            }
            Operation::RemoveFriends { user, friends, one_way } => {
                let users = [keys.user(user), only(friends)?];
                Some(Self::Remove { users, one_way: *one_way })
            }
            Operation::JoinGroup { group, users } => {
                Some(Self::Join { group: keys.group(group), user: only(users)? })
            }
            Operation::LeaveGroup { group, users } => {
                Some(Self::Leave { group: keys.group(group), user: only(users)? })
            }
            Operation::CreateGroup { .. }
            | Operation::UpdateGroup { .. }
            | Operation::DissolveGroup { .. }
            | Operation::DeleteAccount { .. } => None,
        }
    }

    /// Returns the part of the app that the operation changes.
    pub fn part(self) -> Part {
        match self {
            Self::Create { .. } => Part::Accounts,
            Self::Add { .. } | Self::Remove { .. } => Part::Friends,
            Self::Join { .. } | Self::Leave { .. } => Part::Groups,
        }
    }

    /// Returns the queue of the operation.
    pub fn queue(self, keys: &Keys) -> PartKey {
        PartKey { app: keys.app(), part: self.part() }
    }

    /// Adds the operation's own keys, in the order of its script.
    pub fn add_keys(self, keys: &Keys, to: &mut Vec<Vec<u8>>) {
        match self {
            Self::Create { user } => to.push(keys.account_bucket(user)),
            Self::Add { users, .. } | Self::Remove { users, .. } => {
                to.extend(users.into_iter().flat_map(|user| keys.lists(user)));
            }
            Self::Join { group, user } | Self::Leave { group, user } => {
                to.extend(keys.of_group(group));
                to.extend(keys.memberships(user));
            }
        }
    }

    /// Adds the operation's arguments: its kind, with how many milliseconds its deadline is before
    /// that of the call, and its elements.
    pub fn add_arguments(self, early_by: i64, to: &mut Vec<Vec<u8>>) {
        let kind = match self {
            Self::Create { .. } => "C",
            Self::Add { one_way: false, .. } => "A",
            Self::Add { one_way: true, .. } => "a",
            Self::Remove { one_way: false, .. } => "R",
            Self::Remove { one_way: true, .. } => "r",
            Self::Join { .. } => "J",
            Self::Leave { .. } => "L",
        };
        let early_by = if early_by > 0 { early_by.to_string() } else { String::new() };
        to.push(format!("{kind}{early_by}").into_bytes());
        match self {
            Self::Create { user } => to.push(user.element()),
            Self::Add { users, .. } | Self::Remove { users, .. } => {
                to.extend(users.map(Cell::element));
            }
            Self::Join { group, user } | Self::Leave { group, user } => {
                to.extend([group, user].map(Cell::element));
            }
        }
    }
}

/// Returns the script that decides operations of that part.
pub fn script_of(part: Part) -> ScriptId {
    match part {
        Part::Accounts => ScriptId::CoalescedAccounts,
        Part::Friends => ScriptId::CoalescedFriends,
        Part::Groups => ScriptId::CoalescedGroups,
    }
}
