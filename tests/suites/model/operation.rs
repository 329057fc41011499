//! The model's operations, in its own numbers, and their results.

use imquota::domain::decision::{Mode, Outcome, Reason};

use super::holds::{Ask, PARTS, Part};
use super::rules::im_code;

pub type User = usize;
pub type Group = usize;

/// An operation, with the model's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    CreateAccounts(Vec<User>),
    DeleteAccounts(Vec<User>),
    AddFriends { user: User, friends: Vec<User>, one_way: bool },
    RemoveFriends { user: User, friends: Vec<User>, one_way: bool },
    CreateGroup { group: Group, kind: usize, owner: Option<User>, members: Vec<User>, max: Max },
    UpdateGroup { group: Group, max: Max },
    Join { group: Group, users: Vec<User> },
    Leave { group: Group, users: Vec<User> },
    Dissolve { group: Group },
}

pub type Max = Option<u32>;

/// The subject of a limit or a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    App,
    User(User),
    Group(Group),
}

/// A violated limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocked {
    pub reason: Reason,
    pub limit_id: String,
    pub who: Who,
    pub used: u64,
    pub limit: u64,
    pub im_code: i32,
}

/// The result of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpItem {
    pub outcome: Outcome,
    pub blocked: Vec<Blocked>,
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpResult {
    pub whole: Option<OpItem>,
    pub items: Vec<OpItem>,
    pub released: u64,
    pub reclaimed: bool,
}

/// The error in place of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    DeadlinePassed,
    GroupNotFound,
    GroupTypeDiffers,
    MembersNotTracked,
    HoldDiffers,
}

/// The way in which an operation is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    pub mode: Mode,
    /// True if a take is a whole batch.
    pub all_or_nothing: bool,
    pub hold: Option<Ask>,
}

impl Op {
    pub fn takes(&self) -> bool {
        matches!(
            self,
            Self::CreateAccounts(_)
                | Self::AddFriends { .. }
                | Self::CreateGroup { .. }
                | Self::Join { .. }
        )
    }

    /// The parts of the app that it is about.
    pub fn parts(&self) -> &'static [Part] {
        match self {
            Self::CreateAccounts(_) => &[Part::Accounts],
            Self::AddFriends { .. } | Self::RemoveFriends { .. } => &[Part::Friends],
            Self::DeleteAccounts(_) => &PARTS,
            _ => &[Part::Groups],
        }
    }
}

impl OpItem {
    pub fn plain(outcome: Outcome) -> Self {
        Self { outcome, blocked: Vec::new() }
    }

    pub fn released(held: bool) -> Self {
        Self::plain(if held { Outcome::Applied } else { Outcome::NotHeld })
    }

    pub fn done(&self) -> bool {
        self.outcome == Outcome::Applied
    }
}

/// The limit, if it is reached.
pub fn check(reason: Reason, id: &str, who: Who, used: u64, limit: u64) -> Option<Blocked> {
    let kind = id.split_once('/').map(|(_, kind)| kind);
    let im_code = im_code(reason, kind);
    let blocked = || Blocked { reason, limit_id: id.to_owned(), who, used, limit, im_code };
    (used >= limit).then(blocked)
}
