//! The log of events: what is told to whoever watches, kept for a while.
//!
//! The contract of every store:
//!
//! - **Bounded** by a [`Retention`]: events about limits in all and by app; the others by age and
//!   number. An append drops at most two events for each one that it adds, and never the last one.
//! - **Dropped events are reported.** A page has one [`Happening::EventsDropped`] for each range of
//!   numbers in which events were dropped that the reader had not read, before the next event that
//!   is kept. What is dropped behind a reader is not reported to it.
//! - **Numbered** from 1 without gaps; numbers are never used again.
//!   Where Redis has lost events that were seen, the log goes on beyond them, with an event that
//!   says so. A store in this process loses none.
//! - **Told once.** What is derived from something else moves a cursor in the same step that
//!   appends it, and nothing is appended where the cursor is not where it was expected: of several
//!   sidecars that derive the same, one appends it.
//! - **One at a time.** A lease is held by one holder until it ends, by the store's clock, and only
//!   its holder moves its position.
//! - **Durable** when it answers. Redis keeps what the master keeps.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::clock_guard::ClockRefusal;
#[cfg(doc)]
use crate::domain::event::Happening;
use crate::domain::event::{Event, NumberedEvent};
use crate::ledger::LedgerError;

pub mod backoff;
mod codec;
pub mod embedded;
mod embedded_index;
pub mod redis;
mod retention;

pub use retention::Retention;

/// Most events of one step, so that a store is not held up by it.
pub const APPENDED_MAX: usize = 256;

/// Longest time for which a lease is claimed: three times as long as the webhook's. One that lasts
/// longer was claimed by a clock that was ahead, and is not binding.
pub const LEASE_MAX: Duration = Duration::from_secs(60);
/// The cursor over instants, up to which everything that follows from time passing is appended.
pub const TIME_CURSOR: &str = "clockwork";

/// A cursor that moves with what is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Its name.
    pub cursor: &'static str,
    /// Where it is expected; `None` where it was never set.
    pub from: Option<String>,
    /// Where it goes.
    pub to: String,
    /// Another cursor that must not have moved, and where it is expected.
    pub beside: Option<(&'static str, Option<String>)>,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Events in their order, up to twice as many as were asked for where events were dropped.
    pub events: Vec<NumberedEvent>,
    /// Number of the oldest event that is kept; one more than `head` where none is.
    pub oldest: u64,
    /// Number of the last event; 0 before the first. Where it is below one that was read before,
    /// the store has lost events.
    pub head: u64,
}

/// Who holds a lease, or wants to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: &'static str,
    /// The holder, who differs from all others that ever were.
    pub holder: String,
}

/// What became of a claim to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Somebody else holds it.
    Refused,
    /// The one who claimed it holds it.
    Granted {
        /// Its position; `None` where it was never set.
        position: Option<u64>,
    },
}

/// Why the log has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// The event was written by a newer version, or is damaged.
    #[error("event {number} cannot be read: {reason}")]
    Unreadable {
        /// Its number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The store's clock and this machine's differ by that many seconds; nothing was written.
    #[error("{}", LedgerError::ClockSkew(*.0))]
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
    /// Appends up to [`APPENDED_MAX`] events and moves the cursor, both or neither; `false` where
    /// the cursor, or the one beside it, was not where it was expected.
    async fn append(&self, events: &[Event], moved: Option<Move>) -> Result<bool, EventsError>;

    /// Where a cursor is; `None` where it was never set.
    async fn cursor(&self, name: &'static str) -> Result<Option<String>, EventsError>;

    /// Up to `limit` events that are kept, from the one after number `after` on, and one before
    /// each range of dropped ones.
    async fn read(&self, after: u64, limit: usize) -> Result<Page, EventsError>;

    /// Holds the lease for so long from now on, at most for [`LEASE_MAX`], unless another holder
    /// holds it.
    async fn claim(&self, lease: &Lease, keep: Duration) -> Result<Claim, EventsError>;

    /// Moves the position of a lease; `false` where somebody else holds it, or nobody.
    async fn advance(&self, lease: &Lease, position: u64) -> Result<bool, EventsError>;
}
