//! Callers that wait until an entry is in the store.

use tokio::sync::oneshot;

use super::queue::{Queue, Waiting};

/// Most entries that are looked at when a caller waits for one.
const WANTED_MAX: usize = 1024;

impl Queue {
    /// Ready when the entry of that number is struck out or blocked. What it waits for goes first.
    pub(super) fn wait_for(&mut self, number: u64) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        let waiters = &mut self.entries.get_mut(&number)?.waiters;
        if waiters.len() == waiters.capacity() {
            // Of those that have given up nothing is kept.
            waiters.retain(|waiter| !waiter.is_closed());
        }
        waiters.push(sender);
        let (mut wanted, mut marked) = (vec![number], Vec::new());
        while let Some(number) = wanted.pop() {
            let Some(waiting) = self.entries.get_mut(&number) else { continue };
            if waiting.is_wanted || marked.len() >= WANTED_MAX {
                continue;
            }
            waiting.is_wanted = true;
            marked.push(number);
            if waiting.is_listed {
                self.lanes.add(&waiting.lane, number, true, false);
            }
            let chains = waiting.named.iter().filter_map(|named| self.chains.get(&named.id));
            wanted.extend(chains.flat_map(|chain| chain.iter().take_while(|it| *it < number)));
        }
        // Those that come first have the earlier turns.
        marked.sort_unstable();
        for number in marked {
            self.give_turn(number);
        }
        Some(receiver)
    }
}

impl Waiting {
    /// Wakes the callers that wait for it.
    pub(super) fn wake(&mut self) {
        for waiter in self.waiters.drain(..) {
            // A caller that has gone away does not want to know.
            let _ = waiter.send(());
        }
    }
}
