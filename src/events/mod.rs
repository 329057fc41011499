//! The event log: events for watchers, kept for a limited time.
//!
//! The contract of every store:
//!
//! - **Bounded** by a [`Retention`]: events about limits in total and by app; the others by age and
//!   number. An append drops at most two events for each one that it adds, and never the last one.
//! - **Dropped events are reported.** A page has one [`EventKind::EventsDropped`] for each range of
//!   numbers with dropped events that the reader had not read, before the next event that is kept.
//!   Events dropped before the reader's position are not reported to it.
//! - **Numbered** from 1 without gaps; numbers are never used again. If Redis has lost events that
//!   were seen, the log continues after their numbers, with an event that reports the loss. A store
//!   in this process loses none.
//! - **Exactly once.** Appending events that are derived from another source moves a cursor in the
//!   same step, and appends nothing if the cursor is not at its expected position: if several
//!   sidecars derive the same events, one appends them.
//! - **One at a time.** A lease has one holder until it expires, by the store's clock, and only its
//!   holder moves its position.
//! - **Durable** when it returns. Redis keeps events as durably as the master does.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::clock_guard::ClockRefusal;
#[cfg(doc)]
use crate::domain::event::EventKind;
use crate::domain::event::{Event, NumberedEvent};
use crate::store::StoreError;

pub mod backoff;
mod codec;
pub mod embedded;
mod embedded_index;
pub mod redis;
mod retention;

pub use retention::Retention;

/// The highest number of events in one step, so that it does not block the store for long.
pub const APPENDED_MAX: usize = 256;

/// The longest time for which a lease is claimed: three times the webhook's. A lease with a later
/// end was claimed by a clock that was ahead, and is not binding.
pub const LEASE_MAX: Duration = Duration::from_secs(60);
/// The cursor over instants; events that follow from time passing are appended up to it.
pub const TIME_CURSOR: &str = "clockwork";

/// The move of a cursor that an append includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The name of the cursor.
    pub cursor: &'static str,
    /// Its expected position; `None` if it was never set.
    pub from: Option<String>,
    /// Its new position.
    pub to: String,
    /// Another cursor that must not have moved, and its expected position.
    pub beside: Option<(&'static str, Option<String>)>,
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Events in their order, up to twice as many as requested if events were dropped.
    pub events: Vec<NumberedEvent>,
    /// The number of the oldest event that is kept; one more than `head` if none is.
    pub oldest: u64,
    /// The number of the last event; 0 before the first. If it is lower than one that was read
    /// earlier, the store has lost events.
    pub head: u64,
}

/// A lease, with its holder or a claimant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: &'static str,
    /// The holder, with a name that is different from every other holder's.
    pub holder: String,
}

/// The result of a claim to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Another holder has it.
    Refused,
    /// The claimant holds it.
    Granted {
        /// Its position; `None` if it was never set.
        position: Option<u64>,
    },
}

/// The reason why the log returned no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// The event was written by a newer version, or is damaged.
    #[error("event {number} cannot be read: {reason}")]
    Unreadable {
        /// Its number.
        number: u64,
        /// The reason.
        reason: String,
    },
    /// The store's clock and this machine's differ by that many seconds; nothing was written.
    #[error("{}", StoreError::ClockSkew(*.0))]
    ClockSkew(u64),
    /// The time cannot be trusted; nothing was written.
    #[error(transparent)]
    ClockRefused(#[from] ClockRefusal),
    /// The store failed. Whether anything was written is unknown.
    #[error("the store failed: {0}")]
    Unavailable(String),
    /// The store lost its facts, or is another one; nothing was done.
    #[error("the store lost its facts, or is another one: {0}; nothing was done")]
    StoreLost(String),
}

/// A store of events.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends up to [`APPENDED_MAX`] events and moves the cursor, both or neither; returns `false`
    /// if the cursor, or the one beside it, was not at its expected position.
    async fn append(&self, events: &[Event], moved: Option<Move>) -> Result<bool, EventsError>;

    /// Returns the position of a cursor; `None` if it was never set.
    async fn cursor(&self, name: &'static str) -> Result<Option<String>, EventsError>;

    /// Returns up to `limit` events that are kept, with numbers higher than `after`, and one event
    /// before each range of dropped ones.
    async fn read(&self, after: u64, limit: usize) -> Result<Page, EventsError>;

    /// Claims the lease for that time from now on, at most [`LEASE_MAX`], unless another holder has
    /// it.
    async fn claim(&self, lease: &Lease, keep: Duration) -> Result<Claim, EventsError>;

    /// Moves the position of a lease; returns `false` if another holder has it, or none.
    async fn advance(&self, lease: &Lease, position: u64) -> Result<bool, EventsError>;
}
