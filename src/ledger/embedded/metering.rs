//! Metering in the embedded store.

use async_trait::async_trait;

use super::Embedded;
use super::rows::TableRows;
use crate::domain::calendar::Day;
use crate::domain::metering::{Login, Sample, Sampled};
use crate::domain::time::Timestamp;
use crate::ledger::in_process::metering;
use crate::ledger::in_process::step::{self, StepError};
use crate::ledger::metering::{ClosedMonth, Figures, Meter, Metered};
use crate::ledger::{Call, LedgerError};
use crate::redb::writer::Unit;

impl Embedded {
    /// Repeats a step until it has a result.
    async fn until_done<T: Send + 'static>(
        &self,
        call: &Call,
        step: impl Fn(&mut TableRows<'_, '_, '_>, &Call, Timestamp) -> Result<Option<T>, StepError>
        + Copy
        + Send
        + 'static,
    ) -> Result<T, LedgerError> {
        loop {
            let (clock, ids, call) =
                (self.store.clock.clone(), self.store.ids, self.by_store(call.clone()));
            let (turn, within) = self.turn(&call, 1);
            let work = move |unit: &mut Unit<'_, '_>| {
                let mut rows = TableRows::new(unit, ids.app(&call.app));
                step::answer(step(&mut rows, &call, clock.now()))
            };
            if let Some(done) = self.store.writer.submit(turn, within, work).await?? {
                return Ok(done);
            }
        }
    }
}

#[async_trait]
impl Meter for Embedded {
    async fn record_logins(&self, call: Call, logins: Vec<Login>) -> Result<Metered, LedgerError> {
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, logins.len());
        let work = move |unit: &mut Unit<'_, '_>| {
            let (reading, mut rows) = (clock.reading(), TableRows::new(unit, ids.app(&call.app)));
            step::answer(metering::record_logins(&mut rows, &ids, &call, reading, &logins))
        };
        self.store.writer.submit(turn, within, work).await?
    }

    async fn report_samples(
        &self,
        call: Call,
        of: Sampled,
        samples: Vec<Sample>,
    ) -> Result<Metered, LedgerError> {
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, samples.len());
        let work = move |unit: &mut Unit<'_, '_>| {
            let (reading, mut rows) = (clock.reading(), TableRows::new(unit, ids.app(&call.app)));
            step::answer(metering::report_samples(&mut rows, &call, reading, of, &samples))
        };
        self.store.writer.submit(turn, within, work).await?
    }

    async fn figures(&self, call: &Call, first: Day, last: Day) -> Result<Figures, LedgerError> {
        self.until_done(call, move |rows, call, now| {
            metering::figures(rows, call, now, (first, last))
        })
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
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, call.clone());
        let (turn, within) = self.turn(&call, 1);
        let work = move |unit: &mut Unit<'_, '_>| {
            let mut rows = TableRows::new(unit, ids.app(&call.app));
            step::answer(metering::close_month(&mut rows, &call, clock.reading(), month))
        };
        self.store.writer.submit(turn, within, work).await?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use redb::ReadableTableMetadata as _;

    use super::*;
    use crate::clock::Clock;
    use crate::domain::decision::Mode;
    use crate::domain::id::{AppId, UserId};
    use crate::domain::schedule::Schedule;
    use crate::domain::time::Timestamp;
    use crate::ledger::TakeOptions;
    use crate::redb::RedbStore;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    struct MovableClock(AtomicI64);

    impl Clock for MovableClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[tokio::test]
    async fn users_without_logins_for_a_month_are_removed_gradually() {
        let clock = Arc::new(MovableClock(AtomicI64::new(20_000 * DAY_MS)));
        let store = Embedded::over(RedbStore::in_memory(clock.clone()).expect("opens"));
        let catalog = Arc::new(crate::catalog::builtin());
        let trial = Schedule::default_of(&catalog).expect("a default edition");
        let log_in = async |from: usize| {
            let call = Call {
                app: AppId::try_from("demo").expect("an id"),
                mode: Mode::Enforce,
                deadline: clock.now() + Duration::from_secs(60),
                catalog: catalog.clone(),
                unknown_app: Some(Arc::new(trial.clone())),
                fail_fast: false,
                is_replayed: false,
                take: TakeOptions::default(),
            };
            let user = |number| UserId::try_from(format!("u{number}")).expect("an id");
            let logins = (from..from + 500).map(|number| Login { user: user(number), at: None });
            store.record_logins(call, logins.collect()).await.expect("metered");
            let rows =
                store.store.writer.submit_without_timeout(|unit| unit.tables.logins.len()).await;
            rows.expect("the store works")
        };
        assert_eq!(log_in(0).await, 500);
        // A login of that day may still come, and would be a repetition.
        clock.0.fetch_add(31 * DAY_MS, Ordering::SeqCst);
        assert_eq!(log_in(500).await, 1000);
        clock.0.fetch_add(DAY_MS, Ordering::SeqCst);
        let rows = log_in(1000).await;
        // Most of the 500 old users were checked by the 500 new ones.
        assert!((1000..1300).contains(&rows), "{rows} rows");
    }
}
