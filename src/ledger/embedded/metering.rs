//! Metering: logins, bandwidth, and the figures by day.

use async_trait::async_trait;
use redb::{ReadableTable, StorageError};

use super::Embedded;
use super::facts::Facts;
use super::step::{self, StepError, begin};
use super::unknown_apps;
use crate::domain::billing::first_open_day;
use crate::domain::calendar::Day;
use crate::domain::login_days::{Activity, LoggedIn};
use crate::domain::metering::{
    DayFigures, FIGURES_DAYS_KEPT, GroupDay, LATE_DAYS_MAX, Login, MeterOutcome, Sample, TooFar,
    day_counted, group_peaks,
};
use crate::domain::time::Timestamp;
use crate::ledger::metering::{ClosedMonth, Figures, Meter, Metered};
use crate::ledger::{Call, LedgerError};
use crate::redb::tables::Tables;
use crate::redb::writer::Unit;
use crate::store::fingerprint::{AppKey, UserKey};

/// The number of users checked after each new one for logins that are too old to matter: with two,
/// at most about half of all rows are old.
const CHECKED_PER_USER: usize = 2;

#[async_trait]
impl Meter for Embedded {
    async fn record_logins(&self, call: Call, logins: Vec<Login>) -> Result<Metered, LedgerError> {
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, logins.len());
        let work = move |unit: &mut Unit<'_, '_>| {
            let reading = clock.reading();
            let now = reading.now;
            let counted = unknown_apps::count_app(unit, &ids, &call, now);
            let begun = counted.and_then(|()| begin(unit, &ids, &call, now));
            step::answer(begun.and_then(|_| {
                reading.metering().map_err(LedgerError::from)?;
                let app = ids.app(&call.app);
                let each = logins.iter().map(|login| (ids.user(&login.user), login.at));
                record_logins(unit, app, &call, now, each)
            }))
        };
        self.store.writer.submit(turn, within, work).await?
    }

    async fn report_bandwidth(
        &self,
        call: Call,
        samples: Vec<Sample>,
    ) -> Result<Metered, LedgerError> {
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, self.by_store(call));
        let (turn, within) = self.turn(&call, samples.len());
        let work = move |unit: &mut Unit<'_, '_>| {
            let reading = clock.reading();
            let now = reading.now;
            let counted = unknown_apps::count_app(unit, &ids, &call, now);
            let begun = counted.and_then(|()| begin(unit, &ids, &call, now));
            step::answer(begun.and_then(|_| {
                reading.metering().map_err(LedgerError::from)?;
                let app = ids.app(&call.app);
                report_bandwidth(unit, app, &call, now, &samples)
            }))
        };
        self.store.writer.submit(turn, within, work).await?
    }

    async fn figures(&self, call: &Call, first: Day, last: Day) -> Result<Figures, LedgerError> {
        let (clock, ids, call) =
            (self.store.clock.clone(), self.store.ids, self.by_store(call.clone()));
        let (turn, within) = self.turn(&call, 1);
        let work = move |unit: &mut Unit<'_, '_>| {
            let now = clock.now();
            step::answer(begin(unit, &ids, &call, now).and_then(|_| {
                let days = figures(unit.tables, ids.app(&call.app), first, last)?;
                Ok(Figures { read_at: now, days })
            }))
        };
        self.store.writer.submit(turn, within, work).await?
    }

    async fn close_month(
        &self,
        call: &Call,
        month: ClosedMonth,
    ) -> Result<Option<Figures>, LedgerError> {
        let (clock, ids, call) = (self.store.clock.clone(), self.store.ids, call.clone());
        let (turn, within) = self.turn(&call, 1);
        let work = move |unit: &mut Unit<'_, '_>| {
            let reading = clock.reading();
            // A closed month stays closed, so the time has to be trusted.
            if let Err(refusal) = reading.closing() {
                return Ok(Err(refusal.into()));
            }
            let now = reading.now;
            step::answer(begin(unit, &ids, &call, now).and_then(|_| {
                let (ClosedMonth { first, last, cut_off }, app) = (month, ids.app(&call.app));
                if now < cut_off {
                    return Ok(None);
                }
                if step::first_day_not_closed(unit.tables, app)? <= last {
                    unit.tables.closed.insert(app, last.number())?;
                    unit.wrote = true;
                }
                let days = figures(unit.tables, app, first, last)?;
                Ok(Some(Figures { read_at: now, days }))
            }))
        };
        self.store.writer.submit(turn, within, work).await?
    }
}

/// Returns the first day that still accepts late logins and samples: by the cut-off of its month,
/// and by the months that were closed.
fn first_open(
    tables: &Tables<'_>,
    app: AppKey,
    call: &Call,
    now: Timestamp,
) -> Result<Day, StorageError> {
    Ok(first_open_day(&call.catalog, now).max(step::first_day_not_closed(tables, app)?))
}

fn refused(reason: TooFar) -> MeterOutcome {
    match reason {
        TooFar::Back => MeterOutcome::TooLate,
        TooFar::Ahead => MeterOutcome::InFuture,
    }
}

