//! The kinds of operations: what each may take or release.

use crate::domain::decision::Reason;
use crate::domain::limits::{LimitKind, Part, Relation, Scope};

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// [`super::Operation::CreateAccounts`]
    CreateAccounts,
    /// [`super::Operation::DeleteAccount`]
    DeleteAccount,
    /// [`super::Operation::AddFriends`]
    AddFriends,
    /// [`super::Operation::RemoveFriends`]
    RemoveFriends,
    /// [`super::Operation::CreateGroup`]
    CreateGroup,
    /// [`super::Operation::UpdateGroup`]
    UpdateGroup,
    /// [`super::Operation::JoinGroup`]
    JoinGroup,
    /// [`super::Operation::LeaveGroup`]
    LeaveGroup,
    /// [`super::Operation::DissolveGroup`]
    DissolveGroup,
}

/// The effect of an operation on the facts of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It takes facts, within limits.
    Take,
    /// It releases facts.
    Release,
    /// It changes a group's own limit.
    Alter,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::JoinGroup,
        Self::LeaveGroup,
        Self::AddFriends,
        Self::RemoveFriends,
        Self::CreateGroup,
        Self::CreateAccounts,
        Self::DissolveGroup,
        Self::UpdateGroup,
        Self::DeleteAccount,
    ];

    /// Returns the name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateAccounts => "create_accounts",
            Self::DeleteAccount => "delete_account",
            Self::AddFriends => "add_friends",
            Self::RemoveFriends => "remove_friends",
            Self::CreateGroup => "create_group",
            Self::UpdateGroup => "update_group",
            Self::JoinGroup => "join_group",
            Self::LeaveGroup => "leave_group",
            Self::DissolveGroup => "dissolve_group",
        }
    }

    /// Returns the effect on facts.
    #[must_use]
    pub fn change(self) -> Change {
        match self {
            Self::CreateAccounts | Self::AddFriends | Self::CreateGroup | Self::JoinGroup => {
                Change::Take
            }
            Self::DeleteAccount | Self::RemoveFriends | Self::LeaveGroup | Self::DissolveGroup => {
                Change::Release
            }
            Self::UpdateGroup => Change::Alter,
        }
    }

    /// Returns whether it takes facts, within limits and by its mode.
    #[must_use]
    pub fn takes(self) -> bool {
        self.change() == Change::Take
    }

    /// Returns whether there is a result for the operation as a whole.
    #[must_use]
    pub fn has_whole(self) -> bool {
        matches!(
            self,
            Self::DeleteAccount | Self::CreateGroup | Self::UpdateGroup | Self::DissolveGroup
        )
    }

    /// Returns the kinds of facts that it may take or release.
    #[must_use]
    pub fn relations(self) -> &'static [Relation] {
        match self {
            Self::CreateAccounts => &[Relation::Accounts],
            Self::DeleteAccount => &Relation::ALL,
            Self::AddFriends | Self::RemoveFriends => &[Relation::Friends],
            Self::JoinGroup => &[Relation::Memberships],
            // The last member who leaves may remove the group.
            Self::CreateGroup | Self::LeaveGroup | Self::DissolveGroup => {
                &[Relation::Groups, Relation::Memberships]
            }
            Self::UpdateGroup => &[],
        }
    }

    /// Returns whether it may create or remove a group.
    #[must_use]
    pub fn counts_groups(self) -> bool {
        self.relations().contains(&Relation::Groups)
    }

    /// Returns the part of the app that it is about; `None`: all parts.
    #[must_use]
    pub fn part(self) -> Option<Part> {
        match self {
            Self::DeleteAccount => None,
            Self::UpdateGroup => Some(Part::Groups),
            _ => self.relations().first().map(|relation| relation.part()),
        }
    }

    /// Returns the parts of the app that it is about.
    #[must_use]
    pub fn parts(self) -> &'static [Part] {
        Part::or_all(self.part())
    }

    /// Returns the reasons for which it may be denied, in their order.
    #[must_use]
    pub fn reasons(self) -> Vec<Reason> {
        if !self.takes() {
            return Vec::new();
        }
        let is_creation = self == Self::CreateGroup;
        let checked = self.relations().iter().flat_map(|relation| LimitKind::checked(*relation));
        let of_limit = |limit: LimitKind| {
            let peer = limit.row().peer.map(|(_, reason)| reason);
            [Some(limit.reason(false, is_creation)), peer].into_iter().flatten()
        };
        let service = LimitKind::Service.reason(false, is_creation);
        let mut reasons: Vec<_> = checked.flat_map(of_limit).chain([service]).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }

    /// Returns whether it may lower a count against that limit, of a subject that it does not name:
    /// the app, the members of a group that it dissolves, the friends and groups of a user that it
    /// deletes.
    #[must_use]
    pub fn lowers_others(self, limit: LimitKind) -> bool {
        let row = limit.row();
        let Some(relation) = row.relation else { return false };
        let may_lower = self.change() == Change::Release && self.relations().contains(&relation);
        may_lower
            && match (self, row.scope) {
                (_, Scope::App) | (Self::DeleteAccount, Scope::Group) => true,
                (Self::DissolveGroup, Scope::User) => relation == Relation::Memberships,
                (Self::DeleteAccount, Scope::User) => relation == Relation::Friends,
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the limits that a kind of operation may lower for subjects that it does not
    /// name.
    fn lowered(kind: OperationKind) -> Vec<&'static str> {
        let lowers = |limit: &&LimitKind| kind.lowers_others(**limit) && !limit.is_by_type();
        let lowered = LimitKind::ALL.iter().filter(lowers);
        let mut names: Vec<_> = lowered.map(|limit| limit.row().name).collect();
        names.dedup();
        names
    }

    #[test]
    fn releases_lower_counts_of_subjects_that_they_do_not_name() {
        let of_groups = ["groups_per_app", "groups_per_day"];
        let with = |name| [&[name][..], &of_groups].concat();
        for kind in OperationKind::ALL {
            let expected = match kind {
                OperationKind::DissolveGroup => with("groups_per_user"),
                OperationKind::DeleteAccount => {
                    let own = ["accounts_per_app", "friends_per_user", "members_per_group"];
                    [&own[..], &of_groups].concat()
                }
                OperationKind::LeaveGroup => of_groups.to_vec(),
                _ => Vec::new(),
            };
            assert_eq!(lowered(kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn reasons_are_those_of_the_limits_that_a_take_is_checked_against() {
        use Reason::{GroupsPerUser, MembersPerGroup, MyFriends, PeerFriends, ServiceStopped};
        let of = OperationKind::reasons;
        assert_eq!(of(OperationKind::AddFriends), [ServiceStopped, MyFriends, PeerFriends]);
        assert_eq!(of(OperationKind::JoinGroup), [ServiceStopped, GroupsPerUser, MembersPerGroup]);
        assert_eq!(of(OperationKind::LeaveGroup), []);
    }
}
