//! The operations that a ledger decides, and what they are called.

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
    /// Takes a place in the user's list for each friend and, both ways, in the friend's.
    AddFriends {
        /// Whose list grows.
        user: UserId,
        /// By whom.
        friends: Vec<UserId>,
        /// Whether the friends' lists stay as they are.
        one_way: bool,
    },
    /// Gives those places back.
    RemoveFriends {
        /// Whose list shrinks.
        user: UserId,
        /// By whom.
        friends: Vec<UserId>,
        /// Whether the friends' lists stay as they are.
        one_way: bool,
    },
    /// Creates a group with its owner and members.
    CreateGroup {
        /// The group.
        group: GroupId,
        /// A type of the call's catalog.
        group_type: Name,
        /// The owner; over his limit, nothing is created.
        owner: Option<UserId>,
        /// Further members, each of them refused alone.
        members: Vec<UserId>,
        /// The group's own limit.
        max_members: Option<u32>,
    },
    /// Changes the group's own limit.
    UpdateGroup {
        /// The group.
        group: GroupId,
        /// The new limit; `None`: no own limit.
        max_members: Option<u32>,
    },
    /// Makes users members, in order.
    JoinGroup {
        /// The group.
        group: GroupId,
        /// The users.
        users: Vec<UserId>,
    },
    /// Takes users out.
    LeaveGroup {
        /// The group.
        group: GroupId,
        /// The users.
        users: Vec<UserId>,
    },
    /// Takes everybody out and the group away.
    DissolveGroup {
        /// The group.
        group: GroupId,
    },
}

impl Operation {
    /// Users and groups that it is about, beside the one that it is called for; at least one.
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

    /// The name under which metrics and logs show it.
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
