//! Statements: worked out while their month runs, and issued once it is final.
//!
//! A final statement is written together with the app's record, which notes the month as closed.
//! Whoever comes first writes it, and everybody shows what was written: it never changes, whatever
//! comes later. A change that is dated back works on the same record, so that none slips in
//! between.

use serde_json::json;

use super::office::Office;
use super::{AdminError, PATIENCE, Pages};
use crate::directory::statement::{Sealed, open, seal};
use crate::directory::{AppRecord, DirectoryError};
use crate::domain::audit::{Actor, Event};
use crate::domain::billing::{Books, Statement, final_at, statement};
use crate::domain::calendar::Day;
use crate::domain::catalog_history::CatalogHistory;
use crate::domain::decision::Mode;
use crate::domain::id::AppId;
use crate::domain::metering::FIGURES_DAYS_KEPT;
use crate::domain::month::Month;
use crate::domain::time::Timestamp;

/// Most tries to close a month while others change the same record.
const ATTEMPTS_MAX: usize = 16;
/// Whom the audit log names: nobody asked.
const ISSUER: &str = "imquota";
/// What the audit log calls it.
const ISSUE: &str = "IssueStatement";

impl Office {
    pub(super) async fn statement(
        &self,
        app: &AppId,
        month: Option<Month>,
    ) -> Result<Sealed, AdminError> {
        let (now, catalogs) = (self.engine.now().await?, self.catalogs().await?);
        let running = catalogs.month_of(now);
        let month = month.unwrap_or(running);
        let record = self.directory.app(app).await?;
        let record = record.ok_or_else(|| AdminError::UnknownApp(app.clone()))?;
        // What was issued stays final, also where the catalog's zone or final day has moved since.
        if let Some(issued) = self.issued(app, month).await? {
            return Ok(issued);
        }
        if month > running {
            return Err(AdminError::NotBegun { month, now: running });
        }
        let since = record.billed_since;
        if month < since {
            return Err(AdminError::BeforeApp { app: app.clone(), since, month });
        }
        // The record was read before: a closed month without a statement has had no figures.
        if record.closed_through >= Some(month) {
            return Err(AdminError::FiguresGone(month));
        }
        if now < final_at(&catalogs, month) {
            return Ok(seal(self.work_out(&record, month, now).await?));
        }
        self.issue_through(&record, month, now).await?;
        self.issued(app, month).await?.ok_or(AdminError::FiguresGone(month))
    }

    pub(super) async fn issue_due(&self) -> Result<(), AdminError> {
        let (now, catalogs) = (self.engine.now().await?, self.catalogs().await?);
        let (mut pages, mut first_error) = (Pages::default(), None);
        while let Some(page) = pages.next(&*self.directory).await? {
            for record in page {
                let mut month = first_open(&record, &catalogs, now);
                while final_at(&catalogs, month) <= now {
                    // An app whose figures are out of reach holds up no other.
                    if let Err(error) = self.issue(&record.app, month, now).await {
                        first_error.get_or_insert(error);
                        break;
                    }
                    month = month.next();
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Issues what is due and not issued yet, in the order of the months: at most as many as
    /// figures are kept for.
    async fn issue_through(
        &self,
        record: &AppRecord,
        last: Month,
        now: Timestamp,
    ) -> Result<(), AdminError> {
        let mut month = first_open(record, &*self.catalogs().await?, now);
        while month <= last {
            self.issue(&record.app, month, now).await?;
            month = month.next();
        }
        Ok(())
    }

    async fn issued(&self, app: &AppId, month: Month) -> Result<Option<Sealed>, AdminError> {
        let stored = self.directory.statement(app, month).await?;
        Ok(stored.map(|json| open(app, month, json)).transpose()?)
    }

    async fn issue(&self, app: &AppId, month: Month, now: Timestamp) -> Result<(), AdminError> {
        let _changing = self.changing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let before = self.directory.app(app).await?;
            let before = before.ok_or_else(|| AdminError::UnknownApp(app.clone()))?;
            if before.closed_through >= Some(month) {
                // Somebody else has issued it.
                return Ok(());
            }
            let sealed = seal(self.work_out(&before, month, now).await?);
            let record =
                AppRecord { revision: before.revision + 1, closed_through: Some(month), ..before };
            let event = Event {
                at: now,
                actor: Actor { name: ISSUER.to_owned(), from: String::new() },
                action: ISSUE.to_owned(),
                request: json!({"month": month.to_string()}).to_string(),
                app: Some(app.clone()),
                request_id: String::new(),
                before: String::new(),
                after: json!({
                    "total_fen": sealed.statement.total_fen,
                    "hash": sealed.hash.as_str(),
                })
                .to_string(),
            };
            match self.directory.put_statement(&record, month, &sealed.json, event).await {
                Ok(()) => {
                    self.engine.notices().audit_grew();
                    // It is issued; a later round brings the new revision to the ledger.
                    if self.publish(&record, now).await.is_err() {
                        self.unpublished.notify_one();
                    }
                    return Ok(());
                }
                Err(DirectoryError::Conflict(_)) => {}
                Err(error) => return Err(AdminError::from_write(error)),
            }
        }
        Err(DirectoryError::Conflict(app.clone()).into())
    }

    async fn work_out(
        &self,
        record: &AppRecord,
        month: Month,
        now: Timestamp,
    ) -> Result<Statement, AdminError> {
        let deadline = self.engine.local_now() + PATIENCE;
        let (call, _) = self.engine.call(record.app.clone(), Mode::CheckOnly, deadline);
        let catalogs = self.catalogs().await?;
        let last = month.last_day().min(catalogs.day_of(now));
        let figures = self.engine.ledger.figures(&call, month.first_day(), last).await;
        let figures = figures.map_err(AdminError::Unread)?;
        let books = Books {
            catalogs: &catalogs,
            app: &record.app,
            sales: &record.sales,
            retentions: &record.retentions,
            since: record.billed_since,
            figures: &figures.days,
        };
        Ok(statement(&books, month, now))
    }
}

/// The first month of an app that is not closed, of those whose figures are still kept.
pub(super) fn first_open(record: &AppRecord, catalogs: &CatalogHistory, now: Timestamp) -> Month {
    let open = record.closed_through.map_or(record.billed_since, Month::next);
    let oldest = catalogs.day_of(now).number().saturating_sub_unsigned(FIGURES_DAYS_KEPT);
    let kept = Month::of(Day::from_number(oldest)).next();
    open.max(kept)
}
