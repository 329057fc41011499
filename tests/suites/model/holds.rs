//! The model's holds: facts that end unless they are confirmed, and the records of the operations
//! that took them.
//!
//! Written from the rules of holds, independently of the stores: each such fact has a set of holds,
//! and ends with the last of them; a record has the operation and one state for each of its facts.

use std::collections::{BTreeMap, BTreeSet};

use imquota::domain::decision::Outcome;

use super::operation::{Fault, Group, Op, User};

/// The time for which a record is kept after its end.
pub const KEPT_MILLIS: i64 = 24 * 3_600_000;

/// Members come before groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    Account(User),
    /// The owner of a list and the entry.
    Friend(User, User),
    Member(Group, User),
    Group(Group),
}

/// The parts of an app, each with its own holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Accounts,
    Friends,
    Groups,
}

pub const PARTS: [Part; 3] = [Part::Accounts, Part::Friends, Part::Groups];

/// The kind of the operation that has a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    CreateAccounts,
    AddFriends,
    CreateGroup,
    Join,
}

/// The kind of an operation and its id.
pub type Key = (Kind, usize);

/// The hold that a take asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    pub id: usize,
    pub seconds: u32,
}

/// The state of a fact in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Absent,
    Held,
    Permanent,
    Ended,
    Released,
}

#[derive(Debug, Clone)]
pub struct Record {
    pub op: Op,
    pub expiry: i64,
    pub kept_until: i64,
    pub states: Vec<State>,
}

/// The take with a hold that is being carried out.
#[derive(Debug, Clone)]
struct Taking {
    key: Key,
    op: Op,
    expiry: i64,
    /// The facts that the hold has had before.
    before: BTreeSet<Fact>,
    /// Those that are added now.
    added: BTreeSet<Fact>,
    /// True if the record is to be replaced.
    is_new: bool,
}

/// All holds of an app.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    pub records: BTreeMap<Key, Record>,
    /// The holds of each fact that ends unless it is confirmed, with its index in each.
    of: BTreeMap<Fact, BTreeMap<Key, usize>>,
    taking: Option<Taking>,
}

impl Fact {
    fn part(self) -> Part {
        match self {
            Self::Account(_) => Part::Accounts,
            Self::Friend(..) => Part::Friends,
            Self::Member(..) | Self::Group(_) => Part::Groups,
        }
    }
}

impl Kind {
    pub fn of(op: &Op) -> Option<Self> {
        match op {
            Op::CreateAccounts(_) => Some(Self::CreateAccounts),
            Op::AddFriends { .. } => Some(Self::AddFriends),
            Op::CreateGroup { .. } => Some(Self::CreateGroup),
            Op::Join { .. } => Some(Self::Join),
            _ => None,
        }
    }

    pub fn in_part(part: Part) -> &'static [Self] {
        match part {
            Part::Accounts => &[Self::CreateAccounts],
            Part::Friends => &[Self::AddFriends],
            Part::Groups => &[Self::CreateGroup, Self::Join],
        }
    }

    pub fn part(self) -> Part {
        match self {
            Self::CreateAccounts => Part::Accounts,
            Self::AddFriends => Part::Friends,
            Self::CreateGroup | Self::Join => Part::Groups,
        }
    }
}

/// The facts of a take, in the order of the states of its record, each with the index of its item;
/// `None`: it belongs to the operation as a whole.
pub fn facts(op: &Op) -> Vec<(Fact, Option<usize>)> {
    let item = |(index, fact)| (fact, Some(index));
    let members = |group: Group, users: &[User]| -> Vec<(Fact, Option<usize>)> {
        let facts = users.iter().map(|user| Fact::Member(group, *user));
        facts.enumerate().map(item).collect()
    };
    match op {
        Op::CreateAccounts(users) => {
            users.iter().map(|user| Fact::Account(*user)).enumerate().map(item).collect()
        }
        Op::AddFriends { user, friends, .. } => {
            let sides = |(index, friend): (usize, &User)| {
                [Fact::Friend(*user, *friend), Fact::Friend(*friend, *user)]
                    .map(|fact| (fact, Some(index)))
            };
            friends.iter().enumerate().flat_map(sides).collect()
        }
        Op::CreateGroup { group, owner, members: users, .. } => {
            let owner = owner.map(|owner| Fact::Member(*group, owner));
            let whole = [Some(Fact::Group(*group)), owner].into_iter().flatten();
            whole.map(|fact| (fact, None)).chain(members(*group, users)).collect()
        }
        Op::Join { group, users } => {
            [(Fact::Group(*group), None)].into_iter().chain(members(*group, users)).collect()
        }
        _ => Vec::new(),
    }
}

impl Record {
    /// The index of the first fact that the operation names: the group of a join is not one of
    /// them.
    pub fn first_named(&self) -> usize {
        usize::from(matches!(self.op, Op::Join { .. }))
    }

    /// The facts that the operation names and that are held, or were when the record expired.
    pub fn held(&self) -> Vec<(usize, Fact)> {
        let named = facts(&self.op).into_iter().enumerate().skip(self.first_named());
        named
            .filter(|(index, _)| self.states[*index] == State::Held)
            .map(|(index, (fact, _))| (index, fact))
            .collect()
    }

