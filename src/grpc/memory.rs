//! Memory that callers make the sidecar hold: open calls, unfinished requests and unread responses.
//!
//! Each connection charges its memory to one budget of the process. A connection beyond its own
//! bound is refused more. Requests and answers may take three quarters of the budget, so that the
//! rest is left for small calls. If the budget is exhausted, the connection that has held most for
//! some seconds is closed; a caller who reads answers and finishes requests holds nothing for that
//! time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};

use crate::clock::Stopwatch;

/// Charge of one open call: its task, its headers and a small request.
pub const CALL_BYTES: usize = 8 * 1024;
/// Additional charge of a call that sends a stream.
pub const STREAM_BYTES: usize = 4 * 1024;
/// Requests up to this length are included in [`CALL_BYTES`].
pub const SMALL_REQUEST_BYTES: usize = 4 * 1024;
/// Most bytes that the operations and answers of one connection's Apply streams may hold; beyond it
/// they are not read.
pub const CONNECTION_ANSWERS_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Bytes count as stalled after one to two of these steps: a call that has no deadline of its own
/// ends earlier.
const AGE_STEP: Duration = Duration::from_secs(2);
/// A connection with fewer stalled bytes is not closed for the requests of others.
const STALLED_MIN_BYTES: usize = 256 * 1024;
/// A connection that holds less gets memory for a call even beyond the budget.
const SMALL_CONNECTION_BYTES: usize = 64 * 1024;

/// The budget of the process.
#[derive(Debug)]
pub struct MemoryBudget {
    process_max_bytes: usize,
    /// Also the most bytes that closing connections may hold before more are closed.
    connection_max_bytes: usize,
    age: Stopwatch,
    /// The age step at the start; tests advance it.
    first_step: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held_bytes: usize,
    /// The part of it that closing connections hold.
    closing_bytes: usize,
    next_id: u64,
    connections: HashMap<u64, Entry>,
}

/// Memory of one connection.
#[derive(Debug)]
struct Entry {
    /// The age step of the first of the next.
    step: u64,
    /// Held since this step, since the one before, and since earlier steps.
    by_age_bytes: [usize; 3],
    /// The part of it that finished calls left and that may not be written yet, and since when.
    unwritten_bytes: usize,
    unwritten_since: u64,
    is_closing: bool,
    exceeded: Arc<Notify>,
}

/// Use of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// An open call; it may use the whole budget.
    Call,
    /// A request.
    Message,
    /// Operations of Apply and their answers, which have their own bound for each connection.
    Answer,
}

impl Entry {
    fn held_bytes(&self) -> usize {
        self.by_age_bytes.iter().sum()
    }

    fn stalled_bytes(&self) -> usize {
        self.by_age_bytes[2]
    }

    fn advance(&mut self, step: u64) {
        while self.step < step {
            let [new, last, old] = self.by_age_bytes;
            self.by_age_bytes = [0, new, last + old];
            // If only the oldest bytes are left, the remaining steps change nothing.
            self.step = if new + last == 0 { step } else { self.step + 1 };
        }
    }

    fn held_since(&mut self, step: u64) -> &mut usize {
        let steps = self.step.saturating_sub(step).min(2);
        &mut self.by_age_bytes[usize::try_from(steps).unwrap_or(2)]
    }
}

impl MemoryBudget {
    /// Creates a budget of `process_max_bytes`, of which one connection may hold a sixth.
    #[must_use]
    pub fn new(process_max_bytes: usize) -> Arc<Self> {
        let connection_max_bytes = process_max_bytes / 6;
        Arc::new(Self {
            process_max_bytes,
            connection_max_bytes,
            age: Stopwatch::start(),
            first_step: AtomicU64::new(0),
            state: Mutex::default(),
        })
    }

    /// Adds a connection, which holds nothing.
    #[must_use]
    pub fn connection(self: &Arc<Self>) -> Arc<ConnectionMemory> {
        let exceeded = Arc::new(Notify::new());
        let step = self.step();
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.connections.insert(
            id,
            Entry {
                step,
                by_age_bytes: [0; 3],
                unwritten_bytes: 0,
                unwritten_since: step,
                is_closing: false,
                exceeded: exceeded.clone(),
            },
        );
        drop(state);
        Arc::new(ConnectionMemory {
            budget: self.clone(),
            id,
            exceeded,
            has_unsent: AtomicBool::new(false),
            answers: Arc::new(Semaphore::new(CONNECTION_ANSWERS_MAX_BYTES)),
        })
    }

