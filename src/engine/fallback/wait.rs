//! Callers that wait until an entry is in the store.

use tokio::sync::oneshot;

use super::queue::{Queue, Waiting};

/// Most entries that are marked when a caller waits for one.
const AWAITED_MAX: usize = 1024;

impl Queue {
    /// Completes when the entry with that number is removed or blocked. The entries before it get
    /// priority.
    pub(super) fn wait_for(&mut self, number: u64) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        let waiters = &mut self.entries.get_mut(&number)?.waiters;
        if waiters.len() == waiters.capacity() {
            // Drop the waiters that have given up.
            waiters.retain(|waiter| !waiter.is_closed());
        }
        waiters.push(sender);
        let (mut pending, mut marked) = (vec![number], Vec::new());
        while let Some(number) = pending.pop() {
            let Some(waiting) = self.entries.get_mut(&number) else { continue };
            if waiting.is_awaited || marked.len() >= AWAITED_MAX {
                continue;
            }
            waiting.is_awaited = true;
            marked.push(number);
            if waiting.is_listed {
                self.lanes.add(&waiting.lane, number, true, false);
            }
            let chains = waiting.named.iter().filter_map(|named| self.chains.get(&named.id));
            pending.extend(chains.flat_map(|chain| chain.iter().take_while(|it| *it < number)));
        }
        // Earlier entries get earlier turns.
        marked.sort_unstable();
        for number in marked {
            self.give_turn(number);
        }
        Some(receiver)
    }
}

impl Waiting {
    /// Wakes the callers that wait for the entry.
    pub(super) fn wake(&mut self) {
        for waiter in self.waiters.drain(..) {
            // A caller that has gone away does not receive it.
            let _ = waiter.send(());
        }
    }
}
