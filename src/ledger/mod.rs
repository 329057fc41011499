//! The ledger: facts, and the atomic step that decides on them.
//!
//! The ledger stores facts (account u exists; u has friend v; u is in group g) and a count is the
//! number of facts. The contract of every store:
//!
//! - **Atomic.** [`Ledger::apply`] reads counts and limits, decides, and writes in one step, which
//!   no other call can interleave with. Nothing is admitted over a limit, and nothing is denied
//!   below one.
//! - **Idempotent.** A fact that is held is never counted again; releasing one that is not held
//!   changes nothing. So every operation may be repeated.
//! - **All or nothing.** A denied subject leaves no trace; an operation is written completely or
//!   not at all, also if there is a crash. (In Redis and in memory, an operation on more than 256
//!   users or groups is several such steps, each exact by itself, and so are a large dissolution
//!   and a large deletion: other callers may see an intermediate state, and a repetition finishes
//!   an interrupted one. A whole batch, [`TakeOptions`], is one step in every store.)
//! - **Durable.** Once a result is returned, its changes survive the process. (The memory store
//!   keeps this promise only while the process lives.)
//! - **On time.** An operation whose deadline has passed when the store starts on it does nothing,
//!   so a late duplicate cannot undo a later change.
//! - **Current limits.** The schedule of limits is stored with the facts: once
//!   [`Ledger::put_schedule`] has returned, every decision that starts later uses that schedule.
//! - **Bounded unknown apps.** An app without limits of its own is counted from its first take,
//!   login or sample on. It is refused if as many apps are counted as the catalog admits and it has
//!   no facts; a take is refused if it would give the app more facts in one part than the catalog
//!   admits. Releases are never refused, nor are operations that were answered earlier
//!   ([`Call::is_replayed`]) or that are written regardless of limits ([`Mode::Force`]). The app is
//!   no longer counted once it is registered or was found without facts for a day
//!   ([`Ledger::review_unknown_apps`]). Facts written by a version before this count are not
//!   counted, and such a part of an app counts as one that has facts.
//!
//! Offers for a denial, messages and codes are not part of the ledger: it reports bare
//! [`Violation`] values.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::catalog::Catalog;
use crate::domain::decision::{ItemResult, Mode, Outcome, Subject, Violation};
use crate::domain::id::{AppId, Name};
use crate::domain::limits::Part;
use crate::domain::schedule::{Limits, Schedule};
use crate::domain::time::Timestamp;
use crate::domain::usage::Counts;
use crate::domain::warning::Warning;
use crate::store::fair::Load;
use crate::store::loss::LostWrites;
use crate::store::{Fingerprints, Identified, ServerState, SnapshotError};

pub mod callback_notes;
pub mod crossings;
pub mod embedded;
mod error;
pub mod holdings;
pub mod holds;
mod in_process;
pub mod memory;
pub mod metering;
pub(crate) mod operation_codec;
pub mod reconcile;
pub mod redis;
// Public only for the fuzz targets.
#[doc(hidden)]
pub mod schedule_codec;

use crossings::Crossings;
use holdings::{Holdings, UsageScope};
use holds::{EndedHold, Ending};
use metering::Meter;
use reconcile::{Comparison, Difference, ExpectedState, PageToken, Section, Subjects, Tracking};

pub use crate::domain::operation::{Operation, OperationKind};
pub use crate::domain::take::TakeOptions;
pub use error::{CannotReplace, LedgerError, REPLACED_MEMBERS_MAX};

/// The context of every operation.
#[derive(Debug, Clone)]
pub struct Call {
    /// The app.
    pub app: AppId,
    /// The mode of takes; releases ignore it.
    pub mode: Mode,
    /// The options of a take. One with any has at most [`WHOLE_BATCH_MAX`] items, and is one atomic
    /// step.
    pub take: TakeOptions,
    /// The instant after which the result is useless; an operation that starts later does nothing.
    pub deadline: Timestamp,
    /// Group types and daily limits.
    pub catalog: Arc<Catalog>,
    /// The limits of an app without a schedule; `None` refuses such an app.
    pub unknown_app: Option<Arc<Schedule>>,
    /// True if the call fails fast: it does not wait for a server that is absent.
    pub fail_fast: bool,
    /// True if the operation was answered before it is carried out: the bounds on unknown apps do
    /// not refuse it.
    pub is_replayed: bool,
}