    fn is_live(&self, now: i64) -> bool {
        self.expiry > now && self.states.contains(&State::Held)
    }
}

impl Holds {
    /// Begins a take with a hold.
    pub fn begin(&mut self, now: i64, ask: Ask, op: &Op) -> Result<(), Fault> {
        let key = (Kind::of(op).expect("a take"), ask.id);
        let live = self.records.get(&key).filter(|record| record.is_live(now));
        if live.is_some_and(|record| record.op != *op) {
            return Err(Fault::HoldDiffers);
        }
        let has = |(_, holds): &(&Fact, &BTreeMap<Key, usize>)| holds.contains_key(&key);
        let before = match live {
            Some(_) => self.of.iter().filter(has).map(|(fact, _)| *fact).collect(),
            None => BTreeSet::new(),
        };
        let is_new = live.is_none();
        let (expiry, added) = (now + i64::from(ask.seconds) * 1000, BTreeSet::new());
        self.taking = Some(Taking { key, op: op.clone(), expiry, before, added, is_new });
        Ok(())
    }

    pub fn end_take(&mut self) {
        self.taking = None;
    }

    /// True if a take with a hold is being carried out.
    pub fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// The outcome of a fact that exists, in a take with a hold; it joins the hold if it ends.
    pub fn join(&mut self, fact: Fact) -> Outcome {
        let taking = self.taking.as_ref().expect("a take with a hold");
        if taking.before.contains(&fact) {
            return Outcome::Repeated;
        }
        if self.of.contains_key(&fact) && !taking.added.contains(&fact) {
            self.add(fact);
        }
        Outcome::AlreadyHeld
    }

    /// Adds a fact to the hold of the take that is being carried out.
    pub fn add(&mut self, fact: Fact) {
        let taking = self.taking.as_mut().expect("a take with a hold");
        let (key, expiry) = (taking.key, taking.expiry);
        let named = facts(&taking.op);
        let index = named.iter().position(|(it, _)| *it == fact).expect("a fact of the operation");
        if taking.is_new {
            taking.is_new = false;
            for holds in self.of.values_mut() {
                holds.remove(&key);
            }
            let states = vec![State::Absent; named.len()];
            let op = taking.op.clone();
            self.records.insert(key, Record { op, expiry, kept_until: 0, states });
        }
        taking.added.insert(fact);
        let record = self.records.get_mut(&key).expect("the record");
        record.expiry = expiry;
        record.kept_until = expiry + KEPT_MILLIS;
        record.states[index] = State::Held;
        self.of.entry(fact).or_default().insert(key, index);
        // What has ended with the replaced record would have been dropped before.
        assert!(self.of.values().all(|holds| !holds.is_empty()));
    }

    pub fn is_provisional(&self, fact: Fact) -> bool {
        self.of.contains_key(&fact)
    }

    pub fn has(&self, key: Key, fact: Fact) -> bool {
        self.of.get(&fact).is_some_and(|holds| holds.contains_key(&key))
    }

    pub fn provisional(&self) -> impl Iterator<Item = Fact> {
        self.of.keys().copied()
    }

    /// Every hold of a fact ends: it is permanent now, or removed. True if it had any.
    pub fn settle(&mut self, fact: Fact, state: State) -> bool {
        let Some(holds) = self.of.remove(&fact) else { return false };
        for (key, index) in holds {
            self.records.get_mut(&key).expect("its record").states[index] = state;
        }
        true
    }

    /// Sets the state of a fact in one record.
    pub fn set(&mut self, key: Key, index: usize, state: State) {
        self.records.get_mut(&key).expect("the record").states[index] = state;
    }

    /// Ends one hold of a fact. True if it was the last one that had not expired.
    pub fn detach(&mut self, fact: Fact, key: Key, now: i64) -> bool {
        let Some(holds) = self.of.get_mut(&fact) else { return false };
        let was_in = holds.remove(&key).is_some();
        let is_last = holds.keys().all(|key| self.records[key].expiry <= now);
        if is_last {
            self.of.remove(&fact);
        }
        was_in && is_last
    }

    /// The facts of a part that have expired: their last hold has.
    pub fn due(&self, now: i64, part: Part) -> Vec<Fact> {
        let last = |holds: &BTreeMap<Key, usize>| {
            holds.keys().map(|key| self.records[key].expiry).max().expect("at least one hold")
        };
        let due = self.of.iter().filter(|(fact, holds)| fact.part() == part && last(holds) <= now);
        due.map(|(fact, _)| *fact).collect()
    }

    /// Removes the holds of a fact that has expired; its state remains in the records.
    pub fn expire(&mut self, fact: Fact) {
        self.of.remove(&fact);
    }

    /// Removes records whose time is over.
    pub fn forget(&mut self, now: i64) {
        let over: Vec<Key> = self
            .records
            .iter()
            .filter(|(_, record)| record.kept_until <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in over {
            self.records.remove(&key);
            for holds in self.of.values_mut() {
                holds.remove(&key);
            }
        }
    }
}
