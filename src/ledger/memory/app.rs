//! The rows of an app in maps.
//!
//! Maps are ordered, since an app is scanned in pages that continue at a key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hold_rows::Holds;
use super::login_rows::{Logins, keep_from};
use super::sample_rows::{Samples, of_day};
use crate::domain::calendar::Day;
use crate::domain::clock_guard::ClockReading;
use crate::domain::id::Name;
use crate::domain::login_days::Activity;
use crate::domain::metering::{GroupDay, Sampled};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::ledger::in_process::facts::Facts;
use crate::ledger::in_process::groups::release_members;
use crate::ledger::in_process::rows::{
    ChangeKey, Counter, GroupRow, Membership, MonthCounting, Result, Rows, ThresholdKey,
    TrackingRow, User,
};
use crate::store::fingerprint::{GroupKey, UserKey};

/// The state of an app's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// They are in use.
    #[default]
    Live,
    /// There were none, and the app was removed from the store; another one may have its place.
    Removed,
    /// A panic ended an operation that had written some of its changes.
    Damaged,
}

/// An app.
#[derive(Debug, Default)]
pub struct App {
    /// The state of its rows.
    pub state: State,
    /// The latest instant of a step.
    latest: Option<Timestamp>,
    accounts: BTreeSet<UserKey>,
    /// Friendships seen from the first user, each once from either side.
    edges: BTreeMap<(UserKey, UserKey), u8>,
    users: BTreeMap<UserKey, User>,
    groups: BTreeMap<GroupKey, Group>,
    /// The number of groups that were created.
    groups_created: u64,
    members: BTreeMap<(GroupKey, UserKey), bool>,
    memberships: BTreeMap<(UserKey, GroupKey), bool>,
    counters: BTreeMap<Counter, u64>,
    net_new: BTreeMap<Day, BTreeMap<Name, i64>>,
    group_days: BTreeMap<Day, GroupDay>,
    logins: Logins,
    samples: Samples,
    closed: Option<Day>,
    thresholds: BTreeMap<ThresholdKey, u64>,
    tracking: Option<TrackingRow>,
    tracked: BTreeSet<(Timestamp, ChangeKey)>,
    schedule: Option<(u64, Arc<Schedule>)>,
    unknown_since: Option<Timestamp>,
    holds: Holds,
}

/// A group, and the number by which it differs from an earlier one with the same id.
#[derive(Debug)]
struct Group {
    row: GroupRow,
    number: u64,
}

impl App {
    /// Returns whether the app has no rows.
    pub fn is_empty(&self) -> bool {
        self.schedule.is_none()
            && self.unknown_since.is_none()
            && self.counters.is_empty()
            && self.users.is_empty()
            && self.accounts.is_empty()
            && self.edges.is_empty()
            && self.groups.is_empty()
            && self.members.is_empty()
            && self.memberships.is_empty()
            && self.net_new.is_empty()
            && self.group_days.is_empty()
            && self.logins.is_empty()
            && self.samples.is_empty()
            && self.closed.is_none()
            && self.thresholds.is_empty()
            && self.tracking.is_none()
            && self.tracked.is_empty()
            && self.holds.is_empty()
    }
}

/// The rows of an app during one operation.
pub struct MemoryRows<'a> {
    app: &'a mut App,
    /// The number of unknown apps in the store.
    unknown: &'a AtomicU64,
    keeps_figures: bool,
    wrote: bool,
}

impl<'a> MemoryRows<'a> {
    /// Returns the rows of an app.
    pub fn new(app: &'a mut App, unknown: &'a AtomicU64, keeps_figures: bool) -> Self {
        Self { app, unknown, keeps_figures, wrote: false }
    }

    /// Returns a reading of the clock that is no earlier than those of the steps before: callers
    /// read the clock before they wait for the app.
    pub fn in_order(&mut self, mut reading: ClockReading) -> ClockReading {
        reading.now = self.app.latest.map_or(reading.now, |latest| latest.max(reading.now));
        self.app.latest = Some(reading.now);
        reading
    }

    /// Returns a number by which a group differs from an earlier one with the same id; `None` if
    /// the group does not exist.
    pub fn group_number(&self, group: GroupKey) -> Option<u64> {
        self.app.groups.get(&group).map(|group| group.number)
    }

