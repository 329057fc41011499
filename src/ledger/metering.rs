//! Metering: figures by day, beside the facts.
//!
//! The contract of every store:
//!
//! - **Exact.** A user counts once on a day, however often they log in and on however many
//!   sidecars: each user has one cell, a base day and a mask of the days before it, and the same
//!   step sets the bit and increments the day's count. A day's peaks are maxima.
//! - **By month**, in the same way and step, once an app has recorded a login under a catalog that
//!   counts its users by month ([`Catalog::counts_month_users`]), and from then on. That month is
//!   the first one with a number. It is exact too: cells that were there get their months from
//!   their masks, in bounded steps with the logins, and the rest before figures are read.
//! - **Idempotent.** A repeated call changes nothing.
//! - **Closed.** From the cut-off of its month on ([`final_at`](crate::domain::billing::final_at)),
//!   by the store's clock, a day accepts no login and no sample.
//! - **Its own day.** A login or sample counts for the day of its instant in the catalog's zone.
//!   The store's clock decides whether it comes too late or lies too far in the future.
//! - **Durable** and **on time**, as in [`Ledger`](super::Ledger).
//!
//! The number of groups is part of the facts: the step that creates or removes a group also updates
//! the day's peak.
//!
//! [`Catalog::counts_month_users`]: crate::domain::catalog::Catalog::counts_month_users

use async_trait::async_trait;

use super::{Call, LedgerError};
use crate::domain::calendar::Day;
use crate::domain::decision::Violation;
use crate::domain::metering::{DayFigures, Login, MeterOutcome, Sample, Sampled};
use crate::domain::month::Month;
use crate::domain::schedule::Limits;
use crate::domain::time::Timestamp;

/// The result of recording logins or samples. A store returns a [`Violation`] of each limit, the
/// engine a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metered<T = Violation> {
    /// The store's clock when it counted.
    pub at: Timestamp,
    /// One outcome for each login or sample, in order.
    pub outcomes: Vec<MeterOutcome>,
    /// The logins that violate limits, by their place, in order: those that are denied, or in
    /// [`Mode::Shadow`](crate::domain::decision::Mode::Shadow) counted all the same.
    pub violations: Vec<(usize, Vec<T>)>,
    /// The limits by which it was decided, if any was violated.
    pub limits: Option<Limits>,
}

impl<T> Metered<T> {
    /// The result of entries that violate no limit.
    #[must_use]
    pub fn of(at: Timestamp, outcomes: Vec<MeterOutcome>) -> Self {
        Self { at, outcomes, violations: Vec::new(), limits: None }
    }

    /// Adds the result of the entries after these.
    pub fn append(&mut self, next: Self) {
        let before = self.outcomes.len();
        self.at = next.at;
        self.outcomes.extend(next.outcomes);
        self.violations.extend(next.violations.into_iter().map(|(at, of)| (before + at, of)));
        self.limits = next.limits.or(self.limits.take());
    }
}

/// The figures of an app, read at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// The store's clock.
    pub read_at: Timestamp,
    /// One entry for each requested day, in order.
    pub days: Vec<DayFigures>,
    /// Users who logged in, by month, for the months of the requested days that have any and that
    /// are counted, in order.
    pub month_users: Vec<(Month, u64)>,
}

/// A month to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedMonth {
    /// Its first day.
    pub first: Day,
    /// Its last day.
    pub last: Day,
    /// The instant from which on nothing late counts for it.
    pub cut_off: Timestamp,
}

/// A store that meters. The contract is in the module's documentation.
#[async_trait]
pub trait Meter: Send + Sync + 'static {
    /// Counts users who logged in. A user who was not counted yet is denied at a limit on the users
    /// of that day or month, by the mode of the call; one who was counted never is.
    async fn record_logins(&self, call: Call, logins: Vec<Login>) -> Result<Metered, LedgerError>;

    /// Records samples.
    async fn report_samples(
        &self,
        call: Call,
        of: Sampled,
        samples: Vec<Sample>,
    ) -> Result<Metered, LedgerError>;

    /// Returns the figures of the days from `first` to `last`, at most as many days as are kept
    /// ([`FIGURES_DAYS_KEPT`](crate::domain::metering::FIGURES_DAYS_KEPT)). Days after today have
    /// today's number of groups.
    async fn figures(&self, call: &Call, first: Day, last: Day) -> Result<Figures, LedgerError>;

    /// Closes a month and returns its figures, which never change from then on. Each part is closed
    /// in one step that reads its server's clock. `None`: by some server's clock the cut-off has
    /// not come.
    async fn close_month(
        &self,
        call: &Call,
        month: ClosedMonth,
    ) -> Result<Option<Figures>, LedgerError>;
}
