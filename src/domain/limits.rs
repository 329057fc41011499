//! The table of limits: one row for each limit, from which everything else about it is derived.
//!
//! A row states what is counted ([`Relation`], window, by group type or not), whose count it is
//! ([`Scope`]), where its value comes from (sold by editions and add-ons, a rule of the catalog, or
//! both), and its names: id, script letter, noun, reasons. Derived from it are the ids, the keys of
//! catalogs, the failure modes, the values that apply ([`super::bounds`]), violations and crossed
//! thresholds ([`super::checks`]), the limits that scripts read, the sentences of denials, and the
//! series of metrics. [`REASONS`] does the same for reasons of denials, with their IM codes.
//!
//! A new limit on facts that are counted already is a row, and its check in the scripts. Ids,
//! letters and reasons are stored or sent: they are added, and never changed.

use std::fmt;

use super::id::Name;

mod reasons;
mod row;

pub use reasons::{ImCodeKey, REASONS, Reason, ReasonRow};
pub use row::{
    Failing, Line, Listed, PARTS, Part, Presence, Relation, Row, Rule, Sale, Scope, Window,
};

macro_rules! limits {
    ($($(#[$doc:meta])* $kind:ident $(($of_type:ty))? = $row:expr;)*) => {
        /// Id of a limit, as used in the catalog, responses, metrics and logs.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LimitId {$( $(#[$doc])* $kind $(($of_type))?, )*}

        /// A row of the table: an id without its type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LimitKind {$( $(#[$doc])* $kind, )*}

        static ROWS: &[Row] = &[$($row),*];

        impl LimitKind {
            /// Every limit, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Returns whether groups are counted by type.
            #[must_use]
            pub fn is_by_type(self) -> bool {
                match self {$( Self::$kind => limits!(@is_by_type $($of_type)?), )*}
            }

            /// Returns the id; `None` if it needs a type and there is none.
            #[must_use]
            pub fn id(self, group_type: Option<&Name>) -> Option<LimitId> {
                match self {$( Self::$kind => limits!(@id $kind group_type $($of_type)?), )*}
            }
        }

        impl LimitId {
            /// Returns the row of the limit.
            #[must_use]
            pub fn kind(&self) -> LimitKind {
                match self {$( limits!(@pattern $kind $($of_type)?) => LimitKind::$kind, )*}
            }

            /// Returns the type of the groups that it counts, if it counts by type.
            #[must_use]
            pub fn group_type(&self) -> Option<&Name> {
                match self {$( limits!(@named $kind name $($of_type)?) =>
                    limits!(@name name $($of_type)?), )*}
            }
        }
    };
    (@is_by_type) => { false };
    (@is_by_type $of_type:ty) => { true };
    (@id $kind:ident $group_type:ident) => { Some(LimitId::$kind) };
    (@id $kind:ident $group_type:ident $of_type:ty) => {
        $group_type.map(|name| LimitId::$kind(name.clone()))
    };
    (@pattern $kind:ident) => { LimitId::$kind };
    (@pattern $kind:ident $of_type:ty) => { LimitId::$kind(_) };
    (@named $kind:ident $name:ident) => { LimitId::$kind };
    (@named $kind:ident $name:ident $of_type:ty) => { LimitId::$kind($name) };
    (@name $name:ident) => { None };
    (@name $name:ident $of_type:ty) => { Some($name) };
}

limits! {
    /// `service`: the app's service is running.
    Service = Row {
        name: "service",
        failing: Failing::Unconsidered,
        letter: Some('s'),
        reason: Reason::ServiceStopped,
        ..Row::BASE
    };
    /// `accounts_per_app`
    AccountsPerApp = Row {
        name: "accounts_per_app",
        relation: Some(Relation::Accounts),
        sale: Sale::ByName { least: 1, presence: Presence::Every },
        line: Line::Number,
        noun: "accounts",
        letter: Some('a'),
        reason: Reason::AccountsPerApp,
        ..Row::BASE
    };
    /// `friends_per_user`
    FriendsPerUser = Row {
        name: "friends_per_user",
        relation: Some(Relation::Friends),
        scope: Scope::User,
        sale: Sale::ByName { least: 0, presence: Presence::Every },
        line: Line::Number,
        noun: "friends",
        letter: Some('f'),
        reason: Reason::MyFriends,
        peer: Some(('p', Reason::PeerFriends)),
        ..Row::BASE
    };
    /// `groups_per_user`: joined and created together.
    GroupsPerUser = Row {
        name: "groups_per_user",
        relation: Some(Relation::Memberships),
        scope: Scope::User,
        sale: Sale::ByName { least: 0, presence: Presence::Every },
        line: Line::Number,
        noun: "groups",
        letter: Some('u'),
        reason: Reason::GroupsPerUser,
        ..Row::BASE
    };
    /// `members_per_group`
    MembersPerGroup = Row {
        name: "members_per_group",
        relation: Some(Relation::Memberships),
        scope: Scope::Group,
        sale: Sale::ByName { least: 1, presence: Presence::Every },
        rule: Rule::OfType(|kind| kind.member_cap),
        line: Line::Number,
        noun: "members",
        letter: Some('m'),
        reason: Reason::MembersPerGroup,
        at_creation: Some(Reason::MembersAtCreation),
        ..Row::BASE
    };
    /// `members_per_group/TYPE`: stands instead of `members_per_group` for groups of the type. It
    /// has no letter, since it is checked as that limit. Of an app it is listed for each type, as
    /// the effective member cap.
    MembersPerGroupOfType(Name) = Row {
        name: "members_per_group",
        relation: Some(Relation::Memberships),
        scope: Scope::Group,
        sale: Sale::ByName { least: 1, presence: Presence::Any },
        line: Line::Keyed("m/"),
        rule: Rule::OfType(|kind| kind.member_cap),
        listed: Listed::OfApp,
        noun: "members",
        reason: Reason::MembersPerGroup,
        ..Row::BASE
    };
    /// `groups_per_app/TYPE`: groups of a type that exist at the same time.
    GroupsPerApp(Name) = Row {
        name: "groups_per_app",
        relation: Some(Relation::Groups),
        sale: Sale::ByName { least: 0, presence: Presence::EveryOrNone },
        rule: Rule::OfType(|kind| kind.per_app),
        line: Line::Keyed(""),
        failing: Failing::WhereLimited,
        noun: "groups of this type",
        letter: Some('g'),
        reason: Reason::GroupsPerApp,
        ..Row::BASE
    };
    /// `groups_per_app`: groups of all types that exist at the same time.
    GroupsPerAppOfAllTypes = Row {
        name: "groups_per_app",
        relation: Some(Relation::Groups),
        sale: Sale::ByName { least: 0, presence: Presence::EveryOrNone },
        line: Line::Keyed("e/"),
        failing: Failing::WhereLimited,
        listed: Listed::IfFinite,
        noun: "groups",
        letter: Some('e'),
        ..Row::BASE
    };
    /// `groups_per_app` of editions that do not list it and have no postpaid: they may not exceed
    /// the free number.
    GroupsAllowance = Row {
        name: "groups_per_app",
        relation: Some(Relation::Groups),
        sale: Sale::Allowance,
        line: Line::Keyed("*"),
        failing: Failing::Unconsidered,
        listed: Listed::IfFinite,
        noun: "groups",
        letter: Some('n'),
        reason: Reason::GroupsAllowance,
        ..Row::BASE
    };
    /// `groups_per_day`: net-new groups of an app in a day, over all types.
    GroupsPerDay = Row {
        name: "groups_per_day",
        relation: Some(Relation::Groups),
        window: Window::Day,
        sale: Sale::ByName { least: 0, presence: Presence::Any },
        rule: Rule::OfApp(|catalog| catalog.groups_per_day),
        line: Line::Keyed("d/"),
        noun: "net-new groups today",
        letter: Some('d'),
        reason: Reason::GroupsPerDay,
        ..Row::BASE
    };
    /// `groups_per_day/TYPE`: net-new groups of one type, of an app in a day.
    GroupsPerDayOfType(Name) = Row {
        name: "groups_per_day",
        relation: Some(Relation::Groups),
        window: Window::Day,
        sale: Sale::ByName { least: 0, presence: Presence::Any },
        rule: Rule::OfType(|kind| kind.per_day),
        line: Line::Keyed("t/"),
        listed: Listed::IfFinite,
        noun: "net-new groups today",
        letter: Some('t'),
        reason: Reason::GroupsPerDay,
        ..Row::BASE
    };
    /// `active_users_per_day`: users who logged in on a day, of an app. Of a late login that is its
    /// own day.
    ActiveUsersPerDay = Row {
        name: "active_users_per_day",
        relation: Some(Relation::Logins),
        window: Window::Day,
        sale: Sale::ByName { least: 0, presence: Presence::Any },
        failing: Failing::Unconsidered,
        listed: Listed::IfFinite,
        noun: "active users of a day",
        letter: Some('l'),
        ..Row::BASE
    };
    /// `active_users_per_month`: users who logged in in a month, of an app. Of a late login that is
    /// its own month.
    ActiveUsersPerMonth = Row {
        name: "active_users_per_month",
        relation: Some(Relation::Logins),
        window: Window::Month,
        sale: Sale::ByName { least: 0, presence: Presence::Any },
        failing: Failing::Unconsidered,
        listed: Listed::IfFinite,
        noun: "active users of a month",
        letter: Some('o'),
        ..Row::BASE
    };
}

impl LimitKind {
    /// Returns the row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Returns the reason of a denial: `is_peer`, if the count is that of the user at the other
    /// end; `at_creation`, if the group is created in the same operation.
    #[must_use]
    pub fn reason(self, is_peer: bool, at_creation: bool) -> Reason {
        let row = self.row();
        match row.peer {
            Some((_, reason)) if is_peer => reason,
            _ => row.at_creation.filter(|_| at_creation).unwrap_or(row.reason),
        }
    }

    /// Returns the limit whose counts have that letter.
    #[must_use]
    pub fn by_letter(letter: char) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.row().letter == Some(letter))
    }

    /// Returns the limits that are checked when facts of a relation are taken.
    pub fn checked(relation: Relation) -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(move |kind| kind.row().relation == Some(relation) && kind.row().letter.is_some())
    }

    /// Returns the limits that editions and add-ons set under their ids.
    pub fn sold_by_name() -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|kind| matches!(kind.row().sale, Sale::ByName { .. }))
    }

    /// Returns the ids of all limits that editions and add-ons set, by type for these types.
    pub fn sold_ids<'a>(
        types: impl Iterator<Item = &'a Name> + Clone,
    ) -> impl Iterator<Item = LimitId> {
        Self::sold_by_name().flat_map(move |kind| {
            let by_type = types.clone().map(Some).filter(move |_| kind.is_by_type());
            let names = by_type.chain((!kind.is_by_type()).then_some(None));
            names.filter_map(move |name| kind.id(name))
        })
    }

    /// Returns the limits under which a value for this one may be sold: for the facts of one group
    /// the one by type, which stands instead of the other, and then itself.
    pub fn sold_as(self) -> impl Iterator<Item = Self> {
        let row = self.row();
        let of_name = |is_by_type| {
            let same = |kind: &Self| kind.is_by_type() == is_by_type && kind.row().name == row.name;
            Self::ALL.iter().copied().find(same)
        };
        let both = (row.scope == Scope::Group).then(|| [true, false].map(of_name));
        both.unwrap_or([Some(self), None]).into_iter().flatten()
    }

    /// Returns the first limit of each name that the failure policy has a mode for.
    pub fn with_fail_mode() -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|kind| kind.row().failing != Failing::Unconsidered && kind.fail_mode() == *kind)
    }

    /// Returns the first limit of that name: the fail modes of both are one.
    #[must_use]
    pub fn fail_mode(self) -> Self {
        let same = |kind: &Self| {
            let row = kind.row();
            row.name == self.row().name && row.failing != Failing::Unconsidered
        };
        Self::ALL.iter().copied().find(same).unwrap_or(self)
    }
}

