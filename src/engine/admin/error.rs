//! Errors of the admin service, each with the outcome of its change.

use super::change::{self, Difference};
use super::overrun_scan::SCAN_MINUTES;
use crate::directory::{
    CATALOGS_MAX, CATALOGS_MAX_BYTES, DETAILS_CHANGES_MAX, DirectoryError, LostEnd, PURCHASES_MAX,
    RETENTIONS_MAX,
};
use crate::domain::currency::Currency;
use crate::domain::id::{AppId, Name, RequestId};
use crate::domain::metering::FIGURES_DAYS_KEPT;
use crate::domain::month::Month;
use crate::domain::purchase::Refusal;
use crate::domain::schedule::MissingItem;
use crate::domain::text::quoted_names;
use crate::ledger::LedgerError;

/// Reason why a change was not made, or not completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The app is not registered.
    #[error("app \"{0}\" is not registered; create it first")]
    UnknownApp(AppId),
    /// Another request registered the app.
    #[error("app \"{0}\" is registered already, by another request")]
    AppExists(AppId),
    /// The request id was used before with other content.
    #[error(
        "request_id \"{request_id}\" was used before for {before}{}",
        change::in_words(.differs)
    )]
    RequestIdReused {
        /// The id.
        request_id: RequestId,
        /// The earlier use, in words.
        before: String,
        /// The differences, if both requests are for the same kind of change: the field, its
        /// earlier value and its new value.
        differs: Vec<Difference>,
    },
    /// The app has as many purchases as a record may hold.
    #[error("app \"{0}\" has {PURCHASES_MAX} purchases, which is the most")]
    TooManyPurchases(AppId),
    /// The retention was changed as often as a record may hold.
    #[error("app \"{0}\" has had {RETENTIONS_MAX} changes of its retention, which is the most")]
    TooManyRetentions(AppId),
    /// The details were changed as often as a record may hold.
    #[error("app \"{0}\" has had {DETAILS_CHANGES_MAX} changes of its details, which is the most")]
    TooManyUpdates(AppId),
    /// The catalog has no such set of IM codes.
    #[error("the catalog has no set of IM codes \"{name}\"; {}", match known.as_slice() {
        [] => "it has none (im_code_sets)".to_owned(),
        known => format!("there are {}", quoted_names(known.iter().map(Name::as_str))),
    })]
    UnknownImCodeSet {
        /// The name requested.
        name: String,
        /// Every set of the catalog.
        known: Vec<Name>,
    },
    /// There is no statement of a month that has not begun.
    #[error("{month} has not begun; the current month is {now}")]
    NotBegun {
        /// The month requested.
        month: Month,
        /// The running month.
        now: Month,
    },
    /// There is no statement of a month before the app was registered.
    #[error("app \"{app}\" was registered in {since}; there is no statement of {month}")]
    BeforeApp {
        /// The app.
        app: AppId,
        /// The month in which it was registered.
        since: Month,
        /// The month requested.
        month: Month,
    },
    /// The figures of a month have been deleted.
    #[error(
        "no statement was issued for {0} while its figures were kept, for {FIGURES_DAYS_KEPT} days"
    )]
    FiguresGone(Month),
    /// A rule of purchasing refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The app bought something that no kept catalog describes.
    #[error("app \"{app}\": {missing}")]
    Missing {
        /// The app.
        app: AppId,
        /// The item that no catalog describes.
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
        /// The version requested.
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
    /// The catalog lacks the edition of apps without purchases.
    #[error("default edition: {0}")]
    Catalog(MissingItem),
    /// The catalog lacks group types of which there are groups.
    #[error(
        "there are groups of {}, which the catalog lacks; keep them in the catalog until \
         their last group is dissolved",
        quoted(.0)
    )]
    TypesInUse(Vec<Name>),
    /// The catalog's currency is not that of the store's apps.
    #[error(
        "the store has apps, whose purchases are in {stored}, and the catalog is in {given}; the \
         currency of a store cannot be changed once it has apps"
    )]
    CurrencyInUse {
        /// The currency of the store's last catalog.
        stored: Currency,
        /// The currency of the refused one.
        given: Currency,
    },
    /// A page token is beyond the end of the audit log.
    #[error("must be the next_page_token of a response; the audit log ends at {last}")]
    PageTokenBeyondEnd {
        /// The number of its last entry.
        last: u64,
    },
    /// The store's clock could not be read; nothing was changed.
    #[error("{}", unchanged(.0))]
    Clock(#[from] LedgerError),
    /// A count could not be read.
    #[error("a count could not be read: {}", .0.without_outcome())]
    Unread(LedgerError),
    /// The app is too large, or the store too slow, to count all users and groups over a limit.
    #[error(
        "not all users and groups of app \"{0}\" could be scanned within \
         {SCAN_MINUTES} minutes"
    )]
    TooLong(AppId),
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The directory has lost changes of the app; nothing was changed.
    #[error(
        "the store lost changes {}-{} of app \"{app}\", which it had acknowledged; nothing was \
         changed: read the app, and repeat the changes that it lacks",
        .lost.found + 1,
        .lost.known
    )]
    RevisionsLost {
        /// The app.
        app: AppId,
        /// Revisions of its record.
        lost: LostEnd,
    },
    /// The change is recorded, but not in force everywhere yet; a later round completes it.
    #[error(
        "recorded, but not in force yet in every part of the store: {0}; it is completed in the \
         background, and a retry of the same request is safe"
    )]
    Unfinished(LedgerError),
    /// The change is recorded, but this sidecar's catalog cannot carry it out or show it.
    #[error("recorded, but this sidecar cannot show or apply it: {0}")]
    Recorded(Box<AdminError>),
    /// The store failed while the change was written.
    #[error("outcome unknown; retry the same request: {0}")]
    OutcomeUnknown(DirectoryError),
}

impl AdminError {
    /// Returns whether a catalog was refused because of what the store has, so that a sidecar can
    /// follow the store's last catalog instead.
    #[must_use]
    pub fn is_of_catalog_in_use(&self) -> bool {
        matches!(self, Self::TypesInUse(_) | Self::CurrencyInUse { .. })
    }

    /// Returns whether the store was unavailable, so that a retry may succeed later.
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

    /// Wraps an error that came after the change was recorded.
    pub(super) fn recorded(error: Self) -> Self {
        Self::Recorded(Box::new(error))
    }

    /// Makes an error of a failed write: after a conflict nothing was written, after a failure of
    /// the store the outcome is unknown.
    pub(super) fn from_write(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Unavailable(_) => Self::OutcomeUnknown(error),
            other => Self::Directory(other),
        }
    }
}

/// Returns a message that says once that nothing was changed.
fn unchanged(error: &LedgerError) -> String {
    let message = error.to_string();
    if message.contains("nothing was done") {
        message
    } else {
        format!("nothing was changed: {message}")
    }
}

fn quoted(types: &[Name]) -> String {
    let quoted: Vec<_> = types.iter().map(|name| format!("type \"{name}\"")).collect();
    quoted.join(", ")
}
