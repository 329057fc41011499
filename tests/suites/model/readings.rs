//! Compares held counts and billed groups, which only the ledger gives.

use imquota::domain::calendar::Day;
use imquota::ledger::LedgerError;
use tokio::task::JoinSet;

use super::calendar::day_of;
use super::driver::Run;
use super::operation::Who;
use super::wire;

/// The last days whose figures are compared.
const DAYS: i64 = 4;

impl Run {
    /// Compares the held counts of subjects.
    pub async fn compare_held(&mut self, subjects: Vec<(usize, Who)>) {
        let mut readings = JoinSet::new();
        for (index, who) in subjects {
            let (ledger, call) = (self.service.ledger.clone(), self.service.call(&self.ids[index]));
            readings
                .spawn(async move { (index, who, ledger.read(call, wire::subject(who)).await) });
        }
        while let Some(reading) = readings.join_next().await {
            let (index, who, reading) = reading.expect("the reading does not panic");
            let held = match reading {
                Ok(reading) => wire::held(&reading.held),
                Err(LedgerError::GroupNotFound(_)) => continue,
                Err(error) => panic!("{}: {error}", self.place(index)),
            };
            let visible = self.apps[index].visible(self.setup.rules, self.now());
            let expected = visible.held(self.setup.rules, day_of(self.now()), who);
            let (place, history) = (self.place(index), self.history(index));
            assert!(
                held == expected,
                "{place}: held of {who:?}\nexpected {expected:#?}\ngot {held:#?}\n{history}"
            );
            if !held.is_empty() {
                self.coverage.hit("held counts");
            }
        }
    }

    /// Compares the billed groups of the last days, without those that have expired.
    pub async fn compare_billed(&mut self, index: usize) {
        self.sweep(index).await;
        let today = day_of(self.now());
        let day = |day: i64| Day::from_number(i32::try_from(day).expect("some day"));
        let (first, last) = (day(today - DAYS), day(today));
        let figures = self.service.figures(&self.ids[index], first, last).await;
        let of_day = |of: &imquota::domain::metering::DayFigures| {
            (i64::try_from(of.groups_peak).expect("few"), of.groups_net_new)
        };
        let got: Vec<(i64, i64)> = figures.days.iter().map(of_day).collect();
        let billed = &self.apps[index].billed;
        let expected: Vec<_> = (today - DAYS..=today).map(|day| billed.on(day)).collect();
        let (place, history) = (self.place(index), self.history(index));
        assert!(
            got == expected,
            "{place}: groups by day\nexpected {expected:?}\ngot {got:?}\n{history}"
        );
    }
}
