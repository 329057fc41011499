//! The queue of the journal: each entry behind the earlier ones of every user and group that it
//! names, and behind nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use super::chain::Chain;
use super::freeing::Freeing;
use super::held::{HeldIndex, HoldRole};
use super::lane::{LaneId, Lanes};
use super::merge::{Kind, MERGED_USERS_MAX, Merged, kind, main};
use super::pace::{Pace, Turns};
use super::subject::{Named, SubjectHasher, SubjectId, facts_taken};
use crate::clock::Stopwatch;
use crate::domain::decision::Mode;
use crate::domain::failure_policy::Budget;
use crate::domain::id::AppId;
use crate::journal::{Accepted, BYTES_MAX, ENTRIES_MAX, Encoded, Entry};
use crate::ledger::Operation;

/// Most users and groups in all entries together, about 80 bytes each.
pub(super) const NAMES_MAX: usize = 400_000;
/// Attempts at an entry while its server is available, before it is blocked.
pub(super) const TRIES_MAX: u32 = 5;
/// Backoff after a failed attempt.
const BACKOFF: Duration = Duration::from_millis(100);

/// Entries about the users and groups of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// No entries.
    Nothing,
    /// There are entries; this is the last one.
    Waits(u64),
    /// This entry is blocked.
    Blocked(u64),
}

/// Reason why an entry is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The budget of the failure policy is used up.
    Budget,
    /// The journal is full.
    Journal,
}

/// State of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It may not be on disk yet, or is being removed there.
    Writing,
    /// It waits.
    Queued,
    /// The store is being called.
    InFlight,
    /// It is in the store, but not yet removed on disk.
    Done,
    /// It failed too often.
    Blocked(String),
}

/// An entry of the queue.
pub(super) struct Waiting {
    pub(super) lane: LaneId,
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    /// The group, or the user whose list it changes.
    pub(super) main: Option<SubjectId>,
    pub(super) named: Box<[Named]>,
    pub(super) hold: HoldRole,
    /// True once it may have been sent to the store.
    pub(super) may_be_stored: bool,
    facts: usize,
    pub(super) encoded: Encoded,
    pub(super) state: State,
    /// The blocked entry behind which it waits.
    pub(super) stuck_behind: Option<u64>,
    pub(super) tries: u32,
    pub(super) is_awaited: bool,
    /// Its turn among the entries that callers wait for.
    pub(super) turn: Option<u64>,
    pub(super) is_listed: bool,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

/// Entries that are replayed as one operation.
pub(super) struct Batch {
    pub(super) numbers: Vec<u64>,
    pub(super) merged: Merged,
}

/// The queue.
pub(super) struct Queue {
    pub(super) hasher: SubjectHasher,
    pub(super) entries: BTreeMap<u64, Waiting>,
    pub(super) chains: HashMap<SubjectId, Chain>,
    /// Facts taken, by app.
    apps: HashMap<AppId, usize>,
    pub(super) lanes: Lanes,
    /// Entries that are blocked.
    pub(super) blocked: BTreeSet<u64>,
    /// Entries that failed, and when; they are backing off on their own.
    backing_off: VecDeque<(Stopwatch, u64)>,
    done: BTreeSet<u64>,
    /// Entries that release facts that they do not name.
    pub(super) freeing: Freeing,
    pub(super) turns: Turns,
    pub(super) pace: Pace,
    bytes: usize,
    names: usize,
    /// Entries that have the id of an operation.
    pub(super) index: HeldIndex,
}

impl Queue {
    /// Creates an empty queue.
    pub(super) fn new() -> Self {
        Self {
            hasher: SubjectHasher::new(),
            entries: BTreeMap::new(),
            chains: HashMap::new(),
            apps: HashMap::new(),
            lanes: Lanes::default(),
            blocked: BTreeSet::new(),
            backing_off: VecDeque::new(),
            done: BTreeSet::new(),
            freeing: Freeing::default(),
            turns: Turns::default(),
            pace: Pace::default(),
            bytes: 0,
            names: 0,
            index: HeldIndex::default(),
        }
    }

    /// Returns whether no trace of any entry is left.
    #[cfg(test)]
    pub(super) fn is_spotless(&self) -> bool {
        let gone = self.entries.is_empty() && self.chains.is_empty() && self.apps.is_empty();
        gone && self.done.is_empty()
            && self.blocked.is_empty()
            && self.freeing.is_empty()
            && self.index.is_empty()
            && self.bytes == 0
            && self.names == 0
    }

