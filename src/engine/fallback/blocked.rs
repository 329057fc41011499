//! Entries that fail repeatedly although their server is available.
//!
//! Such an entry is blocked. Everything that waits behind it, directly or indirectly, through any
//! user or group, is stuck until the entry is retried or dropped.

use std::collections::BTreeMap;

use super::queue::{Queue, State, Waiting};

impl Queue {
    /// Blocks an entry that cannot be carried out.
    pub(super) fn block(&mut self, number: u64, why: String) {
        self.end_turn(number);
        if let Some(waiting) = self.entries.get_mut(&number) {
            waiting.state = State::Blocked(why);
            waiting.wake();
            self.blocked.insert(number);
        }
        self.mark_stuck(number);
    }

    /// Marks everything that waits behind a blocked entry, directly or indirectly.
    fn mark_stuck(&mut self, blocked: u64) {
        let mut behind = vec![blocked];
        while let Some(number) = behind.pop() {
            let Some(waiting) = self.entries.get(&number) else { continue };
            let chains = waiting.named.iter().filter_map(|named| self.chains.get(&named.id));
            let later: Vec<u64> =
                chains.flat_map(|chain| chain.iter().filter(|it| *it > number)).collect();
            for later in later {
                let Some(waiting) = self.entries.get_mut(&later) else { continue };
                if waiting.blocked_by(later).is_none() {
                    waiting.stuck_behind = Some(blocked);
                    waiting.wake();
                    self.end_turn(later);
                    behind.push(later);
                }
            }
        }
    }

    /// Returns whether an entry is blocked, or behind one that is.
    pub(super) fn is_held_up(&self, number: u64) -> bool {
        self.entries.get(&number).is_some_and(|waiting| waiting.blocked_by(number).is_some())
    }

    /// Returns the number of blocked entries.
    pub(super) fn blocked_len(&self) -> usize {
        self.blocked.len()
    }

    /// Returns the oldest blocked entries, at most `limit`, with the number of entries behind each.
    pub(super) fn blocked(&self, limit: usize) -> Vec<(u64, usize)> {
        let mut blocked: BTreeMap<u64, usize> =
            self.blocked.iter().take(limit).map(|number| (*number, 0)).collect();
        if !blocked.is_empty() {
            for blocking in self.entries.values().filter_map(|it| it.stuck_behind) {
                blocked.entry(blocking).and_modify(|behind| *behind += 1);
            }
        }
        blocked.into_iter().collect()
    }

    /// Returns the reason why an entry is blocked.
    pub(super) fn why_blocked(&self, number: u64) -> String {
        match self.entries.get(&number).map(|waiting| &waiting.state) {
            Some(State::Blocked(why)) => why.clone(),
            _ => String::new(),
        }
    }

    /// Retries a blocked entry, and everything behind it after it; returns `false` if the entry is
    /// not blocked.
    pub(super) fn retry(&mut self, number: u64) -> bool {
        let Some(waiting) = self.entries.get_mut(&number) else { return false };
        if !matches!(waiting.state, State::Blocked(_)) {
            return false;
        }
        waiting.state = State::Queued;
        waiting.tries = 1;
        self.blocked.remove(&number);
        self.release_stuck(number);
        self.list(number, false);
        true
    }

    /// Releases the entries that were stuck behind an entry.
    pub(super) fn release_stuck(&mut self, number: u64) {
        for waiting in self.entries.values_mut() {
            if waiting.stuck_behind == Some(number) {
                waiting.stuck_behind = None;
            }
        }
        for other in self.blocked.clone() {
            self.mark_stuck(other);
        }
    }
}

impl Waiting {
    /// Returns the blocked entry that holds this one up, which may be itself.
    pub(super) fn blocked_by(&self, number: u64) -> Option<u64> {
        if matches!(self.state, State::Blocked(_)) { Some(number) } else { self.stuck_behind }
    }
}