    /// Releases some members of a group that was dissolved, if not all are released yet; returns
    /// whether there were any. A group with the same id begins without them.
    pub fn release_left_members(&mut self, group: GroupKey, max: usize) -> Result<bool> {
        if self.app.groups.contains_key(&group) || self.members(group, 1)?.is_empty() {
            return Ok(false);
        }
        let mut facts = Facts::new(self);
        release_members(&mut facts, group, max)?;
        facts.count_facts(None)?;
        facts.write()?;
        Ok(true)
    }

    /// Returns the app, whose rows the caller is about to change.
    fn change(&mut self) -> &mut App {
        self.wrote = true;
        self.app
    }

    /// Returns the holds of the app.
    pub(super) fn holds(&self) -> &Holds {
        &self.app.holds
    }

    /// Returns the holds, which the caller is about to change.
    pub(super) fn change_holds(&mut self) -> &mut Holds {
        &mut self.change().holds
    }
}

impl Drop for MemoryRows<'_> {
    fn drop(&mut self) {
        if self.wrote && std::thread::panicking() {
            self.app.state = State::Damaged;
        }
    }
}

/// Writes or removes a row.
pub(super) fn put<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(rows.insert(key, value)),
        None => drop(rows.remove(&key)),
    }
}

/// Returns the first rows of those that begin with `first`.
fn pairs<V: Copy>(rows: &BTreeMap<(u64, u64), V>, first: u64, max: usize) -> Vec<(u64, V)> {
    let rows = rows.range((first, u64::MIN)..=(first, u64::MAX)).take(max);
    rows.map(|((_, second), value)| (*second, *value)).collect()
}

