//! Lists the entries of the queue, for people.

use std::collections::HashSet;

use super::queue::{Queue, State, Waiting};
use crate::domain::id::AppId;
use crate::journal::{Accepted, Entry};

/// Most entries that are searched for the oldest one that could be in the store.
const SEARCHED_MAX: usize = 10_000;

/// An entry of the journal and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalItem {
    /// Number of the entry.
    pub number: u64,
    /// The entry.
    pub entry: Entry,
    /// State of the entry.
    pub state: JournalState,
}

/// State of an entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalState {
    /// It waits for its turn, or for earlier entries of its users and groups.
    Queued,
    /// It is being replayed to the store.
    InWork,
    /// The store is available and cannot carry it out, for this reason.
    Blocked(String),
    /// It waits behind a blocked entry.
    Stuck {
        /// The number of that entry.
        behind: u64,
        /// Reason why that entry is blocked.
        why: String,
    },
}

impl Queue {
    /// Returns at most `limit` entries after the one with that number; all, or only the blocked
    /// ones.
    pub(super) fn page(&self, after: u64, limit: usize, only_blocked: bool) -> Vec<JournalItem> {
        let from = after.saturating_add(1)..;
        let item = |number: &u64| self.item(*number);
        if only_blocked {
            return self.blocked.range(from).filter_map(item).take(limit).collect();
        }
        self.entries.range(from).filter_map(|(number, _)| item(number)).take(limit).collect()
    }

    /// Returns the entry with that number.
    pub(super) fn item(&self, number: u64) -> Option<JournalItem> {
        let waiting = self.entries.get(&number)?;
        // An entry that does not decode never gets into the queue.
        let entry = waiting.encoded.decode().ok()?;
        Some(JournalItem { number, entry, state: self.state_of(waiting) })
    }

    fn state_of(&self, waiting: &Waiting) -> JournalState {
        match (&waiting.state, waiting.stuck_behind) {
            (State::Blocked(why), _) => JournalState::Blocked(why.clone()),
            (_, Some(behind)) => JournalState::Stuck { behind, why: self.why_blocked(behind) },
            (State::InFlight | State::Done, None) => JournalState::InWork,
            (State::Writing | State::Queued, None) => JournalState::Queued,
        }
    }

    /// Returns the oldest entry that is only waiting for its turn: it is not blocked, nor behind a
    /// blocked one, and its server is not absent.
    pub(super) fn oldest_due(&self, is_absent: impl Fn(&AppId, &Accepted) -> bool) -> Option<u64> {
        let mut absent = HashSet::new();
        let due = self.entries.iter().take(SEARCHED_MAX).filter(|(number, waiting)| {
            waiting.state != State::Done && waiting.blocked_by(**number).is_none()
        });
        for (number, waiting) in due {
            // All entries of a lane have one server.
            if absent.contains(&waiting.lane) {
                continue;
            }
            let Ok(entry) = waiting.encoded.decode() else { continue };
            if !is_absent(&entry.app, &entry.accepted) {
                return Some(*number);
            }
            absent.insert(&waiting.lane);
        }
        None
    }
}
