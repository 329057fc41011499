//! The directory: apps, what they have bought, and the audit log of every change.
//!
//! One versioned document an app. Purchases are only ever appended, each with its instant; what
//! is valid when is worked out from them, so nothing here expires. A change names the revision
//! that it was worked out from, and is refused where another came first: nothing is overwritten
//! unseen. A record and the audit log's entry about its change are written together or not at all,
//! and so is the final statement of a month, after which nothing is booked into that month.
//!
//! The directory is not asked during a decision: the limits that follow from it lie with the
//! facts ([`Ledger::put_schedule`](crate::ledger::Ledger::put_schedule)).

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::domain::audit::{Actor, Entry, Event, Head};
use crate::domain::billing::RetentionChange;
use crate::domain::clock_guard::{AcceptedClock, ClockRefusal};
use crate::domain::id::{AppId, RequestId};
use crate::domain::month::Month;
use crate::domain::purchase::Sales;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;

mod audit_codec;
pub mod catalog_codec;
pub mod document;
pub mod embedded;
pub mod redis;
pub mod statement;
mod terms_codec;

/// Most records of catalogs: one a working day for three years, far more than open months need.
pub const CATALOGS_MAX: usize = 1_000;

/// Most bytes of all records of catalogs together: as many of the largest catalogs, of 16 KiB, as
/// there may be records. A sidecar reads them all when another one was put into force.
pub const CATALOGS_MAX_BYTES: usize = 16 << 20;

/// Most purchases of one app: two a month for four hundred years.
pub const PURCHASES_MAX: usize = 10_000;

/// Most changes of the retention of one app: one a month for eight hundred years.
pub const RETENTIONS_MAX: usize = 10_000;

/// An app and what it has bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRecord {
    /// The app.
    pub app: AppId,
    /// Counts the changes of this record, from 1.
    pub revision: u64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// The request that registered it.
    pub created_by: RequestId,
    /// Everything bought and given back.
    pub sales: Sales,
    /// How long messages are kept, in the order of the changes.
    pub retentions: Vec<RetentionChange>,
    /// The month of its first statement: the one in which it was registered, wherever that was
    /// dated back to.
    pub billed_since: Month,
    /// The last month whose statement is final: nothing is booked into it or before it any more.
    pub closed_through: Option<Month>,
}

/// An app whose document cannot be read; the other apps do without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableApp {
    /// The key of the document: the app's id.
    pub app: String,
    /// Why.
    pub reason: String,
}

/// Some apps in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppPage {
    /// The apps whose documents can be read.
    pub records: Vec<AppRecord>,
    /// The apps whose documents cannot be read.
    pub unreadable: Vec<UnreadableApp>,
    /// The id after which the next page begins; `None` where this page is empty.
    pub last: Option<String>,
}

impl AppPage {
    /// Adds the document that stands under `key`, as [`document::decode`] read it.
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

    /// How many apps it holds, whether or not they can be read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len() + self.unreadable.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Records of catalogs by their numbers, in order, as [`catalog_codec::encode`] writes them.
pub type StoredCatalogs = Vec<(u64, Vec<u8>)>;

/// Why the directory has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Another change came first; look again.
    #[error("app \"{0}\" was changed by someone else at the same time")]
    Conflict(AppId),
    /// The store lost changes that it had acknowledged; look again.
    #[error(
        "the store lost changes {}-{known} of the directory, which it had acknowledged; nothing \
         was done: look at the app, and repeat what is missing",
        found + 1
    )]
    Lost {
        /// Entries that the audit log has.
        found: u64,
        /// Entries that it had.
        known: u64,
    },
    /// The document was written by a newer version, or is damaged.
    #[error("the document of app \"{app}\" cannot be read: {reason}")]
    Unreadable {
        /// The app.
        app: String,
        /// Why.
        reason: String,
    },
    /// The statement was written by a newer version, or is damaged.
    #[error("the statement of app \"{app}\" for {month} cannot be read: {reason}")]
    UnreadableStatement {
        /// The app.
        app: AppId,
        /// The month.
        month: Month,
        /// Why.
        reason: String,
    },
    /// The entry was written by a newer version, or is damaged.
    #[error("entry {number} of the audit log cannot be read: {reason}")]
    UnreadableEntry {
        /// Its place in the log.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The record was written by a newer version, or is damaged.
    #[error("catalog record {number} cannot be read: {reason}")]
    UnreadableCatalog {
        /// Its number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The store's clock and this machine's differ by that many seconds; nothing was changed.
    #[error("{}", LedgerError::ClockSkew(*.0))]
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

/// Why a clock was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptClockError {
    /// The store's servers have clocks of their own.
    #[error(
        "the store goes by the clocks of its servers, which NTP sets; there is nothing to accept"
    )]
    Elsewhere,
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The end of the audit log that the store has lost: the entries after `found`, up to `known`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostEnd {
    /// The entries that it has.
    pub found: u64,
    /// The highest number that was seen.
    pub known: u64,
}

