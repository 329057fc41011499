//! Selling editions and add-ons and taking them back, and bringing the limits that follow to the
//! ledger.
//!
//! A change is first recorded in the directory, together with its entry in the audit log, and then
//! put where the decisions are made; it is answered after both. Where the second step fails, a
//! repetition with the same request id finishes it, and so does the next round of any sidecar
//! ([`Administration::publish_all`]).

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use self::catalogs::Kept;
use self::filled::Filled;
use self::office::Office;
use super::{Engine, TopDenials};
use crate::directory::statement::Sealed;
use crate::directory::{
    AcceptClockError, AppPage, AppRecord, Directory, DirectoryError, UnreadableApp,
};
use crate::domain::audit::Actor;
use crate::domain::catalog::Catalog;
use crate::domain::clock_guard::AcceptedClock;
use crate::domain::id::{AppId, Name, RequestId};
use crate::domain::month::Month;
use crate::domain::purchase::Period;
use crate::domain::refund::Remaining;
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::domain::timeline::EditionEnd;
use crate::ledger::{ServerState, SnapshotError};

mod catalogs;
mod change;
mod entries;
mod error;
mod everybody;
mod filled;
mod journal;
mod office;
mod pace;
mod preview;
mod publishing;
pub mod reconcile;
mod statements;
mod store;

pub use catalogs::{Activated, Activation, CatalogId, Standing};
pub use change::{Change, Difference, Made, What};
pub use entries::{EntryFilter, FoundEntries};
pub use error::AdminError;
pub use everybody::OverrunCount;
pub use journal::{JournalAction, JournalChange, JournalChangeError};
pub use pace::{Pace, SLICE_ITEMS};
pub use preview::{Count, Overrun, Preview, Previewed, Question, SubjectCounts};
pub use store::{StoreAccepted, StoreError, StoreState};

/// Apps read at a time when all of them are gone through.
const PAGE: usize = 256;
/// Longest time for reading a count.
const PATIENCE: Duration = Duration::from_secs(5);

/// An app as it is at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppView {
    /// What is recorded of it.
    pub record: AppRecord,
    /// When each purchase is valid, in the order of the record.
    pub valid: Vec<Period>,
    /// When the edition of `at` ends.
    pub edition_end: Option<EditionEnd>,
    /// What it is entitled to, from `at` on.
    pub schedule: Schedule,
    /// The instant.
    pub at: Timestamp,
    /// Whether the last change is recorded, but does not count everywhere yet.
    pub pending: bool,
}

/// Some apps in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppList {
    /// The apps as they are.
    pub views: Vec<AppView>,
    /// The apps that cannot be shown, and why.
    pub unreadable: Vec<UnreadableApp>,
    /// The id after which the rest begins; `None` where this is the end.
    pub next: Option<String>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What it made, now or when the same request came first.
    pub made: Made,
    /// The figures of a refund.
    pub remaining: Option<Remaining>,
    /// The app after it.
    pub view: AppView,
}

/// Changes apps, one change at a time.
///
/// A change that has begun is finished even if its caller goes away.
#[derive(Clone)]
pub struct Administration(Arc<Office>);

