//! The entries of one user or group, in the order in which they were accepted.

use std::collections::VecDeque;

/// A chain of entries, never empty. Most have one entry, which costs no allocation.
#[derive(Debug)]
pub(super) struct Chain {
    first: u64,
    rest: VecDeque<u64>,
    /// How many entries at the beginning are in the store, and not yet struck out on disk.
    done: usize,
    /// Facts that its entries take in the name of the user or group.
    pub(super) taken: u32,
}

impl Chain {
    /// Of one entry.
    pub(super) fn new(first: u64) -> Self {
        Self { first, rest: VecDeque::new(), done: 0, taken: 0 }
    }

    /// Adds an entry at the end.
    pub(super) fn push(&mut self, number: u64) {
        self.rest.push_back(number);
    }

    /// The oldest entry that is not in the store.
    pub(super) fn front(&self) -> Option<u64> {
        self.get(self.done)
    }

    /// The latest entry.
    pub(super) fn last(&self) -> u64 {
        self.rest.back().copied().unwrap_or(self.first)
    }

    /// Its entries, the oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = u64> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    /// The front entry is in the store.
    pub(super) fn advance(&mut self) {
        self.done += 1;
    }

    /// Takes an entry out; `false` where it was the last one and the chain has ended.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let Some(index) = self.iter().position(|there| there == number) else { return true };
        if index < self.done {
            self.done -= 1;
        }
        if index > 0 {
            self.rest.remove(index - 1);
            return true;
        }
        match self.rest.pop_front() {
            Some(next) => {
                self.first = next;
                true
            }
            None => false,
        }
    }

    fn get(&self, index: usize) -> Option<u64> {
        if index == 0 { Some(self.first) } else { self.rest.get(index - 1).copied() }
    }
}
