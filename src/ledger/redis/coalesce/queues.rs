//! A queue of operations for each part of an app, and the number of its calls in flight.
//!
//! Synchronous: no lock is held while a call runs. Generic over what waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::pace::{Answered, Pace};
use crate::clock::Stopwatch;
use crate::redis::keys::Part;
use crate::redis::options::Coalescing;
use crate::store::Overload;

/// Most operations of one call: about 1.5 ms of the server's time.
const OPERATIONS_MAX: usize = 256;
/// Most operations that stay in the queue while later ones go with the first one.
const SKIPPED_MAX: usize = 1024;
/// Least number of operations of a call that is sent while another one is in flight to a near
/// server, so that the server works while this process handles the results of the other one.
const SECOND_CALL_MIN: usize = 16;
/// Number of operations of one part that may wait, for each one that may be in flight at a server.
const WAITING_PER_PERMIT: usize = 16;
/// Number of parts whose queues may be full at once.
const FULL_QUEUES_MAX: usize = 16;
/// Most parts that are remembered while they have no operation.
const PARTS_MAX: usize = 16_384;
/// The time for which a part's operations go by themselves after its operations could not be
/// decided together.
const APART_FOR: Duration = Duration::from_secs(1);

/// An app, as a number, and a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartKey {
    /// The fingerprint of the app.
    pub app: u64,
    /// The part.
    pub part: Part,
}

/// An operation that waits.
pub trait Queued {
    /// Returns whether no caller waits for it any more.
    fn is_abandoned(&self) -> bool;

    /// Returns whether one call can decide it together with `first`.
    fn goes_with(&self, first: &Self) -> bool;
}

/// The result of [`Queues::enter`].
#[derive(Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is sent now and counts as a call in flight, until [`Queues::leave`].
    InFlight,
    /// It is sent now, and does not count.
    Apart,
    /// It waits.
    Waits {
        /// The number under which it waits.
        number: u64,
        /// True if the caller has to send the next call once those have come that come with it.
        sends_next: bool,
    },
}

/// The queues of all parts.
pub struct Queues<T> {
    parts: DashMap<PartKey, PartQueue<T>>,
    parts_len: AtomicUsize,
    waiting: AtomicUsize,
    waiting_max: usize,
    coalescing: Coalescing,
    clock: Stopwatch,
}

struct PartQueue<T> {
    waiting: VecDeque<(u64, T)>,
    next_number: u64,
    in_flight: usize,
    pace: Pace,
    /// True if the last call had several operations: more come together then.
    is_busy: bool,
    /// True if a caller is about to send the next call.
    is_sending: bool,
    apart_until: Duration,
}

impl<T> Default for PartQueue<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            next_number: 0,
            in_flight: 0,
            pace: Pace::default(),
            is_busy: false,
            is_sending: false,
            apart_until: Duration::ZERO,
        }
    }
}

impl<T> PartQueue<T> {
    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_empty()
    }

    /// Returns how many calls may be sent now for the operations that wait.
    fn room(&self) -> usize {
        let near = if self.waiting.len() >= SECOND_CALL_MIN { 2 } else { 1 };
        self.pace.calls_max().max(near).saturating_sub(self.in_flight)
    }

    /// Returns how many of the operations that wait go in the next call: an equal share for each
    /// call for which there is room, if they are enough for several.
    fn share(&self) -> usize {
        let calls = self.room().min(self.waiting.len() / SECOND_CALL_MIN).max(1);
        self.waiting.len().div_ceil(calls).min(OPERATIONS_MAX)
    }
}

impl<T: Queued> Queues<T> {
    /// Creates queues for servers with that number of operations in flight each.
    pub fn new(in_flight_max: usize, coalescing: Coalescing) -> Self {
        Self {
            parts: DashMap::new(),
            parts_len: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_max: in_flight_max.max(1).saturating_mul(WAITING_PER_PERMIT),
            coalescing,
            clock: Stopwatch::start(),
        }
    }

    /// Returns whether a single operation waits for a call as well.
    pub fn is_always_queued(&self) -> bool {
        self.coalescing == Coalescing::Always
    }

