//! The connection to the store together with its clock.
//!
//! Our clock may differ from the server's, so that deadlines are told in the server's time, by
//! what its latest answers said.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::Value;
use tokio::sync::Semaphore;

use super::client::{CallError, Client, Patience};
use super::marks::Marks;
use super::scripts::ScriptId;
use super::texts::Texts;
use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::ledger::fingerprint::Fingerprints;
use crate::ledger::{Call, LedgerError};

/// Longest time for a call that has no caller who waits.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Claims that are compared at once: enough to keep a server busy, and few enough that nobody else
/// waits long behind them.
const COMPARED_AT_ONCE: usize = 32;

/// What scripts are called through.
pub struct Store {
    /// The connections.
    pub client: Client,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Makes fingerprints.
    pub ids: Fingerprints,
    /// The server's clock less ours, in milliseconds, by its latest answer.
    ahead_ms: AtomicI64,
    /// What scripts were told of the catalog last.
    texts: ArcSwapOption<Texts>,
    /// Where the marks lie that scripts check.
    pub marks: Marks,
    /// The generation that the marks have to carry.
    generation: ArcSwap<Vec<u8>>,
    /// Held by claims while they are compared.
    pub comparing: Semaphore,
}

impl Store {
    /// A store of a generation, whose clock said `server_now` a moment ago.
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        ids: Fingerprints,
        generation: &str,
        server_now: i64,
    ) -> Self {
        let ahead_ms = AtomicI64::new(server_now - clock.now().as_millis());
        let comparing = Semaphore::new(COMPARED_AT_ONCE);
        let marks = Marks::new(client.is_cluster());
        let generation = ArcSwap::from_pointee(generation.as_bytes().to_vec());
        let texts = ArcSwapOption::empty();
        Self { client, clock, ids, ahead_ms, texts, marks, generation, comparing }
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

    /// What the server's clock says when ours says `instant`.
    pub fn server_time(&self, instant: Timestamp) -> Timestamp {
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(instant.as_millis().saturating_add(ahead_ms))
    }

    /// The estimate was wrong: the server's clock was set, or another server took over.
    pub fn relearn(&self, server_now: i64) {
        self.ahead_ms.store(self.at_least(server_now), Ordering::Relaxed);
    }

    /// Takes in what an answer says of the server's clock, between our `sent_at` and now.
    pub fn learn(&self, server_now: i64, sent_at: Timestamp) {
        let at_least = self.at_least(server_now);
        let at_most = at_least.max(server_now - sent_at.as_millis());
        let known = self.ahead_ms.load(Ordering::Relaxed);
        self.ahead_ms.store(known.clamp(at_least, at_most), Ordering::Relaxed);
    }

    fn at_least(&self, server_now: i64) -> i64 {
        server_now - self.clock.now().as_millis()
    }

    /// The generation that the marks have to carry.
    pub fn generation(&self) -> Arc<Vec<u8>> {
        self.generation.load_full()
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
        let mark = keys.first().map(|key| self.marks.beside(key));
        let (generation, caller_now) = (self.generation(), self.caller_now());
        let keys: Vec<&[u8]> = keys.iter().chain(&mark).map(Vec::as_slice).collect();
        let own = arguments.iter().map(Vec::as_slice);
        let arguments: Vec<&[u8]> = own.chain([generation.as_slice(), &caller_now]).collect();
        Ok(self.client.call_with(script as usize, &keys, &arguments, patience.into()).await?)
    }
}

impl From<CallError> for LedgerError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Overloaded => Self::Overloaded,
            CallError::Closing => Self::Closing,
            CallError::StoreLost(reason) => Self::StoreLost(reason),
            CallError::Refused(reason) => Self::Refused(reason),
            CallError::Lost(reason) => Self::Unavailable(reason),
        }
    }
}
