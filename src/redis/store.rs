//! Calls scripts of one store: the client, this process's clock, and what both have observed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::Value;

use super::client::{CallError, CallTimeout, Client, ClockReading};
use super::identity;
use super::known::Known;
use super::marks::Marks;
use super::scripts::ScriptId;
use super::standing::Standing;
use crate::clock::Clock;
use crate::store::Fingerprints;
use crate::store::StoreError;

/// Timeout of a call that no caller waits for.
pub const UNWATCHED_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Most attempts of one step while its generation mark is examined: the mark may be missing once,
/// and carry another generation once.
pub const MARK_ATTEMPTS_MAX: usize = 3;
/// The error text for a store whose marks change faster than that.
pub const CHANGING: &str = "its generation is changing";

/// Calls scripts, and holds the state that calls share.
pub struct Store {
    /// The Redis client.
    pub client: Client,
    /// This process's clock.
    pub clock: Arc<dyn Clock>,
    /// Computes fingerprints.
    pub ids: Fingerprints,
    /// The last readings of the servers' clocks.
    clock_readings: ArcSwap<Vec<ClockReading>>,
    /// The keys of the generation marks that scripts check.
    pub marks: Marks,
    /// The state of the store: open, lost, or being accepted.
    pub standing: Standing,
    /// The generation of the store that was given the format with months; empty if none was.
    format_raised: ArcSwap<Vec<u8>>,
    /// Observations of the store, for detecting lost writes.
    pub known: Arc<Known>,
}

impl Store {
    /// Creates the store from its parts.
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        ids: Fingerprints,
        standing: Standing,
    ) -> Self {
        let clock_readings = ArcSwap::default();
        let marks = client.marks();
        let known = client.known();
        known.use_ids(ids);
        known.of_generation(&standing.generation());
        let format_raised = ArcSwap::default();
        Self { client, clock, ids, clock_readings, marks, standing, format_raised, known }
    }

    /// Returns the last readings of the servers' clocks.
    pub fn clock_readings(&self) -> Arc<Vec<ClockReading>> {
        self.clock_readings.load_full()
    }

    /// Stores readings of the servers' clocks.
    pub fn set_clock_readings(&self, readings: Vec<ClockReading>) {
        self.clock_readings.store(Arc::new(readings));
    }

    /// Returns the generation that the marks must carry.
    pub fn generation(&self) -> Arc<Vec<u8>> {
        let generation = self.standing.generation();
        self.known.of_generation(&generation);
        generation
    }

    /// Gives the store the format with months, unless this process has: before the first cell that
    /// versions which read only format 1 would misread.
    pub async fn need_format_with_months(&self) -> Result<(), StoreError> {
        let generation = self.generation();
        if **self.format_raised.load() == *generation {
            return Ok(());
        }
        if !identity::raise_format(&self.client, &generation).await? {
            return Err(StoreError::StoreLost(CHANGING.to_owned()));
        }
        self.format_raised.store(generation);
        Ok(())
    }

    /// Records the format that was found: servers that failed over may have lost it.
    pub fn found_format(&self, format: &str) {
        if format != identity::FORMAT_WITH_MONTHS {
            self.format_raised.store(Arc::default());
        }
    }

    /// Records that a call succeeded: the mark beside that key exists.
    pub fn saw_mark(&self, key: &[u8]) {
        if !self.standing.seen.is_all() {
            self.standing.seen.insert(self.marks.slot_beside(key));
        }
    }

    /// Returns this process's clock in the form that scripts read.
    pub fn caller_now(&self) -> Vec<u8> {
        self.clock.now().as_millis().to_string().into_bytes()
    }

    /// Calls a script that includes `scripts/shared/mark.lua` but not `begin.lua`.
    pub async fn call_script(
        &self,
        script: ScriptId,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
        timeout: impl Into<CallTimeout>,
    ) -> Result<Value, StoreError> {
        let (timeout, first) = (timeout.into(), keys.first().map_or(&[][..], Vec::as_slice));
        let mark = self.marks.beside(first);
        let keys: Vec<&[u8]> = keys.iter().chain([&mark]).map(Vec::as_slice).collect();
        let mut attempts = 0;
        loop {
            self.standing.check(script)?;
            let (generation, caller_now) = (self.generation(), self.caller_now());
            let own = arguments.iter().map(Vec::as_slice);
            let all: Vec<&[u8]> = own.chain([generation.as_slice(), &caller_now]).collect();
            match self.client.call_with(script as usize, &keys, &all, 1, timeout).await {
                Ok(value) => {
                    self.saw_mark(first);
                    return Ok(value);
                }
                Err(met) => self.examine(&generation, first, met).await?,
            }
            attempts += 1;
            if attempts >= MARK_ATTEMPTS_MAX {
                return Err(StoreError::StoreLost(CHANGING.to_owned()));
            }
        }
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Overloaded(why) => Self::Overloaded(why),
            CallError::Closing => Self::Closing,
            CallError::StoreLost(reason) => Self::StoreLost(reason),
            CallError::ClockSkew(seconds) => Self::ClockSkew(seconds),
            CallError::Refused(reason) => Self::Refused(reason),
            CallError::OutcomeUnknown(reason) => Self::Unavailable(reason),
            CallError::Broken(reason) => Self::ConnectionLost(reason),
            CallError::Unconfirmed(why) => Self::Unconfirmed(why),
            CallError::Unconfirmable(reason) => Self::Unconfirmable(reason),
            CallError::Failed(reason) => Self::Failed(reason),
            CallError::Absent { why, may_be_done } => Self::Absent { why, may_be_done },
        }
    }
}