/// Most items of a whole batch, which is one step of the store: a server decides nothing else
/// meanwhile.
pub const WHOLE_BATCH_MAX: usize = 500;

impl Call {
    /// Returns whether a denial aborts the whole batch.
    #[must_use]
    pub fn aborts(&self) -> bool {
        self.take.aborts(self.mode)
    }

    /// Returns whether the bounds on unknown apps may refuse a take.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.mode != Mode::Force && !self.is_replayed
    }
}

/// Aborts the repeats of aborted users in a batch: they were held only within the batch.
pub(crate) fn abort_repeats<T>(
    operation: &Operation,
    whole: Option<&ItemResult<T>>,
    items: &mut [ItemResult<T>],
) {
    let is_aborted = |result: &ItemResult<T>| result.outcome == Outcome::Aborted;
    let mut aborted = HashSet::new();
    if let Operation::CreateGroup { owner, .. } = operation {
        aborted.extend(owner.as_ref().filter(|_| whole.is_some_and(is_aborted)));
    }
    for (user, result) in operation.items().iter().zip(items) {
        match result.outcome {
            Outcome::Aborted => {
                aborted.insert(user);
            }
            Outcome::AlreadyHeld if aborted.contains(user) => result.outcome = Outcome::Aborted,
            _ => {}
        }
    }
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The store's clock at the decision.
    pub decided_at: Timestamp,
    /// The result for the operation as a whole: the group created, updated or dissolved, the
    /// account deleted.
    pub whole: Option<ItemResult<Violation>>,
    /// The result for each user of the operation, in its order.
    pub items: Vec<ItemResult<Violation>>,
    /// The number of members that a dissolution released.
    pub members_released: u64,
    /// True if the last member left and the group was removed.
    pub group_reclaimed: bool,
    /// The limits used for the decision, if any result has violations.
    pub limits: Option<Limits>,
    /// Thresholds that the operation crossed.
    pub warnings: Vec<Warning>,
}

/// The counts of a subject and the limits of its app, read in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The store's clock.
    pub read_at: Timestamp,
    /// The facts, as counts.
    pub counts: Counts,
    /// Those of them that end unless they are confirmed.
    pub held: Counts,
    /// The app's limits from now on.
    pub schedule: Arc<Schedule>,
}

/// Group types that may have groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypesInUse {
    /// The types; one whose last group was removed may be among them.
    pub types: BTreeSet<Name>,
    /// True if no other type has groups. In a store that an earlier version has written it becomes
    /// true once [`Ledger::recheck_types`] has searched all types.
    pub is_complete: bool,
}

/// The time for which an app that counts as unknown is not counted again. Shorter than
/// [`UNKNOWN_APP_EMPTY_FOR`], so that an app with takes is never found empty for that long.
pub const UNKNOWN_APP_SEEN_FOR: Duration = Duration::from_secs(6 * 60 * 60);
/// An unknown app is no longer counted after this time without facts.
pub const UNKNOWN_APP_EMPTY_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A store of facts that decides and meters. The contract is in the module's documentation.
#[async_trait]
pub trait Ledger: Meter + Identified {
    /// Decides and writes, in one atomic step.
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError>;

    /// Ends the holds of operations with an id in one part of the app, each in one step. Returns
    /// them; none if there is no record of such an operation.
    async fn end_hold(&self, call: Call, ending: Ending) -> Result<Vec<EndedHold>, LedgerError>;

    /// Removes facts of an app whose holds have expired, at most a few thousand in each part, and
    /// records of holds that ended long ago. Returns the number of facts removed. To be called
    /// periodically; several sidecars may run it concurrently. No decision depends on it.
    async fn sweep_holds(&self, call: Call) -> Result<u64, LedgerError>;

    /// Returns the counts of a subject.
    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError>;

    /// Sets the limits of an app from now on, unless the store has a later `revision`.
    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError>;

