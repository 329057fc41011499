//! Metering in memory.

use async_trait::async_trait;
use tokio::task::coop::consume_budget;
use tokio::task::yield_now;

use super::Memory;
use super::app::MemoryRows;
use super::steps::SUBJECTS_MAX;
use crate::domain::calendar::Day;
use crate::domain::clock_guard::ClockReading;
use crate::domain::metering::{Login, Sample, Sampled};
use crate::domain::time::Timestamp;
use crate::ledger::in_process::metering;
use crate::ledger::in_process::step::StepError;
use crate::ledger::metering::{ClosedMonth, Figures, Meter, Metered};
use crate::ledger::{Call, LedgerError};

impl Memory {
    /// Counts logins or samples in steps.
    async fn meter<T: Sync>(
        &self,
        mut call: Call,
        all: &[T],
        count: impl Fn(&mut MemoryRows<'_>, &Call, ClockReading, &[T]) -> Result<Metered, StepError>
        + Send,
    ) -> Result<Metered, LedgerError> {
        consume_budget().await;
        let app = self.shared.ids().app(&call.app);
        let (mut reading, deadline) = self.shared.clock().reading_before(call.deadline);
        call.deadline = deadline;
        // A dry run is one step, which sees what it would have counted.
        let at_once = if call.mode.writes() { SUBJECTS_MAX } else { all.len() };
        let (first, rest) = all.split_at(all.len().min(at_once));
        let mut metered =
            self.shared.step(app, reading, |rows| count(rows, &call, reading, first))?;
        // Calls that have begun are finished.
        call.deadline = Timestamp::MAX;
        for some in rest.chunks(SUBJECTS_MAX) {
            yield_now().await;
            reading = self.shared.clock().reading();
            let step = self.shared.step(app, reading, |rows| count(rows, &call, reading, some));
            metered.append(step.map_err(LedgerError::of_unfinished)?);
        }
        Ok(metered)
    }

    /// Repeats a step, each with its own reading of the clock, until it has a result.
    async fn until_done<T>(
        &self,
        call: &Call,
        step: impl Fn(&mut MemoryRows<'_>, &Call, Timestamp) -> Result<Option<T>, StepError> + Send,
    ) -> Result<T, LedgerError> {
        let app = self.shared.ids().app(&call.app);
        loop {
            let (reading, deadline) = self.shared.clock().reading_before(call.deadline);
            let call = Call { deadline, ..call.clone() };
            let done = self.shared.step(app, reading, |rows| step(rows, &call, reading.now))?;
            if let Some(done) = done {
                return Ok(done);
            }
            yield_now().await;
        }
    }
}

#[async_trait]
impl Meter for Memory {
    async fn record_logins(&self, call: Call, logins: Vec<Login>) -> Result<Metered, LedgerError> {
        let ids = self.shared.ids();
        self.meter(call, &logins, |rows, call, reading, logins| {
            metering::record_logins(rows, ids, call, reading, logins)
        })
        .await
    }

    async fn report_samples(
        &self,
        call: Call,
        of: Sampled,
        samples: Vec<Sample>,
    ) -> Result<Metered, LedgerError> {
        self.meter(call, &samples, |rows, call, reading, samples| {
            metering::report_samples(rows, call, reading, of, samples)
        })
        .await
    }

    async fn figures(&self, call: &Call, first: Day, last: Day) -> Result<Figures, LedgerError> {
        self.until_done(call, |rows, call, now| metering::figures(rows, call, now, (first, last)))
            .await
    }

    async fn close_month(
        &self,
        call: &Call,
        month: ClosedMonth,
    ) -> Result<Option<Figures>, LedgerError> {
        self.until_done(call, |rows, call, now| {
            Ok(metering::count_rest(rows, call, now)?.then_some(()))
        })
        .await?;
        let (app, reading) = (self.shared.ids().app(&call.app), self.shared.clock().reading());
        self.shared.step(app, reading, |rows| metering::close_month(rows, call, reading, month))
    }
}
