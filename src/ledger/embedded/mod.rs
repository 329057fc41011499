//! The embedded store: exact facts in one file, without a server.
//!
//! redb stores the facts; one thread writes, and groups all waiting work into one durable
//! transaction ([`crate::redb`]). The decisions are those of every store in this process
//! (`in_process`), over the tables of that transaction.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redb::{ReadableTable as _, StorageError};

use super::crossings::{Crossings, UnreportedAnswer};
use super::holdings::{Holdings, UsageScope};
use super::holds::{EndedHold, Ending};
use super::in_process::holds::SWEEP_STEPS_MAX;
use super::in_process::rows::Rows as _;
use super::in_process::step::{self, Part};
use super::in_process::{end_hold, holdings, holds, reconcile, tracking, unknown_apps};
use super::reconcile::{
    Comparison, Difference, ExpectedState, PageToken, Section, Subjects, Tracking,
};
use super::{Answer, Call, Ledger, LedgerError, Operation, Reading, TypesInUse};
use crate::clock::Clock;
use crate::domain::clock_guard::ClockRefusal;
use crate::domain::decision::Subject;
use crate::domain::id::{AppId, Name};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::redb::file::{Purpose, guarded};
use crate::redb::writer::{Unit, WriterError};
use crate::redb::{OpenError, RedbStore};
use crate::store::backlog::Backlog;
use crate::store::fair::{Load, Turn};
use crate::store::fingerprint::AppKey;
use crate::store::{Fingerprints, Identified, SnapshotError, StoreError};

pub mod callback_notes;
mod counter_names;
mod group_types;
mod hold_rows;
mod metering;
mod note_rows;
mod note_texts;
pub(super) mod rows;
#[cfg(test)]
mod unanswered_tests;

use rows::TableRows;

/// The name of the only clock of an embedded store, in the place of a server's address.
const MACHINE: &str = "machine";
/// The highest number of facts compared in one unit of work, so that other work does not wait long;
/// a single user or group is never split.
const COMPARED_MAX: usize = 2048;
/// The number of rows read at a time when a section is scanned: a millisecond's work.
const PAGE: usize = 4096;
/// The subjects that the end of a hold counts as in a turn: those of a usual take with one.
const ENDED_SUBJECTS: usize = 8;
/// The number of unknown apps that are checked in one transaction.
const REVIEWED_MAX: usize = 500;

/// The embedded ledger.
pub struct Embedded {
    store: RedbStore,
    /// Thresholds of results that did not reach their callers.
    crossings: Arc<Backlog<Crossings>>,
}

impl Embedded {
    /// Opens the store in a directory, creating both if they are missing.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        RedbStore::open(directory, clock).map(Self::over)
    }

    /// Returns the ledger in an open store.
    #[must_use]
    pub fn over(store: RedbStore) -> Self {
        Self { store, crossings: Arc::default() }
    }

    /// Returns the store, for the directory and the events in the same file.
    #[must_use]
    pub fn store(&self) -> &RedbStore {
        &self.store
    }

    /// Bounds the number of users and groups that are in flight at once.
    #[must_use]
    pub fn bounded(self, subjects_in_flight_max: usize) -> Self {
        self.store.bound(subjects_in_flight_max);
        self
    }

    /// Returns the turn of a call with that number of subjects, and how long it may wait for it.
    fn turn(&self, call: &Call, subjects: usize) -> (Turn, Duration) {
        let turn = Turn { app: self.store.ids.app(&call.app), subjects };
        (turn, call.deadline - self.store.clock.now())
    }

    /// Returns the call with its deadline by the store's clock.
    fn by_store(&self, call: Call) -> Call {
        Call { deadline: self.store.clock.deadline(call.deadline), ..call }
    }
}

impl Identified for Embedded {}

