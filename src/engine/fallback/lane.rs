//! Lanes: entries that may be replayed now, by app and part, served in turns.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::domain::id::AppId;
use crate::domain::limits::Part;

/// An app and the part that an operation is about: each part lies on one server. `None` is all
/// parts, for the deletion of an account.
pub(super) type LaneId = (AppId, Option<Part>);

#[derive(Default)]
struct Lane {
    /// Entries that a caller waits for.
    awaited: VecDeque<u64>,
    ready: VecDeque<u64>,
    /// Time for which no entry is taken from the lane, and its beginning.
    paused: Option<(Stopwatch, Duration)>,
}

impl Lane {
    fn is_paused(&self) -> bool {
        self.paused.as_ref().is_some_and(|(since, time)| since.elapsed() < *time)
    }
}

/// All lanes, served in turns.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneId, Lane>,
    turns: VecDeque<LaneId>,
}

impl Lanes {
    /// Adds an entry that may be replayed now: at the end, or before all others.
    pub(super) fn add(&mut self, id: &LaneId, number: u64, is_awaited: bool, is_first: bool) {
        if !self.lanes.contains_key(id) {
            self.lanes.insert(id.clone(), Lane::default());
            self.turns.push_back(id.clone());
        }
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let list = if is_awaited { &mut lane.awaited } else { &mut lane.ready };
        if is_first {
            list.push_front(number);
        } else {
            list.push_back(number);
        }
    }

    /// Returns the next entry of a lane that is not paused, and its lane.
    pub(super) fn next(&mut self) -> Option<(LaneId, u64)> {
        for _ in 0..self.turns.len() {
            let id = self.turns.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            if lane.is_paused() {
                self.turns.push_back(id);
                continue;
            }
            lane.paused = None;
            match lane.awaited.pop_front().or_else(|| lane.ready.pop_front()) {
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

    /// Pauses a lane for some time.
    pub(super) fn pause(&mut self, id: &LaneId, time: Duration) {
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.paused = Some((Stopwatch::start(), time));
        }
    }
}
