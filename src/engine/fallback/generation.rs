//! The journal and the generations of the store.
//!
//! Operations that were accepted for a store that lost its facts are not replayed to the store that
//! replaces it: the import has more recent facts. They are set aside, and can be read.

use tracing::warn;

use super::Fallback;
use crate::engine::Engine;
use crate::journal::{JournalError, Numbered};
use crate::store::StoreError;

impl Fallback {
    /// Sets aside entries that were accepted for an earlier generation of the store than the
    /// current one.
    pub(in crate::engine) async fn follow_generation(
        &self,
        engine: &Engine,
    ) -> Result<(), StoreError> {
        let identity = engine.ledger.identity();
        if identity.generation.is_empty() || self.journal.is_of(&identity.generation) {
            return Ok(());
        }
        let _one_at_a_time = self.following.lock().await;
        // Another call may have come first, or the store may have been lost meanwhile.
        let identity = engine.ledger.identity();
        if identity.loss.is_some() || self.journal.is_of(&identity.generation) {
            return Ok(());
        }
        // Denials recorded before the first generation is known are of that generation.
        let is_replaced = !self.journal.is_of_none();
        let moved = self.journal.follow(&identity.generation).await.map_err(|error| {
            self.report(&error);
            StoreError::Refused(error.to_string())
        })?;
        if moved > 0 {
            self.queue().clear();
            self.metrics.condition.journal(self.journal.len());
            self.report_blocked();
            warn!(entries = moved, "journal entries set aside: the store was accepted anew");
        }
        if is_replaced {
            self.denial_cache.clear();
        }
        Ok(())
    }

    /// Returns whether the journal's entries belong to that generation of the store.
    pub(super) fn is_of(&self, generation: &str) -> bool {
        generation.is_empty() || self.journal.is_of(generation)
    }

    /// Returns the number of entries that were set aside.
    pub(in crate::engine) fn set_aside(&self) -> usize {
        self.journal.set_aside()
    }

    /// Returns at most `limit` entries that were set aside, after the one with that number.
    pub(in crate::engine) async fn read_set_aside(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Numbered>, JournalError> {
        self.journal.read_set_aside(after, limit).await
    }

    /// The last number that an entry was given; 0 before the first.
    pub(in crate::engine) fn last_number(&self) -> u64 {
        self.journal.last_number()
    }
}

/// Returns the error of every operation while the store is lost.
pub(super) fn refusal(engine: &Engine) -> StoreError {
    let loss = engine.ledger.identity().loss;
    StoreError::StoreLost(loss.map_or_else(|| "it is being accepted".to_owned(), |it| it.why))
}