impl Administration {
    /// Over a directory, for an engine's ledger.
    #[must_use]
    pub fn new(engine: Arc<Engine>, directory: Arc<dyn Directory>) -> Self {
        let (kept, stored) = (Arc::<Kept>::default(), directory);
        let directory = Arc::new(Filled { stored: stored.clone(), kept: kept.clone() });
        let (changing, publishing, unpublished, pace) = Default::default();
        Self(Arc::new(Office {
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

    /// Paces long work of the administration, also that of its callers on the same threads.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// Whether the server of the store that holds the apps is absent: nothing can be read there.
    #[must_use]
    pub fn is_directory_absent(&self) -> bool {
        self.0.engine.ledger.is_directory_absent()
    }

    /// The addresses of the servers of the store that are absent.
    #[must_use]
    pub fn absent_servers(&self) -> Vec<String> {
        let absent = |server: ServerState| server.is_absent.then_some(server.address);
        self.0.engine.ledger.servers().into_iter().filter_map(absent).collect()
    }

    /// The catalog of the moment.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.engine.catalog()
    }

    /// Shows an app.
    pub async fn app(&self, app: &AppId) -> Result<AppView, AdminError> {
        let record = self.0.directory.app(app).await?;
        self.0.view(record.ok_or_else(|| AdminError::UnknownApp(app.clone()))?).await
    }

    /// Shows up to `limit` apps in the order of their ids, from the one after `after` on. What
    /// cannot be shown of one app does not hide the others.
    pub async fn apps(&self, after: Option<&AppId>, limit: usize) -> Result<AppList, AdminError> {
        self.0.apps(after, limit).await
    }

    /// Makes a change on somebody's behalf.
    pub async fn change(&self, change: Change, actor: Actor) -> Result<Changed, AdminError> {
        let office = self.0.clone();
        // Carried through, whether or not the caller waits for it.
        let changed = tokio::spawn(async move { office.change(&change, &actor).await });
        changed.await.unwrap_or_else(|interrupted| {
            Err(AdminError::from_write(DirectoryError::Unavailable(interrupted.to_string())))
        })
    }

    /// Shows what an app would be entitled to after a change or at an instant, and who would be
    /// over. Changes nothing, and ends with its caller.
    pub async fn preview(&self, app: &AppId, question: Question) -> Result<Preview, AdminError> {
        self.0.preview(app, question).await
    }

    /// The statement of a month; of the running one where none is named.
    pub async fn statement(&self, app: &AppId, month: Option<Month>) -> Result<Sealed, AdminError> {
        let (office, app) = (self.0.clone(), app.clone());
        // Issuing one is carried through, whether or not the caller waits for it.
        let statement = tokio::spawn(async move { office.statement(&app, month).await });
        statement.await.unwrap_or_else(|interrupted| {
            Err(DirectoryError::Unavailable(interrupted.to_string()).into())
        })
    }

    /// Issues the statements of all apps and months that have become final, and returns when the
    /// next ones do; `None` where some could not be issued yet.
    pub async fn issue_due(&self) -> Result<Option<Timestamp>, AdminError> {
        self.0.issue_due().await
    }

    /// Now, by the store's clock.
    pub async fn now(&self) -> Result<Timestamp, AdminError> {
        Ok(self.0.engine.now().await?)
    }

    /// The most frequent denials of this sidecar within the running hour.
    #[must_use]
    pub fn top_denials(&self, app: Option<&AppId>, most: usize) -> TopDenials {
        self.0.engine.top_denials(app, most)
    }

    /// A copy of the store as of one instant, to be read from its beginning; who takes it is
    /// logged.
    pub async fn snapshot(&self, actor: Actor) -> Result<File, SnapshotError> {
        let failed = |error: AdminError| SnapshotError::Failed(error.to_string());
        let now = self.0.engine.now().await.map_err(|error| failed(error.into()))?;
        let file = self.0.engine.ledger.snapshot().await?;
        let logged = self.log(now, "CreateBackup", None, actor, "{}".to_owned(), String::new());
        logged.await.map_err(|error| failed(error.into()))?;
        Ok(file)
    }

    /// Has a store in this process go by the machine's time of day from now on.
    pub async fn accept_clock(
        &self,
        request_id: &RequestId,
        actor: Actor,
    ) -> Result<AcceptedClock, AcceptClockError> {
        let accepted = self.0.directory.accept_clock(request_id, actor).await?;
        self.0.engine.notices().audit_grew();
        Ok(accepted)
    }

    /// Up to `limit` entries of the audit log that fit, from the one after number `after` on.
    pub async fn entries(
        &self,
        after: u64,
        limit: usize,
        filter: &EntryFilter,
    ) -> Result<FoundEntries, AdminError> {
        self.0.entries(after, limit, filter).await
    }

    /// Brings the limits of every app to the ledger, as they follow from what is recorded and
    /// from the catalog of the moment: of each app once, and after that of those whose latest
    /// change is not in force in every part of the store. Every app is tried; the error is that of
    /// one of those that could not be published.
    pub async fn publish_all(&self) -> Result<(), AdminError> {
        self.0.publish_round().await
    }

    /// Ready once a change was recorded and could not be published.
    pub async fn publishing_wanted(&self) {
        self.0.unpublished.notified().await;
    }

    /// Looks for groups of all types where the store does not say which are in use, and names those
    /// of which there are groups and which the catalog in force lacks.
    pub async fn count_types(&self) -> Result<Vec<Name>, AdminError> {
        let ledger = &self.0.engine.ledger;
        let in_use = ledger.types_in_use().await.map_err(AdminError::Unread)?;
        if !in_use.is_complete {
            ledger.recheck_types(None).await.map_err(AdminError::Unread)?;
        }
        self.0.lost_types(&self.catalog()).await
    }

    /// Ready once this sidecar has told something more.
    pub async fn events_appended(&self) {
        self.0.engine.notices().appended_more().await;
    }

    /// Puts a catalog into force that was loaded from this sidecar's file, at the start or by a
    /// reload, unless the store has had its content before: then the store's is followed. The
    /// limits of the apps follow with [`Administration::publish_all`].
    pub async fn change_catalog(&self, catalog: Catalog) -> Result<Standing, AdminError> {
        let _changing = self.0.changing.lock().await;
        self.0.load_catalog(catalog).await
    }

    /// Whether the store is known to keep a catalog.
    #[must_use]
    pub fn keeps_catalogs(&self) -> bool {
        self.0.kept.known().history.is_some()
    }

    /// Follows what another sidecar or an owner put into force, and a changed zone once it counts.
    pub async fn follow_catalog(&self) -> Result<Standing, AdminError> {
        let _changing = self.0.changing.lock().await;
        self.0.follow_catalog().await
    }

    /// Puts a kept catalog into force again, together with the limits of all apps.
    pub async fn activate_catalog(
        &self,
        activation: Activation,
        actor: Actor,
    ) -> Result<Activated, AdminError> {
        let office = self.0.clone();
        // Carried through, whether or not the caller waits for it.
        let activated =
            tokio::spawn(async move { office.activate_catalog(&activation, &actor).await });
        activated.await.unwrap_or_else(|interrupted| {
            Err(DirectoryError::Unavailable(interrupted.to_string()).into())
        })
    }
}

fn schedule(catalog: &Catalog, record: &AppRecord, now: Timestamp) -> Result<Schedule, AdminError> {
    Schedule::compile(catalog, &record.sales, now)
        .map_err(|missing| AdminError::Missing { app: record.app.clone(), missing })
}

/// Goes through all apps, page by page.
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
