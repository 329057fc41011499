//! The memory store: exact facts that live as long as the process.
//!
//! Each app has maps of its own behind a lock of its own (`apps`). An operation is decided on the
//! thread of its caller, while it holds the app's lock, by the same code as in the embedded store
//! (`in_process`). No lock is held across an `await`, and a large operation releases it between its
//! `steps`. The directory and the events of a memory store are in redb's in-memory backend.
//!
//! If a panic ends an operation that has written some of its changes, every later call about that
//! app is refused.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;
use tokio::task::{spawn_blocking, yield_now};

use super::crossings::{Crossings, UnreportedAnswer};
use super::holdings::{Holdings, UsageScope};
use super::holds::{EndedHold, Ending};
use super::in_process::holds::SWEEP_STEPS_MAX;
use super::in_process::rows::Rows as _;
use super::in_process::step::{self, StepError};
use super::in_process::{end_hold, holdings, holds, reconcile, tracking, unknown_apps};
use super::reconcile::{
    Comparison, Difference, ExpectedState, PageToken, Section, Subjects, Tracking,
};
use super::{Answer, Call, Ledger, LedgerError, Operation, Reading, TypesInUse};
use crate::clock::Clock;
use crate::domain::clock_guard::ClockReading;
use crate::domain::decision::Subject;
use crate::domain::id::{AppId, Name};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::redb::store_clock::StoreClock;
use crate::redb::{OpenError, RedbStore};
use crate::store::backlog::Backlog;
use crate::store::fair::Load;
use crate::store::fingerprint::AppKey;
use crate::store::{Fingerprints, Identified, SnapshotError, StoreError};
use app::MemoryRows;
use apps::Apps;
use steps::{SUBJECTS_MAX, Steps};

pub(super) mod app;
mod apps;
mod hold_rows;
mod login_rows;
mod metering;
mod sample_rows;
mod steps;
#[cfg(test)]
mod tests;

/// The name of the only clock of the store, in the place of a server's address.
const MACHINE: &str = "machine";
/// The number of rows read at a time when a section is scanned.
const PAGE: usize = 1024;
/// The highest number of facts compared in one step; a single user or group is never split.
const COMPARED_MAX: usize = 256;
/// The number of large operations that are in progress at once, on threads of their own.
const LARGE_MAX: usize = 2;
/// The number of apps that are visited before other tasks get the thread.
const VISITED_MAX: usize = 64;

/// The memory ledger.
pub struct Memory {
    shared: Arc<Shared>,
    /// Thresholds of results that did not reach their callers.
    crossings: Arc<Backlog<Crossings>>,
    /// The permits of large operations.
    large: Arc<Semaphore>,
}

/// The state that all calls share.
struct Shared {
    /// The store of the directory and the events.
    store: RedbStore,
    apps: Apps,
    is_closed: AtomicBool,
}

impl Shared {
    fn clock(&self) -> &StoreClock {
        &self.store.clock
    }

    fn ids(&self) -> &Fingerprints {
        &self.store.ids
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.is_closed.load(Ordering::Acquire) { Err(StoreError::Closing) } else { Ok(()) }
    }

