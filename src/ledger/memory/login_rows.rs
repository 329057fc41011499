//! The logins of an app in maps.

use std::collections::BTreeMap;

use crate::domain::calendar::Day;
use crate::domain::login_days::Activity;
use crate::ledger::in_process::rows::MonthCounting;
use crate::store::fingerprint::UserKey;

/// The logins of an app.
#[derive(Debug, Default)]
pub struct Logins {
    /// The recent days of each user.
    pub cells: BTreeMap<UserKey, Activity>,
    /// The number of users by day.
    pub by_day: BTreeMap<Day, u64>,
    /// The number of users by the first day of a month.
    pub by_month: BTreeMap<Day, u64>,
    /// The counting of users by month.
    pub counting: Option<MonthCounting>,
}

impl Logins {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
            && self.by_day.is_empty()
            && self.by_month.is_empty()
            && self.counting.is_none()
    }
}

/// Removes the values of all days before.
pub fn keep_from<T>(by_day: &mut BTreeMap<Day, T>, day: Day) {
    *by_day = by_day.split_off(&day);
}