fn record_logins(
    unit: &mut Unit<'_, '_>,
    app: AppKey,
    call: &Call,
    now: Timestamp,
    logins: impl Iterator<Item = (UserKey, Option<Timestamp>)>,
) -> Result<Metered, StepError> {
    let (tables, zone) = (&mut *unit.tables, call.catalog.zone);
    let oldest = oldest(zone.day_of(now), LATE_DAYS_MAX);
    let open = first_open(tables, app, call, now)?;
    let mut outcomes = Vec::new();
    for (user, at) in logins {
        let day = match day_counted(zone, now, at) {
            Ok(day) if day < open => {
                outcomes.push(MeterOutcome::TooLate);
                continue;
            }
            Ok(day) => day,
            Err(reason) => {
                outcomes.push(refused(reason));
                continue;
            }
        };
        let before = tables.logins.get((app, user))?.map(|row| Activity::unpack(row.value()));
        outcomes.push(match Activity::log_in(before, day) {
            LoggedIn::First(activity) => {
                tables.logins.insert((app, user), activity.packed())?;
                if before.is_none() && !tables.keeps_figures {
                    remove_inactive_after(tables, app, user, oldest)?;
                }
                count_login(tables, app, day)?;
                unit.wrote = true;
                MeterOutcome::Counted
            }
            LoggedIn::Repeated => MeterOutcome::AlreadyCounted,
            LoggedIn::TooLate => MeterOutcome::TooLate,
        });
    }
    Ok(Metered { at: now, outcomes })
}

fn count_login(tables: &mut Tables<'_>, app: AppKey, day: Day) -> Result<(), StorageError> {
    let key = (app, day.number());
    let count = tables.login_days.get(key)?.map_or(0, |row| row.value());
    tables.login_days.insert(key, count + 1)?;
    if count == 0 && !tables.keeps_figures {
        let oldest = oldest(day, FIGURES_DAYS_KEPT);
        tables.login_days.retain_in((app, i32::MIN)..(app, oldest), |_, _| false)?;
    }
    Ok(())
}

/// Removes users after a new one who have not logged in since a day: no login that may still come
/// for them can be a repetition.
fn remove_inactive_after(
    tables: &mut Tables<'_>,
    app: AppKey,
    user: UserKey,
    oldest: i32,
) -> Result<(), StorageError> {
    let Some(next) = user.checked_add(1) else { return Ok(()) };
    let mut old = Vec::new();
    for row in tables.logins.range((app, next)..=(app, UserKey::MAX))?.take(CHECKED_PER_USER) {
        let (key, activity) = row?;
        if Activity::unpack(activity.value()).latest().number() < oldest {
            old.push(key.value());
        }
    }
    for key in old {
        tables.logins.remove(key)?;
    }
    Ok(())
}

fn report_bandwidth(
    unit: &mut Unit<'_, '_>,
    app: AppKey,
    call: &Call,
    now: Timestamp,
    samples: &[Sample],
) -> Result<Metered, StepError> {
    let open = first_open(unit.tables, app, call, now)?;
    let keeps_figures = unit.tables.keeps_figures;
    let table = &mut unit.tables.bandwidth;
    let mut outcomes = Vec::with_capacity(samples.len());
    for Sample { region, kbps, at } in samples {
        let day = match day_counted(call.catalog.zone, now, *at) {
            Ok(day) if day < open => {
                outcomes.push(MeterOutcome::TooLate);
                continue;
            }
            Ok(day) => day,
            Err(reason) => {
                outcomes.push(refused(reason));
                continue;
            }
        };
        let key = (app, day.number(), region.as_str());
        let highest = table.get(key)?.map(|row| row.value());
        if *kbps <= highest.unwrap_or(0) {
            outcomes.push(MeterOutcome::AlreadyCounted);
            continue;
        }
        table.insert(key, *kbps)?;
        if highest.is_none() && !keeps_figures {
            let oldest = oldest(day, FIGURES_DAYS_KEPT);
            table.retain_in((app, i32::MIN, "")..(app, oldest, ""), |_, _| false)?;
        }
        unit.wrote = true;
        outcomes.push(MeterOutcome::Counted);
    }
    Ok(Metered { at: now, outcomes })
}

/// Returns the first day of those that are kept on `day`.
fn oldest(day: Day, kept: u32) -> i32 {
    day.number().saturating_sub_unsigned(kept)
}

fn figures(
    tables: &mut Tables<'_>,
    app: AppKey,
    first: Day,
    last: Day,
) -> Result<Vec<DayFigures>, StepError> {
    let mut changed = Vec::new();
    for row in tables.group_days.range((app, i32::MIN)..=(app, i32::MAX))? {
        let (key, row) = row?;
        let (start, peak, end, net_new) = row.value();
        changed.push((Day::from_number(key.value().1), GroupDay { start, peak, end, net_new }));
    }
    let facts = Facts::new(tables, app);
    let peaks = group_peaks(&changed, facts.groups_of_all_types()?, first, last);
    let mut days = Vec::with_capacity(peaks.len());
    for (groups_peak, number) in peaks.into_iter().zip(first.number()..) {
        let day = Day::from_number(number);
        let of_day = changed.binary_search_by_key(&day, |(day, _)| *day);
        let groups_net_new = of_day.map_or(0, |index| changed[index].1.net_new);
        let dau = facts.tables.login_days.get((app, number))?.map_or(0, |row| row.value());
        let mut bandwidth = Vec::new();
        for row in facts.tables.bandwidth.range((app, number, "")..(app, number + 1, ""))? {
            let (key, kbps) = row?;
            bandwidth.push((key.value().2.into(), kbps.value()));
        }
        days.push(DayFigures { day, dau, groups_peak, groups_net_new, bandwidth });
    }
    Ok(days)
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
        let store = Embedded::in_memory(clock.clone()).expect("opens");
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