    fn step(&self) -> u64 {
        let steps = self.age.elapsed().as_secs() / AGE_STEP.as_secs();
        self.first_step.load(Ordering::Relaxed) + steps
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn entry(&mut self, id: u64, step: u64) -> Option<&mut Entry> {
        let entry = self.connections.get_mut(&id)?;
        entry.advance(step);
        Some(entry)
    }

    fn add(&mut self, id: u64, since: u64, bytes: usize) {
        let Some(entry) = self.connections.get_mut(&id) else { return };
        *entry.held_since(since) += bytes;
        self.held_bytes += bytes;
        self.closing_bytes += if entry.is_closing { bytes } else { 0 };
    }

    fn remove(&mut self, id: u64, since: u64, bytes: usize) {
        let Some(entry) = self.connections.get_mut(&id) else { return };
        *entry.held_since(since) -= bytes;
        self.held_bytes -= bytes;
        self.closing_bytes -= if entry.is_closing { bytes } else { 0 };
    }

    /// Returns the connection with most by a measure, of those that are not closing.
    fn largest(&mut self, step: u64, measure: impl Fn(&Entry) -> usize) -> Option<(u64, usize)> {
        for entry in self.connections.values_mut() {
            entry.advance(step);
        }
        let open = self.connections.iter().filter(|(_, entry)| !entry.is_closing);
        let measured = open.map(|(id, entry)| (*id, measure(entry)));
        measured.max_by_key(|(_, bytes)| *bytes)
    }

    /// Selects the connection to close, for the request of another or for the process's bound.
    fn victim(&mut self, step: u64, requester: Option<(u64, Use)>) -> Option<u64> {
        let asking = requester.and_then(|(id, _)| self.connections.get(&id));
        let own_stalled = asking.map_or(0, Entry::stalled_bytes);
        let own_held = asking.map_or(0, Entry::held_bytes);
        let most_stalled = self.largest(step, Entry::stalled_bytes);
        let is_stalled = |bytes: usize| bytes >= STALLED_MIN_BYTES && bytes > own_stalled;
        if let Some((id, _)) = most_stalled.filter(|(_, bytes)| is_stalled(*bytes)) {
            return Some(id);
        }
        if requester.is_some_and(|(_, purpose)| purpose != Use::Call) {
            return None;
        }
        let heaviest = self.largest(step, Entry::held_bytes);
        heaviest.filter(|(_, bytes)| *bytes > own_held).map(|(id, _)| id)
    }

    /// Closes a connection. Its memory counts until it is released.
    fn close(&mut self, id: u64) {
        if let Some(entry) = self.connections.get_mut(&id) {
            entry.is_closing = true;
            self.closing_bytes += entry.held_bytes();
            entry.exceeded.notify_one();
        }
    }
}

/// Memory of one connection.
#[derive(Debug)]
pub struct ConnectionMemory {
    budget: Arc<MemoryBudget>,
    id: u64,
    exceeded: Arc<Notify>,
    has_unsent: AtomicBool,
    answers: Arc<Semaphore>,
}

impl ConnectionMemory {
    /// Charges bytes; `None` beyond the connection's bound, and beyond the process's bound if no
    /// other connection is to be closed for it.
    #[must_use]
    pub fn try_charge(self: &Arc<Self>, purpose: Use, bytes: usize) -> Option<Charge> {
        let since = self.budget.step();
        let added = self.try_add(purpose, since, since, bytes);
        added.then(|| Charge { connection: self.clone(), since, bytes })
    }

