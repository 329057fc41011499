//! The directory: apps, their purchases, and the audit log of every change.
//!
//! There is one versioned document per app. Purchases are only ever appended, each with its
//! instant; their validity is computed from them, so nothing here expires. A change names the
//! revision that it is based on, and is refused if another change came first: no change is
//! overwritten unseen. A record and the audit log's entry about its change are written together or
//! not at all, and so is the final statement of a month, after which nothing is booked into that
//! month.
//!
//! A decision does not read the directory: the limits that follow from it are stored with the facts
//! ([`Ledger::put_schedule`](crate::ledger::Ledger::put_schedule)).

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::audit_change::{parse, to_text};
use crate::domain::app_details::DetailsChange;
use crate::domain::audit::{Action, Actor, Entry, Event, Head};
use crate::domain::billing::RetentionChange;
use crate::domain::clock_guard::{AcceptedClock, ClockRefusal};
use crate::domain::id::{AppId, RequestId};
use crate::domain::month::Month;
use crate::domain::purchase::Sales;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

mod agreed_codec;
pub mod audit_change;
mod audit_codec;
pub mod catalog_codec;
mod details_codec;
pub mod document;
pub mod embedded;
mod metering_codec;
pub mod redis;
mod selling_codec;
pub mod statement;
mod terms_codec;

/// The highest number of catalog records: one each working day for three years, far more than open
/// months need.
pub const CATALOGS_MAX: usize = 1_000;

/// The highest total size in bytes of all catalog records: the largest catalogs, of 16 KiB, times
/// the highest number of records. A sidecar reads them all when another catalog was activated.
pub const CATALOGS_MAX_BYTES: usize = 16 << 20;

/// The highest number of purchases of one app: two a month for four hundred years.
pub const PURCHASES_MAX: usize = 10_000;

/// The highest number of changes of the retention of one app: one a month for eight hundred years.
pub const RETENTIONS_MAX: usize = 10_000;

/// The highest number of changes of an app's details, which the record keeps.
pub const DETAILS_CHANGES_MAX: usize = 1_000;

/// An app and its purchases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRecord {
    /// The app.
    pub app: AppId,
    /// The number of changes of this record, from 1.
    pub revision: u64,
    /// The time when it was registered.
    pub created_at: Timestamp,
    /// The id of the request that registered it.
    pub created_by: RequestId,
    /// All purchases and refunds.
    pub sales: Sales,
    /// The retention of messages, in the order of the changes.
    pub retentions: Vec<RetentionChange>,
    /// The changes of its details, in their order.
    pub details: Vec<DetailsChange>,
    /// The month of its first statement: the one in which it was registered, even if the
    /// registration was backdated.
    pub billed_since: Month,
    /// The last month whose statement is final: nothing is booked into it or an earlier one any
    /// more.
    pub closed_through: Option<Month>,
}

/// An app whose document is unreadable; the other apps are not affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableApp {
    /// The key of the document: the app's id.
    pub app: String,
    /// The reason.
    pub reason: String,
}

/// A page of apps in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppPage {
    /// The apps with readable documents.
    pub records: Vec<AppRecord>,
    /// The apps with unreadable documents.
    pub unreadable: Vec<UnreadableApp>,
    /// The id after which the next page begins; `None` if this page is empty.
    pub last: Option<String>,
}

impl AppPage {
    /// Adds the document of `key`, as decoded by [`document::decode`].
    fn add(&mut self, key: &str, decoded: Result<AppRecord, DirectoryError>) {
        self.last = Some(key.to_owned());
        match decoded {
            Ok(record) => self.records.push(record),
            Err(DirectoryError::Unreadable { app, reason }) => {
                self.unreadable.push(UnreadableApp { app, reason });
            }
            Err(other) => {
                let reason = other.to_string();
                self.unreadable.push(UnreadableApp { app: key.to_owned(), reason });
            }
        }
    }

