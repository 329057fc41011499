//! Limits: their ids, values and sources.

use std::fmt;

use super::id::{GroupId, Name};

/// Value of a limit. Ordered: unlimited is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// At most this number.
    Finite(u64),
    /// Any number.
    Unlimited,
}

impl Limit {
    /// Returns whether one more may be held beside `used`.
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

/// Id of a limit, as used in the catalog, responses, metrics and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitId {
    /// `service`: the app's service is running.
    Service,
    /// `accounts_per_app`
    AccountsPerApp,
    /// `friends_per_user`
    FriendsPerUser,
    /// `groups_per_user`: joined and created together.
    GroupsPerUser,
    /// `members_per_group`
    MembersPerGroup,
    /// `members_per_group/TYPE`: the effective member cap of one type, computed from all others.
    MembersPerGroupOfType(Name),
    /// `groups_per_app/TYPE`: groups of a type that exist at the same time.
    GroupsPerApp(Name),
    /// `groups_per_app`: groups of all types that exist at the same time; set for editions without
    /// postpaid, which may not exceed the free number.
    GroupsPerAppOfAllTypes,
    /// `groups_per_day`: net-new groups of an app in a day, over all types.
    GroupsPerDay,
    /// `groups_per_day/TYPE`: net-new groups of one type, of an app in a day.
    GroupsPerDayOfType(Name),
}

impl LimitId {
    /// Prefix of the type's name in [`LimitId::GroupsPerApp`].
    pub const GROUPS_PER_APP_PREFIX: &'static str = "groups_per_app/";

    /// Returns the limit with that name that an edition or add-on may set; `None` for any other
    /// name.
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

/// Source of a limit.
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

/// Value of a limit and its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The number that may be held.
    pub limit: Limit,
    /// The source of the limit.
    pub source: Source,
}

impl Bound {
    /// Returns the lower of two bounds; the first one if they are equal.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        if other.limit < self.limit { other } else { self }
    }
}
