//! The state of the store for this process: open, lost, or being accepted.
//!
//! While the store is lost, every call is refused before anything is sent; while it is being
//! accepted, only limits are published. The generation changes only while no
//! [`GenerationGuard`](crate::store::GenerationGuard) is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{RwLock, watch};
use tracing::{error, info, warn};

use super::identity::{Identity, Known};
use super::scripts::ScriptId;
use super::seen::Seen;
use super::state_file::StateFile;
use crate::domain::time::Timestamp;
use crate::store::Loss;
use crate::store::StoreError;

/// All calls are sent.
const OPEN: u8 = 0;
/// No calls are sent.
const LOST: u8 = 1;
/// Limits are published, and no other calls are sent.
const ACCEPTING: u8 = 2;

/// The state of the store: see the module's head.
pub struct Standing {
    phase: AtomicU8,
    loss: Mutex<Option<Loss>>,
    known: Mutex<Known>,
    /// The generation that calls carry.
    generation: ArcSwap<Vec<u8>>,
    /// The marks that have been observed.
    pub seen: Seen,
    /// Read-locked by callers that need the generation to stay.
    pub using: Arc<RwLock<()>>,
    /// Held while the cause of a call's mark mismatch is examined.
    pub examining: tokio::sync::Mutex<()>,
    /// The number of such examinations.
    pub examined: AtomicU64,
    changes: watch::Sender<u64>,
    file: Option<StateFile>,
}

impl Standing {
    /// The state of a store that is the right one, or is lost for the reason in `loss`.
    pub fn new(known: Known, seen: Seen, file: Option<StateFile>, loss: Option<Loss>) -> Self {
        let phase = if loss.is_some() { LOST } else { OPEN };
        if let Some(Loss { why, .. }) = &loss {
            log_loss(why, &known);
        }
        Self {
            phase: AtomicU8::new(phase),
            loss: Mutex::new(loss),
            generation: ArcSwap::from_pointee(known.generation.clone().into_bytes()),
            known: Mutex::new(known),
            seen,
            using: Arc::new(RwLock::new(())),
            examining: tokio::sync::Mutex::new(()),
            examined: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            file,
        }
    }

    /// Returns the identity of the store that was opened.
    pub fn known(&self) -> Known {
        self.known.lock().clone()
    }

    /// Returns the generation that calls carry.
    pub fn generation(&self) -> Arc<Vec<u8>> {
        self.generation.load_full()
    }

    /// Returns the reason why the store is lost, if it is.
    pub fn loss(&self) -> Option<Loss> {
        self.loss.lock().clone()
    }

    /// Returns whether the store is lost, or being accepted.
    pub fn is_lost(&self) -> bool {
        self.phase.load(Ordering::Acquire) != OPEN
    }

    /// Returns whether the store is being accepted.
    pub fn is_being_accepted(&self) -> bool {
        self.phase.load(Ordering::Acquire) == ACCEPTING
    }

