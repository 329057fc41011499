//! The admin service: sells and refunds editions and add-ons, and publishes the resulting limits to
//! the ledger.
//!
//! A change is first recorded in the directory, together with its entry in the audit log, and then
//! written to the stores that decide; it is answered after both. If the second step fails, a retry
//! with the same request id finishes it, and so does the next round of any sidecar
//! ([`Administration::publish_all`]).

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use self::catalogs::Kept;
use self::filled::Filled;
use self::service::AdminService;
use super::{Engine, TopDenials};
use crate::directory::statement::HashedStatement;
use crate::directory::{
    AcceptClockError, AppPage, AppRecord, Directory, DirectoryError, UnreadableApp,
};
use crate::domain::app_details::AppDetails;
use crate::domain::audit::{Action, Actor};
use crate::domain::catalog::Catalog;
use crate::domain::clock_guard::AcceptedClock;
use crate::domain::id::{AppId, Name, RequestId};
use crate::domain::month::Month;
use crate::domain::purchase::{Period, Sales};
use crate::domain::refund::Remaining;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::domain::timeline::EditionEnd;
use crate::store::ServerState;
use crate::store::SnapshotError;

mod catalogs;
mod change;
mod entries;
mod error;
mod filled;
mod journal;
mod overrun_scan;
mod pace;
mod preview;
mod publishing;
pub mod reconcile;
mod service;
mod statements;
mod store;

pub use catalogs::{Activated, Activation, CatalogId, Standing};
pub use change::{Change, ChangeKind, ChangeResult, Difference};
pub use entries::{EntryFilter, FoundEntries};
pub use error::AdminError;
pub use journal::{JournalAction, JournalChange, JournalChangeError};
pub use overrun_scan::OverrunCount;
pub use pace::{Pace, SLICE_ITEMS};
pub use preview::{Count, Overrun, Preview, PreviewChange, PreviewRequest, SubjectCounts};
pub use store::{AcceptanceError, StoreAccepted, StoreState};

/// Apps read at a time when all of them are scanned.
const PAGE: usize = 256;
/// Timeout of reading a count.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// An app as it is at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppView {
    /// The app's record.
    pub record: AppRecord,
    /// Period of validity of each purchase, in the order of the record.
    pub valid: Vec<Period>,
    /// When the edition of `at` ends.
    pub edition_end: Option<EditionEnd>,
    /// The app's entitlements, from `at` on.
    pub schedule: Schedule,
    /// The instant.
    pub at: Timestamp,
    /// True if the last change is recorded, but not in force everywhere yet.
    pub pending: bool,
}

/// A page of apps in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppList {
    /// The apps.
    pub views: Vec<AppView>,
    /// The apps that cannot be shown, with reasons.
    pub unreadable: Vec<UnreadableApp>,
    /// The id after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The record that it added, now or when the same request came first.
    pub made: ChangeResult,
    /// The figures of a refund.
    pub remaining: Option<Remaining>,
    /// The figures of an exchange.
    pub exchange: Option<ExchangeFigures>,
    /// The app after the change.
    pub view: AppView,
}

/// Figures of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeFigures {
    /// Each refund: the index of its purchase, and the figures.
    pub refunds: Vec<(usize, Remaining)>,
    /// Sum to pay, in fen: the price less the refunds; a negative sum is paid out.
    pub sum_fen: i64,
}

impl ExchangeFigures {
    /// Returns the figures of a recorded exchange, by the index of its purchase; `of_refund`
    /// returns those of a recorded refund, by its index.
    fn of_made<E>(
        sales: &Sales,
        purchase: usize,
        of_refund: impl Fn(usize) -> Result<Remaining, E>,
    ) -> Result<Self, E> {
        let mut refunds = Vec::new();
        let mut sum_fen = sales.purchases[purchase].price_fen;
        for (index, refund) in sales.exchanged_for(purchase) {
            refunds.push((refund.purchase, of_refund(index)?));
            sum_fen = sum_fen.saturating_sub(refund.refund_fen);
        }
        Ok(Self { refunds, sum_fen })
    }
}

/// Changes apps, one change at a time.
///
/// A change that has begun is completed even if its caller goes away.
#[derive(Clone)]
pub struct Administration(Arc<AdminService>);