    fn try_add(&self, purpose: Use, step: u64, since: u64, bytes: usize) -> bool {
        let budget = &self.budget;
        let (process_max_bytes, slack_bytes) =
            (budget.process_max_bytes, budget.connection_max_bytes);
        let mut state = budget.state();
        let entry = state.entry(self.id, step).filter(|entry| !entry.is_closing);
        let Some(own) = entry.map(|entry| entry.held_bytes()) else { return false };
        if purpose != Use::Answer && own + bytes > budget.connection_max_bytes {
            return false;
        }
        let most_bytes = match purpose {
            Use::Call if own < SMALL_CONNECTION_BYTES => process_max_bytes + slack_bytes,
            Use::Call => process_max_bytes,
            Use::Message | Use::Answer => process_max_bytes / 4 * 3,
        };
        // The memory of closing connections is free soon.
        while state.held_bytes + bytes > most_bytes + state.closing_bytes.min(slack_bytes) {
            let victim = state.victim(step, Some((self.id, purpose)));
            let Some(victim) = victim.filter(|_| state.closing_bytes < slack_bytes) else {
                return false;
            };
            state.close(victim);
        }
        state.add(self.id, since, bytes);
        true
    }

    /// Charges bytes that cannot be refused any more. Beyond the process's bound a connection is
    /// closed, which may be this one.
    #[must_use]
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        let since = self.budget.step();
        let mut state = self.budget.state();
        state.entry(self.id, since);
        state.add(self.id, since, bytes);
        while state.held_bytes - state.closing_bytes > self.budget.process_max_bytes {
            let Some(victim) = state.victim(since, None) else { break };
            state.close(victim);
        }
        drop(state);
        Charge { connection: self.clone(), since, bytes }
    }

    /// Waits until the connection has to be closed.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// Records that all bytes which waited to be written are passed to the system.
    pub fn flushed(&self) {
        if !self.has_unsent.swap(false, Ordering::Relaxed) {
            return;
        }
        let step = self.budget.step();
        let mut state = self.budget.state();
        let Some(entry) = state.entry(self.id, step) else { return };
        let bytes = std::mem::take(&mut entry.unwritten_bytes);
        let since = entry.unwritten_since;
        state.remove(self.id, since, bytes);
    }

    /// Returns the bytes that operations and answers of this connection's Apply streams may hold.
    #[must_use]
    pub fn answers(&self) -> Arc<Semaphore> {
        self.answers.clone()
    }

    fn release(&self, since: u64, bytes: usize) {
        let step = self.budget.step();
        let mut state = self.budget.state();
        state.entry(self.id, step);
        state.remove(self.id, since, bytes);
    }
}

impl Drop for ConnectionMemory {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        if let Some(entry) = state.connections.remove(&self.id) {
            state.held_bytes -= entry.held_bytes();
            state.closing_bytes -= if entry.is_closing { entry.held_bytes() } else { 0 };
        }
    }
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub struct Charge {
    connection: Arc<ConnectionMemory>,
    /// The age step since which they are held.
    since: u64,
    bytes: usize,
}

impl Charge {
    /// Charges a further message; `false` if that is refused, and then nothing has changed.
    #[must_use]
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let step = self.connection.budget.step();
        let grown = self.connection.try_add(Use::Message, step, self.since, bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Charges bytes of the same connection that cannot be refused any more.
    #[must_use]
    pub fn beside(&self, bytes: usize) -> Self {
        self.connection.charge(bytes)
    }

    /// Releases a part.
    pub fn shrink(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes, "more than was charged");
        self.bytes -= bytes;
        self.connection.release(self.since, bytes);
    }

    /// Keeps the charge until the connection has written its pending bytes.
    pub fn until_flushed(mut self) {
        let connection = self.connection.clone();
        let step = connection.budget.step();
        let mut state = connection.budget.state();
        let entry = state.entry(connection.id, step).filter(|entry| !entry.is_closing);
        // A closing connection writes nothing any more.
        let Some(entry) = entry else {
            drop(state);
            return;
        };
        let bytes = std::mem::take(&mut self.bytes);
        if entry.unwritten_bytes == 0 {
            entry.unwritten_since = self.since;
        } else {
            // All pending bytes share the age of the first.
            let since = entry.unwritten_since;
            *entry.held_since(self.since) -= bytes;
            *entry.held_since(since) += bytes;
        }
        entry.unwritten_bytes += bytes;
        connection.has_unsent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.connection.release(self.since, self.bytes);
        }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
