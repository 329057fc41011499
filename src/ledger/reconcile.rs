//! Comparing the facts held here with what somebody's database says, and repairing them one by
//! one.
//!
//! A [`Claim`] is what the database says of one subject; a store answers with the
//! [`Difference`]s and, where it is asked to, repairs them. Subjects are fingerprints, since what
//! a store holds and the database does not have is known by nothing else.
//!
//! Live traffic goes on meanwhile. [`Ledger::track`](super::Ledger::track) makes a store remember
//! which facts are asked for or given back, whether or not that changed anything: a fact that was
//! held already may be new to the database. Such a fact is left alone, and so are all facts of a
//! group that was created, changed or dissolved, and of a user who was deleted. Comparison and
//! repair are two steps; the second looks at both again, so that what comes between them is seen.
//!
//! A repair goes by no limit, is no operation of today's, and is not tracked.

use std::time::Duration;

use super::Call;
use super::fingerprint::{GroupKey, UserKey};
use crate::domain::id::Name;
use crate::domain::time::Timestamp;

/// Most facts that are remembered while changes are tracked: 88 MB in Redis. With more,
/// tracking ends.
pub const TRACKED_MAX: u64 = 1_000_000;
/// Shortest and longest time that changes can be tracked.
pub const TRACKED_FOR: [Duration; 2] =
    [Duration::from_secs(60), Duration::from_secs(7 * 24 * 60 * 60)];

/// One fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fact {
    /// The account exists.
    Account(UserKey),
    /// The first user has the second in his list.
    Friend(UserKey, UserKey),
    /// The group exists.
    Group(GroupKey),
    /// The user is in the group.
    Member(GroupKey, UserKey),
}

/// What a database says of some accounts, a user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// These accounts exist, or do not.
    Accounts {
        /// The users.
        users: Vec<UserKey>,
        /// Whether they exist.
        exist: bool,
    },
    /// The user's list holds exactly these.
    Friends {
        /// The user.
        user: UserKey,
        /// Each once.
        friends: Vec<UserKey>,
    },
    /// The group has exactly these members.
    Group {
        /// The group.
        group: GroupKey,
        /// `None`: it does not exist.
        row: Option<ClaimedGroup>,
        /// Each once. None are compared where the type's members are not tracked.
        members: Vec<UserKey>,
    },
}

impl Claim {
    /// How many facts it tells of.
    #[must_use]
    pub fn facts(&self) -> usize {
        match self {
            Self::Accounts { users, .. } => users.len(),
            Self::Friends { friends, .. } => friends.len(),
            Self::Group { members, .. } => 1 + members.len(),
        }
    }

    /// How many of the first claims have at most that number of facts together; one at least, since
    /// no user or group is split.
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

/// What a database says of a group that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedGroup {
    /// A type of the call's catalog.
    pub group_type: Name,
    /// The group's own limit, if any; `None`: nothing is said about it.
    pub max_members: Option<Option<u32>>,
}

/// What happens to differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    No,
    /// What is missing here is added.
    Add,
    /// What is missing here is added, and what is missing there is removed.
    Both,
}

impl Repair {
    /// Whether what is missing there is asked for.
    #[must_use]
    pub fn looks_both_ways(self) -> bool {
        self != Self::Add
    }
}

/// How claims are compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// App, deadline and group types; the mode says nothing.
    pub call: Call,
    /// What happens to differences.
    pub repair: Repair,
    /// Facts that were changed since are left alone, and nothing is compared unless changes are
    /// tracked since exactly then.
    pub tracked_since: Option<Timestamp>,
}

/// What is wrong with a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The database has it, and it is not held here.
    MissingHere,
    /// It is held here, and the database does not have it.
    MissingThere,
    /// The group has another type, which is never repaired.
    OtherType,
    /// The group has another limit of its own.
    OtherMaxMembers,
}

impl Side {
    /// In words.
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

/// What became of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It was found.
    Found,
    /// It was repaired.
    Repaired,
    /// It was left alone, since it was changed meanwhile.
    LeftAlone,
}

impl Outcome {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Repaired => "repaired",
            Self::LeftAlone => "left alone",
        }
    }
}

/// A fact that is not what the database says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Difference {
    /// Which fact.
    pub fact: Fact,
    /// What is wrong with it.
    pub side: Side,
    /// What became of it.
    pub outcome: Outcome,
}

/// Since when and how long changes are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracking {
    /// The first instant.
    pub since: Timestamp,
    /// The instant after the last one.
    pub until: Timestamp,
}

/// One sort of subjects.
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
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Friends => "friends",
            Self::Groups => "groups",
        }
    }
}

/// Where in a section one is; what it means is the store's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub(super) u64);

/// Some of a section's subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    /// Their fingerprints. One that is there all the time comes at least once.
    pub keys: Vec<u64>,
    /// Where the next ones are; `None`: there are no more.
    pub next: Option<Place>,
}
