//! A ledger and a directory with injected faults.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use imquota::directory::{AppPage, AppRecord, Basis, Directory, DirectoryError, StoredCatalogs};
use imquota::domain::audit::{Entry, Event, Head};
use imquota::domain::calendar::Day;
use imquota::domain::decision::Subject;
use imquota::domain::id::{AppId, Name};
use imquota::domain::limits::Part;
use imquota::domain::metering::{Login, Sample, Sampled};
use imquota::domain::month::Month;
use imquota::domain::schedule::Schedule;
use imquota::domain::time::Timestamp;
use imquota::ledger::holdings::{Holdings, UsageScope};
use imquota::ledger::holds::{EndedHold, Ending};
use imquota::ledger::metering::{ClosedMonth, Figures, Meter, Metered};
use imquota::ledger::reconcile::{
    Comparison, Difference, ExpectedState, PageToken, Section, Subjects, Tracking,
};
use imquota::ledger::{Answer, Call, Ledger, LedgerError, Operation, Reading, TypesInUse};
use imquota::store::SnapshotError;
use imquota::store::StoreError;
use imquota::store::fair::Load;
use imquota::store::{Fingerprints, Identified, ServerState};

/// The injected faults.
#[derive(Debug, Default)]
pub struct Faults {
    /// The whole ledger fails once the directory has written a record.
    pub ledger_after_record: AtomicBool,
    /// The ledger's clock fails once the directory has written a record.
    pub clock_after_record: AtomicBool,
    /// The directory writes a record and returns an error of the store.
    pub reply_of_record: AtomicBool,
    recorded: AtomicBool,
}

impl Faults {
    fn hit(&self, fault: &AtomicBool) -> bool {
        fault.load(Ordering::SeqCst) && self.recorded.load(Ordering::SeqCst)
    }

    /// Removes all faults.
    pub fn mend(&self) {
        for each in [&self.ledger_after_record, &self.clock_after_record, &self.reply_of_record] {
            each.store(false, Ordering::SeqCst);
        }
        self.recorded.store(false, Ordering::SeqCst);
    }
}

fn away() -> LedgerError {
    LedgerError::Store(StoreError::Unavailable("the test has taken it away".to_owned()))
}

/// A ledger with faults.
pub struct FaultyLedger(pub Arc<dyn Ledger>, pub Arc<Faults>);

/// A directory with faults.
pub struct FaultyDirectory(pub Arc<dyn Directory>, pub Arc<Faults>);

#[async_trait]
impl Directory for FaultyDirectory {
    async fn app(&self, app: &AppId) -> Result<Option<AppRecord>, DirectoryError> {
        self.0.app(app).await
    }

    async fn basis(&self, app: &AppId, catalog: u64) -> Result<Basis, DirectoryError> {
        self.0.basis(app, catalog).await
    }

    async fn put_after(
        &self,
        after: u64,
        record: &AppRecord,
        event: Event,
        head: Option<Head>,
    ) -> Result<(), DirectoryError> {
        self.0.put_after(after, record, event, head).await?;
        self.1.recorded.store(true, Ordering::SeqCst);
        if self.1.hit(&self.1.reply_of_record) {
            return Err(DirectoryError::Unavailable("the reply was lost".to_owned()));
        }
        Ok(())
    }

    async fn put_statement(
        &self,
        record: &AppRecord,
        month: Month,
        statement: &[u8],
        event: Event,
    ) -> Result<(), DirectoryError> {
        self.0.put_statement(record, month, statement, event).await?;
        self.1.recorded.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn statement(
        &self,
        app: &AppId,
        month: Month,
    ) -> Result<Option<Vec<u8>>, DirectoryError> {
        self.0.statement(app, month).await
    }

    async fn log(&self, event: Event) -> Result<(), DirectoryError> {
        self.0.log(event).await
    }

    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, DirectoryError> {
        self.0.entries(after, limit).await
    }

    async fn head(&self) -> Result<Head, DirectoryError> {
        self.0.head().await
    }

    async fn apps(&self, after: Option<&str>, limit: usize) -> Result<AppPage, DirectoryError> {
        self.0.apps(after, limit).await
    }

    async fn catalogs(&self, known: u64) -> Result<Option<StoredCatalogs>, DirectoryError> {
        self.0.catalogs(known).await
    }

    async fn put_catalog(
        &self,
        last: u64,
        record: &[u8],
        removed: &[u64],
        event: Option<Event>,
    ) -> Result<bool, DirectoryError> {
        self.0.put_catalog(last, record, removed, event).await
    }
}

#[async_trait]
impl Meter for FaultyLedger {
    async fn record_logins(&self, call: Call, logins: Vec<Login>) -> Result<Metered, LedgerError> {
        self.0.record_logins(call, logins).await
    }

