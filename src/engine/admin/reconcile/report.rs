//! Report of differences, with names if they are available.
//!
//! A store has users and groups by fingerprint only. Those that the part of a difference names are
//! listed by id; the others are listed by fingerprint, and their ids are reported later if another
//! part names them.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Part;
use crate::directory::audit_change::DifferenceKey;
use crate::domain::id::{GroupId, UserId};
use crate::ledger::reconcile::{Difference, Fact, Mismatch, Outcome};
use crate::store::Fingerprints;

/// Most users whose ids are searched for in later parts.
const UNNAMED_MAX: usize = 10_000;

/// Kind of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An account exists.
    Account,
    /// A user has a friend.
    Friend,
    /// A group exists.
    Group,
    /// A user is in a group.
    Member,
}

impl Kind {
    fn of(fact: Fact) -> Self {
        match fact {
            Fact::Account(_) => Self::Account,
            Fact::Friend(..) => Self::Friend,
            Fact::Group(_) => Self::Group,
            Fact::Member(..) => Self::Member,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Friend => "friend",
            Self::Group => "group",
            Self::Member => "member",
        }
    }
}

/// Number of differences by kind of fact, side and outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<(Kind, Mismatch, Outcome), u64>);

impl Counts {
    /// Counts differences.
    pub fn add(&mut self, differences: &[Difference]) {
        for Difference { fact, side, outcome } in differences {
            *self.0.entry((Kind::of(*fact), *side, *outcome)).or_default() += 1;
        }
    }

    /// Returns each combination that occurs, with its number.
    pub fn iter(&self) -> impl Iterator<Item = ((Kind, Mismatch, Outcome), u64)> {
        self.0.iter().map(|(sort, count)| (*sort, *count))
    }

    /// Returns the number of differences, less those that live traffic had changed meanwhile.
    pub fn found(&self) -> u64 {
        let found = self.iter().filter(|((_, _, outcome), _)| *outcome != Outcome::LeftAlone);
        found.map(|(_, count)| count).sum()
    }

    /// Returns the counts for the audit log.
    pub fn logged(&self) -> BTreeMap<DifferenceKey, u64> {
        let each = self.iter().map(|((kind, side, outcome), count)| {
            let mismatch = format!("{} {}", kind.name(), side.name());
            (DifferenceKey { mismatch, outcome }, count)
        });
        each.collect()
    }
}

/// A user or group in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labelled {
    /// By id.
    Id(String),
    /// By fingerprint, if the id is not available.
    Fingerprint(u64),
}

/// A difference to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDifference {
    /// Kind of the fact.
    pub kind: Kind,
    /// The side on which it is missing or differs.
    pub side: Mismatch,
    /// Outcome of the repair.
    pub outcome: Outcome,
    /// The account, the owner of the list of friends, or the member.
    pub user: Option<Labelled>,
    /// The friend.
    pub friend: Option<Labelled>,
    /// The group.
    pub group: Option<Labelled>,
}

/// The id of a user whose fingerprint was reported before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The fingerprint.
    pub fingerprint: u64,
    /// The user's id.
    pub user: UserId,
}

/// Results of comparing a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Number of differences by kind.
    pub counts: Counts,
    /// The differences one by one, if requested.
    pub differences: Vec<NamedDifference>,
    /// Facts compared; in the scan of the store, its subjects.
    pub facts_compared: u64,
    /// Members that were ignored, since their group's type does not track them.
    pub members_ignored: u64,
    /// Members that were skipped, since their group has another type in the store.
    pub members_skipped: u64,
    /// Ids of users that were reported by fingerprint before.
    pub resolved: Vec<Resolved>,
}

/// Returns the groups of a part that the store has with another type, and the number of their
/// members in the export, which are not compared.
pub fn skipped(
    ids: &Fingerprints,
    part: &Part,
    differences: &[Difference],
) -> (Vec<Difference>, u64) {
    let other_type = |it: &&Difference| it.side == Mismatch::OtherType;
    let groups: Vec<Difference> = differences.iter().filter(other_type).copied().collect();
    if groups.is_empty() {
        return (groups, 0);
    }
    let facts: HashSet<Fact> = groups.iter().map(|it| it.fact).collect();
    let exported =
        part.groups.iter().filter(|it| facts.contains(&Fact::Group(ids.group(&it.group))));
    let members = exported.map(|it| it.members.len() as u64).sum();
    (groups, members)
}

/// Users that were reported by fingerprint.
#[derive(Default)]
pub struct Unnamed(HashSet<u64>);

impl Unnamed {
    /// Removes and returns those that a part names.
    pub fn resolve(&mut self, ids: &Fingerprints, part: &Part) -> Vec<Resolved> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let resolve = |user: &UserId| {
            let fingerprint = ids.user(user);
            let user = user.clone();
            self.0.remove(&fingerprint).then_some(Resolved { fingerprint, user })
        };
        part.users().filter_map(resolve).collect()
    }
}

impl Part {
    /// Returns every user that the part names.
    fn users(&self) -> impl Iterator<Item = &UserId> {
        let lists = self.friends.iter().flat_map(|(user, friends)| friends.iter().chain([user]));
        let members = self.groups.iter().flat_map(|group| &group.members);
        let done = self.done.accounts.iter().chain(&self.done.friends);
        self.accounts.iter().chain(lists).chain(members).chain(done)
    }
}

/// The names of a part.
#[derive(Default)]
pub struct Named<'a> {
    users: HashMap<u64, &'a UserId>,
    groups: HashMap<u64, &'a GroupId>,
}

impl<'a> Named<'a> {
    /// Collects the names of a part, if there are differences.
    pub fn new(ids: &Fingerprints, part: &'a Part, differences: &[Difference]) -> Self {
        if differences.is_empty() {
            return Self::default();
        }
        let groups = part.groups.iter().map(|it| (ids.group(&it.group), &it.group));
        Self {
            users: part.users().map(|user| (ids.user(user), user)).collect(),
            groups: groups.collect(),
        }
    }

    /// Returns the differences with names; remembers users without one.
    pub fn name(&self, differences: &[Difference], unnamed: &mut Unnamed) -> Vec<NamedDifference> {
        differences.iter().map(|difference| self.name_one(difference, unnamed)).collect()
    }

    fn name_one(&self, difference: &Difference, unnamed: &mut Unnamed) -> NamedDifference {
        let mut user = |key: u64| {
            if let Some(user) = self.users.get(&key) {
                return Labelled::Id(user.to_string());
            }
            if unnamed.0.len() < UNNAMED_MAX {
                unnamed.0.insert(key);
            }
            Labelled::Fingerprint(key)
        };
        let group = |key: u64| match self.groups.get(&key) {
            Some(group) => Labelled::Id(group.to_string()),
            None => Labelled::Fingerprint(key),
        };
        let Difference { fact, side, outcome } = *difference;
        let (of_user, friend, of_group) = match fact {
            Fact::Account(key) => (Some(user(key)), None, None),
            Fact::Friend(key, friend) => (Some(user(key)), Some(user(friend)), None),
            Fact::Group(key) => (None, None, Some(group(key))),
            Fact::Member(key, member) => (Some(user(member)), None, Some(group(key))),
        };
        let kind = Kind::of(fact);
        NamedDifference { kind, side, outcome, user: of_user, friend, group: of_group }
    }
}