    /// Returns the fill level in percent, by the bound that is closest: entries, bytes or names.
    pub(super) fn fill_percent(&self) -> usize {
        let parts =
            [(self.entries.len(), ENTRIES_MAX), (self.bytes, BYTES_MAX), (self.names, NAMES_MAX)];
        parts.into_iter().map(|(held, most)| held * 100 / most).max().unwrap_or(0)
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the entries about the users and groups of an operation.
    pub(super) fn ahead(&self, app: &AppId, operation: &Operation) -> Ahead {
        let mut last = None;
        for named in self.named_by(app, operation) {
            let Some(chain) = self.chains.get(&named.id) else { continue };
            let number = chain.last();
            let waiting = self.entries.get(&number);
            let blocked = waiting.and_then(|waiting| waiting.blocked_by(number));
            if let Some(blocked) = blocked {
                return Ahead::Blocked(blocked);
            }
            last = last.max(Some(number));
        }
        last.map_or(Ahead::Nothing, Ahead::Waits)
    }

    /// Adds an entry that is being written. With a budget, its facts must fit into it.
    pub(super) fn reserve(
        &mut self,
        number: u64,
        entry: &Entry,
        encoded: Encoded,
        budget: Option<&Budget>,
    ) -> Result<(), NoRoom> {
        let named = self.named(&entry.app, &entry.accepted);
        let facts = entry.accepted.operation().map_or(0, facts_taken);
        if let Some(budget) = budget {
            let of_app = self.apps.get(&entry.app).copied().unwrap_or(0) + facts;
            let fits = |named: &Named| {
                let taken_before = self.chains.get(&named.id).map_or(0, |chain| chain.taken);
                let taken = usize::try_from(taken_before + named.taken).unwrap_or(usize::MAX);
                taken <= named.kind.max(budget)
            };
            if of_app > budget.per_app_max || !named.iter().all(fits) {
                return Err(NoRoom::Budget);
            }
        }
        let is_full = self.entries.len() >= ENTRIES_MAX
            || self.bytes + encoded.size_bytes() > BYTES_MAX
            || self.names + named.len() > NAMES_MAX;
        if is_full && budget.is_some() || self.is_beyond(&encoded, named.len()) {
            return Err(NoRoom::Journal);
        }
        self.insert(number, entry, encoded, named, facts);
        Ok(())
    }

    /// Adds an entry that is already on disk, regardless of the bounds.
    pub(super) fn restore(&mut self, number: u64, entry: &Entry, encoded: Encoded) {
        let named = self.named(&entry.app, &entry.accepted);
        let facts = entry.accepted.operation().map_or(0, facts_taken);
        self.insert(number, entry, encoded, named, facts);
        self.entries.entry(number).and_modify(|it| it.may_be_stored = true);
        self.written(number);
    }

    /// Returns whether even releases find no room; they have a tenth more than takes.
    fn is_beyond(&self, encoded: &Encoded, names: usize) -> bool {
        let more = |most: usize| most + most / 10;
        self.entries.len() >= more(ENTRIES_MAX)
            || self.bytes + encoded.size_bytes() > more(BYTES_MAX)
            || self.names + names > more(NAMES_MAX)
    }

    fn insert(
        &mut self,
        number: u64,
        entry: &Entry,
        encoded: Encoded,
        named: Vec<Named>,
        facts: usize,
    ) {
        let mut stuck_behind = None;
        for Named { id, taken, .. } in &named {
            let Some(chain) = self.chains.get_mut(id) else {
                let mut chain = Chain::new(number);
                chain.taken = *taken;
                self.chains.insert(*id, chain);
                continue;
            };
            let last = chain.last();
            let waiting = self.entries.get(&last);
            stuck_behind = stuck_behind.or_else(|| waiting.and_then(|it| it.blocked_by(last)));
            chain.push(number);
            chain.taken += taken;
        }
        if facts > 0 {
            *self.apps.entry(entry.app.clone()).or_default() += facts;
        }
        let operation = entry.accepted.operation();
        if let Some(operation) = operation {
            self.freeing.add(number, &entry.app, operation);
        }
        self.index.add(number, &entry.app, entry.accepted.operation_id());
        self.bytes += encoded.size_bytes();
        self.names += named.len();
        let waiting = Waiting {
            lane: (entry.app.clone(), entry.accepted.part()),
            kind: operation.and_then(kind),
            mode: entry.mode,
            main: operation.and_then(main).map(|main| self.hasher.id(&entry.app, &main)),
            hold: HoldRole::of(&entry.accepted),
            may_be_stored: false,
            named: named.into_boxed_slice(),
            facts,
            encoded,
            state: State::Writing,
            stuck_behind,
            tries: 0,
            is_awaited: false,
            turn: None,
            is_listed: false,
            waiters: Vec::new(),
        };
        self.entries.insert(number, waiting);
    }

    /// Marks an entry as on disk.
    pub(super) fn written(&mut self, number: u64) {
        if let Some(waiting) = self.entries.get_mut(&number) {
            waiting.state = State::Queued;
        }
        self.list(number, false);
    }

    /// Lists an entry, if it may be replayed now.
    pub(super) fn list(&mut self, number: u64, is_first: bool) {
        let Some(waiting) = self.entries.get(&number) else { return };
        let is_front = |named: &Named| {
            self.chains.get(&named.id).is_some_and(|chain| chain.front() == Some(number))
        };
        if waiting.state != State::Queued
            || waiting.is_listed
            || !waiting.named.iter().all(is_front)
        {
            return;
        }
        let Some(waiting) = self.entries.get_mut(&number) else { return };
        waiting.is_listed = true;
        self.lanes.add(&waiting.lane, number, waiting.is_awaited, is_first);
    }

    /// Lists the new front entries of those chains, if they may be replayed now.
    fn list_fronts(&mut self, ids: &[SubjectId]) {
        for id in ids {
            if let Some(front) = self.chains.get(id).and_then(Chain::front) {
                self.list(front, false);
            }
        }
    }

    /// Takes entries to be replayed, of an app whose server is not absent.
    pub(super) fn take(&mut self, is_absent: impl Fn(&AppId, &Accepted) -> bool) -> Option<Batch> {
        while let Some((since, number)) = self.backing_off.front()
            && since.elapsed() >= BACKOFF
        {
            let number = *number;
            self.backing_off.pop_front();
            self.list(number, false);
        }
        while let Some((lane, number)) = self.lanes.next() {
            let Some(waiting) = self.entries.get_mut(&number) else { continue };
            if waiting.state != State::Queued || !waiting.is_listed {
                continue;
            }
            let entry = match waiting.encoded.decode() {
                Ok(entry) => entry,
                Err(why) => {
                    waiting.is_listed = false;
                    self.block(number, why);
                    continue;
                }
            };
            if is_absent(&entry.app, &entry.accepted) {
                let is_awaited = waiting.is_awaited;
                self.lanes.add(&lane, number, is_awaited, true);
                self.lanes.pause(&lane, BACKOFF);
                continue;
            }
            waiting.is_listed = false;
            waiting.may_be_stored = true;
            waiting.state = State::InFlight;
            return Some(self.with_followers(number, entry));
        }
        None
    }

    /// Adds the entries that follow on the same group or list, if they can be merged with it.
    fn with_followers(&mut self, number: u64, entry: Entry) -> Batch {
        let mut batch = Batch { numbers: vec![number], merged: Merged::new(entry) };
        let Some(first) = self.entries.get(&number) else { return batch };
        if first.tries > 0 {
            return batch;
        }
        let chain = first.main.and_then(|main| self.chains.get(&main));
        let Some(chain) = chain else { return batch };
        let followers: Vec<u64> =
            chain.iter().filter(|next| *next > number).take(MERGED_USERS_MAX).collect();
        for next in followers {
            let Some(waiting) = self.entries.get(&next) else { break };
            let may_go = waiting.state == State::Queued
                && waiting.tries == 0
                && waiting.named.iter().all(|named| self.goes_after(named, next, &batch.numbers));
            if !may_go {
                break;
            }
            let Ok(entry) = waiting.encoded.decode() else { break };
            if !batch.merged.add(entry) {
                break;
            }
            if let Some(waiting) = self.entries.get_mut(&next) {
                waiting.state = State::InFlight;
                waiting.may_be_stored = true;
                waiting.is_listed = false;
            }
            batch.numbers.push(next);
        }
        batch
    }

    /// Returns whether every earlier entry in a chain is in the store or in the batch.
    fn goes_after(&self, named: &Named, number: u64, batch: &[u64]) -> bool {
        let Some(chain) = self.chains.get(&named.id) else { return false };
        let Some(front) = chain.front() else { return false };
        chain
            .iter()
            .skip_while(|there| *there != front)
            .take_while(|there| *there != number)
            .all(|there| batch.binary_search(&there).is_ok())
    }

    /// Marks entries as stored.
    pub(super) fn done(&mut self, numbers: &[u64]) {
        self.pace.advance(numbers.len());
        for number in numbers {
            self.end_turn(*number);
            let Some(waiting) = self.entries.get_mut(number) else { continue };
            waiting.state = State::Done;
            self.done.insert(*number);
            self.freeing.remove(*number, &waiting.lane.0);
            let ids: Vec<SubjectId> = waiting.named.iter().map(|named| named.id).collect();
            for id in &ids {
                if let Some(chain) = self.chains.get_mut(id) {
                    chain.advance();
                }
            }
            self.list_fronts(&ids);
        }
    }

    /// Requeues entries that could not be replayed for a reason that does not lie in them.
    pub(super) fn requeue(&mut self, numbers: &[u64]) {
        self.pace.reset();
        for number in numbers.iter().rev() {
            let Some(waiting) = self.entries.get_mut(number) else { continue };
            waiting.state = State::Queued;
            let lane = waiting.lane.clone();
            self.list(*number, true);
            self.lanes.pause(&lane, BACKOFF);
        }
    }

    /// Notes that the store is available and cannot carry the entries out. Returns the entry that
    /// this blocks.
    pub(super) fn failed(&mut self, numbers: &[u64], why: &str) -> Option<u64> {
        let is_alone = numbers.len() == 1;
        for number in numbers {
            if let Some(waiting) = self.entries.get_mut(number) {
                // Any of several entries may be the failing one, so they are retried one by one.
                waiting.tries += 1;
            }
        }
        let first = *numbers.first()?;
        let tries = self.entries.get(&first)?.tries;
        if is_alone && tries >= TRIES_MAX {
            self.block(first, why.to_owned());
            return Some(first);
        }
        for number in numbers {
            if let Some(waiting) = self.entries.get_mut(number) {
                waiting.state = State::Queued;
                self.backing_off.push_back((Stopwatch::start(), *number));
            }
        }
        None
    }

    /// Returns the entries that are in the store and have to be removed on disk.
    pub(super) fn to_strike_out(&self) -> Vec<u64> {
        self.done.iter().copied().collect()
    }

    /// Removes entries: they are removed on disk, or were never written.
    pub(super) fn remove(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.end_turn(*number);
            let Some(mut waiting) = self.entries.remove(number) else { continue };
            self.done.remove(number);
            self.freeing.remove(*number, &waiting.lane.0);
            for Named { id, taken, .. } in &waiting.named {
                let Some(chain) = self.chains.get_mut(id) else { continue };
                chain.taken = chain.taken.saturating_sub(*taken);
                if !chain.remove(*number) {
                    self.chains.remove(id);
                }
            }
            if let Some(taken) = self.apps.get_mut(&waiting.lane.0) {
                *taken = taken.saturating_sub(waiting.facts);
                if *taken == 0 {
                    self.apps.remove(&waiting.lane.0);
                }
            }
            self.index.remove(*number, &waiting.lane.0, waiting.hold.id());
            self.bytes -= waiting.encoded.size_bytes();
            self.names -= waiting.named.len();
            waiting.wake();
            if self.blocked.remove(number) {
                self.release_stuck(*number);
            }
            let ids: Vec<SubjectId> = waiting.named.iter().map(|named| named.id).collect();
            self.list_fronts(&ids);
        }
        if self.entries.is_empty() {
            self.pace.reset();
        }
    }

    /// Removes every entry, except for those that are being written.
    pub(super) fn clear(&mut self) {
        let on_disk = self.entries.iter().filter(|(_, it)| it.state != State::Writing);
        let numbers: Vec<u64> = on_disk.map(|(number, _)| *number).collect();
        self.remove(&numbers);
    }
}
