//! The store's identity, and the acceptance of a store that lost its facts.

use serde_json::json;

use super::reconcile::Logged;
use super::{AdminError, Administration, EntryFilter};
use crate::domain::audit::{Action, Actor, Entry};
use crate::domain::id::RequestId;
use crate::journal::{JournalError, Numbered};
use crate::store::StoreError;
use crate::store::{AcceptError, Accepted, StoreIdentity};

/// The RPC's name in the audit log.
const ACTION: Action = Action::AcceptStore;

/// State of the store as this sidecar sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreState {
    /// Identity of the store, and its loss, if it is lost.
    pub identity: StoreIdentity,
    /// Number of operations of this sidecar's journal that were set aside.
    pub set_aside: usize,
}

/// Result of accepting a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAccepted {
    /// Its new generation, and those that it replaces.
    pub accepted: Accepted,
    /// Number of operations of this sidecar's journal that are set aside.
    pub set_aside: usize,
}

/// Reason why a store is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptanceError {
    /// The store is not, or cannot be, accepted.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The limits of the apps could not be published, so that the store still answers nothing.
    #[error("the store is not accepted yet; repeat the request: {0}")]
    Limits(AdminError),
    /// The store is accepted, but the entry in the audit log is missing.
    #[error("the store is accepted, but not logged; repeat the request: {0}")]
    Unlogged(AdminError),
}

impl Administration {
    /// Returns the state of the store as this sidecar sees it.
    #[must_use]
    pub fn store_state(&self) -> StoreState {
        let engine = &self.0.engine;
        StoreState { identity: engine.ledger.identity(), set_aside: self.set_aside() }
    }

    /// Accepts a store that lost its facts, with the limits of all apps that it still names. After
    /// that, every sidecar that had an earlier generation continues by itself.
    pub async fn accept_store(
        &self,
        request_id: &RequestId,
        found_id: &str,
        actor: Actor,
    ) -> Result<StoreAccepted, AcceptanceError> {
        let (this, request_id) = (self.clone(), request_id.clone());
        let found_id = found_id.to_owned();
        // Completed whether or not the caller waits for it.
        let accepting =
            tokio::spawn(async move { this.accept(&request_id, &found_id, actor).await });
        accepting.await.unwrap_or_else(|cut_off| {
            let why = StoreError::Unavailable(cut_off.to_string());
            Err(AcceptError::Store(why).into())
        })
    }

    async fn accept(
        &self,
        request_id: &RequestId,
        found_id: &str,
        actor: Actor,
    ) -> Result<StoreAccepted, AcceptanceError> {
        let service = &self.0;
        let ledger = &service.engine.ledger;
        let _changing = service.changing.lock().await;
        let accepted = ledger.begin_acceptance(request_id.as_str(), found_id).await?;
        if !accepted.is_repetition {
            if let Err(error) = service.publish_anew().await {
                ledger.abandon_acceptance(&error.to_string());
                return Err(AcceptanceError::Limits(error));
            }
            ledger.finish_acceptance(&accepted).await?;
            if let Some(fallback) = &service.engine.fallback {
                let followed = fallback.follow_generation(&service.engine).await;
                followed.map_err(AcceptError::Store)?;
            }
        }
        let request = json!({"request_id": request_id.as_str(), "found_store_id": found_id});
        let after = json!({
            "store_id": accepted.id,
            "generation": accepted.generation,
            "previous": accepted.previous,
        });
        self.log_once(request_id, actor, request.to_string(), after.to_string()).await?;
        Ok(StoreAccepted { accepted, set_aside: self.set_aside() })
    }

    /// Logs an acceptance, unless the same request was logged before.
    async fn log_once(
        &self,
        request_id: &RequestId,
        actor: Actor,
        request: String,
        after: String,
    ) -> Result<(), AcceptanceError> {
        let found = self.find_logged(ACTION, request_id).await;
        if found.map_err(AcceptanceError::Unlogged)?.is_some() {
            return Ok(());
        }
        let logged = Logged { action: ACTION, app: None, request_id: request_id.as_str() };
        self.log_now(logged, actor, request, after).await.map_err(AcceptanceError::Unlogged)
    }

    /// Returns the entry of the audit log about a request of that action, if there is one.
    pub(super) async fn find_logged(
        &self,
        action: Action,
        request_id: &RequestId,
    ) -> Result<Option<Entry>, AdminError> {
        let filter = EntryFilter {
            action: Some(action.name().to_owned()),
            request_id: Some(request_id.to_string()),
            ..EntryFilter::default()
        };
        let mut next = Some(0);
        while let Some(from) = next {
            let mut found = self.0.entries(from, 1, &filter).await?;
            if let Some(entry) = found.entries.pop() {
                return Ok(Some(entry));
            }
            next = found.next;
        }
        Ok(None)
    }

    /// Returns at most `limit` entries that were set aside of this sidecar's journal, after the one
    /// with that number.
    pub async fn read_set_aside(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Numbered>, JournalError> {
        match &self.0.engine.fallback {
            Some(fallback) => fallback.read_set_aside(after, limit).await,
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn set_aside(&self) -> usize {
        self.0.engine.fallback.as_ref().map_or(0, |fallback| fallback.set_aside())
    }
}