    /// Does one step on the rows of an app.
    fn step<T, E: Into<StepError>>(
        &self,
        app: AppKey,
        reading: ClockReading,
        work: impl FnOnce(&mut MemoryRows<'_>) -> Result<T, E>,
    ) -> Result<T, LedgerError> {
        self.check_open()?;
        let done = self.apps.step(app, reading.closing().is_err(), work)?;
        Ok(done.map_err(Into::into)?)
    }

    /// Finishes an operation that has begun.
    fn finish(
        &self,
        mut steps: Steps,
        app: AppId,
        crossings: Arc<Backlog<Crossings>>,
    ) -> Result<UnreportedAnswer, LedgerError> {
        let failed = loop {
            match steps.next(self, self.clock().reading()) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        // Dropped after an error, which queues the thresholds that were crossed before it.
        let answer = steps.into_answer();
        let answer = answer.map(|answer| UnreportedAnswer::new(answer, app, crossings));
        match (answer, failed) {
            (Some(answer), None) => Ok(answer),
            (Some(_), Some(error)) => Err(error.of_unfinished()),
            (None, Some(error)) => Err(error),
            (None, None) => Err(StoreError::malformed("the answer is missing").into()),
        }
    }
}

impl Memory {
    /// Opens an empty store.
    pub fn open(clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let store = RedbStore::in_memory(clock)?;
        let is_closed = AtomicBool::new(false);
        let shared = Arc::new(Shared { store, apps: Apps::default(), is_closed });
        let large = Arc::new(Semaphore::new(LARGE_MAX));
        Ok(Self { shared, crossings: Arc::default(), large })
    }

    /// Returns the store of the directory and the events.
    #[must_use]
    pub fn store(&self) -> &RedbStore {
        &self.shared.store
    }

    /// Does the steps after the first one on a thread of their own, which outlasts the caller.
    async fn finish(&self, steps: Steps, app: AppId) -> Result<Answer, LedgerError> {
        let (shared, crossings) = (self.shared.clone(), self.crossings.clone());
        let large = self.large.clone();
        let finishing = tokio::spawn(async move {
            let _permit = large.acquire_owned().await;
            let finishing = spawn_blocking(move || shared.finish(steps, app, crossings));
            finishing.await
        });
        let ended = |_| LedgerError::from(StoreError::Closing).of_unfinished();
        let finished = finishing.await.map_err(ended)?;
        let finished = finished.map_err(|error| match error.try_into_panic() {
            // The caller's, as if it had done the steps itself.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => ended(error),
        })?;
        let missing = || StoreError::malformed("the answer is missing").into();
        finished?.into_answer().ok_or_else(missing)
    }
}

impl Identified for Memory {}

#[async_trait]
impl Ledger for Memory {
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError> {
        consume_budget().await;
        self.shared.check_open()?;
        let (reading, deadline) = self.shared.clock().reading_before(call.deadline);
        let mut steps = Steps::of(&self.shared, Call { deadline, ..call }, operation);
        if steps.next(&self.shared, reading)? {
            let app = steps.app_id().clone();
            return self.finish(steps, app).await;
        }
        steps.into_answer().ok_or_else(|| StoreError::malformed("the answer is missing").into())
    }

    async fn next_crossings(&self) -> Crossings {
        self.crossings.next().await
    }

    async fn end_hold(&self, call: Call, ending: Ending) -> Result<Vec<EndedHold>, LedgerError> {
        consume_budget().await;
        let (ids, app) = (self.shared.ids(), self.shared.ids().app(&call.app));
        let (reading, deadline) = self.shared.clock().reading_before(call.deadline);
        let call = Call { deadline, ..call };
        self.shared.step(app, reading, |rows| {
            let reading = rows.in_order(reading);
            end_hold::end_hold(rows, ids, &call, reading, &ending)
        })
    }

    async fn sweep_holds(&self, call: Call) -> Result<u64, LedgerError> {
        let (app, mut swept) = (self.shared.ids().app(&call.app), 0);
        for _ in 0..SWEEP_STEPS_MAX {
            let reading = self.shared.clock().reading();
            let step = |rows: &mut MemoryRows<'_>| {
                let reading = rows.in_order(reading);
                holds::sweep(rows, &call, reading)
            };
            let (facts, is_unfinished) = self.shared.step(app, reading, step)?;
            swept += facts;
            if !is_unfinished {
                break;
            }
            yield_now().await;
        }
        Ok(swept)
    }

    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError> {
        consume_budget().await;
        let (ids, app) = (self.shared.ids(), self.shared.ids().app(&call.app));
        let (reading, deadline) = self.shared.clock().reading_before(call.deadline);
        let call = Call { deadline, ..call };
        self.shared.step(app, reading, |rows| {
            let reading = rows.in_order(reading);
            step::read(rows, ids, &call, reading, &subject)
        })
    }

    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        let (app, schedule) = (self.shared.ids().app(app), Arc::new(schedule.clone()));
        let reading = self.shared.clock().reading();
        reading.metering().map_err(LedgerError::from)?;
        self.shared.step(app, reading, |rows| step::put_schedule(rows, revision, &schedule))
    }

    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        let (app, reading) = (self.shared.ids().app(app), self.shared.clock().reading());
        let revision = self.shared.step(app, reading, |rows| rows.schedule_revision())?;
        Ok(revision.unwrap_or(0))
    }

    fn fingerprints(&self) -> Fingerprints {
        *self.shared.ids()
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        mut claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, LedgerError> {
        let mut differences = Vec::new();
        let app = self.shared.ids().app(&comparison.call.app);
        while !claims.is_empty() {
            let rest = claims.split_off(ExpectedState::fitting(&claims, COMPARED_MAX));
            let (reading, deadline) = self.shared.clock().reading_before(comparison.call.deadline);
            let mut comparison = comparison.clone();
            comparison.call.deadline = deadline;
            loop {
                let found = self.shared.step(app, reading, |rows| {
                    if has_released(rows, &claims)? {
                        return Ok(None);
                    }
                    let reading = rows.in_order(reading);
                    reconcile::compare(rows, &comparison, reading, &claims).map(Some)
                })?;
                yield_now().await;
                if let Some(mut found) = found {
                    differences.append(&mut found);
                    break;
                }
            }
            claims = rest;
        }
        Ok(differences)
    }

    async fn subjects(
        &self,
        call: &Call,
        section: Section,
        from: Option<PageToken>,
    ) -> Result<Subjects, LedgerError> {
        yield_now().await;
        let (app, reading) = (self.shared.ids().app(&call.app), self.shared.clock().reading());
        self.shared
            .step(app, reading, |rows| reconcile::subjects(rows, section, from.as_ref(), PAGE))
    }

    async fn holdings(
        &self,
        call: &Call,
        of: UsageScope,
        from: Option<PageToken>,
    ) -> Result<Holdings, LedgerError> {
        yield_now().await;
        let app = self.shared.ids().app(&call.app);
        let (reading, deadline) = self.shared.clock().reading_before(call.deadline);
        let call = Call { deadline, ..call.clone() };
        self.shared.step(app, reading, |rows| {
            let reading = rows.in_order(reading);
            holdings::holdings(rows, &call, reading, of, (from.as_ref(), PAGE))
        })
    }

    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError> {
        let (app, reading) = (self.shared.ids().app(app), self.shared.clock().reading());
        self.shared.step(app, reading, |rows| tracking::begin(rows, reading.now, keep_for))
    }

    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError> {
        let (app, reading) = (self.shared.ids().app(app), self.shared.clock().reading());
        self.shared.step(app, reading, |rows| tracking::current(rows, reading.now))
    }

    async fn types_in_use(&self) -> Result<TypesInUse, LedgerError> {
        let (mut types, reading) = (BTreeSet::new(), self.shared.clock().reading());
        let mut is_complete = true;
        for (index, app) in self.shared.apps.keys().into_iter().enumerate() {
            if index % VISITED_MAX == 0 {
                yield_now().await;
            }
            if self.shared.apps.is_damaged(app) {
                is_complete = false;
                continue;
            }
            let of_app = self.shared.step(app, reading, |rows| rows.groups_by_type())?;
            types.extend(of_app.into_iter().map(|(group_type, _)| group_type));
        }
        Ok(TypesInUse { types, is_complete })
    }

    async fn recheck_types(
        &self,
        wanted: Option<&BTreeSet<Name>>,
    ) -> Result<BTreeSet<Name>, LedgerError> {
        let mut types = self.types_in_use().await?.types;
        types.retain(|name| wanted.is_none_or(|wanted| wanted.contains(name)));
        Ok(types)
    }

    async fn review_unknown_apps(&self, empty_for: Duration) -> Result<u64, LedgerError> {
        let mut removed = 0;
        for (index, app) in self.shared.apps.keys().into_iter().enumerate() {
            if index % VISITED_MAX == 0 {
                yield_now().await;
            }
            if self.shared.apps.is_damaged(app) {
                continue;
            }
            let reading = self.shared.clock().reading();
            let used_before = reading.now.before(empty_for);
            let is_removed = self
                .shared
                .step(app, reading, |rows| unknown_apps::review(rows, used_before, reading.now))?;
            removed += u64::from(is_removed);
        }
        Ok(removed)
    }

    /// A large operation is in progress while later ones begin.
    fn keeps_order(&self) -> bool {
        false
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        Ok(self.shared.clock().now())
    }

    async fn snapshot(&self) -> Result<File, SnapshotError> {
        Err(SnapshotError::InMemory)
    }

    fn clock_skews(&self) -> Vec<(String, f64)> {
        vec![(MACHINE.to_owned(), self.shared.clock().skew_s())]
    }

    /// No call waits for a turn.
    fn loads(&self) -> Vec<(String, Load)> {
        Vec::new()
    }

    async fn record_clock(&self) -> Result<(), LedgerError> {
        Ok(self.shared.store.record_clock().await?)
    }

    async fn failed(&self) {
        self.shared.store.writer.failed().await;
    }

    async fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.store.writer.close().await;
    }
}

/// Releases some members that are left of dissolved groups; returns whether there were any. They
/// are not members of a group with the same id.
fn has_released(rows: &mut MemoryRows<'_>, claims: &[ExpectedState]) -> Result<bool, StepError> {
    for claim in claims {
        if let ExpectedState::Group { group, .. } = claim
            && rows.release_left_members(*group, SUBJECTS_MAX)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

impl From<StepError> for LedgerError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Ledger(error) => error,
            StepError::Storage(error) => StoreError::Unavailable(error.to_string()).into(),
        }
    }
}
