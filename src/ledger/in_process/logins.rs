//! Logins: users who logged in, once each day and month, within the limits of the app.
//!
//! Cells and counts of a call are kept until all of its logins are decided, and written then unless
//! it is a dry run.

use std::collections::BTreeMap;

use super::login_months::{begin_counting, count_some, put_users};
use super::metering::{begin_metering, oldest, refused};
use super::rows::{Result, Rows};
use super::step::{StepError, first_day_not_closed};
use crate::domain::calendar::Day;
use crate::domain::checks::violation_of_logins;
use crate::domain::clock_guard::ClockReading;
use crate::domain::decision::{ItemResult, Mode, Violation};
use crate::domain::limit::{Bound, LimitId};
use crate::domain::limits::LimitKind;
use crate::domain::login_days::{Activity, LoggedIn};
use crate::domain::metering::{FIGURES_DAYS_KEPT, LATE_DAYS_MAX, Login, MeterOutcome, day_counted};
use crate::domain::month::Month;
use crate::domain::schedule::Limits;
use crate::ledger::Call;
use crate::ledger::metering::Metered;
use crate::store::fingerprint::{Fingerprints, UserKey};

/// The number of users checked after each new one for logins that are too old to matter: with two,
/// at most about half of all rows are old.
const CHECKED_PER_USER: usize = 2;

/// Counts users who logged in.
pub fn record_logins(
    rows: &mut impl Rows,
    ids: &Fingerprints,
    call: &Call,
    reading: ClockReading,
    logins: &[Login],
) -> std::result::Result<Metered, StepError> {
    let (schedule, open) = begin_metering(rows, call, reading)?;
    let (zone, now, mode) = (call.catalog.zone, reading.now, call.mode);
    let (today, limits) = (zone.day_of(now), schedule.at(now));
    let is_needed =
        call.catalog.counts_month_users() || limits.sold(&LimitId::ActiveUsersPerMonth).is_some();
    let has_begun = begin_counting(rows, is_needed && mode.writes(), today)?;
    let by_month = has_begun || is_needed;
    let mut counts = Counts::new(rows, call, limits, by_month)?;
    let mut metered = Metered::of(now, Vec::with_capacity(logins.len()));
    for (index, login) in logins.iter().enumerate() {
        let (outcome, violations) = match day_counted(zone, now, login.at) {
            Ok(day) if day < open => (MeterOutcome::TooLate, Vec::new()),
            Ok(day) => counts.log_in(ids.user(&login.user), day, mode)?,
            Err(reason) => (refused(reason), Vec::new()),
        };
        metered.outcomes.push(outcome);
        metered.violations.extend((!violations.is_empty()).then_some((index, violations)));
    }
    metered.limits = (!metered.violations.is_empty()).then(|| limits.clone());
    if mode.writes() {
        let mut kept_since = oldest(today, LATE_DAYS_MAX);
        if by_month {
            // A late login in the same month would be a repetition too.
            kept_since = Month::of(kept_since).first_day();
        }
        counts.write(kept_since)?;
        if by_month {
            count_some(rows)?;
        }
    }
    Ok(metered)
}

/// A user's cell during a call.
struct Cell {
    activity: Activity,
    /// True if the user had none.
    is_new: bool,
}

/// The cells and counts that a call changes.
struct Counts<'r, R> {
    rows: &'r mut R,
    by_month: bool,
    not_closed: Day,
    of_day: Bound,
    of_month: Bound,
    cells: BTreeMap<UserKey, Cell>,
    days: BTreeMap<Day, u64>,
    /// By the first day.
    months: BTreeMap<Day, u64>,
}

impl<'r, R: Rows> Counts<'r, R> {
    fn new(rows: &'r mut R, call: &Call, limits: &Limits, by_month: bool) -> Result<Self> {
        let not_closed = first_day_not_closed(rows)?;
        let bound = |kind: LimitKind| kind.bound(&call.catalog, limits, None);
        Ok(Self {
            rows,
            by_month,
            not_closed,
            of_day: bound(LimitKind::ActiveUsersPerDay),
            of_month: bound(LimitKind::ActiveUsersPerMonth),
            cells: BTreeMap::new(),
            days: BTreeMap::new(),
            months: BTreeMap::new(),
        })
    }

