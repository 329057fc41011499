//! Checks that the store is still the one that was opened.
//!
//! A call that met another mark is examined immediately. A periodic check reads the identity and
//! one mark of each server, so that readiness changes without a call. Neither writes an identity,
//! and a mark only if none was ever observed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::client::CallError;
use super::generation::{self, Marked};
use super::identity::{self, Identity, Match};
use super::store::Store;
use crate::store::StoreError;

/// Time between two checks of the store.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Number of checks between two reads of all marks of a lost store.
const ALL_MARKS_EVERY: usize = 5;

impl Store {
    /// Marks the store as lost and returns the error.
    pub(super) fn lose(&self, why: &str) -> StoreError {
        self.standing.lose(why, self.clock.now());
        self.standing.refusal()
    }

    /// Examines why a call met another mark beside a key than the one of `generation`. Without an
    /// error, the call is to be sent again.
    pub(crate) async fn examine(
        &self,
        generation: &[u8],
        key: &[u8],
        met: CallError,
    ) -> Result<(), StoreError> {
        let CallError::StoreLost(met) = met else { return Err(met.into()) };
        let examined = self.standing.examined.load(Ordering::Acquire);
        let _one_at_a_time = self.standing.examining.lock().await;
        if self.standing.is_lost() {
            return Err(self.standing.refusal());
        }
        let by_another = self.standing.examined.load(Ordering::Acquire) != examined;
        if by_another || *self.standing.generation() != generation {
            return Ok(());
        }
        let slot = self.marks.slot_beside(key);
        let found = identity::read(&self.client).await;
        // Without the identity nothing is decided here: the call was refused, and that is its
        // result.
        let Ok(found) = found else { return Err(StoreError::StoreLost(met)) };
        match self.standing.known().compare(&found) {
            Match::Lost(why) => return Err(self.lose(&why)),
            Match::OtherKey => return Err(StoreError::StoreLost(met)),
            Match::Descends => {
                // If a caller relies on the generation, only the periodic check waits for them.
                let Ok(_alone) = self.standing.using.try_write() else {
                    return Err(StoreError::StoreLost(met));
                };
                self.standing.reopen(&found);
            }
            Match::Same => {
                if found.is_marked {
                    self.standing.seen.insert_all();
                }
                let put = if self.standing.seen.contains(slot) {
                    // Another process may have written it since the call.
                    let wrong = generation::find_wrong_mark(self, std::iter::once(slot)).await;
                    wrong.map_or(Ok(()), |why| Err(StoreError::StoreLost(why)))
                } else {
                    generation::put_mark(self, slot, CHECK_INTERVAL).await
                };
                match put {
                    Err(StoreError::StoreLost(why)) => return Err(self.lose(&why)),
                    put => put?,
                }
            }
        }
        self.standing.examined.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Checks identity and marks once; `false` if this process cannot continue with the store.
    pub(super) async fn check_once(&self, turn: usize) -> bool {
        let version = self.standing.version();
        // A reply may be missing while servers change: the next check reads again.
        let Ok(found) = identity::read(&self.client).await else { return true };
        if self.standing.is_being_accepted() || self.standing.version() != version {
            return true;
        }
        self.found_format(&found.format);
        match self.standing.known().compare(&found) {
            Match::OtherKey => return false,
            Match::Lost(why) => drop(self.lose(&why)),
            Match::Descends => {
                let _alone = self.standing.using.write().await;
                self.standing.reopen(&found);
            }
            Match::Same if self.standing.is_lost() => self.check_all_marks(&found, turn).await,
            Match::Same => self.check_sampled_marks(&found, turn).await,
        }
        true
    }

    /// Opens a lost store again if all its marks exist, as after a failback.
    async fn check_all_marks(&self, found: &Identity, turn: usize) {
        if !found.is_marked || !turn.is_multiple_of(ALL_MARKS_EVERY) {
            return;
        }
        let version = self.standing.version();
        self.standing.seen.insert_all();
        if generation::has_all_marks(self).await {
            let _alone = self.standing.using.write().await;
            if self.standing.version() == version {
                self.standing.reopen(found);
            }
        }
    }

    async fn check_sampled_marks(&self, found: &Identity, turn: usize) {
        let seen = &self.standing.seen;
        if found.is_marked && !seen.is_all() {
            seen.insert_all();
            self.standing.save();
        }
        let version = self.standing.version();
        let slots = self.client.sample_slots(turn).into_iter();
        if let Some(why) = generation::find_wrong_mark(self, slots).await {
            // It may have been accepted since the identity was read.
            let now = identity::read(&self.client).await;
            let is_same = now.is_ok_and(|now| now.generation == found.generation);
            if is_same && self.standing.version() == version {
                self.lose(&why);
            }
            return;
        }
        if !seen.is_all() {
            self.complete_marks().await;
        }
    }

    /// Reads every mark, and writes those that were never written.
    pub(super) async fn check_marks(&self) {
        if self.standing.is_lost() {
            return;
        }
        if let Some(why) = generation::find_wrong_mark(self, self.marks.slots()).await {
            self.lose(&why);
        } else if !self.standing.seen.is_all() {
            self.complete_marks().await;
        }
    }

    /// Writes marks that could not be written before.
    pub(super) async fn complete_marks(&self) {
        match generation::put_marks(self).await {
            Ok(Marked::All) => info!("store marks complete"),
            Ok(Marked::Lost(why)) => drop(self.lose(&why)),
            // The next check tries the unavailable servers again.
            Ok(Marked::Some) | Err(_) => {}
        }
        self.standing.save();
    }
}

/// Checks the store every second until the process cannot continue with it.
pub async fn watch_store(store: Arc<Store>, fail: CancellationToken) {
    let mut pace = interval(CHECK_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0_usize.. {
        pace.tick().await;
        if !store.check_once(turn).await {
            error!("store accepted with another fingerprint key: restart this process");
            fail.cancel();
            return;
        }
    }
}
