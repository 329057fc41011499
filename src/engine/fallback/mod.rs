//! Decisions while a server of the store is absent, by the catalog's failure policy.
//!
//! - The store decides first, and its decision or error stands. Only if the server that holds the
//!   facts is absent, as its own probe finds, the failure policy decides (`step` has the table).
//! - Every take admitted without the store is in the journal, on disk, before it is answered, and
//!   so is every release. A user or group with a recent denial is denied.
//! - Once the server is back, the entries are replayed to it (`replay`), each behind the earlier
//!   ones of every user and group that it names, and behind nothing else (`queue`). Until then
//!   later operations on the same users and groups do not overtake them.
//! - The number of admitted facts is bounded by the budget; an entry frees its share when it is
//!   counted.
//! - An entry that its server cannot carry out is blocked, and with it all later ones of its users
//!   and groups (`blocked`), until an operator retries or drops it (`manage`).
//!
//! Other sidecars do not have the entries of a sidecar's journal. So an operation sent to another
//! sidecar about the same user and group may overtake them: see docs/clients.md.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::denial::complete;
use super::{Decision, Degradation, Denial, Engine, Request};
use crate::domain::catalog::Catalog;
use crate::domain::decision::{ItemResult, Mode, Outcome, abort_if_denied};
use crate::domain::failure_policy::Budget;
use crate::domain::operation::Effect;
use crate::domain::time::Timestamp;
use crate::journal::{Accepted, Encoded, Entry, Journal, JournalError, Opened};
use crate::ledger::{LedgerError, Operation};
use crate::store::Overload;
use crate::store::StoreError;
use crate::telemetry::{Degraded, Metrics};

mod blocked;
mod chain;
mod denial_cache;
mod failure_action;
mod freeing;
mod generation;
mod held;
mod holds;
mod lane;
mod listing;
mod manage;
mod merge;
mod pace;
mod queue;
#[cfg(test)]
mod queue_tests;
mod repeats;
mod replay;
mod step;
mod subject;
mod void;
mod wait;

use denial_cache::{DenialCache, limits_of};
use failure_action::FailureAction;
pub use failure_action::subjects;
pub use listing::{JournalItem, JournalState};
pub use manage::JournalCondition;
use queue::{NoRoom, Queue};
use step::{After, Step};

/// Longest time of one attempt, in multiples of the store timeout: an operation that a network
/// delays for longer does nothing when it arrives.
const ATTEMPT_SILENCES: u32 = 4;
/// Backoff before the store is called again.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// Interval at which a call that waits for an entry checks whether the server has become absent.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Decides without the store.
pub struct Fallback {
    journal: Journal,
    store_timeout: Duration,
    queue: Mutex<Queue>,
    /// Held while the journal follows the generation of the store.
    following: tokio::sync::Mutex<()>,
    denial_cache: DenialCache,
    metrics: Arc<Metrics>,
    /// Notified when the queue has changed.
    changed: Notify,
    /// Cancelled once the journal has failed.
    failed: CancellationToken,
}

impl Fallback {
    /// Creates a fallback over an open journal and its entries. A server that is silent for
    /// `store_timeout` is absent.
    #[must_use]
    pub fn new(
        journal: Journal,
        entries: Vec<Opened>,
        store_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut queue = Queue::new();
        for Opened { number, entry, encoded } in entries {
            queue.restore(number, &entry, encoded);
        }
        metrics.condition.journal(journal.len());
        Self {
            journal,
            store_timeout,
            queue: Mutex::new(queue),
            following: tokio::sync::Mutex::new(()),
            denial_cache: DenialCache::default(),
            metrics,
            changed: Notify::new(),
            failed: CancellationToken::new(),
        }
    }

    /// Completes when the journal has failed; its content is only certain after it is opened again.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Waits until everything is on disk, and closes the journal.
    pub async fn close(&self) {
        self.journal.close().await;
    }