    /// Lets an operation pass, or queues it.
    pub fn enter(&self, key: PartKey, operation: impl FnOnce() -> T) -> Result<Entered, Overload> {
        if self.coalescing == Coalescing::Off {
            return Ok(Entered::Apart);
        }
        let mut queue = match self.parts.entry(key) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(entry) => {
                self.parts_len.fetch_add(1, Ordering::Relaxed);
                entry.insert(PartQueue::default())
            }
        };
        if !queue.apart_until.is_zero() {
            if self.clock.elapsed() < queue.apart_until {
                return Ok(Entered::Apart);
            }
            queue.apart_until = Duration::ZERO;
        }
        let has_room = queue.waiting.is_empty() && queue.in_flight < queue.pace.calls_max();
        if has_room && !queue.is_busy && !self.is_always_queued() {
            queue.in_flight += 1;
            return Ok(Entered::InFlight);
        }
        let all = self.waiting.load(Ordering::Relaxed);
        if queue.waiting.len() >= self.waiting_max
            || all >= self.waiting_max.saturating_mul(FULL_QUEUES_MAX)
        {
            return Err(Overload::Full);
        }
        let number = queue.next_number;
        queue.next_number += 1;
        queue.waiting.push_back((number, operation()));
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sends_next = !queue.is_sending && queue.room() > 0;
        queue.is_sending |= sends_next;
        Ok(Entered::Waits { number, sends_next })
    }

    /// Returns the operations of the next call, in order, if there is room for one and operations
    /// wait; they count as one call in flight, until [`Self::leave`].
    pub fn next(&self, key: PartKey) -> Option<Vec<T>> {
        let mut queue = self.parts.get_mut(&key)?;
        queue.is_sending = false;
        if queue.room() == 0 {
            return None;
        }
        let (share, mut taken) = (queue.share(), Vec::<T>::new());
        let mut at = 0;
        while taken.len() < share
            && at < SKIPPED_MAX
            && let Some((_, next)) = queue.waiting.get(at)
        {
            let is_abandoned = next.is_abandoned();
            if !is_abandoned && taken.first().is_some_and(|first| !next.goes_with(first)) {
                at += 1;
                continue;
            }
            let next = queue.waiting.remove(at);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            taken.extend(next.filter(|_| !is_abandoned).map(|(_, operation)| operation));
        }
        if taken.is_empty() {
            return None;
        }
        queue.in_flight += 1;
        queue.is_busy = taken.len() > 1;
        Some(taken)
    }

    /// Ends a call in flight, which was answered if `answered` is given.
    pub fn leave(&self, key: PartKey, answered: Option<Answered>) {
        if let Some(mut queue) = self.parts.get_mut(&key) {
            queue.in_flight -= 1;
            if let Some(answered) = answered {
                queue.pace.answered(self.clock.elapsed(), answered);
            }
        }
        if self.parts_len.load(Ordering::Relaxed) > PARTS_MAX {
            self.forget_idle();
        }
    }

    /// Lets the part's operations go by themselves for a while.
    pub fn set_apart(&self, key: PartKey) {
        if let Some(mut queue) = self.parts.get_mut(&key) {
            queue.apart_until = self.clock.elapsed() + APART_FOR;
        }
    }

    /// Removes an operation that waits; returns `false` if it has been taken.
    pub fn withdraw(&self, key: PartKey, number: u64) -> bool {
        let Some(mut queue) = self.parts.get_mut(&key) else { return false };
        let Ok(at) = queue.waiting.binary_search_by_key(&number, |(number, _)| *number) else {
            return false;
        };
        queue.waiting.remove(at);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Returns the parts with operations that wait, and how many.
    pub fn waiting(&self) -> Vec<(PartKey, usize)> {
        let parts = self.parts.iter().map(|part| (*part.key(), part.waiting.len()));
        parts.filter(|(_, waiting)| *waiting > 0).collect()
    }

    fn forget_idle(&self) {
        self.parts.retain(|_, queue| {
            let is_kept = !queue.is_idle();
            if !is_kept {
                self.parts_len.fetch_sub(1, Ordering::Relaxed);
            }
            is_kept
        });
    }
}

#[cfg(test)]
#[path = "queues_tests.rs"]
mod tests;
