//! The facts that an operation names, and the counts that contain them.

use super::OperationKind;
use crate::domain::decision::{Reason, Subject};
use crate::domain::id::{GroupId, Name, UserId};
use crate::domain::limits::{LimitId, LimitKind, Relation, Scope};

/// A fact that an operation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect<'a> {
    /// The kind of the fact.
    pub relation: Relation,
    /// The user whose count contains it.
    pub user: Option<&'a UserId>,
    /// The user at the other end.
    pub peer: Option<&'a UserId>,
    /// True if the peer's count does not change.
    pub one_way: bool,
    /// The group that it is about.
    pub group: Option<&'a GroupId>,
    /// The index of its item result; `None` if it belongs to the operation as a whole.
    pub item: Option<usize>,
}

/// A count that contains a fact, and the limit that it is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<'a> {
    /// The limit.
    pub limit: LimitKind,
    /// True if the count is that of the user at the other end.
    pub is_peer: bool,
    /// The subject of the count.
    pub whose: Whose<'a>,
}

/// The subject of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// The app.
    App,
    /// A user.
    User(&'a UserId),
    /// A group.
    Group(&'a GroupId),
}

impl Whose<'_> {
    /// Returns the subject.
    #[must_use]
    pub fn subject(self) -> Subject {
        match self {
            Self::App => Subject::App,
            Self::User(user) => Subject::User(user.clone()),
            Self::Group(group) => Subject::Group(group.clone()),
        }
    }
}

impl<'a> Effect<'a> {
    fn new(relation: Relation) -> Self {
        Self { relation, user: None, peer: None, one_way: false, group: None, item: None }
    }

    /// The account of a user.
    #[must_use]
    pub fn account(user: &'a UserId) -> Self {
        Self { user: Some(user), ..Self::new(Relation::Accounts) }
    }

    /// A friend in a user's list and, unless `one_way`, the user in the friend's list.
    #[must_use]
    pub fn friendship(user: &'a UserId, friend: &'a UserId, one_way: bool) -> Self {
        let (user, peer) = (Some(user), Some(friend));
        Self { user, peer, one_way, ..Self::new(Relation::Friends) }
    }

    /// A group.
    #[must_use]
    pub fn group(group: &'a GroupId) -> Self {
        Self { group: Some(group), ..Self::new(Relation::Groups) }
    }

    /// The membership of a user in a group.
    #[must_use]
    pub fn membership(user: &'a UserId, group: &'a GroupId) -> Self {
        Self { user: Some(user), group: Some(group), ..Self::new(Relation::Memberships) }
    }

    /// The fact of the item with that index.
    #[must_use]
    pub fn of_item(self, index: usize) -> Self {
        Self { item: Some(index), ..self }
    }

    /// Returns every user and group that the fact is about.
    pub fn subjects(self) -> impl Iterator<Item = Subject> + 'a {
        let users = self.user.into_iter().chain(self.peer).cloned().map(Subject::User);
        users.chain(self.group.cloned().map(Subject::Group))
    }

    /// Returns the users and the group whose numbers of facts change.
    pub fn changed(self) -> impl Iterator<Item = Subject> + 'a {
        let peer = self.peer.filter(|_| !self.one_way);
        Self { peer, ..self }.subjects()
    }

    /// Returns the counts under limits that contain the fact.
    pub fn counts(self) -> impl Iterator<Item = Counted<'a>> {
        LimitKind::checked(self.relation).flat_map(move |limit| {
            let (own, other) = match limit.row().scope {
                Scope::App => (Some(Whose::App), None),
                Scope::Group => (self.group.map(Whose::Group), None),
                Scope::User => {
                    let has_peer = limit.row().peer.is_some() && !self.one_way;
                    let peer = self.peer.filter(|_| has_peer);
                    (self.user.map(Whose::User), peer.map(Whose::User))
                }
            };
            let counted = move |is_peer| move |whose| Counted { limit, is_peer, whose };
            own.map(counted(false)).into_iter().chain(other.map(counted(true)))
        })
    }
}

impl Counted<'_> {
    /// Returns the id of the limit, for groups of a type, and the reason of a denial by it.
    #[must_use]
    pub fn violated(
        self,
        kind: OperationKind,
        group_type: Option<&Name>,
    ) -> Option<(LimitId, Reason)> {
        let reason = self.limit.reason(self.is_peer, kind == OperationKind::CreateGroup);
        Some((self.limit.id(group_type)?, reason))
    }
}

impl<'a> Whose<'a> {
    /// Returns a key that distinguishes subjects of one scope.
    pub(super) fn key(self) -> &'a str {
        match self {
            Self::App => "",
            Self::User(user) => user.as_str(),
            Self::Group(group) => group.as_str(),
        }
    }
}
