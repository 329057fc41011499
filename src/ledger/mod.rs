//! The ledger: facts, and the atomic step that decides about them.
//!
//! The ledger stores facts (account u exists; u has friend v; u is in group g) and a count is the
//! number of facts. The contract of every store:
//!
//! - **Atomic.** [`Ledger::apply`] reads counts and limits, decides, and writes as one step:
//!   nothing that other callers do comes between. Nothing is admitted over a limit, and nothing is
//!   denied below one.
//! - **Idempotent.** A fact that is held is never counted again; giving back one that is not held
//!   changes nothing. So every operation may be repeated.
//! - **All or nothing.** A denied subject leaves no trace; an operation is written whole or not at
//!   all, also through a crash. (In Redis, what touches more than 256 users or groups is several
//!   such steps, each exact by itself, and so are a dissolution and a deletion: others may see
//!   their middle, and a repetition finishes what was cut off.)
//! - **Durable.** An answer means that what it says outlives the process. (The memory store makes
//!   this promise only while the process lives.)
//! - **In time.** An operation whose deadline has passed when the store comes to it does nothing,
//!   so a late duplicate cannot undo what came after it.
//! - **Limits of the moment.** The schedule of limits lies with the facts: what
//!   [`Ledger::put_schedule`] has answered counts for every decision that starts after it.
//! - **Unknown apps are bounded.** An app without limits of its own is counted from its first take
//!   on, or the first login or sample of it, and refused where there are as many as the catalog
//!   admits and it has no facts; so is a take that would give it more facts in a part than the
//!   catalog admits. Releases are never refused, nor is what was answered before
//!   ([`Call::is_replayed`]) or is to be written whatever the limits say ([`Mode::Force`]). The app
//!   is not counted any more once it is registered, or was found without facts for a day
//!   ([`Ledger::review_unknown_apps`]). Facts that a version before had written are not counted,
//!   and such a part of an app counts as one that has facts.
//!
//! What to offer against a denial, messages and codes are not the ledger's business: it reports
//! bare [`Breach`](crate::domain::decision::Breach)es.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Subject, Verdict};
use crate::domain::id::{AppId, Name};
use crate::domain::schedule::{Limits, Schedule};
use crate::domain::time::Timestamp;
use crate::domain::usage::Counts;
use crate::domain::warning::Warning;

mod backlog;
pub mod crossings;
pub mod embedded;
mod error;
pub mod fair;
mod fingerprint;
pub mod holdings;
mod identified;
pub mod loss;
pub mod metering;
mod operation;
pub mod reconcile;
pub mod redb_file;
pub mod redis;
// Public for the fuzz targets alone.
#[doc(hidden)]
pub mod schedule_codec;
mod server;

use crossings::Crossings;
use fair::Load;
use holdings::{Holders, Holdings};
use loss::LostWrites;
use metering::Meter;
use reconcile::{Claim, Comparison, Difference, Place, Section, Subjects, Tracking};

pub use error::{LedgerError, Overload};
pub use fingerprint::Fingerprints;
pub use identified::{AcceptError, Accepted, GenerationGuard, Identified, Loss, StoreIdentity};
pub use operation::Operation;
pub use server::{Refusal, Replication, ServerState, Standing};

/// What every operation is carried out under.
#[derive(Debug, Clone)]
pub struct Call {
    /// The app.
    pub app: AppId,
    /// How takes are carried out; releases ignore it.
    pub mode: Mode,
    /// When the answer has become useless; an operation that starts later does nothing.
    pub deadline: Timestamp,
    /// Group types and daily limits.
    pub catalog: Arc<Catalog>,
    /// The limits of an app without a schedule; `None` refuses such an app.
    pub unknown_app: Option<Arc<Schedule>>,
    /// Whether an absent server is not waited for.
    pub hurried: bool,
    /// Whether the operation was answered before it is carried out: bounds of unknown apps do not
    /// refuse it.
    pub is_replayed: bool,
}

impl Call {
    /// Whether bounds of unknown apps may refuse a take.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.mode != Mode::Force && !self.is_replayed
    }
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The store's clock when it decided.
    pub decided_at: Timestamp,
    /// On the operation as a whole: the group created, updated or dissolved, the account deleted.
    pub whole: Option<Verdict>,
    /// On each user of the operation, in its order.
    pub items: Vec<Verdict>,
    /// How many members a dissolution released.
    pub members_released: u64,
    /// Whether the last member left and the group is gone.
    pub group_reclaimed: bool,
    /// The limits that it was decided by, where any verdict has breaches.
    pub limits: Option<Limits>,
    /// Counts that passed a threshold by it.
    pub warnings: Vec<Warning>,
}

/// Counts of a subject and the limits of its app, read in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The store's clock.
    pub read_at: Timestamp,
    /// What is held.
    pub counts: Counts,
    /// The app's limits from now on.
    pub schedule: Arc<Schedule>,
}

/// Group types of which there may be groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypesInUse {
    /// The types; one whose last group is gone may be among them.
    pub types: BTreeSet<Name>,
    /// Whether there are no others: a store that an earlier version has written says so once
    /// [`Ledger::recheck_types`] has looked for all types.
    pub is_complete: bool,
}