    /// Returns the number of apps, readable or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() + self.unreadable.len()
    }

    /// Returns whether it has no apps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Catalog records by their numbers, in order, as [`catalog_codec::encode`] writes them.
pub type StoredCatalogs = Vec<(u64, Vec<u8>)>;

/// The reason why the directory returned no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Another change came first; read the record again.
    #[error("app \"{0}\" was changed by another request at the same time")]
    Conflict(AppId),
    /// The store lost changes that it had acknowledged; read the record again.
    #[error(
        "the store lost changes {}-{known} of the directory, which it had acknowledged; nothing \
         was done: check the app, and repeat the missing changes",
        found + 1
    )]
    Lost {
        /// The number of entries that the audit log has.
        found: u64,
        /// The number of entries that it had.
        known: u64,
    },
    /// The document was written by a newer version, or is damaged.
    #[error("the document of app \"{app}\" cannot be read: {reason}")]
    Unreadable {
        /// The app.
        app: String,
        /// The reason.
        reason: String,
    },
    /// The statement was written by a newer version, or is damaged.
    #[error("the statement of app \"{app}\" for {month} cannot be read: {reason}")]
    UnreadableStatement {
        /// The app.
        app: AppId,
        /// The month.
        month: Month,
        /// The reason.
        reason: String,
    },
    /// The entry was written by a newer version, or is damaged.
    #[error("entry {number} of the audit log cannot be read: {reason}")]
    UnreadableEntry {
        /// Its place in the log.
        number: u64,
        /// The reason.
        reason: String,
    },
    /// The record was written by a newer version, or is damaged.
    #[error("catalog record {number} cannot be read: {reason}")]
    UnreadableCatalog {
        /// The number of the record.
        number: u64,
        /// The reason.
        reason: String,
    },
    /// The store's clock and this machine's differ by that many seconds; nothing was changed.
    #[error("{}", StoreError::ClockSkew(*.0))]
    ClockSkew(u64),
    /// The time cannot be trusted; nothing was written.
    #[error(transparent)]
    ClockRefused(#[from] ClockRefusal),
    /// The store failed. Whether the change was made is unknown; a repetition is safe.
    #[error("the store failed: {0}")]
    Unavailable(String),
    /// The store lost its facts, or is another one; nothing was done.
    #[error("the store lost its facts, or is another one: {0}; nothing was done")]
    StoreLost(String),
}

/// The reason why a clock was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptClockError {
    /// The store's servers have clocks of their own.
    #[error("the store uses the clocks of its servers, which NTP sets; there is nothing to accept")]
    Elsewhere,
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The lost end of the audit log: the entries after `found`, up to `known`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEnd {
    /// The number of entries that it has.
    pub found: u64,
    /// The highest number that was seen.
    pub known: u64,
}

impl LostEnd {
    /// Returns its entry for the audit log; `app` is an app whose record lost revisions.
    #[must_use]
    pub fn event(self, at: Timestamp, app: Option<AppId>) -> Event {
        Event {
            at,
            actor: Actor { name: "imquota".to_owned(), from: String::new() },
            action: Action::FactsLost.name().to_owned(),
            request: to_text(&self),
            app,
            request_id: String::new(),
            before: String::new(),
            after: String::new(),
        }
    }

    /// Parses it from that entry; `None` for any other entry.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let is_one = event.action == Action::FactsLost.name();
        is_one.then(|| parse(&event.request)).flatten()
    }
}

/// The state that a change of an app is based on.
pub struct Basis {
    /// The record of the app; `None` if it is not registered.
    pub record: Option<AppRecord>,
    /// The records of all catalogs, as [`Directory::catalogs`] returns them.
    pub catalogs: Option<StoredCatalogs>,
    /// The head of the audit log's last entry; `None` if a change needs no such hint.
    pub head: Option<Head>,
    /// The store's clock; `None` if only the ledger returns it.
    pub now: Option<Timestamp>,
}

