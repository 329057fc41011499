//! What can be limited, how much, and where a limit comes from.

use std::fmt;

use super::id::{GroupId, Name};

/// How much may be held. Ordered: unlimited is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// At most so many.
    Finite(u64),
    /// As many as one likes.
    Unlimited,
}

impl Limit {
    /// Whether one more may be held beside `used`.
    #[must_use]
    pub fn admits_one_more(self, used: u64) -> bool {
        match self {
            Self::Finite(limit) => used < limit,
            Self::Unlimited => true,
        }
    }

    /// The number, or `None` for unlimited.
    #[must_use]
    pub fn finite(self) -> Option<u64> {
        match self {
            Self::Finite(limit) => Some(limit),
            Self::Unlimited => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite(limit) => write!(f, "{limit}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// A limit by name, as catalog, answers, metrics and logs call it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitId {
    /// `service`: that the app's service runs at all.
    Service,
    /// `accounts_per_app`
    AccountsPerApp,
    /// `friends_per_user`
    FriendsPerUser,
    /// `groups_per_user`: joined and created together.
    GroupsPerUser,
    /// `members_per_group`
    MembersPerGroup,
    /// `members_per_group/TYPE`: the member cap of one type, as it follows from all others.
    MembersPerGroupOfType(Name),
    /// `groups_per_app/TYPE`: groups of a type that exist at once.
    GroupsPerApp(Name),
    /// `groups_per_app`: groups of all types that exist at once; of editions that may not run over
    /// what is free of them.
    GroupsPerAppOfAllTypes,
    /// `groups_per_day`: net-new groups of an app and day, over all types.
    GroupsPerDay,
    /// `groups_per_day/TYPE`: net-new groups of one type, an app and a day.
    GroupsPerDayOfType(Name),
}

impl LimitId {
    /// What stands before the type's name in [`LimitId::GroupsPerApp`].
    pub const GROUPS_PER_APP_PREFIX: &'static str = "groups_per_app/";

    /// The limit that an edition or add-on may set by that name; `None` for any other name.
    #[must_use]
    pub fn sold_by_name(name: &str) -> Option<Self> {
        match name {
            "accounts_per_app" => Some(Self::AccountsPerApp),
            "friends_per_user" => Some(Self::FriendsPerUser),
            "groups_per_user" => Some(Self::GroupsPerUser),
            "members_per_group" => Some(Self::MembersPerGroup),
            _ => name
                .strip_prefix(Self::GROUPS_PER_APP_PREFIX)
                .filter(|group_type| !group_type.is_empty())
                .map(|group_type| Self::GroupsPerApp(group_type.into())),
        }
    }
}

impl fmt::Display for LimitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("service"),
            Self::AccountsPerApp => f.write_str("accounts_per_app"),
            Self::FriendsPerUser => f.write_str("friends_per_user"),
            Self::GroupsPerUser => f.write_str("groups_per_user"),
            Self::MembersPerGroup => f.write_str("members_per_group"),
            Self::MembersPerGroupOfType(kind) => write!(f, "members_per_group/{kind}"),
            Self::GroupsPerApp(kind) => write!(f, "{}{kind}", Self::GROUPS_PER_APP_PREFIX),
            Self::GroupsPerAppOfAllTypes => f.write_str("groups_per_app"),
            Self::GroupsPerDay => f.write_str("groups_per_day"),
            Self::GroupsPerDayOfType(kind) => write!(f, "groups_per_day/{kind}"),
        }
    }
}

/// Where a limit comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// An edition.
    Edition(Name),
    /// An add-on.
    AddOn(Name),
    /// The group type's own rule.
    GroupType(Name),
    /// The group's own `max_members`.
    Group(GroupId),
    /// The rule over all groups of an app.
    App,
}

/// A limit and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bound {
    /// How much may be held.
    pub limit: Limit,
    /// Where that comes from.
    pub source: Source,
}

impl Bound {
    /// The lower of two bounds; the first one where they are equal.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        if other.limit < self.limit { other } else { self }
    }
}