    /// Counts a user on a day, unless a limit denies it.
    fn log_in(
        &mut self,
        user: UserKey,
        day: Day,
        mode: Mode,
    ) -> Result<(MeterOutcome, Vec<Violation>)> {
        let before = self.cell(user)?;
        match Activity::log_in(before, day, self.by_month) {
            LoggedIn::First(activity, month) => {
                let result = ItemResult::on_taking(mode, self.violations(day, month)?);
                if result.denied() {
                    return Ok((MeterOutcome::Denied, result.violations));
                }
                let is_new = self.cells.get(&user).map_or(before.is_none(), |cell| cell.is_new);
                self.cells.insert(user, Cell { activity, is_new });
                let users = self.users_on(day)?;
                self.days.insert(day, users + 1);
                month.map_or(Ok(()), |month| self.count_in(month))?;
                Ok((MeterOutcome::Counted, result.violations))
            }
            LoggedIn::Repeated => Ok((MeterOutcome::AlreadyCounted, Vec::new())),
            LoggedIn::TooLate => Ok((MeterOutcome::TooLate, Vec::new())),
        }
    }

    /// Returns the cell of a user, with months if the app counts by month.
    fn cell(&mut self, user: UserKey) -> Result<Option<Activity>> {
        if let Some(cell) = self.cells.get(&user) {
            return Ok(Some(cell.activity));
        }
        let before = self.rows.login(user)?;
        let Some(without) = before.filter(|cell| self.by_month && !cell.has_months()) else {
            return Ok(before);
        };
        let (activity, months) = without.counted_by_month();
        self.cells.insert(user, Cell { activity, is_new: false });
        months.into_iter().try_for_each(|month| self.count_in(month))?;
        Ok(Some(activity))
    }

    /// Returns the violated limits of one more user on a day, who is new in a month if that is
    /// given.
    fn violations(&self, day: Day, month: Option<Month>) -> Result<Vec<Violation>> {
        let of_day =
            violation_of_logins(LimitKind::ActiveUsersPerDay, self.users_on(day)?, &self.of_day);
        let of_month = match month {
            Some(month) => {
                let users = self.users_in(month.first_day())?;
                violation_of_logins(LimitKind::ActiveUsersPerMonth, users, &self.of_month)
            }
            None => None,
        };
        Ok(of_day.into_iter().chain(of_month).collect())
    }

    fn users_on(&self, day: Day) -> Result<u64> {
        self.days.get(&day).map_or_else(|| self.rows.logins_on(day), |users| Ok(*users))
    }

    fn users_in(&self, first: Day) -> Result<u64> {
        self.months.get(&first).map_or_else(|| self.rows.month_users(first), |users| Ok(*users))
    }

    /// Counts a user in a month, unless its figures are closed.
    fn count_in(&mut self, month: Month) -> Result<()> {
        let first = month.first_day();
        if first >= self.not_closed {
            let users = self.users_in(first)?;
            self.months.insert(first, users + 1);
        }
        Ok(())
    }

    /// Writes the cells and counts. Users who have not logged in since a day are removed gradually.
    fn write(self, kept_since: Day) -> Result<()> {
        let rows = self.rows;
        for (user, Cell { activity, is_new }) in self.cells {
            rows.put_login(user, Some(activity))?;
            if is_new && !rows.keeps_figures() {
                remove_inactive_after(rows, user, kept_since)?;
            }
        }
        for (day, users) in self.days {
            let is_first = rows.logins_on(day)? == 0;
            rows.put_logins_on(day, users)?;
            if is_first && !rows.keeps_figures() {
                rows.remove_logins_before(oldest(day, FIGURES_DAYS_KEPT))?;
            }
        }
        self.months.into_iter().try_for_each(|(first, users)| put_users(rows, first, users))
    }
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
