//! What waits in the journal: each entry behind the earlier ones of every user and group that it
//! names, and behind nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use super::chain::Chain;
use super::freeing::Freeing;
use super::lane::{LaneId, Lanes, PartOf};
use super::merge::{Kind, MERGED_USERS_MAX, Merged, kind, main};
use super::pace::{Pace, Turns};
use super::subject::{Named, SubjectHasher, SubjectId, facts_taken};
use crate::clock::Stopwatch;
use crate::domain::decision::Mode;
use crate::domain::id::AppId;
use crate::domain::policy::Budget;
use crate::journal::{BYTES_MAX, ENTRIES_MAX, Encoded, Entry};
use crate::ledger::Operation;

/// Most users and groups in all entries together, about 80 bytes each.
pub(super) const NAMES_MAX: usize = 400_000;
/// How often an entry is tried while its server answers, before it is blocked.
pub(super) const TRIES_MAX: u32 = 5;
/// Time without a try after one that failed.
const REST: Duration = Duration::from_millis(100);

/// What waits about the users and groups of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Nothing.
    Nothing,
    /// Entries, of which this is the last one.
    Waits(u64),
    /// This entry is blocked.
    Blocked(u64),
}

/// Why an entry is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The budget of the failure policy is used up.
    Budget,
    /// The journal holds as much as it may.
    Journal,
}

/// How far an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It is not known to be on disk.
    Writing,
    /// It waits.
    Queued,
    /// The store is asked.
    InWork,
    /// It is in the store, and not yet struck out on disk.
    Done,
    /// It failed too often.
    Blocked(String),
}

/// An entry that waits.
pub(super) struct Waiting {
    pub(super) lane: LaneId,
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    /// The group, or the user on whose list it works.
    pub(super) main: Option<SubjectId>,
    pub(super) named: Box<[Named]>,
    facts: usize,
    pub(super) encoded: Encoded,
    pub(super) state: State,
    /// The blocked entry behind which it waits.
    pub(super) stuck_behind: Option<u64>,
    pub(super) tries: u32,
    pub(super) is_wanted: bool,
    /// Its turn among those that callers wait for.
    pub(super) turn: Option<u64>,
    pub(super) is_listed: bool,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

/// Entries that go to the store as one operation.
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
    /// Entries that have failed, and when; they rest alone.
    resting: VecDeque<(Stopwatch, u64)>,
    done: BTreeSet<u64>,
    /// Entries that release what others hold.
    pub(super) freeing: Freeing,
    pub(super) turns: Turns,
    pub(super) pace: Pace,
    bytes: usize,
    names: usize,
}

