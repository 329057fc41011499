//! Holds as they are stored: the record of each, the facts that have any, and their formats.
//!
//! A fact is provisional while it has a row of [`Provisional`], which names the holds that it is in
//! and ends with the last of them. A record keeps the operation with its ids, and the state of each
//! of its facts in the order of [`elements`].

use std::sync::Arc;

use crate::domain::calendar::Day;
use crate::domain::id::OperationId;
use crate::domain::limits::Part;
use crate::domain::time::Timestamp;
use crate::ledger::operation_codec;
use crate::ledger::reconcile::Fact;
use crate::ledger::{Operation, OperationKind};
use crate::store::fingerprint::Fingerprints;

use super::rows::Result;

/// The version of a stored record.
const VERSION: u8 = 1;
/// The bytes before the states: the version, three instants, and the number of states.
const HEAD_BYTES: usize = 1 + 3 * 8 + 4;

/// The kind of operation that a hold belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldKind {
    /// [`Operation::CreateAccounts`]
    CreateAccounts,
    /// [`Operation::AddFriends`]
    AddFriends,
    /// [`Operation::CreateGroup`]
    CreateGroup,
    /// [`Operation::JoinGroup`]
    JoinGroup,
}

impl HoldKind {
    const ALL: [Self; 4] =
        [Self::CreateAccounts, Self::AddFriends, Self::CreateGroup, Self::JoinGroup];

    /// Returns the kind of hold of an operation; `None` if it takes nothing.
    pub fn of(kind: OperationKind) -> Option<Self> {
        match kind {
            OperationKind::CreateAccounts => Some(Self::CreateAccounts),
            OperationKind::AddFriends => Some(Self::AddFriends),
            OperationKind::CreateGroup => Some(Self::CreateGroup),
            OperationKind::JoinGroup => Some(Self::JoinGroup),
            _ => None,
        }
    }

    /// Returns the kinds in a part of an app.
    pub fn in_part(part: Part) -> &'static [Self] {
        match part {
            Part::Accounts => &[Self::CreateAccounts],
            Part::Friends => &[Self::AddFriends],
            Part::Groups => &[Self::CreateGroup, Self::JoinGroup],
        }
    }

    /// Returns the part of an app that its facts are in.
    pub fn part(self) -> Part {
        match self {
            Self::CreateAccounts => Part::Accounts,
            Self::AddFriends => Part::Friends,
            Self::CreateGroup | Self::JoinGroup => Part::Groups,
        }
    }

    /// Returns the number by which it is stored.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Returns the kind with that number.
    pub fn of_code(code: u8) -> Result<Self> {
        Self::ALL.get(usize::from(code)).copied().ok_or_else(|| damaged("its kind"))
    }
}

/// The key of a hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldKey {
    /// The kind of its operation.
    pub kind: HoldKind,
    /// The id of its operation.
    pub id: OperationId,
}

impl HoldKey {
    /// Reads a stored key.
    pub fn stored(code: u8, id: &str) -> Result<Self> {
        let kind = HoldKind::of_code(code)?;
        Ok(Self { kind, id: OperationId::try_from(id).map_err(|_| damaged("its id"))? })
    }
}

/// The state of a fact in a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not in the hold: denied, permanent before, or named again.
    Absent,
    /// Held, unless the record has expired.
    Held,
    /// Permanent.
    Confirmed,
    /// Ended by something else than this hold.
    Ended,
    /// Released.
    Released,
}

impl State {
    fn code(self) -> u8 {
        match self {
            Self::Absent => b'-',
            Self::Held => b'h',
            Self::Confirmed => b'c',
            Self::Ended => b'o',
            Self::Released => b'r',
        }
    }

    fn of_code(code: u8) -> Result<Self> {
        Ok(match code {
            b'-' => Self::Absent,
            b'h' => Self::Held,
            b'c' => Self::Confirmed,
            b'o' => Self::Ended,
            b'r' => Self::Released,
            _ => return Err(damaged("a state")),
        })
    }
}

/// The record of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The operation as it was given.
    pub operation: Arc<Operation>,
    /// The instant of the take.
    pub taken_at: Timestamp,
    /// The instant at which it ends unless it is confirmed.
    pub expires: Timestamp,
    /// The instant from which on the record is removed.
    pub kept_until: Timestamp,
    /// The state of each of its facts.
    pub states: Vec<State>,
}

impl Record {
    /// Returns the number of facts in the record.
    pub fn facts(&self) -> u64 {
        let facts = self.states.iter().filter(|state| **state != State::Absent);
        u64::try_from(facts.count()).unwrap_or(u64::MAX)
    }

    /// Returns the index of the group that a hold of members refers to beside them.
    pub fn implicit(&self) -> Option<usize> {
        matches!(*self.operation, Operation::JoinGroup { .. }).then_some(0)
    }

    /// Returns whether anything that the operation named is held, or was when the record expired.
    pub fn has_held(&self) -> bool {
        self.states.iter().skip(usize::from(self.implicit().is_some())).any(|it| *it == State::Held)
    }