impl LimitId {
    /// Returns whether it counts members of groups of a type.
    #[must_use]
    pub fn counts_members_of(&self, of_type: impl FnOnce(&Name) -> bool) -> bool {
        let counts_members = self.kind().row().relation == Some(Relation::Memberships);
        counts_members && self.group_type().is_some_and(of_type)
    }

    /// Returns the limit with that name that an edition or add-on may set; `None` for any other
    /// name.
    #[must_use]
    pub fn sold_by_name(name: &str) -> Option<Self> {
        LimitKind::sold_by_name().find_map(|kind| {
            let rest = name.strip_prefix(kind.row().name)?;
            if !kind.is_by_type() {
                return if rest.is_empty() { kind.id(None) } else { None };
            }
            let group_type = rest.strip_prefix('/').filter(|name| !name.is_empty())?;
            kind.id(Some(&group_type.into()))
        })
    }
}

impl fmt::Display for LimitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().row().name)?;
        self.group_type().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn letters_and_ids_are_unique() {
        let rows = || LimitKind::ALL.iter().map(|kind| kind.row());
        let letters =
            || rows().flat_map(|row| row.letter.into_iter().chain(row.peer.map(|it| it.0)));
        assert_eq!(letters().collect::<BTreeSet<_>>().len(), letters().count());
        // An allowance stands for the limit of its name where that is not listed.
        let is_own = |kind: &&LimitKind| kind.row().sale != Sale::Allowance;
        let own = || LimitKind::ALL.iter().filter(is_own);
        let ids = || own().map(|kind| (kind.row().name, kind.is_by_type()));
        assert_eq!(ids().collect::<BTreeSet<_>>().len(), ids().count());
    }

    #[test]
    fn ids_that_are_sold_are_read_as_they_are_written() {
        let group_type = Name::from("Room/1");
        for kind in LimitKind::sold_by_name() {
            let id = kind.id(Some(&group_type)).expect("an id");
            assert_eq!(LimitId::sold_by_name(&id.to_string()), Some(id));
        }
        for name in ["", "service", "groups_per_app/", "groups_per_days", "friends_per_user/Room"] {
            assert_eq!(LimitId::sold_by_name(name), None, "{name}");
        }
    }
}
