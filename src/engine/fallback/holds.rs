//! Confirmations and releases of holds while a server of the store is absent.
//!
//! | | the take is in the journal | it is in the store, whose server is absent |
//! |---|---|---|
//! | confirmation | confirmed: the take is permanent | journaled; carried out as of its instant |
//! | release | the take is removed from the journal | UNAVAILABLE |
//!
//! Removing the entry of a take is its exact inverse, whether or not the facts existed before. It
//! is possible only until the entry is first sent to the store. Later, friendships and memberships
//! are released by an entry behind it. Accounts and groups are not: if they existed before, a
//! deletion or dissolution would remove much more than the take added. The result is then that
//! something else has ended the hold, as for any permanent take.

use std::sync::Arc;

use super::held::Released;
use super::{ATTEMPT_SILENCES, Fallback, RETRY_AFTER, generation};
use crate::domain::decision::Mode;
use crate::domain::hold::{HoldEnd, HoldOutcome};
use crate::domain::id::AppId;
use crate::domain::limits::Part;
use crate::engine::holds::{EndRequest, EndedHold, PartEnd};
use crate::engine::{Degradation, Engine};
use crate::journal::{Accepted, Entry};
use crate::ledger::{LedgerError, Operation};
use crate::store::StoreError;
use crate::telemetry::Degraded;

impl Fallback {
    /// Ends the holds of operations with an id in one part of an app, by the store or, while its
    /// server is absent, by the journal.
    pub(in crate::engine) async fn end_hold(
        self: &Arc<Self>,
        engine: &Engine,
        request: &EndRequest,
        part: Part,
    ) -> Result<PartEnd, LedgerError> {
        if engine.ledger.is_lost() {
            return Err(generation::refusal(engine).into());
        }
        if !self.journal.is_empty() {
            self.follow_generation(engine).await?;
            if let Some(end) = self.end_journaled(engine, request, part).await? {
                return Ok(end);
            }
        }
        match self.ask_to_end(engine, request, part).await {
            Err(error) if error.is_absence() && request.end == HoldEnd::Confirm => {
                self.accept_confirmation(engine, request, part).await
            }
            ended => ended,
        }
    }

