//! The operations that a ledger decides, and their names.

use crate::domain::id::{GroupId, Name, UserId};

/// One atomic step on the facts of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Takes an account for each user, in order.
    CreateAccounts {
        /// The users.
        users: Vec<UserId>,
    },
    /// Deletes one account with its memberships and, on both sides, its friendships.
    DeleteAccount {
        /// The user.
        user: UserId,
    },
    /// Takes a place in the user's list for each friend and, unless `one_way`, one in the friend's
    /// list.
    AddFriends {
        /// The user whose list grows.
        user: UserId,
        /// The friends added.
        friends: Vec<UserId>,
        /// True if the friends' lists do not change.
        one_way: bool,
    },
    /// Releases those places.
    RemoveFriends {
        /// The user whose list shrinks.
        user: UserId,
        /// The friends removed.
        friends: Vec<UserId>,
        /// True if the friends' lists do not change.
        one_way: bool,
    },
    /// Creates a group with its owner and members.
    CreateGroup {
        /// The group.
        group: GroupId,
        /// A type of the call's catalog.
        group_type: Name,
        /// The owner. If a limit denies the owner, the group is not created.
        owner: Option<UserId>,
        /// Further members; each may be denied without affecting the others.
        members: Vec<UserId>,
        /// The group's own limit.
        max_members: Option<u32>,
    },
    /// Changes the group's own limit.
    UpdateGroup {
        /// The group.
        group: GroupId,
        /// The new limit; `None`: no limit of its own.
        max_members: Option<u32>,
    },
    /// Makes users members, in order.
    JoinGroup {
        /// The group.
        group: GroupId,
        /// The users.
        users: Vec<UserId>,
    },
    /// Removes users from the group.
    LeaveGroup {
        /// The group.
        group: GroupId,
        /// The users.
        users: Vec<UserId>,
    },
    /// Removes all members and the group.
    DissolveGroup {
        /// The group.
        group: GroupId,
    },
}

impl Operation {
    /// Returns the number of users and groups in the operation, not counting its main subject; at
    /// least 1.
    #[must_use]
    pub fn subjects(&self) -> usize {
        let named = match self {
            Self::CreateAccounts { users }
            | Self::JoinGroup { users, .. }
            | Self::LeaveGroup { users, .. } => users.len(),
            Self::AddFriends { friends, .. } | Self::RemoveFriends { friends, .. } => friends.len(),
            Self::CreateGroup { members, .. } => 1 + members.len(),
            Self::DeleteAccount { .. } | Self::UpdateGroup { .. } | Self::DissolveGroup { .. } => 1,
        };
        named.max(1)
    }

    /// Returns the name of the operation in metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateAccounts { .. } => "create_accounts",
            Self::DeleteAccount { .. } => "delete_account",
            Self::AddFriends { .. } => "add_friends",
            Self::RemoveFriends { .. } => "remove_friends",
            Self::CreateGroup { .. } => "create_group",
            Self::UpdateGroup { .. } => "update_group",
            Self::JoinGroup { .. } => "join_group",
            Self::LeaveGroup { .. } => "leave_group",
            Self::DissolveGroup { .. } => "dissolve_group",
        }
    }
}