    async fn report_samples(
        &self,
        call: Call,
        of: Sampled,
        samples: Vec<Sample>,
    ) -> Result<Metered, LedgerError> {
        self.0.report_samples(call, of, samples).await
    }

    async fn figures(&self, call: &Call, first: Day, last: Day) -> Result<Figures, LedgerError> {
        self.0.figures(call, first, last).await
    }

    async fn close_month(
        &self,
        call: &Call,
        month: ClosedMonth,
    ) -> Result<Option<Figures>, LedgerError> {
        self.0.close_month(call, month).await
    }
}

impl Identified for FaultyLedger {}

#[async_trait]
impl Ledger for FaultyLedger {
    async fn apply(&self, call: Call, operation: Operation) -> Result<Answer, LedgerError> {
        self.0.apply(call, operation).await
    }

    async fn read(&self, call: Call, subject: Subject) -> Result<Reading, LedgerError> {
        self.0.read(call, subject).await
    }

    async fn put_schedule(
        &self,
        app: &AppId,
        revision: u64,
        schedule: &Schedule,
    ) -> Result<(), LedgerError> {
        if self.1.hit(&self.1.ledger_after_record) {
            return Err(away());
        }
        self.0.put_schedule(app, revision, schedule).await
    }

    async fn schedule_revision(&self, app: &AppId) -> Result<u64, LedgerError> {
        self.0.schedule_revision(app).await
    }

    async fn end_hold(&self, call: Call, ending: Ending) -> Result<Vec<EndedHold>, LedgerError> {
        self.0.end_hold(call, ending).await
    }

    async fn sweep_holds(&self, call: Call) -> Result<u64, LedgerError> {
        self.0.sweep_holds(call).await
    }

    async fn review_unknown_apps(&self, empty_for: Duration) -> Result<u64, LedgerError> {
        self.0.review_unknown_apps(empty_for).await
    }

    fn fingerprints(&self) -> Fingerprints {
        self.0.fingerprints()
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, LedgerError> {
        self.0.compare(comparison, claims).await
    }

    async fn subjects(
        &self,
        call: &Call,
        section: Section,
        from: Option<PageToken>,
    ) -> Result<Subjects, LedgerError> {
        self.0.subjects(call, section, from).await
    }

    async fn holdings(
        &self,
        call: &Call,
        of: UsageScope,
        from: Option<PageToken>,
    ) -> Result<Holdings, LedgerError> {
        self.0.holdings(call, of, from).await
    }

    async fn track(&self, app: &AppId, keep_for: Duration) -> Result<Tracking, LedgerError> {
        self.0.track(app, keep_for).await
    }

    async fn tracking(&self, app: &AppId) -> Result<Option<Tracking>, LedgerError> {
        self.0.tracking(app).await
    }

    async fn types_in_use(&self) -> Result<TypesInUse, LedgerError> {
        self.0.types_in_use().await
    }

    async fn recheck_types(
        &self,
        wanted: Option<&BTreeSet<Name>>,
    ) -> Result<BTreeSet<Name>, LedgerError> {
        self.0.recheck_types(wanted).await
    }

    fn keeps_order(&self) -> bool {
        self.0.keeps_order()
    }

    fn loads(&self) -> Vec<(String, Load)> {
        self.0.loads()
    }

    async fn now(&self) -> Result<Timestamp, LedgerError> {
        if self.1.hit(&self.1.ledger_after_record) || self.1.hit(&self.1.clock_after_record) {
            return Err(away());
        }
        self.0.now().await
    }

    async fn snapshot(&self) -> Result<File, SnapshotError> {
        self.0.snapshot().await
    }

    fn servers(&self) -> Vec<ServerState> {
        self.0.servers()
    }

    fn is_absent(&self, app: &AppId, parts: &[Part]) -> bool {
        self.0.is_absent(app, parts)
    }

    async fn failed(&self) {
        self.0.failed().await;
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