impl Administration {
    /// Creates the service over a directory, for an engine's ledger.
    #[must_use]
    pub fn new(engine: Arc<Engine>, directory: Arc<dyn Directory>) -> Self {
        let (kept, stored) = (Arc::<Kept>::default(), directory);
        let directory = Arc::new(Filled { stored: stored.clone(), kept: kept.clone() });
        let (changing, publishing, unpublished, pace) = Default::default();
        Self(Arc::new(AdminService {
            engine,
            directory,
            stored,
            kept,
            changing,
            publishing,
            unpublished,
            pace,
        }))
    }

    /// Returns the pace of long admin work, which callers on the same threads also use.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// Returns whether the server of the store that holds the apps is absent, so that nothing can
    /// be read there.
    #[must_use]
    pub fn is_directory_absent(&self) -> bool {
        self.0.engine.ledger.is_directory_absent()
    }

    /// Returns the addresses of the servers of the store that are absent.
    #[must_use]
    pub fn absent_servers(&self) -> Vec<String> {
        let absent = |server: ServerState| server.is_absent.then_some(server.address);
        self.0.engine.ledger.servers().into_iter().filter_map(absent).collect()
    }

    /// Returns the current catalog.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.engine.catalog()
    }

    /// Returns an app.
    pub async fn app(&self, app: &AppId) -> Result<AppView, AdminError> {
        let record = self.0.directory.app(app).await?;
        self.0.view(record.ok_or_else(|| AdminError::UnknownApp(app.clone()))?).await
    }

    /// Returns up to `limit` apps in the order of their ids, after `after`. An app that cannot be
    /// shown does not hide the others.
    pub async fn apps(&self, after: Option<&AppId>, limit: usize) -> Result<AppList, AdminError> {
        self.0.apps(after, limit).await
    }

    /// Returns the ids of a page of all registered apps, and the last one, after which the next
    /// page begins; `None` at the end.
    pub async fn app_ids(
        &self,
        after: Option<&str>,
    ) -> Result<(Vec<AppId>, Option<String>), AdminError> {
        let AppPage { records, last, .. } = self.0.directory.apps(after, PAGE).await?;
        Ok((records.into_iter().map(|record| record.app).collect(), last))
    }

    /// Makes a change on behalf of an actor.
    pub async fn change(&self, change: Change, actor: Actor) -> Result<Changed, AdminError> {
        let service = self.0.clone();
        // Completed whether or not the caller waits for it.
        let changed = tokio::spawn(async move { service.change(&change, &actor).await });
        changed.await.unwrap_or_else(|interrupted| {
            Err(AdminError::from_write(DirectoryError::Unavailable(interrupted.to_string())))
        })
    }

    /// Returns the app's entitlements after a change or at an instant, and the counts that would be
    /// over a limit. Changes nothing, and stops if its caller goes away.
    pub async fn preview(
        &self,
        app: &AppId,
        request: PreviewRequest,
    ) -> Result<Preview, AdminError> {
        self.0.preview(app, request).await
    }

    /// Returns the statement of a month; by default of the running one.
    pub async fn statement(
        &self,
        app: &AppId,
        month: Option<Month>,
    ) -> Result<HashedStatement, AdminError> {
        let (service, app) = (self.0.clone(), app.clone());
        // Issuing a statement is completed whether or not the caller waits for it.
        let statement = tokio::spawn(async move { service.statement(&app, month).await });
        statement.await.unwrap_or_else(|interrupted| {
            Err(DirectoryError::Unavailable(interrupted.to_string()).into())
        })
    }

    /// Issues the statements of all apps and months that have become final, and returns the instant
    /// at which the next ones do; `None` if some could not be issued yet.
    pub async fn issue_due(&self) -> Result<Option<Timestamp>, AdminError> {
        self.0.issue_due().await
    }

    /// Returns the instant by the store's clock.
    pub async fn now(&self) -> Result<Timestamp, AdminError> {
        Ok(self.0.engine.now().await?)
    }

    /// Returns the most frequent denials of this sidecar within the running hour.
    #[must_use]
    pub fn top_denials(&self, app: Option<&AppId>, most: usize) -> TopDenials {
        self.0.engine.top_denials(app, most)
    }

    /// Returns a copy of the store as of one instant, to be read from its beginning; logs its
    /// caller.
    pub async fn snapshot(&self, actor: Actor) -> Result<File, SnapshotError> {
        let failed = |error: AdminError| SnapshotError::Failed(error.to_string());
        let now = self.0.engine.now().await.map_err(|error| failed(error.into()))?;
        let file = self.0.engine.ledger.snapshot().await?;
        let logged =
            self.log(now, Action::CreateBackup, None, actor, "{}".to_owned(), String::new());
        logged.await.map_err(|error| failed(error.into()))?;
        Ok(file)
    }

    /// Makes a store in this process use the machine's time of day from now on.
    pub async fn accept_clock(
        &self,
        request_id: &RequestId,
        actor: Actor,
    ) -> Result<AcceptedClock, AcceptClockError> {
        let accepted = self.0.directory.accept_clock(request_id, actor).await?;
        self.0.engine.event_buffer().audit_grew();
        Ok(accepted)
    }

    /// Returns up to `limit` entries of the audit log that match, after number `after`.
    pub async fn entries(
        &self,
        after: u64,
        limit: usize,
        filter: &EntryFilter,
    ) -> Result<FoundEntries, AdminError> {
        self.0.entries(after, limit, filter).await
    }

    /// Publishes the limits of every app to the ledger, as they follow from its record and from the
    /// current catalog: of each app once, and after that of those whose latest change is not in
    /// force in every part of the store. Every app is tried; the error is that of one app that
    /// failed.
    pub async fn publish_all(&self) -> Result<(), AdminError> {
        self.0.publish_round().await
    }

    /// Completes once a change was recorded and could not be published.
    pub async fn publishing_wanted(&self) {
        self.0.unpublished.notified().await;
    }

    /// Counts groups of all types if the store has no complete list of types in use, and returns
    /// the types in use that the catalog in force lacks.
    pub async fn count_types(&self) -> Result<Vec<Name>, AdminError> {
        let ledger = &self.0.engine.ledger;
        let in_use = ledger.types_in_use().await.map_err(AdminError::Unread)?;
        if !in_use.is_complete {
            ledger.recheck_types(None).await.map_err(AdminError::Unread)?;
        }
        self.0.missing_types(&self.catalog()).await
    }

    /// Completes once this sidecar has appended more events.
    pub async fn events_appended(&self) {
        self.0.engine.event_buffer().appended_more().await;
    }

    /// Activates a catalog from this sidecar's file, at the start or after a reload, unless the
    /// store has had its content before: then the store's catalog is used. The limits of the apps
    /// follow with [`Administration::publish_all`].
    pub async fn change_catalog(&self, catalog: Catalog) -> Result<Standing, AdminError> {
        let _changing = self.0.changing.lock().await;
        self.0.load_catalog(catalog).await
    }

    /// Returns whether a catalog kept by the store has been read.
    #[must_use]
    pub fn keeps_catalogs(&self) -> bool {
        self.0.kept.cached().history.is_some()
    }

    /// Applies a catalog that another sidecar or an owner activated, and a changed zone once it
    /// counts.
    pub async fn follow_catalog(&self) -> Result<Standing, AdminError> {
        let _changing = self.0.changing.lock().await;
        self.0.follow_catalog().await
    }

    /// Activates a kept catalog again, and publishes the limits of all apps.
    pub async fn activate_catalog(
        &self,
        activation: Activation,
        actor: Actor,
    ) -> Result<Activated, AdminError> {
        let service = self.0.clone();
        // Completed whether or not the caller waits for it.
        let activated =
            tokio::spawn(async move { service.activate_catalog(&activation, &actor).await });
        activated.await.unwrap_or_else(|interrupted| {
            Err(DirectoryError::Unavailable(interrupted.to_string()).into())
        })
    }
}

fn schedule(catalog: &Catalog, record: &AppRecord, now: Timestamp) -> Result<Schedule, AdminError> {
    let im_codes = AppDetails::after(&record.details).im_code_set;
    Schedule::compile(catalog, &record.sales, now)
        .map(|schedule| schedule.with_im_codes(im_codes.as_ref()))
        .map_err(|missing| AdminError::Missing { app: record.app.clone(), missing })
}

/// Iterates over all apps, page by page.
#[derive(Default)]
struct Pages {
    after: Option<String>,
    /// The apps so far whose documents cannot be read; they are on no page.
    unreadable: Vec<UnreadableApp>,
}

impl Pages {
    async fn next(
        &mut self,
        directory: &dyn Directory,
    ) -> Result<Option<Vec<AppRecord>>, DirectoryError> {
        let AppPage { records, unreadable, last } =
            directory.apps(self.after.as_deref(), PAGE).await?;
        self.unreadable.extend(unreadable);
        self.after = last;
        Ok(self.after.is_some().then_some(records))
    }
}
