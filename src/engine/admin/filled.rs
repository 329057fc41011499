//! A directory with complete records: purchases that were stored before terms were have those of
//! the first kept catalog that has the item.
//!
//! The terms are added when a record is read, and are stored with its next change.

use std::sync::Arc;

use async_trait::async_trait;

use super::catalogs::Kept;
use crate::directory::{
    AcceptClockError, AppPage, AppRecord, Basis, Directory, DirectoryError, LostEnd, StoredCatalogs,
};
use crate::domain::audit::{Actor, Entry, Event, Head};
use crate::domain::clock_guard::AcceptedClock;
use crate::domain::id::{AppId, RequestId};
use crate::domain::month::Month;

/// A directory and the catalogs that it keeps.
pub(super) struct Filled {
    pub(super) stored: Arc<dyn Directory>,
    pub(super) kept: Arc<Kept>,
}

impl Filled {
    fn fill(&self, mut record: AppRecord) -> AppRecord {
        if let Some(history) = &self.kept.cached().history {
            history.fill(&mut record.sales);
        }
        record
    }
}

#[async_trait]
impl Directory for Filled {
    async fn app(&self, app: &AppId) -> Result<Option<AppRecord>, DirectoryError> {
        Ok(self.stored.app(app).await?.map(|record| self.fill(record)))
    }

    async fn basis(&self, app: &AppId, catalog: u64) -> Result<Basis, DirectoryError> {
        let basis = self.stored.basis(app, catalog).await?;
        Ok(Basis { record: basis.record.map(|record| self.fill(record)), ..basis })
    }

    async fn apps(&self, after: Option<&str>, limit: usize) -> Result<AppPage, DirectoryError> {
        let page = self.stored.apps(after, limit).await?;
        let records = page.records.into_iter().map(|record| self.fill(record)).collect();
        Ok(AppPage { records, ..page })
    }

    async fn put_after(
        &self,
        after: u64,
        record: &AppRecord,
        event: Event,
        head: Option<Head>,
    ) -> Result<(), DirectoryError> {
        self.stored.put_after(after, record, event, head).await
    }

    async fn put_statement(
        &self,
        record: &AppRecord,
        month: Month,
        statement: &[u8],
        event: Event,
    ) -> Result<(), DirectoryError> {
        self.stored.put_statement(record, month, statement, event).await
    }

    async fn statement(
        &self,
        app: &AppId,
        month: Month,
    ) -> Result<Option<Vec<u8>>, DirectoryError> {
        self.stored.statement(app, month).await
    }

    async fn catalogs(&self, known: u64) -> Result<Option<StoredCatalogs>, DirectoryError> {
        self.stored.catalogs(known).await
    }

    async fn put_catalog(
        &self,
        last: u64,
        record: &[u8],
        removed: &[u64],
        event: Option<Event>,
    ) -> Result<bool, DirectoryError> {
        self.stored.put_catalog(last, record, removed, event).await
    }

    async fn log(&self, event: Event) -> Result<(), DirectoryError> {
        self.stored.log(event).await
    }

    async fn accept_clock(
        &self,
        request_id: &RequestId,
        actor: Actor,
    ) -> Result<AcceptedClock, AcceptClockError> {
        self.stored.accept_clock(request_id, actor).await
    }

    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, DirectoryError> {
        self.stored.entries(after, limit).await
    }

    async fn head(&self) -> Result<Head, DirectoryError> {
        self.stored.head().await
    }

    async fn lost_end(&self, published: u64) -> Result<Option<LostEnd>, DirectoryError> {
        self.stored.lost_end(published).await
    }

    async fn log_lost_end(&self, lost: LostEnd, event: Event) -> Result<(), DirectoryError> {
        self.stored.log_lost_end(lost, event).await
    }
}
