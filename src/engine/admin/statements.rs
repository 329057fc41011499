//! Statements: computed while their month runs, and issued once it is final.
//!
//! A final statement is written together with the app's record, which marks the month as closed.
//! Only the issuer in the background writes it, from closed figures; until it has,
//! a due month is shown as one that is not final. A final statement never changes. A backdated
//! change writes the same record, so none can slip in between.

use super::service::AdminService;
use super::{AdminError, Pages, READ_TIMEOUT};
use crate::directory::audit_change::{StatementRequest, StatementResult, to_text};
use crate::directory::statement::{HashedStatement, open, seal};
use crate::directory::{AppRecord, DirectoryError};
use crate::domain::audit::{Action, Actor, Event};
use crate::domain::billing::{BillingInputs, Statement, final_at, statement};
use crate::domain::calendar::Day;
use crate::domain::catalog_history::CatalogHistory;
use crate::domain::decision::Mode;
use crate::domain::id::AppId;
use crate::domain::metering::FIGURES_DAYS_KEPT;
use crate::domain::month::Month;
use crate::domain::time::Timestamp;
use crate::ledger::metering::{ClosedMonth, Figures};

/// Most attempts to close a month while other requests change the same record.
const ATTEMPTS_MAX: usize = 16;
/// Actor in the audit log: statements are issued without a request.
const ISSUER: &str = "imquota";
/// Action in the audit log.
const ISSUE: Action = Action::IssueStatement;

