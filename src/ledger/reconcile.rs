//! Comparison of the facts held here with those of an external database, and their repair one by
//! one.
//!
//! An [`ExpectedState`] is the database's state of one subject; a store returns the [`Difference`]s
//! and, if requested, repairs them. Subjects are fingerprints, since facts that the store holds and
//! the database does not have are identified by nothing else.
//!
//! Live traffic continues meanwhile. [`Ledger::track`](super::Ledger::track) makes a store record
//! which facts are taken or released, whether or not that changed anything: a fact that was held
//! already may be new to the database. Such a fact is skipped, and so are all facts of a group that
//! was created, changed or dissolved, and of a user who was deleted. Comparison and repair are two
//! steps; the second reads both again, so that changes between the two are seen.
//!
//! A repair ignores limits, does not count as an operation of today, and is not tracked.

use std::time::Duration;

use super::Call;
use crate::domain::id::Name;
use crate::domain::time::Timestamp;
use crate::store::fingerprint::{GroupKey, UserKey};

/// The highest number of facts that are recorded while changes are tracked: 88 MB in Redis. With
/// more, tracking ends.
pub const TRACKED_MAX: u64 = 1_000_000;
/// The shortest and the longest time for which changes can be tracked.
pub const TRACKED_FOR: [Duration; 2] =
    [Duration::from_secs(60), Duration::from_secs(7 * 24 * 60 * 60)];

/// One fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fact {
    /// The account exists.
    Account(UserKey),
    /// The first user has the second in their list.
    Friend(UserKey, UserKey),
    /// The group exists.
    Group(GroupKey),
    /// The user is in the group.
    Member(GroupKey, UserKey),
}

/// The state of some accounts, a user or a group in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedState {
    /// These accounts exist, or do not.
    Accounts {
        /// The users.
        users: Vec<UserKey>,
        /// True if they exist.
        exist: bool,
    },
    /// The user's list contains exactly these friends.
    Friends {
        /// The user.
        user: UserKey,
        /// The friends, each once.
        friends: Vec<UserKey>,
    },
    /// The group has exactly these members.
    Group {
        /// The group.
        group: GroupKey,
        /// Its properties; `None`: it does not exist.
        row: Option<ClaimedGroup>,
        /// The members, each once. They are not compared if the type's members are not tracked.
        members: Vec<UserKey>,
    },
}

impl ExpectedState {
    /// Returns the number of facts in the claim.
    #[must_use]
    pub fn facts(&self) -> usize {
        match self {
            Self::Accounts { users, .. } => users.len(),
            Self::Friends { friends, .. } => friends.len(),
            Self::Group { members, .. } => 1 + members.len(),
        }
    }

    /// Returns how many of the first claims have at most that number of facts together; at least
    /// one, since no user or group is split.
    #[must_use]
    pub fn fitting(claims: &[Self], facts_max: usize) -> usize {
        let mut facts = 0;
        let fits = |claim: &&Self| {
            facts += claim.facts();
            facts <= facts_max
        };
        claims.iter().take_while(fits).count().max(1)
    }
}

/// The properties in a database of a group that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedGroup {
    /// A type of the call's catalog.
    pub group_type: Name,
    /// The group's own limit, if it has one; outer `None`: the database does not specify it.
    pub max_members: Option<Option<u32>>,
}

/// The treatment of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Differences are only reported.
    No,
    /// Facts missing here are added.
    Add,
    /// Facts missing here are added, and facts missing in the database are removed.
    Both,
}

impl Repair {
    /// Returns whether facts missing in the database are searched for.
    #[must_use]
    pub fn looks_both_ways(self) -> bool {
        self != Self::Add
    }
}

/// The settings of a comparison.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// App, deadline and group types; the mode is ignored.
    pub call: Call,
    /// The treatment of differences.
    pub repair: Repair,
    /// Facts changed since then are skipped, and the comparison is refused unless changes are
    /// tracked since exactly then.
    pub tracked_since: Option<Timestamp>,
}

/// The kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mismatch {
    /// The database has it, and it is not held here.
    MissingHere,
    /// It is held here, and the database does not have it.
    MissingThere,
    /// The group has another type, which is never repaired.
    OtherType,
    /// The group has another limit of its own.
    OtherMaxMembers,
}

impl Mismatch {
    /// Returns the text that is shown for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingHere => "missing here",
            Self::MissingThere => "missing there",
            Self::OtherType => "of another type",
            Self::OtherMaxMembers => "with another max_members",
        }
    }
}

/// The outcome of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It was only reported.
    Found,
    /// It was repaired.
    Repaired,
    /// It was skipped, since the fact was changed meanwhile.
    LeftAlone,
}

impl Outcome {
    /// Returns the text that is shown for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Repaired => "repaired",
            Self::LeftAlone => "left alone",
        }
    }
}

/// A fact that differs from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Difference {
    /// The fact.
    pub fact: Fact,
    /// The kind of difference.
    pub side: Mismatch,
    /// The outcome.
    pub outcome: Outcome,
}

/// The time during which changes are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracking {
    /// The first instant.
    pub since: Timestamp,
    /// The instant after the last one.
    pub until: Timestamp,
}

/// A kind of subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// Accounts.
    Accounts,
    /// Users who have friends.
    Friends,
    /// Groups.
    Groups,
}

impl Section {
    /// Returns the name that is shown for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Friends => "friends",
            Self::Groups => "groups",
        }
    }
}

/// A position in a section; its meaning is internal to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub(super) u64);

/// A page of a section's subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    /// Their fingerprints. A subject that exists throughout is returned at least once.
    pub keys: Vec<u64>,
    /// The start of the next page; `None`: this is the last one.
    pub next: Option<PageToken>,
}
