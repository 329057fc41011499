//! The operations, and their effects: the facts that each takes or releases, and the counts under
//! limits that contain these facts.

use std::collections::HashSet;

use super::id::{GroupId, Name, UserId};
use super::limits::Relation;

mod effect;
mod kind;

pub use effect::{Counted, Effect, Whose};
pub use kind::{Change, OperationKind};

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
    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::CreateAccounts { .. } => OperationKind::CreateAccounts,
            Self::DeleteAccount { .. } => OperationKind::DeleteAccount,
            Self::AddFriends { .. } => OperationKind::AddFriends,
            Self::RemoveFriends { .. } => OperationKind::RemoveFriends,
            Self::CreateGroup { .. } => OperationKind::CreateGroup,
            Self::UpdateGroup { .. } => OperationKind::UpdateGroup,
            Self::JoinGroup { .. } => OperationKind::JoinGroup,
            Self::LeaveGroup { .. } => OperationKind::LeaveGroup,
            Self::DissolveGroup { .. } => OperationKind::DissolveGroup,
        }
    }

    /// Returns the name of the operation in metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Returns the users of which each has an item result.
    #[must_use]
    pub fn items(&self) -> &[UserId] {
        match self {
            Self::CreateAccounts { users }
            | Self::JoinGroup { users, .. }
            | Self::LeaveGroup { users, .. } => users,
            Self::AddFriends { friends, .. } | Self::RemoveFriends { friends, .. } => friends,
            Self::CreateGroup { members, .. } => members,
            Self::DeleteAccount { .. } | Self::UpdateGroup { .. } | Self::DissolveGroup { .. } => {
                &[]
            }
        }
    }

    /// Returns the list of those users; `None` if there is only a result for the whole.
    pub fn items_mut(&mut self) -> Option<&mut Vec<UserId>> {
        match self {
            Self::CreateAccounts { users }
            | Self::JoinGroup { users, .. }
            | Self::LeaveGroup { users, .. } => Some(users),
            Self::AddFriends { friends, .. } | Self::RemoveFriends { friends, .. } => Some(friends),
            Self::CreateGroup { members, .. } => Some(members),
            Self::DeleteAccount { .. } | Self::UpdateGroup { .. } | Self::DissolveGroup { .. } => {
                None
            }
        }
    }

    /// Returns the operation on those users of its items for which `keep` returns true; `None` if
    /// nothing of it is left.
    #[must_use]
    pub fn retain_items(mut self, keep: impl FnMut(&UserId) -> bool) -> Option<Self> {
        let has_whole = self.kind().has_whole();
        let Some(items) = self.items_mut() else { return Some(self) };
        items.retain(keep);
        if items.is_empty() && !has_whole { None } else { Some(self) }
    }

    /// Returns the number of users and groups in the operation, not counting its main subject; at
    /// least 1.
    #[must_use]
    pub fn subjects_len(&self) -> usize {
        (self.items().len() + usize::from(self.kind().has_whole())).max(1)
    }

    /// Returns the type of the group that it creates.
    #[must_use]
    pub fn group_type(&self) -> Option<&Name> {
        match self {
            Self::CreateGroup { group_type, .. } => Some(group_type),
            _ => None,
        }
    }

    /// Returns the group that it is about.
    #[must_use]
    pub fn group(&self) -> Option<&GroupId> {
        match self {
            Self::CreateGroup { group, .. }
            | Self::UpdateGroup { group, .. }
            | Self::JoinGroup { group, .. }
            | Self::LeaveGroup { group, .. }
            | Self::DissolveGroup { group } => Some(group),
            Self::CreateAccounts { .. }
            | Self::DeleteAccount { .. }
            | Self::AddFriends { .. }
            | Self::RemoveFriends { .. } => None,
        }
    }

    /// Sets the group that it is about, if it is about one.
    pub fn set_group(&mut self, id: GroupId) {
        match self {
            Self::CreateGroup { group, .. }
            | Self::UpdateGroup { group, .. }
            | Self::JoinGroup { group, .. }
            | Self::LeaveGroup { group, .. }
            | Self::DissolveGroup { group } => *group = id,
            Self::CreateAccounts { .. }
            | Self::DeleteAccount { .. }
            | Self::AddFriends { .. }
            | Self::RemoveFriends { .. } => {}
        }
    }

    /// Returns the kinds of facts that it takes or releases.
    #[must_use]
    pub fn relations(&self) -> &'static [Relation] {
        match self {
            Self::CreateGroup { owner: None, members, .. } if members.is_empty() => {
                &[Relation::Groups]
            }
            _ => self.kind().relations(),
        }
    }

    /// Returns the facts that it names: those that it takes, or releases, or the group that it
    /// changes. A dissolution and a deletion release others too: see
    /// [`OperationKind::lowers_others`].
    #[must_use]
    pub fn effects(&self) -> Vec<Effect<'_>> {
        match self {
            Self::CreateAccounts { users } => {
                let users = users.iter().enumerate();
                users.map(|(index, user)| Effect::account(user).of_item(index)).collect()
            }
            Self::DeleteAccount { user } => vec![Effect::account(user)],
            Self::AddFriends { user, friends, one_way }
            | Self::RemoveFriends { user, friends, one_way } => {
                let friend =
                    |(index, friend)| Effect::friendship(user, friend, *one_way).of_item(index);
                friends.iter().enumerate().map(friend).collect()
            }
            Self::CreateGroup { group, owner, members, .. } => {
                let owner = owner.iter().map(|user| Effect::membership(user, group));
                let all = std::iter::once(Effect::group(group)).chain(owner);
                all.chain(memberships(group, members)).collect()
            }
            Self::JoinGroup { group, users } | Self::LeaveGroup { group, users } => {
                memberships(group, users).collect()
            }
            Self::UpdateGroup { group, .. } | Self::DissolveGroup { group } => {
                vec![Effect::group(group)]
            }
        }
    }

    /// Returns every count that a take may raise, once.
    #[must_use]
    pub fn raised(&self) -> Vec<Counted<'_>> {
        let mut raised: Vec<Counted<'_>> = Vec::new();
        if self.kind().change() != Change::Take {
            return raised;
        }
        let mut seen = HashSet::new();
        for counted in self.effects().into_iter().flat_map(Effect::counts) {
            if seen.insert((counted.limit, counted.whose.key())) {
                raised.push(counted);
            }
        }
        raised
    }
}

/// Returns the memberships of users, each with an item result.
fn memberships<'a>(group: &'a GroupId, users: &'a [UserId]) -> impl Iterator<Item = Effect<'a>> {
    let users = users.iter().enumerate();
    users.map(|(index, user)| Effect::membership(user, group).of_item(index))
}
