//! Metering: logins, samples, and the figures by day.

use super::facts::Facts;
use super::rows::{Result, Rows};
use super::step::{StepError, begin, first_day_not_closed};
use super::unknown_apps;
use crate::domain::billing::first_open_day;
use crate::domain::calendar::Day;
use crate::domain::clock_guard::ClockReading;
use crate::domain::login_days::{Activity, LoggedIn};
use crate::domain::metering::{
    DayFigures, FIGURES_DAYS_KEPT, LATE_DAYS_MAX, Login, MeterOutcome, Sample, Sampled, TooFar,
    day_counted, group_peaks,
};
use crate::domain::time::Timestamp;
use crate::ledger::metering::{ClosedMonth, Figures, Metered};
use crate::ledger::{Call, LedgerError};
use crate::store::fingerprint::{Fingerprints, UserKey};

/// The number of users checked after each new one for logins that are too old to matter: with two,
/// at most about half of all rows are old.
const CHECKED_PER_USER: usize = 2;

/// Begins to count for an app; returns the first day that still accepts late logins and samples: by
/// the cut-off of its month, and by the months that were closed.
fn begin_metering(
    rows: &mut impl Rows,
    call: &Call,
    reading: ClockReading,
) -> std::result::Result<Day, StepError> {
    let now = reading.now;
    unknown_apps::count_app(rows, call, now)?;
    begin(rows, call, now)?;
    reading.metering().map_err(LedgerError::from)?;
    Ok(first_open_day(&call.catalog, now).max(first_day_not_closed(rows)?))
}

fn refused(reason: TooFar) -> MeterOutcome {
    match reason {
        TooFar::Back => MeterOutcome::TooLate,
        TooFar::Ahead => MeterOutcome::InFuture,
    }
}

/// Counts users who logged in.
pub fn record_logins(
    rows: &mut impl Rows,
    ids: &Fingerprints,
    call: &Call,
    reading: ClockReading,
    logins: &[Login],
) -> std::result::Result<Metered, StepError> {
    let open = begin_metering(rows, call, reading)?;
    let (zone, now) = (call.catalog.zone, reading.now);
    let oldest = oldest(zone.day_of(now), LATE_DAYS_MAX);
    let mut outcomes = Vec::with_capacity(logins.len());
    for login in logins {
        let user = ids.user(&login.user);
        let day = match day_counted(zone, now, login.at) {
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
        let before = rows.login(user)?;
        outcomes.push(match Activity::log_in(before, day) {
            LoggedIn::First(activity) => {
                rows.put_login(user, Some(activity))?;
                if before.is_none() && !rows.keeps_figures() {
                    remove_inactive_after(rows, user, oldest)?;
                }
                count_login(rows, day)?;
                MeterOutcome::Counted
            }
            LoggedIn::Repeated => MeterOutcome::AlreadyCounted,
            LoggedIn::TooLate => MeterOutcome::TooLate,
        });
    }
    Ok(Metered { at: now, outcomes })
}

fn count_login(rows: &mut impl Rows, day: Day) -> Result<()> {
    let count = rows.logins_on(day)?;
    rows.put_logins_on(day, count + 1)?;
    if count == 0 && !rows.keeps_figures() {
        rows.remove_logins_before(oldest(day, FIGURES_DAYS_KEPT))?;
    }
    Ok(())
}

/// Removes users after a new one who have not logged in since a day: no login that may still come
/// for them can be a repetition.
fn remove_inactive_after(rows: &mut impl Rows, user: UserKey, oldest: Day) -> Result<()> {
    let Some(next) = user.checked_add(1) else { return Ok(()) };
    for (user, activity) in rows.logins(next, CHECKED_PER_USER)? {
        if activity.latest() < oldest {
            rows.put_login(user, None)?;
        }
    }
    Ok(())
}

/// Records samples.
pub fn report_samples(
    rows: &mut impl Rows,
    call: &Call,
    reading: ClockReading,
    of: Sampled,
    samples: &[Sample],
) -> std::result::Result<Metered, StepError> {
    let open = begin_metering(rows, call, reading)?;
    let now = reading.now;
    let mut outcomes = Vec::with_capacity(samples.len());
    for Sample { name, value, at } in samples {
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
        let highest = rows.sample(of, day, name)?;
        if *value <= highest.unwrap_or(0) {
            outcomes.push(MeterOutcome::AlreadyCounted);
            continue;
        }
        rows.put_sample(of, day, name, *value)?;
        if highest.is_none() && !rows.keeps_figures() {
            rows.remove_samples_before(of, oldest(day, FIGURES_DAYS_KEPT))?;
        }
        outcomes.push(MeterOutcome::Counted);
    }
    Ok(Metered { at: now, outcomes })
}

/// Returns the first day of those that are kept on `day`.
fn oldest(day: Day, kept: u32) -> Day {
    Day::from_number(day.number().saturating_sub_unsigned(kept))
}

/// Returns the figures of some days.
pub fn figures(
    rows: &mut impl Rows,
    call: &Call,
    now: Timestamp,
    (first, last): (Day, Day),
) -> std::result::Result<Figures, StepError> {
    begin(rows, call, now)?;
    Ok(Figures { read_at: now, days: days(rows, first, last)? })
}

/// Closes a month and returns its figures; `None` if its cut-off has not come.
pub fn close_month(
    rows: &mut impl Rows,
    call: &Call,
    reading: ClockReading,
    month: ClosedMonth,
) -> std::result::Result<Option<Figures>, StepError> {
    // A closed month stays closed, so the time has to be trusted.
    reading.closing().map_err(LedgerError::from)?;
    let now = reading.now;
    begin(rows, call, now)?;
    let ClosedMonth { first, last, cut_off } = month;
    if now < cut_off {
        return Ok(None);
    }
    if first_day_not_closed(rows)? <= last {
        rows.put_closed(last)?;
    }
    Ok(Some(Figures { read_at: now, days: days(rows, first, last)? }))
}

fn days(rows: &mut impl Rows, first: Day, last: Day) -> Result<Vec<DayFigures>> {
    let changed = rows.group_days()?;
    let groups = Facts::new(&mut *rows).billed_groups()?;
    let peaks = group_peaks(&changed, groups, first, last);
    let mut days = Vec::with_capacity(peaks.len());
    for (groups_peak, number) in peaks.into_iter().zip(first.number()..) {
        let day = Day::from_number(number);
        let of_day = changed.binary_search_by_key(&day, |(day, _)| *day);
        let groups_net_new = of_day.map_or(0, |index| changed[index].1.net_new);
        let dau = rows.logins_on(day)?;
        let bandwidth = rows.samples_on(Sampled::Bandwidth, day)?;
        let gauges = rows.samples_on(Sampled::Gauge, day)?;
        days.push(DayFigures { day, dau, groups_peak, groups_net_new, bandwidth, gauges });
    }
    Ok(days)
}
