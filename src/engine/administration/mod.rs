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
use self::everybody::EVERYBODY_MINUTES;
use self::filled::Filled;
use self::office::Office;
use super::{Engine, TopDenials};
use crate::directory::statement::Sealed;
use crate::directory::{
    AcceptClockError, AppPage, AppRecord, CATALOGS_MAX, CATALOGS_MAX_BYTES, Directory,
    DirectoryError, LostEnd, PURCHASES_MAX, RETENTIONS_MAX, UnreadableApp,
};
use crate::domain::audit::Actor;
use crate::domain::catalog::Catalog;
use crate::domain::clock_guard::AcceptedClock;
use crate::domain::id::{AppId, Name, RequestId};
use crate::domain::metering::FIGURES_DAYS_KEPT;
use crate::domain::month::Month;
use crate::domain::purchase::{Period, Refusal};
use crate::domain::refund::Remaining;
use crate::domain::schedule::{MissingItem, Schedule};
use crate::domain::time::Timestamp;
use crate::domain::timeline::EditionEnd;
use crate::ledger::{LedgerError, SnapshotError};

mod catalogs;
mod change;
mod entries;
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
pub use everybody::OverrunCount;
pub use journal::{JournalAction, JournalChange, JournalChangeError};
pub use pace::{Pace, SLICE_ITEMS};
pub use preview::{Count, Overrun, Preview, Previewed, Question, SubjectCounts};
pub use store::{StoreAccepted, StoreError, StoreState};