/// How long an app that counts as unknown is not counted anew. Less than
/// [`UNKNOWN_APP_EMPTY_FOR`], so that no app with takes is found to be empty for so long.
pub const UNKNOWN_APP_SEEN_FOR: Duration = Duration::from_secs(6 * 60 * 60);
/// After so long without facts an unknown app is not counted any more.
pub const UNKNOWN_APP_EMPTY_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Most that the store's clock and this process's may differ for what goes by the time: more than
/// clocks drift apart that anybody looks after, and little beside a day.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// Why there is no copy of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The store is a server of its own.
    #[error("the facts are in Redis: back that up by its own means (BGSAVE, its AOF, a replica)")]
    Elsewhere,
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
    /// It could not be written.
    #[error("the copy could not be written: {0}")]
    Failed(String),
}

/// A store of facts that decides and meters. See the module's head for the contract.
#[async_trait]
pub trait Ledger: Meter + Identified {
    /// Decides and writes, in one atomic step.
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError>;

    /// Reads the counts of a subject.
    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError>;

    /// Sets the limits of an app from now on, unless a later `revision` of them is there.
    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError>;

    /// The revision of the limits by which every decision about an app is made at least; 0 where
    /// there are none.
    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError>;

    /// The latest revision of the limits that any part of the store has, of those that answer; 0
    /// where there are none.
    async fn latest_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        self.schedule_revision(app).await
    }

    /// Waits until the store is found to have lost acknowledged writes. Never where the store is in
    /// this process: its file has a commit or ends before it, and nothing takes its place.
    async fn next_loss(&self) -> LostWrites {
        std::future::pending().await
    }

    /// Waits for thresholds that were crossed by an operation whose answer did not reach the
    /// caller: the reply was lost, the caller stopped waiting, or a later step failed. Each is
    /// returned once, while this process lives.
    async fn next_crossings(&self) -> Crossings {
        std::future::pending().await
    }

    /// Makes the fingerprints under which the store knows users and groups.
    fn fingerprints(&self) -> Fingerprints;

    /// Compares what a database says with the facts held here, and repairs as asked. Each claim is
    /// about another subject. After an error some repairs may have been made; they need no undoing.
    async fn compare(
        &self,
        comparison: &Comparison,
        claims: Vec<Claim>,
    ) -> Result<Vec<Difference>, LedgerError>;

    /// Some of the subjects of a section, from a place on; `None`: from the beginning.
    async fn subjects(
        &self,
        call: &Call,
        section: Section,
        from: Option<Place>,
    ) -> Result<Subjects, LedgerError>;

    /// What some of the users or groups of an app hold, from a place on; `None`: from the
    /// beginning.
    async fn holdings(
        &self,
        call: &Call,
        of: Holders,
        from: Option<Place>,
    ) -> Result<Holdings, LedgerError>;

    /// Remembers from now on which facts are asked for or given back, and forgets what was
    /// remembered before.
    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError>;

    /// Since when changes are tracked, if they are.
    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError>;

    /// The group types of which any app may have groups, also those that no catalog has any more.
    async fn types_in_use(&self) -> Result<TypesInUse, LedgerError>;

    /// Looks for groups of the wanted types, or of all types, in all apps, and answers the types
    /// that it found. A wanted type without groups is not in use from then on, until a group of it
    /// is created. May go through the whole store, beside the decisions.
    async fn recheck_types(
        &self,
        wanted: Option<&BTreeSet<Name>>,
    ) -> Result<BTreeSet<Name>, LedgerError>;

    /// Looks for apps that count as unknown ones, were last seen with facts or with a first take so
    /// long ago, and have no facts; they are not counted any more. Returns how many those are. To
    /// be called now and then; several sidecars may do it at once.
    async fn review_unknown_apps(&self, empty_for: Duration) -> Result<u64, LedgerError>;

    /// Whether operations take effect in the order in which they are handed over, also where
    /// nobody waits for the one before.
    fn keeps_order(&self) -> bool;

    /// The store's clock, by which decisions are made.
    async fn now(&self) -> Result<Timestamp, LedgerError>;

    /// A copy of the whole store as of one instant, to be read from its beginning, where the store
    /// is in this process. The file has no name.
    async fn snapshot(&self) -> Result<File, SnapshotError> {
        Err(SnapshotError::Elsewhere)
    }

    /// Every server of the store; none where it is in this process.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }

    /// How much each server is given at once, and how much waits for it, by address.
    fn loads(&self) -> Vec<(String, Load)>;

    /// Whether a server that holds facts about the operation is absent, as its probe finds.
    fn is_absent(&self, _app: &AppId, _operation: &Operation) -> bool {
        false
    }

    /// Whether the server that holds the directory of apps is absent, as its probe finds.
    fn is_directory_absent(&self) -> bool {
        false
    }

    /// By how many seconds each clock that the store goes by and this machine's differ, by address.
    fn clock_skews(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// Records the highest instant that the store has seen, where that is due and the store is in
    /// this process. To be called often.
    async fn record_clock(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Ready when the store has failed for good: everything answers [`LedgerError::Unavailable`]
    /// until the process is started again.
    async fn failed(&self);

    /// Finishes what has been accepted and closes the store. Later calls answer
    /// [`LedgerError::Closing`].
    async fn close(&self);
}
