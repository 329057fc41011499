//! Metering: logins, bandwidth, and the figures by day.

use async_trait::async_trait;
use redb::{ReadableTable, StorageError};

use super::Embedded;
use super::facts::Facts;
use super::step::{self, StepError, begin};
use super::tables::Tables;
use super::writer::Unit;
use crate::domain::activity::{Activity, LoggedIn};
use crate::domain::calendar::Day;
use crate::domain::metering::{
    DayFigures, FIGURES_DAYS_KEPT, GroupDay, LATE_DAYS_MAX, Login, MeterOutcome, Sample, TooFar,
    day_counted, group_peaks,
};
use crate::domain::time::Timestamp;
use crate::ledger::fingerprint::{AppKey, UserKey};
use crate::ledger::metering::{Figures, Meter, Metered};
use crate::ledger::{Call, LedgerError};

/// Users looked at after each new one, whose logins may have become too old to matter: with two, at
/// most about half of all rows are old.
const LOOKED_AT_PER_USER: usize = 2;

#[async_trait]
impl Meter for Embedded {
    async fn record_logins(&self, call: Call, logins: Vec<Login>) -> Result<Metered, LedgerError> {
        let (clock, ids) = (self.clock.clone(), self.ids);
        let work = move |unit: &mut Unit<'_, '_>| {
            let now = clock.now();
            step::answer(begin(unit, &ids, &call, now).and_then(|_| {
                let app = ids.app(&call.app);
                let each = logins.iter().map(|login| (ids.user(&login.user), login.at));
                record_logins(unit, app, &call, now, each)
            }))
        };
        self.writer.submit(work).await?
    }

    async fn report_bandwidth(
        &self,
        call: Call,
        samples: Vec<Sample>,
    ) -> Result<Metered, LedgerError> {
        let (clock, ids) = (self.clock.clone(), self.ids);
        let work = move |unit: &mut Unit<'_, '_>| {
            let now = clock.now();
            step::answer(begin(unit, &ids, &call, now).and_then(|_| {
                let app = ids.app(&call.app);
                report_bandwidth(unit, app, &call, now, &samples)
            }))
        };
        self.writer.submit(work).await?
    }

    async fn figures(&self, call: &Call, first: Day, last: Day) -> Result<Figures, LedgerError> {
        let (clock, ids, call) = (self.clock.clone(), self.ids, call.clone());
        let work = move |unit: &mut Unit<'_, '_>| {
            let now = clock.now();
            step::answer(begin(unit, &ids, &call, now).and_then(|_| {
                let days = figures(unit.tables, ids.app(&call.app), first, last)?;
                Ok(Figures { read_at: now, days })
            }))
        };
        self.writer.submit(work).await?
    }
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
    let mut outcomes = Vec::new();
    for (user, at) in logins {
        let day = match day_counted(zone, now, at) {
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
                if before.is_none() {
                    forget_after(tables, app, user, oldest)?;
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
    if count == 0 {
        let oldest = oldest(day, FIGURES_DAYS_KEPT);
        tables.login_days.retain_in((app, i32::MIN)..(app, oldest), |_, _| false)?;
    }
    Ok(())
}

/// Drops users behind a new one who have not logged in since a day: no login of theirs that may
/// still come is a repetition.
fn forget_after(
    tables: &mut Tables<'_>,
    app: AppKey,
    user: UserKey,
    oldest: i32,
) -> Result<(), StorageError> {
    let Some(next) = user.checked_add(1) else { return Ok(()) };
    let mut old = Vec::new();
    for row in tables.logins.range((app, next)..=(app, UserKey::MAX))?.take(LOOKED_AT_PER_USER) {
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
    let table = &mut unit.tables.bandwidth;
    let mut outcomes = Vec::with_capacity(samples.len());
    for Sample { region, kbps, at } in samples {
        let day = match day_counted(call.catalog.zone, now, *at) {
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
        if highest.is_none() {
            let oldest = oldest(day, FIGURES_DAYS_KEPT);
            table.retain_in((app, i32::MIN, "")..(app, oldest, ""), |_, _| false)?;
        }
        unit.wrote = true;
        outcomes.push(MeterOutcome::Counted);
    }
    Ok(Metered { at: now, outcomes })
}

/// The first day of those that are kept on a day.
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
        let (start, peak, end) = row.value();
        changed.push((Day::from_number(key.value().1), GroupDay { start, peak, end }));
    }
    let facts = Facts::new(tables, app);
    let peaks = group_peaks(&changed, facts.groups_of_all_types()?, first, last);
    let mut days = Vec::with_capacity(peaks.len());
    for (groups_peak, number) in peaks.into_iter().zip(first.number()..) {
        let day = Day::from_number(number);
        let groups_net_new = facts.net_new_of_all_types(day)?;
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