impl Rows for MemoryRows<'_> {
    fn has_account(&self, user: UserKey) -> Result<bool> {
        Ok(self.app.accounts.contains(&user))
    }

    fn put_account(&mut self, user: UserKey, exists: bool) -> Result<()> {
        let accounts = &mut self.change().accounts;
        if exists {
            accounts.insert(user)
        } else {
            accounts.remove(&user)
        };
        Ok(())
    }

    fn accounts(&self, from: UserKey, max: usize) -> Result<Vec<UserKey>> {
        Ok(self.app.accounts.range(from..).take(max).copied().collect())
    }

    fn edge(&self, user: UserKey, other: UserKey) -> Result<u8> {
        Ok(self.app.edges.get(&(user, other)).copied().unwrap_or(0))
    }

    fn put_edge(&mut self, user: UserKey, other: UserKey, edge: u8) -> Result<()> {
        put(&mut self.change().edges, (user, other), (edge != 0).then_some(edge));
        Ok(())
    }

    fn edges(&self, user: UserKey, max: usize) -> Result<Vec<(UserKey, u8)>> {
        Ok(pairs(&self.app.edges, user, max))
    }

    fn has_edges(&self) -> Result<bool> {
        Ok(!self.app.edges.is_empty())
    }

    fn user(&self, user: UserKey) -> Result<User> {
        Ok(self.app.users.get(&user).copied().unwrap_or_default())
    }

    fn put_user(&mut self, user: UserKey, row: User) -> Result<()> {
        put(&mut self.change().users, user, (row != User::default()).then_some(row));
        Ok(())
    }

    fn users(&self, from: UserKey, max: usize) -> Result<Vec<(UserKey, User)>> {
        let users = self.app.users.range(from..).take(max);
        Ok(users.map(|(user, row)| (*user, *row)).collect())
    }

    fn group(&self, group: GroupKey) -> Result<Option<GroupRow>> {
        Ok(self.app.groups.get(&group).map(|group| group.row.clone()))
    }

    fn put_group(&mut self, group: GroupKey, row: Option<&GroupRow>) -> Result<()> {
        let app = self.change();
        let Some(row) = row.cloned() else {
            app.groups.remove(&group);
            return Ok(());
        };
        if let Some(existing) = app.groups.get_mut(&group) {
            existing.row = row;
        } else {
            app.groups_created += 1;
            app.groups.insert(group, Group { row, number: app.groups_created });
        }
        Ok(())
    }

    fn groups(&self, from: GroupKey, max: usize) -> Result<Vec<(GroupKey, GroupRow)>> {
        let groups = self.app.groups.range(from..).take(max);
        Ok(groups.map(|(key, group)| (*key, group.row.clone())).collect())
    }

    fn membership(&self, user: UserKey, group: GroupKey) -> Result<Option<bool>> {
        Ok(self.app.memberships.get(&(user, group)).copied())
    }

    fn put_memberships(&mut self, rows: Vec<Membership>) -> Result<()> {
        let app = self.change();
        for (user, group, counts) in rows {
            put(&mut app.memberships, (user, group), counts);
            put(&mut app.members, (group, user), counts);
        }
        Ok(())
    }

    fn members(&self, group: GroupKey, max: usize) -> Result<Vec<(UserKey, bool)>> {
        Ok(pairs(&self.app.members, group, max))
    }

    fn groups_of(&self, user: UserKey, max: usize) -> Result<Vec<(GroupKey, bool)>> {
        Ok(pairs(&self.app.memberships, user, max))
    }

    fn counter(&self, counter: &Counter) -> Result<Option<u64>> {
        Ok(self.app.counters.get(counter).copied())
    }

    fn put_counter(&mut self, counter: &Counter, count: u64) -> Result<()> {
        put(&mut self.change().counters, counter.clone(), (count > 0).then_some(count));
        Ok(())
    }

    fn groups_by_type(&self) -> Result<Vec<(Name, u64)>> {
        // The counters of groups come after that of accounts.
        let after = (Bound::Excluded(Counter::Accounts), Bound::Unbounded);
        let counts = self.app.counters.range(after).map_while(|(counter, count)| match counter {
            Counter::Groups(group_type) => Some((group_type.clone(), *count)),
            _ => None,
        });
        Ok(counts.collect())
    }

    fn net_new(&self, day: Day, group_type: &Name) -> Result<Option<i64>> {
        Ok(self.app.net_new.get(&day).and_then(|of_day| of_day.get(group_type)).copied())
    }

    fn put_net_new(&mut self, day: Day, group_type: &Name, net: i64) -> Result<()> {
        self.change().net_new.entry(day).or_default().insert(group_type.clone(), net);
        Ok(())
    }

    fn net_new_on(&self, day: Day) -> Result<Vec<(Name, i64)>> {
        Ok(of_day(&self.app.net_new, day))
    }

    fn remove_net_new_before(&mut self, day: Day) -> Result<()> {
        keep_from(&mut self.change().net_new, day);
        Ok(())
    }

    fn group_day(&self, day: Day) -> Result<Option<GroupDay>> {
        Ok(self.app.group_days.get(&day).copied())
    }

    fn put_group_day(&mut self, day: Day, row: GroupDay) -> Result<()> {
        self.change().group_days.insert(day, row);
        Ok(())
    }

    fn group_days(&self) -> Result<Vec<(Day, GroupDay)>> {
        Ok(self.app.group_days.iter().map(|(day, row)| (*day, *row)).collect())
    }

    fn remove_group_days_before(&mut self, day: Day) -> Result<()> {
        keep_from(&mut self.change().group_days, day);
        Ok(())
    }

    fn login(&self, user: UserKey) -> Result<Option<Activity>> {
        Ok(self.app.logins.cells.get(&user).copied())
    }

    fn put_login(&mut self, user: UserKey, days: Option<Activity>) -> Result<()> {
        put(&mut self.change().logins.cells, user, days);
        Ok(())
    }

    fn logins(&self, from: UserKey, max: usize) -> Result<Vec<(UserKey, Activity)>> {
        let logins = self.app.logins.cells.range(from..).take(max);
        Ok(logins.map(|(user, days)| (*user, *days)).collect())
    }

    fn logins_on(&self, day: Day) -> Result<u64> {
        Ok(self.app.logins.by_day.get(&day).copied().unwrap_or(0))
    }

    fn put_logins_on(&mut self, day: Day, users: u64) -> Result<()> {
        self.change().logins.by_day.insert(day, users);
        Ok(())
    }

    fn remove_logins_before(&mut self, day: Day) -> Result<()> {
        keep_from(&mut self.change().logins.by_day, day);
        Ok(())
    }

    fn month_users(&self, first: Day) -> Result<u64> {
        Ok(self.app.logins.by_month.get(&first).copied().unwrap_or(0))
    }

    fn put_month_users(&mut self, first: Day, users: u64) -> Result<()> {
        self.change().logins.by_month.insert(first, users);
        Ok(())
    }

    fn remove_month_users_before(&mut self, first: Day) -> Result<()> {
        keep_from(&mut self.change().logins.by_month, first);
        Ok(())
    }

    fn month_counting(&self) -> Result<Option<MonthCounting>> {
        Ok(self.app.logins.counting)
    }

    fn put_month_counting(&mut self, counting: MonthCounting) -> Result<()> {
        self.change().logins.counting = Some(counting);
        Ok(())
    }

    fn sample(&self, of: Sampled, day: Day, name: &Name) -> Result<Option<u64>> {
        Ok(self.app.samples.get(of, day, name))
    }

    fn put_sample(&mut self, of: Sampled, day: Day, name: &Name, value: u64) -> Result<()> {
        self.change().samples.put(of, day, name, value);
        Ok(())
    }

    fn samples_on(&self, of: Sampled, day: Day) -> Result<Vec<(Name, u64)>> {
        Ok(self.app.samples.on(of, day))
    }

    fn remove_samples_before(&mut self, of: Sampled, day: Day) -> Result<()> {
        self.change().samples.remove_before(of, day);
        Ok(())
    }

    fn has_figures(&self) -> Result<bool> {
        Ok(!self.app.logins.by_day.is_empty() || !self.app.samples.is_empty())
    }

    fn closed(&self) -> Result<Option<Day>> {
        Ok(self.app.closed)
    }

    fn put_closed(&mut self, day: Day) -> Result<()> {
        self.change().closed = Some(day);
        Ok(())
    }

    fn keeps_figures(&self) -> bool {
        self.keeps_figures
    }

    fn threshold(&self, of: &ThresholdKey) -> Result<u64> {
        Ok(self.app.thresholds.get(of).copied().unwrap_or(0))
    }

    fn put_threshold(&mut self, of: &ThresholdKey, percent: u64) -> Result<()> {
        put(&mut self.change().thresholds, of.clone(), (percent > 0).then_some(percent));
        Ok(())
    }

    fn tracking(&self) -> Result<Option<TrackingRow>> {
        Ok(self.app.tracking)
    }

    fn put_tracking(&mut self, row: TrackingRow) -> Result<()> {
        self.change().tracking = Some(row);
        Ok(())
    }

    fn is_tracked(&self, since: Timestamp, change: ChangeKey) -> Result<bool> {
        Ok(self.app.tracked.contains(&(since, change)))
    }

    fn put_tracked(&mut self, since: Timestamp, change: ChangeKey) -> Result<bool> {
        Ok(self.change().tracked.insert((since, change)))
    }

    fn remove_tracked_before(&mut self, since: Timestamp, max: usize) -> Result<()> {
        let tracked = &mut self.change().tracked;
        for _ in 0..max {
            if tracked.first().is_none_or(|(began, _)| *began >= since) {
                break;
            }
            tracked.pop_first();
        }
        Ok(())
    }

    fn schedule(&mut self) -> Result<Option<std::result::Result<Arc<Schedule>, String>>> {
        Ok(self.app.schedule.as_ref().map(|(_, schedule)| Ok(schedule.clone())))
    }

    fn schedule_revision(&self) -> Result<Option<u64>> {
        Ok(self.app.schedule.as_ref().map(|(revision, _)| *revision))
    }

    fn has_schedule(&self, schedule: &Schedule) -> Result<bool> {
        Ok(self.app.schedule.as_ref().is_some_and(|(_, stored)| **stored == *schedule))
    }

    fn put_schedule(&mut self, revision: u64, schedule: &Arc<Schedule>) -> Result<()> {
        self.change().schedule = Some((revision, schedule.clone()));
        Ok(())
    }

    fn unknown_since(&self) -> Result<Option<Timestamp>> {
        Ok(self.app.unknown_since)
    }

    fn count_unknown(&mut self, now: Timestamp, most: Option<u64>) -> Result<bool> {
        if self.app.unknown_since.is_none() {
            let admitted =
                |counted: u64| most.is_none_or(|most| counted < most).then(|| counted + 1);
            if self.unknown.fetch_update(Ordering::AcqRel, Ordering::Acquire, admitted).is_err() {
                return Ok(false);
            }
        }
        self.change().unknown_since = Some(now);
        Ok(true)
    }

    fn uncount_unknown(&mut self) -> Result<()> {
        if self.app.unknown_since.is_some() {
            self.change().unknown_since = None;
            self.unknown.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(())
    }
}