impl AdminService {
    pub(super) async fn statement(
        &self,
        app: &AppId,
        month: Option<Month>,
    ) -> Result<HashedStatement, AdminError> {
        self.pace.next_slice().await;
        let (now, catalogs) = (self.engine.now().await?, self.catalogs().await?);
        let running = catalogs.month_of(now);
        let month = month.unwrap_or(running);
        let record = self.directory.app(app).await?;
        let record = record.ok_or_else(|| AdminError::UnknownApp(app.clone()))?;
        // An issued statement stays final, even if the catalog's zone or final day has moved since.
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
            return Ok(seal(self.compute(&record, month, now).await?));
        }
        if month < first_open(&record, &catalogs, now) {
            return Err(AdminError::FiguresGone(month));
        }
        // The month is due. Only the issuer issues it, within seconds.
        let preliminary = self.compute(&record, month, now).await?;
        Ok(seal(Statement { is_final: false, ..preliminary }))
    }

    pub(super) async fn issue_due(&self) -> Result<Option<Timestamp>, AdminError> {
        let (now, catalogs) = (self.engine.agreed_now().await?, self.catalogs().await?);
        let (mut pages, mut are_all_issued, mut first_error) = (Pages::default(), true, None);
        while let Some(page) = pages.next(&*self.directory).await? {
            self.pace.next_slice().await;
            for record in page {
                let mut month = first_open(&record, &catalogs, now);
                while final_at(&catalogs, month) <= now {
                    // An app whose figures are unavailable holds up no other.
                    let issued = self.issue(&record.app, month).await;
                    are_all_issued &= matches!(issued, Ok(true));
                    if !matches!(issued, Ok(true)) {
                        first_error = first_error.or(issued.err());
                        break;
                    }
                    month = month.next();
                }
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        let mut month = catalogs.month_of(now).previous().previous();
        while final_at(&catalogs, month) <= now {
            month = month.next();
        }
        Ok(are_all_issued.then(|| final_at(&catalogs, month)))
    }

    async fn issued(
        &self,
        app: &AppId,
        month: Month,
    ) -> Result<Option<HashedStatement>, AdminError> {
        let stored = self.directory.statement(app, month).await?;
        Ok(stored.map(|json| open(app, month, json)).transpose()?)
    }

    /// Issues a statement; `false` if it is too early by a server's clock.
    async fn issue(&self, app: &AppId, month: Month) -> Result<bool, AdminError> {
        let _changing = self.changing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let before = self.directory.app(app).await?;
            let before = before.ok_or_else(|| AdminError::UnknownApp(app.clone()))?;
            if before.closed_through >= Some(month) {
                // Another sidecar has issued it.
                return Ok(true);
            }
            let Some(figures) = self.close(app, month).await? else { return Ok(false) };
            let now = figures.read_at;
            let catalogs = self.catalogs().await?;
            let sealed = seal(statement_of(&catalogs, &before, month, now, &figures));
            let record =
                AppRecord { revision: before.revision + 1, closed_through: Some(month), ..before };
            let event = Event {
                at: now,
                actor: Actor { name: ISSUER.to_owned(), from: String::new() },
                action: ISSUE.name().to_owned(),
                request: to_text(&StatementRequest { month: month.to_string() }),
                app: Some(app.clone()),
                request_id: String::new(),
                before: String::new(),
                after: to_text(&StatementResult {
                    hash: sealed.hash.clone(),
                    total_fen: sealed.statement.total_fen,
                }),
            };
            match self.directory.put_statement(&record, month, &sealed.json, event).await {
                Ok(()) => {
                    self.engine.event_buffer().audit_grew();
                    // It is issued; a later round publishes the new revision to the ledger.
                    if self.publish(&record, now, false).await.is_err() {
                        self.unpublished.notify_one();
                    }
                    return Ok(true);
                }
                Err(DirectoryError::Conflict(_)) => {}
                Err(error) => return Err(AdminError::from_write(error)),
            }
        }
        Err(DirectoryError::Conflict(app.clone()).into())
    }

    async fn compute(
        &self,
        record: &AppRecord,
        month: Month,
        now: Timestamp,
    ) -> Result<Statement, AdminError> {
        let deadline = self.engine.local_now() + READ_TIMEOUT;
        let (call, _) = self.engine.call(record.app.clone(), Mode::CheckOnly, deadline);
        let catalogs = self.catalogs().await?;
        let last = month.last_day().min(catalogs.day_of(now));
        let figures = self.engine.ledger.figures(&call, month.first_day(), last).await;
        let figures = figures.map_err(AdminError::Unread)?;
        Ok(statement_of(&catalogs, record, month, now, &figures))
    }

    /// Closes a month, and reads its figures; `None` if it is too early by a server's clock.
    async fn close(&self, app: &AppId, month: Month) -> Result<Option<Figures>, AdminError> {
        let deadline = self.engine.local_now() + READ_TIMEOUT;
        let (call, _) = self.engine.call(app.clone(), Mode::CheckOnly, deadline);
        let cut_off = final_at(&*self.catalogs().await?, month);
        let month = ClosedMonth { first: month.first_day(), last: month.last_day(), cut_off };
        self.engine.ledger.close_month(&call, month).await.map_err(AdminError::Unread)
    }
}

fn statement_of(
    catalogs: &CatalogHistory,
    record: &AppRecord,
    month: Month,
    now: Timestamp,
    figures: &Figures,
) -> Statement {
    let month_users = figures.month_users.iter().find(|(of, _)| *of == month);
    let books = BillingInputs {
        catalogs,
        app: &record.app,
        sales: &record.sales,
        retentions: &record.retentions,
        since: first_open(record, catalogs, now),
        closed_through: record.closed_through,
        figures: &figures.days,
        month_users: month_users.map(|(_, users)| *users),
    };
    statement(&books, month, now)
}

/// Returns the first month of an app that is not closed, of those whose figures are still kept.
pub(super) fn first_open(record: &AppRecord, catalogs: &CatalogHistory, now: Timestamp) -> Month {
    let open = record.closed_through.map_or(record.billed_since, Month::next);
    let oldest = catalogs.day_of(now).number().saturating_sub_unsigned(FIGURES_DAYS_KEPT);
    let kept = Month::of(Day::from_number(oldest)).next();
    open.max(kept)
}
