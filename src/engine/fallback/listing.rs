//! The entries of the queue, for people.

use std::collections::HashSet;

use super::queue::{Queue, State, Waiting};
use crate::domain::id::AppId;
use crate::journal::Entry;
use crate::ledger::Operation;

/// Most entries that are looked at for the oldest one that could be in the store.
const LOOKED_AT_MAX: usize = 10_000;

/// An entry of the journal and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalItem {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub entry: Entry,
    /// How far it is.
    pub state: JournalState,
}

/// How far an entry of the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalState {
    /// It waits for its turn, or for earlier entries of its users and groups.
    Queued,
    /// It is being brought to the store.
    InWork,
    /// The store answers and cannot carry it out, for this reason.
    Blocked(String),
    /// It waits behind a blocked entry.
    Stuck {
        /// The number of that entry.
        behind: u64,
        /// Why that one is blocked.
        why: String,
    },
}

impl Queue {
    /// Entries from the one after that number on, at most so many; all, or the blocked ones.
    pub(super) fn page(&self, after: u64, limit: usize, only_blocked: bool) -> Vec<JournalItem> {
        let from = after.saturating_add(1)..;
        let item = |number: &u64| self.item(*number);
        if only_blocked {
            return self.blocked.range(from).filter_map(item).take(limit).collect();
        }
        self.entries.range(from).filter_map(|(number, _)| item(number)).take(limit).collect()
    }

    /// The entry of that number.
    pub(super) fn item(&self, number: u64) -> Option<JournalItem> {
        let waiting = self.entries.get(&number)?;
        // What does not decode does not get into the queue.
        let entry = waiting.encoded.decode().ok()?;
        Some(JournalItem { number, entry, state: self.state_of(waiting) })
    }

    fn state_of(&self, waiting: &Waiting) -> JournalState {
        match (&waiting.state, waiting.stuck_behind) {
            (State::Blocked(why), _) => JournalState::Blocked(why.clone()),
            (_, Some(behind)) => JournalState::Stuck { behind, why: self.why_blocked(behind) },
            (State::InWork | State::Done, None) => JournalState::InWork,
            (State::Writing | State::Queued, None) => JournalState::Queued,
        }
    }

    /// The oldest entry that nothing but its turn keeps from the store: it is not blocked, nor
    /// behind a blocked one, and its server answers.
    pub(super) fn oldest_due(&self, is_absent: impl Fn(&AppId, &Operation) -> bool) -> Option<u64> {
        let mut absent = HashSet::new();
        let due = self.entries.iter().take(LOOKED_AT_MAX).filter(|(number, waiting)| {
            waiting.state != State::Done && waiting.blocked_by(**number).is_none()
        });
        for (number, waiting) in due {
            // All entries of a lane have one server.
            if absent.contains(&waiting.lane) {
                continue;
            }
            let Ok(entry) = waiting.encoded.decode() else { continue };
            if !is_absent(&entry.app, &entry.operation) {
                return Some(*number);
            }
            absent.insert(&waiting.lane);
        }
        None
    }
}
