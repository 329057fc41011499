//! Metering: samples, and the figures by day. Logins are in [`super::logins`].

use std::sync::Arc;

use super::facts::Facts;
use super::login_months;
pub use super::login_months::count_rest;
pub use super::logins::record_logins;
use super::rows::{Result, Rows};
use super::step::{StepError, begin, first_day_not_closed};
use super::unknown_apps;
use crate::domain::billing::first_open_day;
use crate::domain::calendar::Day;
use crate::domain::clock_guard::ClockReading;
use crate::domain::metering::{
    DayFigures, FIGURES_DAYS_KEPT, MeterOutcome, Sample, Sampled, TooFar, day_counted, group_peaks,
};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::ledger::metering::{ClosedMonth, Figures, Metered};
use crate::ledger::{Call, LedgerError};

/// Begins to count for an app; returns its limits, and the first day that still accepts late logins
/// and samples: by the cut-off of its month, and by the months that were closed.
pub(super) fn begin_metering(
    rows: &mut impl Rows,
    call: &Call,
    reading: ClockReading,
) -> std::result::Result<(Arc<Schedule>, Day), StepError> {
    let now = reading.now;
    unknown_apps::count_app(rows, call, now)?;
    let schedule = begin(rows, call, now)?;
    reading.metering().map_err(LedgerError::from)?;
    Ok((schedule, first_open_day(&call.catalog, now).max(first_day_not_closed(rows)?)))
}

/// Returns the outcome of an instant that does not count.
pub(super) fn refused(reason: TooFar) -> MeterOutcome {
    match reason {
        TooFar::Back => MeterOutcome::TooLate,
        TooFar::Ahead => MeterOutcome::InFuture,
    }
}

/// Records samples.
pub fn report_samples(
    rows: &mut impl Rows,
    call: &Call,
    reading: ClockReading,
    of: Sampled,
    samples: &[Sample],
) -> std::result::Result<Metered, StepError> {
    let (_, open) = begin_metering(rows, call, reading)?;
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
    Ok(Metered::of(now, outcomes))
}

/// Returns the first day of those that are kept on `day`.
pub(super) fn oldest(day: Day, kept: u32) -> Day {
    Day::from_number(day.number().saturating_sub_unsigned(kept))
}

/// Returns the figures of some days; `None` while there are cells without months, of which it gives
/// the next ones theirs.
pub fn figures(
    rows: &mut impl Rows,
    call: &Call,
    now: Timestamp,
    (first, last): (Day, Day),
) -> std::result::Result<Option<Figures>, StepError> {
    if count_rest(rows, call, now)? {
        read_figures(rows, now, first, last).map(Some)
    } else {
        Ok(None)
    }
}

/// Closes a month and returns its figures; `None` if its cut-off has not come. [`count_rest`] comes
/// before.
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
    read_figures(rows, now, first, last).map(Some)
}

fn read_figures(
    rows: &mut impl Rows,
    now: Timestamp,
    first: Day,
    last: Day,
) -> std::result::Result<Figures, StepError> {
    let month_users = login_months::users_by_month(rows, first, last)?;
    Ok(Figures { read_at: now, days: days(rows, first, last)?, month_users })
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
