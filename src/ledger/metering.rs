//! Metering: what is counted by day, beside the facts.
//!
//! The contract of every store:
//!
//! - **Exact.** A user counts once on a day, however often and from however many sidecars: each
//!   user has one cell, a base day and a mask of the days before it, and a day's count grows in the
//!   same step that sets the bit. A day's peaks are maxima.
//! - **Idempotent.** A repeated call changes nothing.
//! - **Closed.** From the cut-off of its month on ([`final_at`](crate::domain::billing::final_at)),
//!   by the store's clock, a day takes no login and no sample any more.
//! - **Its own day.** A login or sample counts for the day of its instant in the catalog's zone;
//!   how late it may come, and how far ahead its instant may lie, is judged by the store's clock.
//! - **Durable**, and **in time**, as [`Ledger`](super::Ledger) says.
//!
//! The number of groups is the ledger's: the step that creates or takes away a group notes the
//! day's peak too.

use async_trait::async_trait;

use super::{Call, LedgerError};
use crate::domain::calendar::Day;
use crate::domain::metering::{DayFigures, Login, MeterOutcome, Sample};
use crate::domain::time::Timestamp;

/// What became of logins or samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metered {
    /// The store's clock when it counted.
    pub at: Timestamp,
    /// On each login or sample, in order.
    pub outcomes: Vec<MeterOutcome>,
}

/// Figures of an app, read at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// The store's clock.
    pub read_at: Timestamp,
    /// One for each day that was asked for, in order.
    pub days: Vec<DayFigures>,
}

/// A month that is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedMonth {
    /// Its first day.
    pub first: Day,
    /// Its last day.
    pub last: Day,
    /// From when on nothing late counts for it.
    pub cut_off: Timestamp,
}

/// A store that meters. See the module's head for the contract.
#[async_trait]
pub trait Meter: Send + Sync + 'static {
    /// Counts users who logged in.
    async fn record_logins(&self, call: Call, logins: Vec<Login>) -> Result<Metered, LedgerError>;

    /// Takes in samples of bandwidth.
    async fn report_bandwidth(
        &self,
        call: Call,
        samples: Vec<Sample>,
    ) -> Result<Metered, LedgerError>;

    /// The figures of the days from `first` to `last`, of at most as many days as are kept
    /// ([`FIGURES_DAYS_KEPT`](crate::domain::metering::FIGURES_DAYS_KEPT)). Days after today have
    /// the groups of today.
    async fn figures(&self, call: &Call, first: Day, last: Day) -> Result<Figures, LedgerError>;

    /// Closes a month and reads its figures, which never change from then on: each part in one step
    /// that reads its server's clock. `None`: by some server's clock the cut-off has not come.
    async fn close_month(
        &self,
        call: &Call,
        month: ClosedMonth,
    ) -> Result<Option<Figures>, LedgerError>;
}
