//! Users by month: since when an app counts them, and the cells that are still without months.
//!
//! An app that begins to count may have cells without months, from logins before. Each gets its
//! months at the user's next login, or when its turn comes: some cells follow each call that
//! records logins, and all that are left precede the reading of figures.

use super::rows::{MonthCounting, Result, Rows};
use super::step::{StepError, begin, first_day_not_closed};
use crate::domain::calendar::Day;
use crate::domain::metering::FIGURES_DAYS_KEPT;
use crate::domain::month::Month;
use crate::domain::time::Timestamp;
use crate::ledger::Call;

/// Most cells that get their months after the logins of a call.
const CELLS_PER_CALL: usize = 512;
/// Most cells that get their months in a step of their own: some milliseconds on disk.
const CELLS_PER_STEP: usize = 4096;

/// Returns whether the app counts users by month, and begins to if that is needed.
pub fn begin_counting(rows: &mut impl Rows, is_needed: bool, today: Day) -> Result<bool> {
    if rows.month_counting()?.is_some() {
        return Ok(true);
    }
    if !is_needed {
        return Ok(false);
    }
    let next = rows.logins(0, 1)?.first().map(|(user, _)| *user);
    rows.put_month_counting(MonthCounting { since: today, next })?;
    Ok(true)
}

/// Writes the number of users of the month that begins with a day.
pub fn put_users(rows: &mut impl Rows, first: Day, users: u64) -> Result<()> {
    let is_first = rows.month_users(first)? == 0;
    rows.put_month_users(first, users)?;
    if is_first && !rows.keeps_figures() {
        let oldest = Day::from_number(first.number().saturating_sub_unsigned(FIGURES_DAYS_KEPT));
        rows.remove_month_users_before(Month::of(oldest).first_day())?;
    }
    Ok(())
}

/// Gives the next cells their months after the logins of a call.
pub fn count_some(rows: &mut impl Rows) -> Result<()> {
    count_cells(rows, CELLS_PER_CALL).map(drop)
}

/// Gives the next cells their months, before figures are read; returns whether all have them.
pub fn count_rest(
    rows: &mut impl Rows,
    call: &Call,
    now: Timestamp,
) -> std::result::Result<bool, StepError> {
    begin(rows, call, now)?;
    Ok(count_cells(rows, CELLS_PER_STEP)?)
}

fn count_cells(rows: &mut impl Rows, max: usize) -> Result<bool> {
    let Some(MonthCounting { since, next: Some(next) }) = rows.month_counting()? else {
        return Ok(true);
    };
    let cells = rows.logins(next, max)?;
    let last = cells.last().map(|(user, _)| *user).filter(|_| cells.len() == max);
    let not_closed = first_day_not_closed(rows)?;
    for (user, cell) in cells.into_iter().filter(|(_, cell)| !cell.has_months()) {
        let (cell, months) = cell.counted_by_month();
        rows.put_login(user, Some(cell))?;
        for first in months.into_iter().map(Month::first_day).filter(|first| *first >= not_closed) {
            let users = rows.month_users(first)?;
            put_users(rows, first, users + 1)?;
        }
    }
    let next = last.and_then(|last| last.checked_add(1));
    rows.put_month_counting(MonthCounting { since, next })?;
    Ok(next.is_none())
}

/// Returns the users by month, for the months of some days that are counted and have any.
pub fn users_by_month(rows: &impl Rows, first: Day, last: Day) -> Result<Vec<(Month, u64)>> {
    let Some(MonthCounting { since, .. }) = rows.month_counting()? else { return Ok(Vec::new()) };
    let (mut month, last) = (Month::of(first.max(since)), Month::of(last));
    let mut all = Vec::new();
    while month <= last {
        let users = rows.month_users(month.first_day())?;
        all.extend((users > 0).then_some((month, users)));
        month = month.next();
    }
    Ok(all)
}