impl Queue {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            hasher: SubjectHasher::new(),
            entries: BTreeMap::new(),
            chains: HashMap::new(),
            apps: HashMap::new(),
            lanes: Lanes::default(),
            blocked: BTreeSet::new(),
            resting: VecDeque::new(),
            done: BTreeSet::new(),
            freeing: Freeing::default(),
            turns: Turns::default(),
            pace: Pace::default(),
            bytes: 0,
            names: 0,
        }
    }

    /// Whether nothing is left of any entry.
    #[cfg(test)]
    pub(super) fn is_spotless(&self) -> bool {
        let gone = self.entries.is_empty() && self.chains.is_empty() && self.apps.is_empty();
        gone && self.done.is_empty()
            && self.blocked.is_empty()
            && self.freeing.is_empty()
            && self.bytes == 0
            && self.names == 0
    }

    /// How full it is, by the bound that is next: entries, bytes or names.
    pub(super) fn fill_percent(&self) -> usize {
        let parts =
            [(self.entries.len(), ENTRIES_MAX), (self.bytes, BYTES_MAX), (self.names, NAMES_MAX)];
        parts.into_iter().map(|(held, most)| held * 100 / most).max().unwrap_or(0)
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What waits about the users and groups of an operation.
    pub(super) fn ahead(&self, app: &AppId, operation: &Operation) -> Ahead {
        let mut last = None;
        for named in self.hasher.of(app, operation) {
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

    /// Takes the place of an entry that is being written. With a budget, what it takes must fit.
    pub(super) fn enter(
        &mut self,
        number: u64,
        entry: &Entry,
        encoded: Encoded,
        budget: Option<&Budget>,
    ) -> Result<(), NoRoom> {
        let named = self.hasher.of(&entry.app, &entry.operation);
        let facts = facts_taken(&entry.operation);
        if let Some(budget) = budget {
            let of_app = self.apps.get(&entry.app).copied().unwrap_or(0) + facts;
            let fits = |named: &Named| {
                let there = self.chains.get(&named.id).map_or(0, |chain| chain.taken);
                let taken = usize::try_from(there + named.taken).unwrap_or(usize::MAX);
                taken <= named.whose.max(budget)
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

    /// Adds an entry that is on disk already, whatever room there is.
    pub(super) fn restore(&mut self, number: u64, entry: &Entry, encoded: Encoded) {
        let named = self.hasher.of(&entry.app, &entry.operation);
        let facts = facts_taken(&entry.operation);
        self.insert(number, entry, encoded, named, facts);
        self.written(number);
    }

    /// Releases find room for a tenth more than takes.
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
        self.freeing.add(number, &entry.app, &entry.operation);
        self.bytes += encoded.size_bytes();
        self.names += named.len();
        let waiting = Waiting {
            lane: (entry.app.clone(), PartOf::of(&entry.operation)),
            kind: kind(&entry.operation),
            mode: entry.mode,
            main: main(&entry.operation).map(|main| self.hasher.id(&entry.app, &main)),
            named: named.into_boxed_slice(),
            facts,
            encoded,
            state: State::Writing,
            stuck_behind,
            tries: 0,
            is_wanted: false,
            turn: None,
            is_listed: false,
            waiters: Vec::new(),
        };
        self.entries.insert(number, waiting);
    }

    /// An entry is on disk.
    pub(super) fn written(&mut self, number: u64) {
        if let Some(waiting) = self.entries.get_mut(&number) {
            waiting.state = State::Queued;
        }
        self.list(number, false);
    }

    /// Lists an entry that may go to the store now.
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
        self.lanes.add(&waiting.lane, number, waiting.is_wanted, is_first);
    }

    /// Lists what may go now that the entry before it is gone from the front of those chains.
    fn list_fronts(&mut self, ids: &[SubjectId]) {
        for id in ids {
            if let Some(front) = self.chains.get(id).and_then(Chain::front) {
                self.list(front, false);
            }
        }
    }

    /// Takes entries to be brought to the store, of an app whose server is not absent.
    pub(super) fn take(&mut self, is_absent: impl Fn(&AppId, &Operation) -> bool) -> Option<Batch> {
        while let Some((since, number)) = self.resting.front()
            && since.elapsed() >= REST
        {
            let number = *number;
            self.resting.pop_front();
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
            if is_absent(&entry.app, &entry.operation) {
                let is_wanted = waiting.is_wanted;
                self.lanes.add(&lane, number, is_wanted, true);
                self.lanes.rest(&lane, REST);
                continue;
            }
            waiting.is_listed = false;
            waiting.state = State::InWork;
            return Some(self.with_followers(number, entry));
        }
        None
    }

    /// Adds the entries that follow on the same group or list, as far as they may go with it.
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
                waiting.state = State::InWork;
                waiting.is_listed = false;
            }
            batch.numbers.push(next);
        }
        batch
    }

    /// Whether all that comes before an entry in a chain is in the store or in the batch.
    fn goes_after(&self, named: &Named, number: u64, batch: &[u64]) -> bool {
        let Some(chain) = self.chains.get(&named.id) else { return false };
        let Some(front) = chain.front() else { return false };
        chain
            .iter()
            .skip_while(|there| *there != front)
            .take_while(|there| *there != number)
            .all(|there| batch.binary_search(&there).is_ok())
    }

    /// Entries are in the store.
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

    /// Entries could not be brought to the store for a reason that is not theirs.
    pub(super) fn put_back(&mut self, numbers: &[u64]) {
        self.pace.forget();
        for number in numbers.iter().rev() {
            let Some(waiting) = self.entries.get_mut(number) else { continue };
            waiting.state = State::Queued;
            let lane = waiting.lane.clone();
            self.list(*number, true);
            self.lanes.rest(&lane, REST);
        }
    }

    /// The store answers, and cannot carry the entries out. Returns the one that is blocked by it.
    pub(super) fn failed(&mut self, numbers: &[u64], why: &str) -> Option<u64> {
        let is_alone = numbers.len() == 1;
        for number in numbers {
            if let Some(waiting) = self.entries.get_mut(number) {
                // Of several it is not known which one fails: they are tried alone.
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
                self.resting.push_back((Stopwatch::start(), *number));
            }
        }
        None
    }

    /// Entries that are in the store and to be struck out on disk.
    pub(super) fn to_strike_out(&self) -> Vec<u64> {
        self.done.iter().copied().collect()
    }

    /// Forgets entries: they are struck out, or were never written.
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
            self.pace.forget();
        }
    }

    /// Forgets every entry; what is being written keeps its place.
    pub(super) fn clear(&mut self) {
        let known = self.entries.iter().filter(|(_, it)| it.state != State::Writing);
        let numbers: Vec<u64> = known.map(|(number, _)| *number).collect();
        self.remove(&numbers);
    }
}