#[async_trait]
impl Ledger for Embedded {
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError> {
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, operation.subjects_len());
        let crossings = self.crossings.clone();
        let work = move |unit: &mut Unit<'_, '_>| {
            let mut rows = TableRows::new(unit, ids.app(&call.app));
            let (reading, mut part) = (clock.reading(), Part::whole());
            let done = step::apply(&mut rows, &ids, &call, reading, (&operation, &mut part));
            let answer = step::answer(done)?;
            Ok(answer.map(|answer| UnreportedAnswer::new(answer, call.app, crossings)))
        };
        let answer = self.store.writer.submit(turn, within, work).await??.into_answer();
        answer.ok_or_else(|| StoreError::malformed("the answer is missing").into())
    }

    async fn next_crossings(&self) -> Crossings {
        self.crossings.next().await
    }

    async fn end_hold(&self, call: Call, ending: Ending) -> Result<Vec<EndedHold>, LedgerError> {
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, ENDED_SUBJECTS);
        let work = move |unit: &mut Unit<'_, '_>| {
            let mut rows = TableRows::new(unit, ids.app(&call.app));
            let reading = clock.reading();
            step::answer(end_hold::end_hold(&mut rows, &ids, &call, reading, &ending))
        };
        self.store.writer.submit(turn, within, work).await?
    }

    async fn sweep_holds(&self, call: Call) -> Result<u64, LedgerError> {
        let (app, call) = (self.store.ids.app(&call.app), Arc::new(call));
        let mut swept = 0;
        for _ in 0..SWEEP_STEPS_MAX {
            let (clock, call) = (self.store.clock.clone(), call.clone());
            let work = move |unit: &mut Unit<'_, '_>| {
                holds::sweep(&mut TableRows::new(unit, app), &call, clock.reading())
            };
            let (facts, is_unfinished) = self.store.writer.submit_without_timeout(work).await?;
            swept += facts;
            if !is_unfinished {
                break;
            }
        }
        Ok(swept)
    }

    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError> {
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, 1);
        let work = move |unit: &mut Unit<'_, '_>| {
            let mut rows = TableRows::new(unit, ids.app(&call.app));
            step::answer(step::read(&mut rows, &ids, &call, clock.reading(), &subject))
        };
        self.store.writer.submit(turn, within, work).await?
    }

    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        let app = self.store.ids.app(app);
        let schedule = Arc::new(schedule.clone());
        let clock = self.store.clock.clone();
        let work = move |unit: &mut Unit<'_, '_>| match clock.reading().metering() {
            Ok(()) => {
                let mut rows = TableRows::new(unit, app);
                step::put_schedule(&mut rows, revision, &schedule).map(Ok)
            }
            Err(refusal) => Ok(Err(refusal.into())),
        };
        self.store.writer.submit_without_timeout(work).await?
    }

    async fn review_unknown_apps(&self, empty_for: Duration) -> Result<u64, LedgerError> {
        let (mut removed, mut from) = (0, Some(0));
        while let Some(first) = from {
            let clock = self.store.clock.clone();
            let work = move |unit: &mut Unit<'_, '_>| {
                let now = clock.now();
                review_some(unit, first, now.before(empty_for), now)
            };
            let (more, next) = self.store.writer.submit_without_timeout(work).await?;
            removed += more;
            from = next;
        }
        Ok(removed)
    }

    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        let app = self.store.ids.app(app);
        let work = move |unit: &mut Unit<'_, '_>| TableRows::new(unit, app).schedule_revision();
        Ok(self.store.writer.submit_without_timeout(work).await?.unwrap_or(0))
    }

    fn fingerprints(&self) -> Fingerprints {
        self.store.ids
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        mut claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, LedgerError> {
        let mut differences = Vec::new();
        while !claims.is_empty() {
            let rest = claims.split_off(ExpectedState::fitting(&claims, COMPARED_MAX));
            let app = self.store.ids.app(&comparison.call.app);
            let (clock, mut comparison) = (self.store.clock.clone(), comparison.clone());
            comparison.call = self.by_store(comparison.call);
            let work = move |unit: &mut Unit<'_, '_>| {
                let (reading, mut rows) = (clock.reading(), TableRows::new(unit, app));
                step::answer(reconcile::compare(&mut rows, &comparison, reading, &claims))
            };
            differences.append(&mut self.store.writer.submit_without_timeout(work).await??);
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
        let app = self.store.ids.app(&call.app);
        let work = move |unit: &mut Unit<'_, '_>| {
            reconcile::subjects(&TableRows::new(unit, app), section, from.as_ref(), PAGE)
        };
        Ok(self.store.writer.submit_without_timeout(work).await?)
    }

    async fn holdings(
        &self,
        call: &Call,
        of: UsageScope,
        from: Option<PageToken>,
    ) -> Result<Holdings, LedgerError> {
        let (clock, app) = (self.store.clock.clone(), self.store.ids.app(&call.app));
        let call = self.by_store(call.clone());
        let work = move |unit: &mut Unit<'_, '_>| {
            let (reading, mut rows) = (clock.reading(), TableRows::new(unit, app));
            let page = (from.as_ref(), PAGE);
            step::answer(holdings::holdings(&mut rows, &call, reading, of, page))
        };
        self.store.writer.submit_without_timeout(work).await?
    }

    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError> {
        let (clock, app) = (self.store.clock.clone(), self.store.ids.app(app));
        let work = move |unit: &mut Unit<'_, '_>| {
            tracking::begin(&mut TableRows::new(unit, app), clock.now(), keep_for)
        };
        Ok(self.store.writer.submit_without_timeout(work).await?)
    }

    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError> {
        let (clock, app) = (self.store.clock.clone(), self.store.ids.app(app));
        let work = move |unit: &mut Unit<'_, '_>| {
            tracking::current(&TableRows::new(unit, app), clock.now())
        };
        Ok(self.store.writer.submit_without_timeout(work).await?)
    }

    fn keeps_order(&self) -> bool {
        true
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        Ok(self.store.clock.now())
    }

    async fn types_in_use(&self) -> Result<TypesInUse, LedgerError> {
        let database = self.store.writer.database().ok_or(StoreError::Closing)?;
        let path = self.store.path.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let read = guarded(&path, Purpose::Store, || group_types::in_use(&database));
            read.and_then(|types| types.map_err(|error| error.to_string()))
        });
        let read = reading.await.unwrap_or_else(|error| Err(error.to_string()));
        let types = read.map_err(StoreError::Refused)?;
        Ok(TypesInUse { types, is_complete: true })
    }

    async fn recheck_types(
        &self,
        wanted: Option<&BTreeSet<Name>>,
    ) -> Result<BTreeSet<Name>, LedgerError> {
        let mut types = self.types_in_use().await?.types;
        types.retain(|name| wanted.is_none_or(|wanted| wanted.contains(name)));
        Ok(types)
    }

    async fn snapshot(&self) -> Result<File, SnapshotError> {
        self.store.snapshot().await
    }

    fn clock_skews(&self) -> Vec<(String, f64)> {
        vec![(MACHINE.to_owned(), self.store.clock.skew_s())]
    }

    fn loads(&self) -> Vec<(String, Load)> {
        vec![("embedded".to_owned(), self.store.writer.load())]
    }

    async fn record_clock(&self) -> Result<(), LedgerError> {
        Ok(self.store.record_clock().await?)
    }

    async fn failed(&self) {
        self.store.writer.failed().await;
    }

    async fn close(&self) {
        self.store.writer.close().await;
    }
}

/// Reviews some unknown apps, from the app `from` on; returns the number of those that are not
/// counted any more, and the app to continue with.
fn review_some(
    unit: &mut Unit<'_, '_>,
    from: AppKey,
    used_before: Timestamp,
    now: Timestamp,
) -> Result<(u64, Option<AppKey>), StorageError> {
    let rows = unit.tables.unknown_apps.range(from..)?.take(REVIEWED_MAX + 1);
    let apps: Result<Vec<_>, StorageError> =
        rows.map(|row| row.map(|(app, _)| app.value())).collect();
    let mut apps = apps?;
    let next = (apps.len() > REVIEWED_MAX).then(|| apps.pop()).flatten();
    let mut removed = 0;
    for app in apps {
        let is_removed = unknown_apps::review(&mut TableRows::new(unit, app), used_before, now)?;
        removed += u64::from(is_removed);
    }
    Ok((removed, next))
}

impl From<ClockRefusal> for LedgerError {
    fn from(refusal: ClockRefusal) -> Self {
        StoreError::from(refusal).into()
    }
}

impl From<WriterError> for LedgerError {
    fn from(error: WriterError) -> Self {
        StoreError::from(error).into()
    }
}
