//! The connection to the store together with this process's clock.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::Value;
use tokio::sync::Semaphore;

use super::client::{CallError, Client, ClockReading, Patience};
use super::group_types::Noted;
use super::known::Known;
use super::marks::Marks;
use super::scripts::ScriptId;
use super::standing::Standing;
use super::texts::Texts;
use super::unanswered::UnansweredQueue;
use super::unknown_apps::SeenApps;
use crate::clock::Clock;
use crate::ledger::fingerprint::Fingerprints;
use crate::ledger::{Call, LedgerError};

/// Longest time for a call that has no caller who waits.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Claims that are compared at once: enough to keep a server busy, and few enough that nobody else
/// waits long behind them.
const COMPARED_AT_ONCE: usize = 32;

/// Most calls of one step while its mark is found out about: once without it, once in another
/// generation.
pub const MARK_ATTEMPTS_MAX: usize = 3;
/// What is said of a store whose marks change faster than that.
pub const CHANGING: &str = "its generation is changing";

/// What scripts are called through.
pub struct Store {
    /// The connections.
    pub client: Client,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Makes fingerprints.
    pub ids: Fingerprints,
    /// The servers' clocks as they were read last.
    clock_readings: ArcSwap<Vec<ClockReading>>,
    /// What scripts were told of the catalog last.
    texts: ArcSwapOption<Texts>,
    /// Where the marks lie that scripts check.
    pub marks: Marks,
    /// Whether it is the store that was opened.
    pub standing: Standing,
    /// Group types that are known to be in the set of those in use.
    pub noted: Noted,
    /// Unregistered apps that are known to be counted.
    pub unknown_apps: SeenApps,
    /// What has been seen of the store.
    pub known: Arc<Known>,
    /// Takes whose answer did not reach the caller.
    pub unanswered: UnansweredQueue,
    /// Held by claims while they are compared.
    pub comparing: Semaphore,
}

impl Store {
    /// A store, as this process stands to it.
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        ids: Fingerprints,
        standing: Standing,
    ) -> Self {
        let clock_readings = ArcSwap::default();
        let comparing = Semaphore::new(COMPARED_AT_ONCE);
        let marks = client.marks();
        let (texts, noted) = (ArcSwapOption::empty(), Noted::default());
        let unknown_apps = SeenApps::default();
        let known = client.known();
        known.use_ids(ids);
        known.of_generation(&standing.generation());
        Self {
            client,
            clock,
            ids,
            clock_readings,
            texts,
            marks,
            standing,
            noted,
            unknown_apps,
            known,
            unanswered: UnansweredQueue::default(),
            comparing,
        }
    }

    /// What scripts are told of the catalog that the call goes by.
    pub fn texts(&self, call: &Call) -> Arc<Texts> {
        let known = self.texts.load();
        if let Some(texts) = known.as_ref().filter(|texts| texts.are_of(call)) {
            return texts.clone();
        }
        let texts = Arc::new(Texts::of(call));
        self.texts.store(Some(texts.clone()));
        texts
    }

    /// The servers' clocks as they were read last.
    pub fn clock_readings(&self) -> Arc<Vec<ClockReading>> {
        self.clock_readings.load_full()
    }

    /// Keeps the servers' clocks as they were read.
    pub fn set_clock_readings(&self, readings: Vec<ClockReading>) {
        self.clock_readings.store(Arc::new(readings));
    }

    /// The generation that the marks have to carry.
    pub fn generation(&self) -> Arc<Vec<u8>> {
        let generation = self.standing.generation();
        self.known.of_generation(&generation);
        generation
    }

    /// A call went through: the mark beside that key is there.
    pub fn saw_mark(&self, key: &[u8]) {
        if !self.standing.seen.is_all() {
            self.standing.seen.insert(self.marks.slot_beside(key));
        }
    }

    /// This process's clock, as scripts read it.
    pub fn caller_now(&self) -> Vec<u8> {
        self.clock.now().as_millis().to_string().into_bytes()
    }

    /// Calls a script that includes `scripts/shared/mark.lua`, and not `begin.lua`.
    pub async fn raw(
        &self,
        script: ScriptId,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
        patience: impl Into<Patience>,
    ) -> Result<Value, LedgerError> {
        let (patience, first) = (patience.into(), keys.first().map_or(&[][..], Vec::as_slice));
        let mark = self.marks.beside(first);
        let keys: Vec<&[u8]> = keys.iter().chain([&mark]).map(Vec::as_slice).collect();
        let mut attempts = 0;
        loop {
            self.standing.check(script)?;
            let (generation, caller_now) = (self.generation(), self.caller_now());
            let own = arguments.iter().map(Vec::as_slice);
            let all: Vec<&[u8]> = own.chain([generation.as_slice(), &caller_now]).collect();
            match self.client.call_with(script as usize, &keys, &all, 1, patience).await {
                Ok(value) => {
                    self.saw_mark(first);
                    return Ok(value);
                }
                Err(met) => self.examine(&generation, first, met).await?,
            }
            attempts += 1;
            if attempts >= MARK_ATTEMPTS_MAX {
                return Err(LedgerError::StoreLost(CHANGING.to_owned()));
            }
        }
    }
}

impl From<CallError> for LedgerError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Overloaded(why) => Self::Overloaded(why),
            CallError::Closing => Self::Closing,
            CallError::StoreLost(reason) => Self::StoreLost(reason),
            CallError::ClockSkew(seconds) => Self::ClockSkew(seconds),
            CallError::Refused(reason) => Self::Refused(reason),
            CallError::Lost(reason) => Self::Unavailable(reason),
            CallError::Broken(reason) => Self::ConnectionLost(reason),
            CallError::Unconfirmed(why) => Self::Unconfirmed(why),
            CallError::Unconfirmable(reason) => Self::Unconfirmable(reason),
            CallError::Failed(reason) => Self::Failed(reason),
            CallError::Absent { why, may_be_done } => Self::Absent { why, may_be_done },
        }
    }
}
