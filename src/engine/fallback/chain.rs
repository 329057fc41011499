//! The entries of one user or group, in the order in which they were accepted.

use std::collections::VecDeque;

/// A chain of entries, never empty. Most chains have one entry, which costs no allocation; chains
/// are small, since there may be some hundred thousand of them.
#[derive(Debug)]
pub(super) struct Chain {
    first: u64,
    /// The entries behind the first one, once there have been any.
    #[allow(clippy::box_collection, reason = "none takes 8 bytes, an empty deque 32")]
    rest: Option<Box<VecDeque<u64>>>,
    /// Number of entries at the beginning that are in the store, but not yet removed on disk.
    done: u32,
    /// Facts that its entries take for the user or group.
    pub(super) taken: u32,
}

impl Chain {
    /// Creates a chain of one entry.
    pub(super) fn new(first: u64) -> Self {
        Self { first, rest: None, done: 0, taken: 0 }
    }

    /// Appends an entry.
    pub(super) fn push(&mut self, number: u64) {
        self.rest.get_or_insert_default().push_back(number);
    }

    /// Returns the oldest entry that is not in the store.
    pub(super) fn front(&self) -> Option<u64> {
        self.get(usize::try_from(self.done).unwrap_or(usize::MAX))
    }

    /// Returns the latest entry.
    pub(super) fn last(&self) -> u64 {
        self.rest.as_ref().and_then(|rest| rest.back()).copied().unwrap_or(self.first)
    }

    /// Returns the entries, the oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = u64> {
        let rest = self.rest.iter().flat_map(|rest| rest.iter().copied());
        std::iter::once(self.first).chain(rest)
    }

    /// Marks the front entry as stored.
    pub(super) fn advance(&mut self) {
        self.done += 1;
    }

    /// Removes an entry; returns `false` if it was the last one, which ends the chain.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let Some(index) = self.iter().position(|there| there == number) else { return true };
        if u32::try_from(index).is_ok_and(|index| index < self.done) {
            self.done -= 1;
        }
        let rest = self.rest.as_mut();
        if index > 0 {
            rest.and_then(|rest| rest.remove(index - 1));
            return true;
        }
        match rest.and_then(|rest| rest.pop_front()) {
            Some(next) => {
                self.first = next;
                true
            }
            None => false,
        }
    }

    fn get(&self, index: usize) -> Option<u64> {
        if index == 0 {
            return Some(self.first);
        }
        self.rest.as_ref()?.get(index - 1).copied()
    }
}
