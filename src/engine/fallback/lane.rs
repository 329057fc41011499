//! Entries that may go to the store now, by app and part, in turns.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::domain::id::AppId;
use crate::ledger::Operation;

/// What of an app an operation is about: each part lies on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PartOf {
    Accounts,
    Friends,
    Groups,
    /// A deletion of an account.
    All,
}

impl PartOf {
    pub(super) fn of(operation: &Operation) -> Self {
        match operation {
            Operation::CreateAccounts { .. } => Self::Accounts,
            Operation::AddFriends { .. } | Operation::RemoveFriends { .. } => Self::Friends,
            Operation::DeleteAccount { .. } => Self::All,
            _ => Self::Groups,
        }
    }
}

/// An app and a part.
pub(super) type LaneId = (AppId, PartOf);

#[derive(Default)]
struct Lane {
    /// Entries that a caller waits for.
    wanted: VecDeque<u64>,
    ready: VecDeque<u64>,
    /// Nothing is taken before that time has passed.
    resting: Option<(Stopwatch, Duration)>,
}

impl Lane {
    fn rests(&self) -> bool {
        self.resting.as_ref().is_some_and(|(since, time)| since.elapsed() < *time)
    }
}

/// All lanes, which are served in turns.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneId, Lane>,
    turns: VecDeque<LaneId>,
}

impl Lanes {
    /// Adds an entry that may go now: at the end, or before all others.
    pub(super) fn add(&mut self, id: &LaneId, number: u64, is_wanted: bool, is_first: bool) {
        if !self.lanes.contains_key(id) {
            self.lanes.insert(id.clone(), Lane::default());
            self.turns.push_back(id.clone());
        }
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let list = if is_wanted { &mut lane.wanted } else { &mut lane.ready };
        if is_first {
            list.push_front(number);
        } else {
            list.push_back(number);
        }
    }

    /// The next entry whose lane does not rest, and its lane.
    pub(super) fn next(&mut self) -> Option<(LaneId, u64)> {
        for _ in 0..self.turns.len() {
            let id = self.turns.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            if lane.rests() {
                self.turns.push_back(id);
                continue;
            }
            lane.resting = None;
            match lane.wanted.pop_front().or_else(|| lane.ready.pop_front()) {
                Some(number) => {
                    self.turns.push_back(id.clone());
                    return Some((id, number));
                }
                None => {
                    self.lanes.remove(&id);
                }
            }
        }
        None
    }

    /// Takes nothing from a lane for a while.
    pub(super) fn rest(&mut self, id: &LaneId, time: Duration) {
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.resting = Some((Stopwatch::start(), time));
        }
    }
}