/// A store of app records.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Returns the record of an app; `None` if it is not registered.
    async fn app(&self, app: &AppId) -> Result<Option<AppRecord>, DirectoryError>;

    /// Returns the state that a change of an app is based on; from Redis in one call. `catalog`:
    /// the number of the last catalog that the caller has, 0 if none.
    async fn basis(&self, app: &AppId, catalog: u64) -> Result<Basis, DirectoryError> {
        let (record, catalogs) = (self.app(app).await?, self.catalogs(catalog).await?);
        Ok(Basis { record, catalogs, head: None, now: None })
    }

    /// Writes a record whose `revision` follows the stored one (or is 1 if there is none), and logs
    /// the change. Durable when it returns.
    async fn put(&self, record: &AppRecord, event: Event) -> Result<(), DirectoryError> {
        self.put_after(record.revision.saturating_sub(1), record, event, None).await
    }

    /// Replaces the record of revision `after`, and logs the change. The new revision may be any
    /// later one: it is higher if the store lost revisions in between. `head`: the last entry of
    /// the log as [`Basis`] has it, which saves a call if it still is the last one.
    async fn put_after(
        &self,
        after: u64,
        record: &AppRecord,
        event: Event,
        head: Option<Head>,
    ) -> Result<(), DirectoryError>;

    /// Writes a record as [`Directory::put`] does, together with the final statement of a month, as
    /// [`statement::seal`] writes it.
    async fn put_statement(
        &self,
        record: &AppRecord,
        month: Month,
        statement: &[u8],
        event: Event,
    ) -> Result<(), DirectoryError>;

    /// Returns the final statement of a month as it was written; `None` if there is none.
    async fn statement(&self, app: &AppId, month: Month)
    -> Result<Option<Vec<u8>>, DirectoryError>;

    /// Returns the records of all catalogs that were activated; `None` if the last one has the
    /// number `known`, which is 0 if there are none.
    async fn catalogs(&self, known: u64) -> Result<Option<StoredCatalogs>, DirectoryError>;

    /// Adds the record of the catalog that follows the one numbered `last`, removes the records
    /// with the numbers `removed`, and logs the event, in one step. Returns `false`, and changes
    /// nothing, if another record is the last one. Durable when it returns.
    async fn put_catalog(
        &self,
        last: u64,
        record: &[u8],
        removed: &[u64],
        event: Option<Event>,
    ) -> Result<bool, DirectoryError>;

    /// Logs a change that is not of a record. Durable when it returns.
    async fn log(&self, event: Event) -> Result<(), DirectoryError>;

    /// Sets the clock of a store in this process to the machine's time of day, and logs that, both
    /// or neither; if the two agree already, only the log changes. A repetition of the last such
    /// request returns its result, and does nothing.
    async fn accept_clock(
        &self,
        _request_id: &RequestId,
        _actor: Actor,
    ) -> Result<AcceptedClock, AcceptClockError> {
        Err(AcceptClockError::Elsewhere)
    }

    /// Returns up to `limit` entries of the audit log, each with its place, from the one after
    /// place `after` on. The place is the entry's number, unless the log was tampered with.
    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, DirectoryError>;

    /// Returns the head of the audit log's last entry.
    async fn head(&self) -> Result<Head, DirectoryError>;

    /// Returns up to `limit` apps in the order of their ids, from the one after id `after` on. An
    /// app with an unreadable document is listed as such and does not fail the page.
    async fn apps(&self, after: Option<&str>, limit: usize) -> Result<AppPage, DirectoryError>;

    /// Returns the lost end of the audit log, which must have had at least `published` entries;
    /// `None` if the loss is already logged. Always `None` for a store in this process.
    async fn lost_end(&self, _published: u64) -> Result<Option<LostEnd>, DirectoryError> {
        Ok(None)
    }

    /// Logs that the end of the audit log is lost, directly after the remaining entries; does
    /// nothing if another entry came first.
    async fn log_lost_end(&self, _lost: LostEnd, _event: Event) -> Result<(), DirectoryError> {
        Ok(())
    }
}