    /// Decides by the store or, while its server is absent, by the failure policy. What is rare is
    /// boxed, so that the future of every other operation is small.
    pub(super) async fn decide(
        self: &Arc<Self>,
        engine: &Engine,
        request: Request,
    ) -> Result<Decision, LedgerError> {
        if engine.ledger.is_lost() {
            return Err(generation::refusal(engine).into());
        }
        if !self.journal.is_empty() {
            Box::pin(self.follow_generation(engine)).await?;
        }
        if !self.journal.is_empty() {
            match Box::pin(self.settle(engine, &request)).await? {
                After::Accept => return Box::pin(self.accept(engine, request)).await,
                After::Admit => return Box::pin(self.admit(engine, request)).await,
                After::Ask => {}
            }
        }
        match self.ask_after_releases(engine, &request).await {
            Ok(decided) => {
                self.denial_cache.record(&request.app, &request.operation, &decided);
                Ok(decided)
            }
            Err(error) => Box::pin(self.decide_without(engine, request, error)).await,
        }
    }

    /// Decides after an error of the store.
    async fn decide_without(
        self: &Arc<Self>,
        engine: &Engine,
        request: Request,
        error: LedgerError,
    ) -> Result<Decision, LedgerError> {
        match step::after(plan(engine, &request), error.is_absence()) {
            After::Accept => self.accept(engine, request).await,
            After::Admit => {
                let admitted = self.admit(engine, request).await;
                // If the operation may have been done, the error must not state that nothing was.
                admitted.map_err(|refusal| if error.did_nothing() { refusal } else { error })
            }
            After::Ask => Err(error),
        }
    }