    /// Calls the store, within the caller's time. A confirmation is retried after a lost
    /// connection: the retry finds its server available or absent.
    async fn ask_to_end(
        &self,
        engine: &Engine,
        request: &EndRequest,
        part: Part,
    ) -> Result<PartEnd, LedgerError> {
        loop {
            let longest = engine.local_now() + ATTEMPT_SILENCES * self.store_timeout;
            let is_last = request.deadline <= longest;
            let deadline = if is_last { request.deadline } else { longest };
            let attempt = EndRequest { deadline, ..request.clone() };
            match engine.ask_to_end(&attempt, part, None).await {
                Err(LedgerError::Store(StoreError::DeadlinePassed)) if !is_last => {}
                Err(LedgerError::Store(StoreError::ConnectionLost(_)))
                    if request.end == HoldEnd::Confirm
                        && request.deadline - engine.local_now() > RETRY_AFTER => {}
                ended => return ended,
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Ends holds whose takes are in the journal; `None` if there are none.
    async fn end_journaled(
        self: &Arc<Self>,
        engine: &Engine,
        request: &EndRequest,
        part: Part,
    ) -> Result<Option<PartEnd>, LedgerError> {
        let EndRequest { app, id, end, deadline, .. } = request;
        if *end == HoldEnd::Confirm {
            let held = self.queue().held(app, id, part);
            let confirmed = |operation| EndedHold::of_all(operation, HoldOutcome::Confirmed);
            let holds: Vec<_> = held.into_iter().map(confirmed).collect();
            return Ok(some_of(engine, holds, Degradation::Admitted));
        }
        loop {
            // What was confirmed before is not released.
            let Some(entry) = self.queue().confirmation(app, id, part) else { break };
            if engine.ledger.is_absent(app, &[part]) {
                let why = "the hold was confirmed, and the confirmation waits for it".to_owned();
                return Err(StoreError::Absent { why, may_be_done: false }.into());
            }
            if self.queue().is_held_up(entry) {
                let why = self.queue().why_blocked(entry);
                return Err(LedgerError::JournalBlocked { entry, why });
            }
            self.wait_for_entry(engine, *deadline, entry).await?;
        }
        let holds = self.release_journaled(engine, request, part).await?;
        Ok(some_of(engine, holds, Degradation::Released))
    }

    /// Releases takes that are in the journal. It completes even if the caller goes away.
    async fn release_journaled(
        self: &Arc<Self>,
        engine: &Engine,
        request: &EndRequest,
        part: Part,
    ) -> Result<Vec<EndedHold>, LedgerError> {
        let EndRequest { app, id, .. } = request;
        if self.queue().held(app, id, part).is_empty() {
            return Ok(Vec::new());
        }
        let (this, of) = (self.clone(), (app.clone(), id.clone()));
        let removing = tokio::spawn(async move {
            // The journal does not change to another generation meanwhile.
            let _one_at_a_time = this.following.lock().await;
            let released = this.queue().release(&of.0, &of.1, part);
            let numbers: Vec<u64> = released.cancelled.iter().map(|(number, _)| *number).collect();
            if !numbers.is_empty() {
                let removed = this.journal.remove(numbers.clone()).await;
                removed.inspect_err(|error| this.report(error))?;
                this.queue().remove(&numbers);
                this.metrics.condition.journal(this.journal.len());
                this.changed.notify_one();
            }
            Ok(released)
        });
        let removed = removing.await.map_err(|error| unwritten(&error))?;
        let Released { cancelled, begun } =
            removed.map_err(|error: crate::journal::JournalError| unwritten(&error))?;
        let mut holds = Vec::new();
        for (_, operation) in cancelled {
            holds.push(EndedHold::of_all(operation, HoldOutcome::Released));
        }
        for operation in begun {
            let outcome = match inverse(&operation) {
                Some(inverse) => {
                    let accepted = Accepted::Operation(inverse);
                    self.write(entry(engine, app, accepted), None).await?;
                    HoldOutcome::Released
                }
                None => HoldOutcome::EndedOtherwise,
            };
            holds.push(EndedHold::of_all(operation, outcome));
        }
        self.metrics.condition.degraded(request.end.name(), Degraded::Released);
        Ok(holds)
    }

    /// Accepts a confirmation without the store.
    async fn accept_confirmation(
        self: &Arc<Self>,
        engine: &Engine,
        request: &EndRequest,
        part: Part,
    ) -> Result<PartEnd, LedgerError> {
        let EndRequest { app, id, .. } = request;
        let is_journaled = self.queue().confirmation(app, id, part).is_some();
        if !is_journaled {
            let accepted = Accepted::Confirmation(id.clone(), part);
            self.write(entry(engine, app, accepted), None).await?;
        }
        self.metrics.condition.degraded(request.end.name(), Degraded::Admitted);
        let degradation = Some(Degradation::Confirmed);
        Ok(PartEnd { decided_at: engine.local_now(), holds: Vec::new(), degradation })
    }
}

fn unwritten(error: &dyn std::fmt::Display) -> LedgerError {
    LedgerError::Store(StoreError::Unavailable(format!("the journal: {error}")))
}

fn entry(engine: &Engine, app: &AppId, accepted: Accepted) -> Entry {
    Entry { app: app.clone(), mode: Mode::Enforce, at: engine.local_now(), accepted }
}

fn some_of(engine: &Engine, holds: Vec<EndedHold>, degradation: Degradation) -> Option<PartEnd> {
    let (decided_at, degradation) = (engine.local_now(), Some(degradation));
    (!holds.is_empty()).then_some(PartEnd { decided_at, holds, degradation })
}

/// Returns the release of what a take has taken, if it removes nothing more; `None` if it might.
fn inverse(operation: &Operation) -> Option<Operation> {
    match operation.clone() {
        Operation::AddFriends { user, friends, one_way } => {
            Some(Operation::RemoveFriends { user, friends, one_way })
        }
        Operation::JoinGroup { group, users } => Some(Operation::LeaveGroup { group, users }),
        _ => None,
    }
}