impl LostEnd {
    /// The RPC that its entry in the audit log names.
    pub const ACTION: &str = "FactsLost";

    /// Its entry in the audit log; of an app whose record lost revisions.
    #[must_use]
    pub fn event(self, at: Timestamp, app: Option<AppId>) -> Event {
        Event {
            at,
            actor: Actor { name: "imquota".to_owned(), from: String::new() },
            action: Self::ACTION.to_owned(),
            request: json!({ "found": self.found, "known": self.known }).to_string(),
            app,
            request_id: String::new(),
            before: String::new(),
            after: String::new(),
        }
    }

    /// As that entry names it; `None` where it is another entry.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let request: Value = serde_json::from_str(&event.request).ok()?;
        let number = |field: &str| request[field].as_u64();
        let is_one = event.action == Self::ACTION;
        is_one.then_some(Self { found: number("found")?, known: number("known")? })
    }
}

/// A store of app records.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// The record of an app; `None` where nobody registered it.
    async fn app(&self, app: &AppId) -> Result<Option<AppRecord>, DirectoryError>;

    /// Writes a record whose `revision` follows the one that is there (or is 1 where there is
    /// none), and logs the change. Durable when it answers.
    async fn put(&self, record: &AppRecord, event: Event) -> Result<(), DirectoryError>;

    /// Writes a record in the place of the one of revision `after`, and logs the change. Its own
    /// revision may be any later one: it is raised where the store lost revisions in between.
    async fn put_after(
        &self,
        after: u64,
        record: &AppRecord,
        event: Event,
    ) -> Result<(), DirectoryError>;

    /// The same together with the final statement of a month, as [`statement::seal`] writes it.
    async fn put_statement(
        &self,
        record: &AppRecord,
        month: Month,
        statement: &[u8],
        event: Event,
    ) -> Result<(), DirectoryError>;

    /// The final statement of a month, as it was put; `None` where there is none.
    async fn statement(&self, app: &AppId, month: Month)
    -> Result<Option<Vec<u8>>, DirectoryError>;

    /// The records of all catalogs that were in force; `None` where the last one has the number
    /// `known`, which is 0 where there are none.
    async fn catalogs(&self, known: u64) -> Result<Option<StoredCatalogs>, DirectoryError>;

    /// Adds the record of the catalog that comes after the one numbered `last`, removes the
    /// records of those numbers, and logs the event, in one step; `false`, and nothing is changed,
    /// where another record is the last one. Durable when it answers.
    async fn put_catalog(
        &self,
        last: u64,
        record: &[u8],
        removed: &[u64],
        event: Option<Event>,
    ) -> Result<bool, DirectoryError>;

    /// Logs a change that is not of a record. Durable when it answers.
    async fn log(&self, event: Event) -> Result<(), DirectoryError>;

    /// Has a store in this process go by the machine's time of day from now on, and logs that, both
    /// or neither; where it does so already, nothing changes but the log. A repetition of the last
    /// such request returns what it did, and does nothing.
    async fn accept_clock(
        &self,
        _request_id: &RequestId,
        _actor: Actor,
    ) -> Result<AcceptedClock, AcceptClockError> {
        Err(AcceptClockError::Elsewhere)
    }

    /// Up to `limit` entries of the audit log, each with its place, from the one after place
    /// `after` on. The place is the entry's number, unless somebody has tampered with the log.
    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, DirectoryError>;

    /// The audit log's last entry.
    async fn head(&self) -> Result<Head, DirectoryError>;

    /// Up to `limit` apps in the order of their ids, from the one after id `after` on. An app whose
    /// document cannot be read is listed as such and does not fail the page.
    async fn apps(&self, after: Option<&str>, limit: usize) -> Result<AppPage, DirectoryError>;

    /// The end of the audit log that is lost; the log is known to have had `published` entries.
    /// Nothing where its entry is there already. Never where the store is in this process.
    async fn lost_end(&self, _published: u64) -> Result<Option<LostEnd>, DirectoryError> {
        Ok(None)
    }

    /// Logs that the end of the audit log is lost, directly behind what is left; nothing where
    /// another entry came first.
    async fn log_lost_end(&self, _lost: LostEnd, _event: Event) -> Result<(), DirectoryError> {
        Ok(())
    }
}