/// Apps read at a time when all of them are gone through.
const PAGE: usize = 256;
/// Longest time for reading a count.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a change was not made, or not finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// Nobody registered the app.
    #[error("app \"{0}\" is not registered; create it first")]
    UnknownApp(AppId),
    /// Another request registered the app.
    #[error("app \"{0}\" is registered already, by another request")]
    AppExists(AppId),
    /// The same request id came with other content.
    #[error(
        "request_id \"{request_id}\" was used before for {before}{}",
        change::in_words(.differs)
    )]
    RequestIdReused {
        /// The id.
        request_id: RequestId,
        /// What it was used for, in words.
        before: String,
        /// What differs, where both ask for the same kind of change: the field, what it was and
        /// what it is.
        differs: Vec<Difference>,
    },
    /// The app has as many purchases as a record may hold.
    #[error("app \"{0}\" has {PURCHASES_MAX} purchases, which is the most")]
    TooManyPurchases(AppId),
    /// The retention was changed as often as a record may hold.
    #[error("app \"{0}\" has had {RETENTIONS_MAX} changes of its retention, which is the most")]
    TooManyRetentions(AppId),
    /// There is no statement of a month that has not begun.
    #[error("{month} has not begun; it is {now}")]
    NotBegun {
        /// What was asked for.
        month: Month,
        /// The running month.
        now: Month,
    },
    /// There is no statement of a month before the app was there.
    #[error("app \"{app}\" was registered in {since}; there is no statement of {month}")]
    BeforeApp {
        /// The app.
        app: AppId,
        /// The month in which it was registered.
        since: Month,
        /// What was asked for.
        month: Month,
    },
    /// The figures of a month are gone.
    #[error(
        "no statement was issued for {0} while its figures were kept, for {FIGURES_DAYS_KEPT} days"
    )]
    FiguresGone(Month),
    /// The rules of buying are against it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The app bought something that no kept catalog describes.
    #[error("app \"{app}\": {missing}")]
    Missing {
        /// The app.
        app: AppId,
        /// What.
        missing: MissingItem,
    },
    /// Every catalog that is kept is needed.
    #[error(
        "the store keeps at most {CATALOGS_MAX} catalogs and {CATALOGS_MAX_BYTES} bytes of them, \
         and months without a final statement need them all; this one can be loaded once \
         statements of earlier months are final"
    )]
    TooManyCatalogs,
    /// No catalog of that version is kept.
    #[error("the store keeps no catalog of version \"{version}\"; the last ones are {last}")]
    UnknownCatalog {
        /// What was asked for.
        version: String,
        /// The versions of the last ones, in quotes.
        last: String,
    },
    /// No catalog of that version has that content, but others, whose hashes come second.
    #[error("no catalog of that version has the content {0}; it has {1}, the latest first")]
    UnknownContent(String, String),
    /// Several contents have the same version.
    #[error(
        "several catalogs have version \"{version}\"; give content_hash (--content-hash) too, \
         one of these, the latest first: {hashes}"
    )]
    SeveralCatalogs {
        /// The version.
        version: String,
        /// The hashes of the last ones.
        hashes: String,
    },
    /// The catalog lacks what an app that has bought nothing is on.
    #[error("default edition: {0}")]
    Catalog(MissingItem),
    /// The catalog lacks group types of which there are groups.
    #[error(
        "there are groups of {}, which the catalog lacks; keep them in the catalog until \
         their last group is dissolved",
        quoted(.0)
    )]
    TypesInUse(Vec<Name>),
    /// A page is to begin after an entry that the audit log does not have.
    #[error("must be the next_page_token of an answer, and the audit log ends at {last}")]
    PageTokenBeyondEnd {
        /// The number of its last entry.
        last: u64,
    },
    /// The store does not say what time it is; nothing was changed.
    #[error("{}", unchanged(.0))]
    Clock(#[from] LedgerError),
    /// A count could not be read.
    #[error("a count could not be read: {0}")]
    Unread(LedgerError),
    /// The app is too large, or the store too slow, to count everybody who would be over.
    #[error(
        "the users and groups of app \"{0}\" could not all be gone through within \
         {EVERYBODY_MINUTES} minutes"
    )]
    TooLong(AppId),
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The directory has lost changes of the app; nothing was changed.
    #[error(
        "the store lost changes {}-{} of app \"{app}\", which it had acknowledged; nothing was \
         changed: look at the app, and repeat what is missing",
        .lost.found + 1,
        .lost.known
    )]
    RevisionsLost {
        /// The app.
        app: AppId,
        /// Revisions of its record.
        lost: LostEnd,
    },
    /// The change is recorded, but does not count everywhere yet; a later round finishes it.
    #[error(
        "recorded, but not in force yet in every part of the store: {0}; it is finished in the \
         background, and the same request may be repeated"
    )]
    Unfinished(LedgerError),
    /// The change is recorded, but this sidecar's catalog cannot carry it out or show it.
    #[error("recorded, but this sidecar cannot show or apply it: {0}")]
    Recorded(Box<AdminError>),
    /// The store failed while the change was written.
    #[error("whether it was recorded is unknown; repeat the same request to find out: {0}")]
    OutcomeUnknown(DirectoryError),
}

impl AdminError {
    /// Whether the store did not answer, so that the same may succeed later.
    #[must_use]
    pub fn is_of_store(&self) -> bool {
        matches!(
            self,
            Self::Clock(_)
                | Self::Directory(
                    DirectoryError::Unavailable(_)
                        | DirectoryError::ClockSkew(_)
                        | DirectoryError::ClockRefused(_)
                )
        )
    }

    /// An error that came after the change was recorded.
    fn recorded(error: Self) -> Self {
        Self::Recorded(Box::new(error))
    }

    /// An error of a write: after a conflict nothing was written, after a failure of the store
    /// perhaps.
    fn from_write(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Unavailable(_) => Self::OutcomeUnknown(error),
            other => Self::Directory(other),
        }
    }
}

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

/// Says once that nothing was changed.
fn unchanged(error: &LedgerError) -> String {
    let said = error.to_string();
    if said.contains("nothing was done") { said } else { format!("nothing was changed: {said}") }
}

fn quoted(types: &[Name]) -> String {
    types.iter().map(|name| format!("type \"{name}\"")).collect::<Vec<_>>().join(", ")
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
