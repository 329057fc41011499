//! Calls scripts of one store: the client, this process's clock, and what both have observed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::Value;
use tokio::sync::Semaphore;

use super::client::{CallError, CallTimeout, Client, ClockReading};
use super::known::Known;
use super::marks::Marks;
use super::scripts::ScriptId;
use super::standing::Standing;
use crate::clock::Clock;
use crate::ledger::redis::catalog_args::Texts;
use crate::ledger::redis::group_types::Noted;
use crate::ledger::redis::unanswered::UnansweredQueue;
use crate::ledger::redis::unknown_apps::SeenApps;
use crate::ledger::{Call, LedgerError};
use crate::store::fingerprint::Fingerprints;

/// Timeout of a call that no caller waits for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Most claims that are compared concurrently: enough to keep a server busy, and few enough that
/// other calls do not wait long behind them.
const COMPARISONS_MAX: usize = 32;

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
    /// The catalog arguments of the last script call.
    catalog_args: ArcSwapOption<Texts>,
    /// The keys of the generation marks that scripts check.
    pub marks: Marks,
    /// The state of the store: open, lost, or being accepted.
    pub standing: Standing,
    /// Group types that are recorded as in use.
    pub noted: Noted,
    /// Unregistered apps that have been counted.
    pub unknown_apps: SeenApps,
    /// Observations of the store, for detecting lost writes.
    pub known: Arc<Known>,
    /// Takes whose reply did not reach the caller.
    pub unanswered: UnansweredQueue,
    /// Permits for claims that are being compared.
    pub comparing: Semaphore,
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
        let comparing = Semaphore::new(COMPARISONS_MAX);
        let marks = client.marks();
        let (catalog_args, noted) = (ArcSwapOption::empty(), Noted::default());
        let unknown_apps = SeenApps::default();
        let known = client.known();
        known.use_ids(ids);
        known.of_generation(&standing.generation());
        Self {
            client,
            clock,
            ids,
            clock_readings,
            catalog_args,
            marks,
            standing,
            noted,
            unknown_apps,
            known,
            unanswered: UnansweredQueue::default(),
            comparing,
        }
    }

    /// Returns the catalog arguments of scripts for the call's catalog.
    pub fn catalog_args(&self, call: &Call) -> Arc<Texts> {
        let known = self.catalog_args.load();
        if let Some(catalog_args) = known.as_ref().filter(|catalog_args| catalog_args.are_of(call))
        {
            return catalog_args.clone();
        }
        let catalog_args = Arc::new(Texts::of(call));
        self.catalog_args.store(Some(catalog_args.clone()));
        catalog_args
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
    ) -> Result<Value, LedgerError> {
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
            CallError::OutcomeUnknown(reason) => Self::Unavailable(reason),
            CallError::Broken(reason) => Self::ConnectionLost(reason),
            CallError::Unconfirmed(why) => Self::Unconfirmed(why),
            CallError::Unconfirmable(reason) => Self::Unconfirmable(reason),
            CallError::Failed(reason) => Self::Failed(reason),
            CallError::Absent { why, may_be_done } => Self::Absent { why, may_be_done },
        }
    }
}