    /// Calls the store, within the caller's time. An operation that the failure policy may decide
    /// is retried after a lost connection: the retry finds its server available or absent.
    async fn ask(&self, engine: &Engine, request: &Request) -> Result<Decision, LedgerError> {
        let mut may_be_done = false;
        loop {
            let longest = engine.local_now() + ATTEMPT_SILENCES * self.store_timeout;
            let is_last = request.deadline <= longest;
            let deadline = if is_last { request.deadline } else { longest };
            match engine.ask(Request { deadline, ..request.clone() }, true).await {
                // The store did nothing, and the caller has time left.
                Err(LedgerError::Store(StoreError::DeadlinePassed)) if !is_last => {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(LedgerError::Store(StoreError::Overloaded(Overload::Late))) if !is_last => {}
                Err(LedgerError::Store(StoreError::ConnectionLost(why)))
                    if plan(engine, request) != FailureAction::Closed =>
                {
                    may_be_done = true;
                    if request.deadline - engine.local_now() <= RETRY_AFTER {
                        return Err(StoreError::ConnectionLost(why).into());
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(error) if may_be_done && error.did_nothing() => return Err(error.of_unknown()),
                answer => return answer,
            }
        }
    }

    /// Waits until every entry about the operation's users and groups is in the store, or another
    /// action is due.
    async fn settle(&self, engine: &Engine, request: &Request) -> Result<After, LedgerError> {
        let Request { app, operation, .. } = request;
        let plan = plan(engine, request);
        loop {
            let ahead = self.queue().ahead_of(request);
            let is_absent = || engine.ledger.is_absent(app, operation.kind().parts());
            let entry = match step::before(plan, ahead, is_absent) {
                Step::Ask => return Ok(After::Ask),
                Step::Accept => return Ok(After::Accept),
                Step::Admit => return Ok(After::Admit),
                Step::Wait(entry) => entry,
                Step::Absent => {
                    let why = "journaled operations on the same users or groups wait for it".into();
                    return Err(StoreError::Absent { why, may_be_done: false }.into());
                }
                Step::Blocked(entry) => {
                    let why = self.queue().why_blocked(entry);
                    return Err(LedgerError::JournalBlocked { entry, why });
                }
            };
            self.wait_for_entry(engine, request.deadline, entry).await?;
        }
    }

    /// Waits until an entry is gone, for one interval at most; fails if it cannot be in the store
    /// within the caller's time.
    async fn wait_for_entry(
        &self,
        engine: &Engine,
        deadline: Timestamp,
        entry: u64,
    ) -> Result<(), LedgerError> {
        let left = deadline - engine.local_now();
        let (gone, is_too_late) = {
            let mut queue = self.queue();
            let Some(gone) = queue.wait_for(entry) else { return Ok(()) };
            (gone, queue.is_too_late(entry, left))
        };
        if is_too_late {
            let why = "more earlier operations wait for replay than fit into the call's time";
            return Err(StoreError::Refused(why.to_owned()).into());
        }
        if left.is_zero() {
            let why = "earlier operations on the same users or groups wait for replay";
            return Err(StoreError::Refused(why.to_owned()).into());
        }
        self.changed.notify_one();
        // Whether it is gone or the time has passed, the queue determines the next action.
        let _ = tokio::time::timeout(left.min(POLL_INTERVAL), gone).await;
        Ok(())
    }

    /// Accepts a release without the store.
    async fn accept(
        self: &Arc<Self>,
        engine: &Engine,
        request: Request,
    ) -> Result<Decision, LedgerError> {
        let name = request.operation.name();
        let decision = release_all(&request.operation, engine);
        self.write(entry(engine, request), None).await?;
        self.metrics.condition.degraded(name, Degraded::Released);
        Ok(Decision { degradation: Some(Degradation::Released), ..decision })
    }

    /// Admits an operation without the store, or denies it by recent denials.
    async fn admit(
        self: &Arc<Self>,
        engine: &Engine,
        request: Request,
    ) -> Result<Decision, LedgerError> {
        let (name, catalog) = (request.operation.name(), engine.catalog());
        let (decision, admitted) = self.decide_degraded(engine, &catalog, &request);
        let Some(operation) = admitted else {
            self.metrics.condition.degraded(name, Degraded::Denied);
            return Ok(decision);
        };
        let entry = entry(engine, Request { operation, ..request });
        if let Err(failed) = self.write(entry, Some(catalog.failure.budget)).await {
            self.metrics.condition.degraded(name, Degraded::Refused);
            return Err(failed);
        }
        self.metrics.condition.degraded(name, Degraded::Admitted);
        Ok(decision)
    }

    /// Decides about each subject without the store, and returns the remaining operation: `None` if
    /// all of it is denied. A whole batch remains as it is, or not at all.
    fn decide_degraded(
        &self,
        engine: &Engine,
        catalog: &Catalog,
        request: &Request,
    ) -> (Decision, Option<Operation>) {
        let Request { app, mode, take, operation, .. } = request;
        let aborts = take.aborts(*mode);
        let releases = self.queue().freeing.latest(app);
        let result = |effects: &[&Effect<'_>]| {
            let limits = limits_of(operation, effects.iter().copied());
            let mut violations = self.denial_cache.violations(app, &limits);
            // A take that was denied before these releases may be admitted now.
            violations.retain(|violation| !releases.lower(&violation.limit_id));
            let result = ItemResult::on_taking(*mode, violations);
            complete(catalog, None, result)
        };
        let is_denied = |whole: Option<&ItemResult<Denial>>| whole.is_some_and(ItemResult::denied);
        let effects = operation.effects();
        let (of_items, of_whole): (Vec<_>, Vec<_>) =
            effects.iter().partition(|effect| effect.item.is_some());
        let mut whole = operation.kind().has_whole().then(|| result(&of_whole));
        let mut items: Vec<ItemResult<Denial>> = if is_denied(whole.as_ref()) && !aborts {
            let denied = || ItemResult { outcome: Outcome::Denied, violations: Vec::new() };
            of_items.iter().map(|_| denied()).collect()
        } else {
            of_items.iter().map(|effect| result(&[*effect])).collect()
        };
        let is_aborted = aborts && abort_if_denied(whole.iter_mut().chain(&mut items));
        let left = if is_aborted || is_denied(whole.as_ref()) {
            None
        } else {
            let mut admitted = items.iter().map(|result| !result.denied());
            operation.clone().retain_items(|_| admitted.next().unwrap_or(true))
        };
        let degradation = if left.is_some() { Degradation::Admitted } else { Degradation::Denied };
        (Decision { whole, items, degradation: Some(degradation), ..empty_decision(engine) }, left)
    }

    /// Writes an entry to the journal, except for repeats; with a budget, only if it fits into it.
    /// The write completes even if the caller goes away.
    async fn write(
        self: &Arc<Self>,
        entry: Entry,
        budget: Option<Budget>,
    ) -> Result<(), LedgerError> {
        let (number, encoded) = {
            let mut queue = self.queue();
            let Some(entry) = queue.new_part(entry) else { return Ok(()) };
            let (number, encoded) = (self.journal.next_number(), Encoded::from(&entry));
            queue.reserve(number, &entry, encoded.clone(), budget.as_ref()).map_err(no_room)?;
            (number, encoded)
        };
        let this = self.clone();
        let writing = tokio::spawn(async move {
            let written = this.journal.append(number, &encoded).await;
            match written {
                Ok(()) => {
                    this.queue().written(number);
                    this.metrics.condition.journal(this.journal.len());
                    this.changed.notify_one();
                    Ok(())
                }
                Err(error) => {
                    this.report(&error);
                    if matches!(error, JournalError::Failed(_)) {
                        // The entry may be on disk, so it stays in the queue.
                        return Err(StoreError::Unavailable(error.to_string()).into());
                    }
                    this.queue().remove(&[number]);
                    Err(LedgerError::Store(StoreError::Refused(error.to_string())))
                }
            }
        });
        let cut_off =
            |error| LedgerError::Store(StoreError::Unavailable(format!("the journal: {error}")));
        writing.await.map_err(cut_off)?
    }

    fn report(&self, error: &JournalError) {
        warn!(%error, "journal failed");
        self.failed.cancel();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

/// Returns the treatment of an operation without the store, by the current catalog.
fn plan(engine: &Engine, request: &Request) -> FailureAction {
    let Request { app, mode, operation, .. } = request;
    FailureAction::of(&engine.catalog(), app, *mode, operation)
}

fn no_room(why: NoRoom) -> LedgerError {
    let why = match why {
        NoRoom::Budget => "no more may be admitted without it",
        NoRoom::Journal => "the journal is full",
    };
    LedgerError::Store(StoreError::Absent { why: why.to_owned(), may_be_done: false })
}

/// Returns the entry of an accepted operation. A group that a creation would replace is left alone:
/// its hold ends by itself.
fn entry(engine: &Engine, request: Request) -> Entry {
    let Request { app, mode, take, operation, .. } = request;
    let accepted = match take.hold.filter(|_| operation.kind().takes()) {
        Some(hold) => Accepted::Held(operation, hold.id),
        None => Accepted::Operation(operation),
    };
    Entry { app, mode, at: engine.local_now(), accepted }
}

fn empty_decision(engine: &Engine) -> Decision {
    Decision {
        decided_at: engine.local_now(),
        whole: None,
        items: Vec::new(),
        members_released: 0,
        group_reclaimed: false,
        warnings: Vec::new(),
        degradation: None,
    }
}

/// Returns the decision that releases everything that the operation names.
fn release_all(operation: &Operation, engine: &Engine) -> Decision {
    let applied = || ItemResult { outcome: Outcome::Applied, violations: Vec::new() };
    let whole = operation.kind().has_whole().then(applied);
    let items = operation.items().iter().map(|_| applied()).collect();
    Decision { whole, items, ..empty_decision(engine) }
}

/// Returns the mode of a replay: an admitted take is written although it may be over a limit
/// meanwhile, and the violated limits are reported.
fn mode_of_replay(mode: Mode) -> Mode {
    if mode == Mode::Enforce { Mode::Shadow } else { mode }
}
