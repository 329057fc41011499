//! The columns of the table of limits.

use super::Reason;
use crate::domain::catalog::Catalog;
use crate::domain::group_type::GroupType;
use crate::domain::limit::Limit;

/// The facts that a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Account u exists.
    Accounts,
    /// User u has friend v.
    Friends,
    /// User u is in group g.
    Memberships,
    /// Group g exists.
    Groups,
    /// User u has logged in on day d. No operation takes these; RecordLogins counts them.
    Logins,
}

/// One of the three parts of an app. No operation that takes spans two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Accounts.
    Accounts,
    /// Friends.
    Friends,
    /// Groups and memberships.
    Groups,
}

/// The parts of an app, each of which has the limits of the app.
pub const PARTS: [Part; 3] = [Part::Accounts, Part::Friends, Part::Groups];

impl Part {
    /// Returns that part, or all parts if there is none.
    #[must_use]
    pub fn or_all(part: Option<Self>) -> &'static [Self] {
        match part {
            Some(Self::Accounts) => &[Self::Accounts],
            Some(Self::Friends) => &[Self::Friends],
            Some(Self::Groups) => &[Self::Groups],
            None => &PARTS,
        }
    }
}

impl Relation {
    /// Every relation that operations change.
    pub const ALL: [Self; 4] = [Self::Accounts, Self::Friends, Self::Memberships, Self::Groups];

    /// Returns the part of the app that has these facts.
    #[must_use]
    pub fn part(self) -> Part {
        match self {
            Self::Accounts | Self::Logins => Part::Accounts,
            Self::Friends => Part::Friends,
            Self::Memberships | Self::Groups => Part::Groups,
        }
    }
}

/// The kind of subject whose facts are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The app.
    App,
    /// Each user.
    User,
    /// Each group.
    Group,
}

/// The time over which facts are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Those that exist at the same time.
    AtOnce,
    /// Those that the running day added, less those that it removed.
    Day,
    /// Those that the running month added.
    Month,
}

/// The value that an edition or add-on sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sale {
    /// None.
    Never,
    /// The number under the limit's id.
    ByName {
        /// The least useful number.
        least: u64,
        /// The editions that list it.
        presence: Presence,
    },
    /// The free number of postpaid usage, in an edition without postpaid that does not list the
    /// limit over all types.
    Allowance,
}

/// The editions that list a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Every edition.
    Every,
    /// Every edition or none: without it nothing is limited.
    EveryOrNone,
    /// Any edition: without it another limit or a rule applies.
    Any,
}

/// The value that the catalog sets for every app.
#[derive(Clone, Copy)]
pub enum Rule {
    /// None.
    No,
    /// That of the group's type.
    OfType(fn(&GroupType) -> Limit),
    /// That over all types.
    OfApp(fn(&Catalog) -> Limit),
}

/// The place of a sold value among the limits that scripts read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// None.
    Absent,
    /// One of the leading numbers, in the order of the rows.
    Number,
    /// Behind them as `KEY=NUMBER`, only if it is sold. By type, the type's name follows the key.
    Keyed(&'static str),
}

/// Part of a limit in the failure policy, which has a mode under its name without a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// None: it is not considered without the store.
    Unconsidered,
    /// It has a mode.
    Always,
    /// It has a mode, and is considered only for types that have such a limit.
    WhereLimited,
}

/// The condition on which a limit is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Always.
    Always,
    /// Only if it is finite.
    IfFinite,
    /// Always, and only among the limits of an app: it repeats another one for each type of groups
    /// with tracked members.
    OfApp,
}

/// A row of the table.
#[derive(Clone, Copy)]
pub struct Row {
    /// The id, without a type.
    pub name: &'static str,
    /// The facts that it counts; `None`: every operation that takes is checked.
    pub relation: Option<Relation>,
    /// The kind of subject whose facts it counts.
    pub scope: Scope,
    /// The time over which it counts them.
    pub window: Window,
    /// The value that is sold.
    pub sale: Sale,
    /// The value of the catalog. If there are both, the lower one applies.
    pub rule: Rule,
    /// Its place in the limits that scripts read.
    pub line: Line,
    /// Its part in the failure policy.
    pub failing: Failing,
    /// The condition on which it is listed.
    pub listed: Listed,
    /// The facts, in the sentence of a denial.
    pub noun: &'static str,
    /// The letter of its counts in scripts, stored thresholds and their replies; `None` if it is
    /// not checked.
    pub letter: Option<char>,
    /// The reason of a denial. A row that has none of its own keeps [`Reason::Limit`].
    pub reason: Reason,
    /// The reason of a denial while the group is created, if it is another one.
    pub at_creation: Option<Reason>,
    /// Letter and reason if the count is that of the user at the other end.
    pub peer: Option<(char, Reason)>,
}

impl Row {
    /// A limit on accounts that is not sold, as the base of other rows.
    pub(super) const BASE: Self = Self {
        name: "",
        relation: None,
        scope: Scope::App,
        window: Window::AtOnce,
        sale: Sale::Never,
        rule: Rule::No,
        line: Line::Absent,
        failing: Failing::Always,
        listed: Listed::Always,
        noun: "",
        letter: None,
        reason: Reason::Limit,
        at_creation: None,
        peer: None,
    };
}