    /// Returns a number that changes with every change of this state.
    pub fn version(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Returns a receiver of every loss and every new generation.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Refuses a call while the store is lost.
    pub fn check(&self, script: ScriptId) -> Result<(), StoreError> {
        match self.phase.load(Ordering::Acquire) {
            OPEN => Ok(()),
            ACCEPTING if script.publishes() => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    /// Returns the error of every call while the store is lost.
    pub fn refusal(&self) -> StoreError {
        let why = self.loss().map_or_else(|| "it is being accepted".to_owned(), |loss| loss.why);
        StoreError::StoreLost(why)
    }

    /// Marks the store as lost; later reasons are ignored.
    pub fn lose(&self, why: &str, since: Timestamp) {
        {
            let mut loss = self.loss.lock();
            if self.phase.load(Ordering::Acquire) == LOST {
                return;
            }
            *loss = Some(Loss { why: why.to_owned(), since });
            self.phase.store(LOST, Ordering::Release);
        }
        log_loss(why, &self.known());
        self.save();
        self.changed();
    }

    /// Permits limits to be published under a new generation.
    pub fn begin_acceptance(&self, known: Known) {
        self.generation.store(Arc::new(known.generation.clone().into_bytes()));
        *self.known.lock() = known;
        self.phase.store(ACCEPTING, Ordering::Release);
        self.changed();
    }

    /// Ends an acceptance that did not succeed.
    pub fn abandon_acceptance(&self, why: &str) {
        if self.is_being_accepted() {
            warn!(reason = why, "store acceptance not finished: repeat the request");
            self.phase.store(LOST, Ordering::Release);
            self.changed();
        }
    }

    /// Marks the store as open: with the same generation, or with one that follows from it.
    pub fn reopen(&self, found: &Identity) {
        let before = std::mem::replace(&mut *self.known.lock(), found.known());
        if before.generation != found.generation {
            self.seen.clear();
            self.generation.store(Arc::new(found.generation.clone().into_bytes()));
        }
        if found.is_marked {
            self.seen.insert_all();
        }
        *self.loss.lock() = None;
        self.save();
        self.phase.store(OPEN, Ordering::Release);
        let Identity { id, generation, .. } = found;
        info!(store_id = id, generation, "store recovered: it has its facts or was accepted");
        self.changed();
    }

    /// Saves the state for the next start.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        let known = self.known();
        // A store that was never opened has no state to save.
        if known.generation.is_empty() {
            return;
        }
        let lost = self.loss().map(|loss| loss.why);
        if let Err(error) = file.save(&known, &self.seen, lost.as_deref()) {
            warn!(%error, "store state not saved: a restart cannot detect an emptied store");
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

fn log_loss(why: &str, known: &Known) {
    let Known { id, generation, .. } = known;
    error!(
        reason = why,
        store_id = id,
        generation,
        "store lost: every call is refused until the store is back or an owner accepts it"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(generation: &str) -> Known {
        Known {
            id: "i".into(),
            generation: generation.into(),
            previous: Vec::new(),
            key: "k".into(),
        }
    }

    fn identity(generation: &str) -> Identity {
        let Known { id, generation, key, previous } = known(generation);
        let format = super::super::identity::FORMAT.to_owned();
        Identity { id, generation, key, previous, format, is_marked: true, ..Identity::default() }
    }

    #[test]
    fn a_lost_store_answers_nothing_until_it_is_open_again() {
        let standing = Standing::new(known("g1"), Seen::default(), None, None);
        let changes = standing.changes();
        assert_eq!(standing.check(ScriptId::JoinGroup), Ok(()));
        standing.lose("it is empty", Timestamp::from_millis(5));
        standing.lose("for another reason", Timestamp::from_millis(6));
        let lost = StoreError::StoreLost("it is empty".to_owned());
        for script in [ScriptId::JoinGroup, ScriptId::Read, ScriptId::PutApp, ScriptId::ListApps] {
            assert_eq!(standing.check(script), Err(lost.clone()), "{script:?}");
        }
        assert_eq!(standing.loss().map(|loss| loss.since), Some(Timestamp::from_millis(5)));
        assert_eq!(*changes.borrow(), 1, "the first reason stays");
        standing.reopen(&identity("g1"));
        assert!(!standing.is_lost() && standing.loss().is_none() && standing.seen.is_all());
    }

    #[test]
    fn only_limits_are_published_while_a_store_is_accepted() {
        let standing = Standing::new(known("g1"), Seen::default(), None, None);
        standing.lose("it is empty", Timestamp::from_millis(5));
        standing.begin_acceptance(known("g2"));
        assert_eq!(standing.check(ScriptId::PutSchedule), Ok(()));
        for script in [ScriptId::JoinGroup, ScriptId::LeaveGroup, ScriptId::Read, ScriptId::PutApp]
        {
            assert!(standing.check(script).is_err(), "{script:?}");
        }
        standing.abandon_acceptance("a server is unavailable");
        assert!(standing.check(ScriptId::PutSchedule).is_err());
        standing.begin_acceptance(known("g2"));
        standing.reopen(&identity("g2"));
        assert_eq!(standing.check(ScriptId::JoinGroup), Ok(()));
        assert_eq!(*standing.generation(), b"g2");
    }
}