    /// Sets the limits of an app as [`Ledger::put_schedule`] does; makes fewer calls if the store
    /// has not got them yet.
    async fn put_new_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        self.put_schedule(app, revision, schedule).await
    }

    /// Returns the lowest revision of the limits that any decision about an app uses; 0 if it has
    /// no limits.
    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError>;

    /// Returns the latest revision of the limits in any part of the store that answers; 0 if there
    /// is none.
    async fn latest_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        self.schedule_revision(app).await
    }

    /// Waits until the store is found to have lost acknowledged writes. Never returns for a store
    /// in this process: its file either has a commit or ends before it, and no other server takes
    /// over from it.
    async fn next_loss(&self) -> LostWrites {
        std::future::pending().await
    }

    /// Waits for thresholds that were crossed by an operation whose result did not reach the
    /// caller: the reply was lost, the caller stopped waiting, or a later step failed. Each is
    /// returned once, while this process lives.
    async fn next_crossings(&self) -> Crossings {
        std::future::pending().await
    }

    /// Returns the maker of the fingerprints that the store uses for users and groups.
    fn fingerprints(&self) -> Fingerprints;

    /// Compares the state of an external database with the facts held here, and repairs them as
    /// requested. Each claim is about another subject. After an error some repairs may have been
    /// made; they need not be undone.
    async fn compare(
        &self,
        comparison: &Comparison,
        claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, LedgerError>;

    /// Returns a page of the subjects of a section, starting at `from`; `None` starts at the
    /// beginning.
    async fn subjects(
        &self,
        call: &Call,
        section: Section,
        from: Option<PageToken>,
    ) -> Result<Subjects, LedgerError>;

    /// Returns a page of the usage of users or groups of an app, starting at `from`; `None` starts
    /// at the beginning.
    async fn holdings(
        &self,
        call: &Call,
        of: UsageScope,
        from: Option<PageToken>,
    ) -> Result<Holdings, LedgerError>;

    /// Starts tracking the facts that are taken or released, and discards earlier tracking.
    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError>;

    /// Returns the running tracking of changes, if there is one.
    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError>;

    /// Returns the group types of which any app may have groups, including types that no catalog
    /// has any more.
    async fn types_in_use(&self) -> Result<TypesInUse, LedgerError>;

    /// Searches all apps for groups of the wanted types, or of all types, and returns the types
    /// found. A wanted type without groups is not in use from then on, until a group of it is
    /// created. May scan the whole store, concurrently with decisions.
    async fn recheck_types(
        &self,
        wanted: Option<&BTreeSet<Name>>,
    ) -> Result<BTreeSet<Name>, LedgerError>;

    /// Stops counting unknown apps that have no facts and were last seen with facts, or with a
    /// first take, at least `empty_for` ago. Returns the number of apps removed. To be called
    /// periodically; several sidecars may run it concurrently.
    async fn review_unknown_apps(&self, empty_for: Duration) -> Result<u64, LedgerError>;

    /// Returns whether operations take effect in the order in which they are submitted, even if no
    /// caller waits for the previous one.
    fn keeps_order(&self) -> bool;

    /// Returns the store's clock, which decisions use.
    async fn now(&self) -> Result<Timestamp, LedgerError>;

    /// Returns a copy of the whole store as of one instant, if the store is in this process. The
    /// file is positioned at its beginning and has no name.
    async fn snapshot(&self) -> Result<File, SnapshotError> {
        Err(SnapshotError::Elsewhere)
    }

    /// Returns every server of the store; none if the store is in this process.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }

    /// Returns the load of each server, by address: the subjects in flight and those waiting.
    fn loads(&self) -> Vec<(String, Load)>;

    /// Returns whether the probe finds a server absent that holds facts of these parts of the app.
    fn is_absent(&self, _app: &AppId, _parts: &[Part]) -> bool {
        false
    }

    /// Returns whether the server that holds the directory of apps is absent, as its probe finds.
    fn is_directory_absent(&self) -> bool {
        false
    }

    /// Returns the difference in seconds between each clock that the store uses and this machine's,
    /// by address.
    fn clock_skews(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// Records the highest instant that the store has seen, if that is due and the store is in this
    /// process. To be called often.
    async fn record_clock(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Waits until the store has failed permanently: every call returns
    /// [`Unavailable`](crate::store::StoreError::Unavailable) until the process is restarted.
    async fn failed(&self);

    /// Finishes accepted operations and closes the store. Later calls return
    /// [`Closing`](crate::store::StoreError::Closing).
    async fn close(&self);
}