    /// Returns the record as it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for instant in [self.taken_at, self.expires, self.kept_until] {
            bytes.extend(instant.as_millis().to_le_bytes());
        }
        let states = u32::try_from(self.states.len()).expect("a call has fewer subjects");
        bytes.extend(states.to_le_bytes());
        bytes.extend(self.states.iter().map(|state| state.code()));
        bytes.extend(operation_codec::encode(&self.operation));
        bytes
    }

    /// Reads a stored record.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.first() != Some(&VERSION) {
            return Err(damaged("its version"));
        }
        let (head, rest) =
            bytes.split_at_checked(HEAD_BYTES).ok_or_else(|| damaged("its length"))?;
        let instant = |index: usize| {
            let at = 1 + 8 * index;
            let millis = head[at..at + 8].try_into().expect("eight bytes");
            Timestamp::from_millis(i64::from_le_bytes(millis))
        };
        let length = head[HEAD_BYTES - 4..].try_into().expect("four bytes");
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let (states, operation) =
            rest.split_at_checked(length).ok_or_else(|| damaged("its length"))?;
        let states: Result<Vec<State>> = states.iter().map(|code| State::of_code(*code)).collect();
        let operation = operation_codec::decode(operation).map_err(|error| damaged(&error))?;
        Ok(Self {
            operation: Arc::new(operation),
            taken_at: instant(0),
            expires: instant(1),
            kept_until: instant(2),
            states: states?,
        })
    }
}

/// A provisional fact: it ends unless one of its holds is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisional {
    /// The instant at which it ends: that of the last of its holds.
    pub expires: Timestamp,
    /// The day on which it was taken.
    pub taken_on: Day,
    /// Its holds, and its index in the record of each.
    pub holds: Vec<(HoldKey, u32)>,
}

impl Provisional {
    /// Returns whether the fact is in a hold.
    pub fn has(&self, key: &HoldKey) -> bool {
        self.holds.iter().any(|(of, _)| of == key)
    }

    /// Returns its holds as they are stored: for each its kind, the length of its id, the id, and
    /// the index.
    pub fn encode_holds(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, index) in &self.holds {
            let id = key.id.as_str().as_bytes();
            bytes.extend([key.kind.code(), u8::try_from(id.len()).expect("at most 64 bytes")]);
            bytes.extend(id);
            bytes.extend(index.to_le_bytes());
        }
        bytes
    }

    /// Reads stored holds.
    pub fn decode_holds(mut bytes: &[u8]) -> Result<Vec<(HoldKey, u32)>> {
        let mut holds = Vec::new();
        while let [kind, length, rest @ ..] = bytes {
            let id = rest.split_at_checked(usize::from(*length));
            let (id, rest) = id.ok_or_else(|| damaged("the holds of a fact"))?;
            let index = rest.split_first_chunk::<4>();
            let (index, rest) = index.ok_or_else(|| damaged("the holds of a fact"))?;
            let id = std::str::from_utf8(id).map_err(|_| damaged("its id"))?;
            holds.push((HoldKey::stored(*kind, id)?, u32::from_le_bytes(*index)));
            bytes = rest;
        }
        Ok(holds)
    }
}

/// A stored fact: its kind, and its two subjects. At one instant members end before their group.
pub type FactKey = (u8, u64, u64);

/// Returns the key of a fact.
pub fn key_of_fact(fact: Fact) -> FactKey {
    match fact {
        Fact::Account(user) => (0, user, 0),
        Fact::Friend(user, friend) => (1, user, friend),
        Fact::Member(group, user) => (2, group, user),
        Fact::Group(group) => (3, group, 0),
    }
}

/// Returns the fact with a key.
pub fn fact_of_key((kind, one, other): FactKey) -> Result<Fact> {
    Ok(match kind {
        0 => Fact::Account(one),
        1 => Fact::Friend(one, other),
        2 => Fact::Member(one, other),
        3 => Fact::Group(one),
        _ => return Err(damaged("a fact")),
    })
}

/// Returns the facts that a take names, in the order of the states of its record. The first of a
/// join is its group.
pub fn elements(ids: &Fingerprints, operation: &Operation) -> Vec<Fact> {
    match operation {
        Operation::CreateAccounts { users } => {
            users.iter().map(|user| Fact::Account(ids.user(user))).collect()
        }
        Operation::AddFriends { user, friends, one_way } => {
            let user = ids.user(user);
            let sides = |friend| {
                let friend = ids.user(friend);
                let other = (!one_way).then_some(Fact::Friend(friend, user));
                [Some(Fact::Friend(user, friend)), other].into_iter().flatten()
            };
            friends.iter().flat_map(sides).collect()
        }
        Operation::CreateGroup { group, owner, members, .. } => {
            let group = ids.group(group);
            let users = owner.iter().chain(members).map(|user| Fact::Member(group, ids.user(user)));
            std::iter::once(Fact::Group(group)).chain(users).collect()
        }
        Operation::JoinGroup { group, users } => {
            let group = ids.group(group);
            let users = users.iter().map(|user| Fact::Member(group, ids.user(user)));
            std::iter::once(Fact::Group(group)).chain(users).collect()
        }
        _ => Vec::new(),
    }
}

/// The error for a stored hold that cannot be read.
pub fn damaged(what: &str) -> redb::StorageError {
    redb::StorageError::Corrupted(format!("the record of a hold: {what} cannot be read"))
}
