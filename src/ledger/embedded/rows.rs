//! The rows of an app in the tables of a transaction.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;

use redb::{Key, ReadableTable, ReadableTableMetadata as _, Table, Value};

use super::counter_names::{GROUPS_COUNTERS, GROUPS_COUNTERS_END, counter_name, type_of_counter};
use crate::domain::calendar::Day;
use crate::domain::id::Name;
use crate::domain::login_days::Activity;
use crate::domain::metering::{GroupDay, Sampled};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::ledger::in_process::rows::{
    ChangeKey, Counter, GroupRow, Membership, MonthCounting, Result, Rows, ThresholdKey,
    ThresholdOf, TrackingRow, User,
};
use crate::ledger::schedule_codec;
use crate::redb::writer::Unit;
use crate::store::fingerprint::{AppKey, GroupKey, UserKey};

/// The rows of one app in a transaction.
pub struct TableRows<'u, 'a, 'txn> {
    pub(super) unit: &'u mut Unit<'a, 'txn>,
    pub(super) app: AppKey,
}

impl<'u, 'a, 'txn> TableRows<'u, 'a, 'txn> {
    /// Returns the rows of an app.
    pub fn new(unit: &'u mut Unit<'a, 'txn>, app: AppKey) -> Self {
        Self { unit, app }
    }

    fn days_before(&self, day: Day) -> std::ops::Range<(AppKey, i32)> {
        (self.app, i32::MIN)..(self.app, day.number())
    }

    fn all_days(&self) -> RangeInclusive<(AppKey, i32)> {
        (self.app, i32::MIN)..=(self.app, i32::MAX)
    }
}

/// Returns the first rows of an app from `from` on.
fn pages<V: Value + 'static, T>(
    table: &Table<'_, (AppKey, u64), V>,
    (app, from): (AppKey, u64),
    max: usize,
    of: impl Fn(V::SelfType<'_>) -> T,
) -> Result<Vec<(u64, T)>> {
    let rows = table.range((app, from)..=(app, u64::MAX))?.take(max);
    rows.map(|row| row.map(|(key, value)| (key.value().1, of(value.value())))).collect()
}

/// Returns the first rows of those that begin with `first`.
fn pairs<V: Value + 'static, T>(
    table: &Table<'_, (AppKey, u64, u64), V>,
    (app, first): (AppKey, u64),
    max: usize,
    of: impl Fn(V::SelfType<'_>) -> T,
) -> Result<Vec<(u64, T)>> {
    let rows = table.range((app, first, u64::MIN)..=(app, first, u64::MAX))?.take(max);
    rows.map(|row| row.map(|(key, value)| (key.value().2, of(value.value())))).collect()
}

/// Writes or removes a row; returns whether that changed anything.
pub(super) fn put<K: Key + 'static, V: Value + 'static>(
    table: &mut Table<'_, K, V>,
    key: K::SelfType<'_>,
    value: Option<V::SelfType<'_>>,
) -> Result<bool> {
    match value {
        Some(value) => table.insert(key, value).map(|_| true),
        None => Ok(table.remove(key)?.is_some()),
    }
}

fn group_row((group_type, members, max_members): (&str, u64, u32)) -> GroupRow {
    let max_members = (max_members > 0).then_some(max_members);
    GroupRow { group_type: group_type.into(), members, max_members }
}

fn group_day((start, peak, end, net_new): (u64, u64, u64, i64)) -> GroupDay {
    GroupDay { start, peak, end, net_new }
}

/// The name of a count whose thresholds are recorded: that of the Redis store.
fn threshold_name(key: &ThresholdKey) -> String {
    let mut name = key.letter.to_string();
    let written = match &key.of {
        ThresholdOf::App => Ok(()),
        ThresholdOf::Type(group_type) => write!(name, "{group_type}"),
        ThresholdOf::Subject(subject) => write!(name, "{subject}"),
    };
    written.expect("a text can always be written");
    name
}

impl Rows for TableRows<'_, '_, '_> {
    fn has_account(&self, user: UserKey) -> Result<bool> {
        Ok(self.unit.tables.accounts.get((self.app, user))?.is_some())
    }

    fn put_account(&mut self, user: UserKey, exists: bool) -> Result<()> {
        let row = exists.then_some(());
        self.unit.wrote |= put(&mut self.unit.tables.accounts, (self.app, user), row)?;
        Ok(())
    }

    fn accounts(&self, from: UserKey, max: usize) -> Result<Vec<UserKey>> {
        let rows = pages(&self.unit.tables.accounts, (self.app, from), max, |()| ())?;
        Ok(rows.into_iter().map(|(user, ())| user).collect())
    }

    fn edge(&self, user: UserKey, other: UserKey) -> Result<u8> {
        let row = self.unit.tables.friendships.get((self.app, user, other))?;
        Ok(row.map_or(0, |row| row.value()))
    }

    fn put_edge(&mut self, user: UserKey, other: UserKey, edge: u8) -> Result<()> {
        let (key, row) = ((self.app, user, other), (edge != 0).then_some(edge));
        self.unit.wrote |= put(&mut self.unit.tables.friendships, key, row)?;
        Ok(())
    }

    fn edges(&self, user: UserKey, max: usize) -> Result<Vec<(UserKey, u8)>> {
        pairs(&self.unit.tables.friendships, (self.app, user), max, |edge| edge)
    }

    fn has_edges(&self) -> Result<bool> {
        let all = (self.app, UserKey::MIN, UserKey::MIN)..=(self.app, UserKey::MAX, UserKey::MAX);
        Ok(self.unit.tables.friendships.range(all)?.next().is_some())
    }

    fn user(&self, user: UserKey) -> Result<User> {
        let row = self.unit.tables.users.get((self.app, user))?;
        let (friends, groups) = row.map_or((0, 0), |row| row.value());
        Ok(User { friends, groups })
    }

    fn put_user(&mut self, user: UserKey, row: User) -> Result<()> {
        let row = (row != User::default()).then_some((row.friends, row.groups));
        self.unit.wrote |= put(&mut self.unit.tables.users, (self.app, user), row)?;
        Ok(())
    }

    fn users(&self, from: UserKey, max: usize) -> Result<Vec<(UserKey, User)>> {
        let user = |(friends, groups)| User { friends, groups };
        pages(&self.unit.tables.users, (self.app, from), max, user)
    }

    fn group(&self, group: GroupKey) -> Result<Option<GroupRow>> {
        let row = self.unit.tables.groups.get((self.app, group))?;
        Ok(row.map(|row| group_row(row.value())))
    }

    fn put_group(&mut self, group: GroupKey, row: Option<&GroupRow>) -> Result<()> {
        let row =
            row.map(|row| (row.group_type.as_str(), row.members, row.max_members.unwrap_or(0)));
        self.unit.wrote |= put(&mut self.unit.tables.groups, (self.app, group), row)?;
        Ok(())
    }

    fn groups(&self, from: GroupKey, max: usize) -> Result<Vec<(GroupKey, GroupRow)>> {
        pages(&self.unit.tables.groups, (self.app, from), max, group_row)
    }

    fn membership(&self, user: UserKey, group: GroupKey) -> Result<Option<bool>> {
        let row = self.unit.tables.memberships.get((self.app, user, group))?;
        Ok(row.map(|row| row.value()))
    }

    fn put_memberships(&mut self, mut rows: Vec<Membership>) -> Result<()> {
        for (user, group, counts) in &rows {
            let key = (self.app, *user, *group);
            self.unit.wrote |= put(&mut self.unit.tables.memberships, key, *counts)?;
        }
        rows.sort_unstable_by_key(|(user, group, _)| (*group, *user));
        for (user, group, counts) in rows {
            let key = (self.app, group, user);
            self.unit.wrote |= put(&mut self.unit.tables.members, key, counts)?;
        }
        Ok(())
    }

    fn members(&self, group: GroupKey, max: usize) -> Result<Vec<(UserKey, bool)>> {
        pairs(&self.unit.tables.members, (self.app, group), max, |counts| counts)
    }

    fn groups_of(&self, user: UserKey, max: usize) -> Result<Vec<(GroupKey, bool)>> {
        pairs(&self.unit.tables.memberships, (self.app, user), max, |counts| counts)
    }

    fn counter(&self, counter: &Counter) -> Result<Option<u64>> {
        let row = self.unit.tables.counters.get((self.app, counter_name(counter).as_str()))?;
        Ok(row.map(|row| row.value()))
    }

    fn put_counter(&mut self, counter: &Counter, count: u64) -> Result<()> {
        let (name, row) = (counter_name(counter), (count > 0).then_some(count));
        self.unit.wrote |= put(&mut self.unit.tables.counters, (self.app, name.as_str()), row)?;
        Ok(())
    }

    fn groups_by_type(&self) -> Result<Vec<(Name, u64)>> {
        let range = (self.app, GROUPS_COUNTERS)..(self.app, GROUPS_COUNTERS_END);
        let mut counts = Vec::new();
        for row in self.unit.tables.counters.range(range)? {
            let (key, count) = row?;
            let group_type = type_of_counter(key.value().1).map(Name::from);
            counts.extend(group_type.map(|group_type| (group_type, count.value())));
        }
        Ok(counts)
    }

    fn net_new(&self, day: Day, group_type: &Name) -> Result<Option<i64>> {
        let key = (self.app, day.number(), group_type.as_str());
        Ok(self.unit.tables.net_new.get(key)?.map(|row| row.value()))
    }

    fn put_net_new(&mut self, day: Day, group_type: &Name, net: i64) -> Result<()> {
        let key = (self.app, day.number(), group_type.as_str());
        self.unit.wrote |= put(&mut self.unit.tables.net_new, key, Some(net))?;
        Ok(())
    }

    fn net_new_on(&self, day: Day) -> Result<Vec<(Name, i64)>> {
        let range = (self.app, day.number(), "")..(self.app, day.number() + 1, "");
        let rows = self.unit.tables.net_new.range(range)?;
        rows.map(|row| row.map(|(key, net)| (key.value().2.into(), net.value()))).collect()
    }

    fn remove_net_new_before(&mut self, day: Day) -> Result<()> {
        let range = (self.app, i32::MIN, "")..(self.app, day.number(), "");
        self.unit.tables.net_new.retain_in(range, |_, _| false)
    }

    fn group_day(&self, day: Day) -> Result<Option<GroupDay>> {
        let row = self.unit.tables.group_days.get((self.app, day.number()))?;
        Ok(row.map(|row| group_day(row.value())))
    }

    fn put_group_day(&mut self, day: Day, row: GroupDay) -> Result<()> {
        let GroupDay { start, peak, end, net_new } = row;
        let (key, row) = ((self.app, day.number()), (start, peak, end, net_new));
        self.unit.wrote |= put(&mut self.unit.tables.group_days, key, Some(row))?;
        Ok(())
    }

    fn group_days(&self) -> Result<Vec<(Day, GroupDay)>> {
        let rows = self.unit.tables.group_days.range(self.all_days())?;
        let day = |number| Day::from_number(number);
        rows.map(|row| row.map(|(key, row)| (day(key.value().1), group_day(row.value())))).collect()
    }

    fn remove_group_days_before(&mut self, day: Day) -> Result<()> {
        self.unit.tables.group_days.retain_in(self.days_before(day), |_, _| false)
    }

    fn login(&self, user: UserKey) -> Result<Option<Activity>> {
        let row = self.unit.tables.logins.get((self.app, user))?;
        Ok(row.map(|row| Activity::unpack(row.value())))
    }

    fn put_login(&mut self, user: UserKey, days: Option<Activity>) -> Result<()> {
        let row = days.map(Activity::packed);
        self.unit.wrote |= put(&mut self.unit.tables.logins, (self.app, user), row)?;
        Ok(())
    }

    fn logins(&self, from: UserKey, max: usize) -> Result<Vec<(UserKey, Activity)>> {
        pages(&self.unit.tables.logins, (self.app, from), max, Activity::unpack)
    }

    fn logins_on(&self, day: Day) -> Result<u64> {
        let row = self.unit.tables.login_days.get((self.app, day.number()))?;
        Ok(row.map_or(0, |row| row.value()))
    }

    fn put_logins_on(&mut self, day: Day, users: u64) -> Result<()> {
        let key = (self.app, day.number());
        self.unit.wrote |= put(&mut self.unit.tables.login_days, key, Some(users))?;
        Ok(())
    }

    fn remove_logins_before(&mut self, day: Day) -> Result<()> {
        self.unit.tables.login_days.retain_in(self.days_before(day), |_, _| false)
    }

    fn month_users(&self, first: Day) -> Result<u64> {
        let row = self.unit.tables.login_months.get((self.app, first.number()))?;
        Ok(row.map_or(0, |row| row.value()))
    }

    fn put_month_users(&mut self, first: Day, users: u64) -> Result<()> {
        let key = (self.app, first.number());
        self.unit.wrote |= put(&mut self.unit.tables.login_months, key, Some(users))?;
        Ok(())
    }

    fn remove_month_users_before(&mut self, first: Day) -> Result<()> {
        self.unit.tables.login_months.retain_in(self.days_before(first), |_, _| false)
    }

    fn month_counting(&self) -> Result<Option<MonthCounting>> {
        let row = self.unit.tables.month_counting.get(self.app)?;
        Ok(row.map(|row| {
            let (since, next) = row.value();
            MonthCounting { since: Day::from_number(since), next }
        }))
    }

    fn put_month_counting(&mut self, counting: MonthCounting) -> Result<()> {
        // In the same transaction as the first cell that earlier versions cannot read.
        self.unit.wrote |= self.unit.tables.need_format_with_months()?;
        let row = (counting.since.number(), counting.next);
        self.unit.wrote |= put(&mut self.unit.tables.month_counting, self.app, Some(row))?;
        Ok(())
    }

    fn sample(&self, of: Sampled, day: Day, name: &Name) -> Result<Option<u64>> {
        let key = (self.app, day.number(), name.as_str());
        Ok(self.unit.tables.samples(of).get(key)?.map(|row| row.value()))
    }

    fn put_sample(&mut self, of: Sampled, day: Day, name: &Name, value: u64) -> Result<()> {
        let key = (self.app, day.number(), name.as_str());
        self.unit.wrote |= put(self.unit.tables.samples_mut(of), key, Some(value))?;
        Ok(())
    }

    fn samples_on(&self, of: Sampled, day: Day) -> Result<Vec<(Name, u64)>> {
        let range = (self.app, day.number(), "")..(self.app, day.number() + 1, "");
        let rows = self.unit.tables.samples(of).range(range)?;
        rows.map(|row| row.map(|(key, value)| (key.value().2.into(), value.value()))).collect()
    }

    fn remove_samples_before(&mut self, of: Sampled, day: Day) -> Result<()> {
        let range = (self.app, i32::MIN, "")..(self.app, day.number(), "");
        self.unit.tables.samples_mut(of).retain_in(range, |_, _| false)
    }

    fn has_figures(&self) -> Result<bool> {
        if self.unit.tables.login_days.range(self.all_days())?.next().is_some() {
            return Ok(true);
        }
        for of in Sampled::ALL {
            let mut rows = self.unit.tables.samples(of).range((self.app, i32::MIN, "")..)?;
            if rows.next().transpose()?.is_some_and(|(key, _)| key.value().0 == self.app) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn closed(&self) -> Result<Option<Day>> {
        let row = self.unit.tables.closed.get(self.app)?;
        Ok(row.map(|row| Day::from_number(row.value())))
    }

    fn put_closed(&mut self, day: Day) -> Result<()> {
        self.unit.wrote |= put(&mut self.unit.tables.closed, self.app, Some(day.number()))?;
        Ok(())
    }

    fn keeps_figures(&self) -> bool {
        self.unit.tables.keeps_figures
    }

    fn threshold(&self, of: &ThresholdKey) -> Result<u64> {
        let row = self.unit.tables.thresholds.get((self.app, threshold_name(of).as_str()))?;
        Ok(row.map_or(0, |row| row.value()))
    }

    fn put_threshold(&mut self, of: &ThresholdKey, percent: u64) -> Result<()> {
        let (name, row) = (threshold_name(of), (percent > 0).then_some(percent));
        self.unit.wrote |= put(&mut self.unit.tables.thresholds, (self.app, name.as_str()), row)?;
        Ok(())
    }

    fn tracking(&self) -> Result<Option<TrackingRow>> {
        let row = self.unit.tables.tracking.get(self.app)?;
        Ok(row.map(|row| {
            let (since, until, changes) = row.value();
            let [since, until] = [since, until].map(Timestamp::from_millis);
            TrackingRow { since, until, changes }
        }))
    }

    fn put_tracking(&mut self, row: TrackingRow) -> Result<()> {
        let row = (row.since.as_millis(), row.until.as_millis(), row.changes);
        self.unit.wrote |= put(&mut self.unit.tables.tracking, self.app, Some(row))?;
        Ok(())
    }

    fn is_tracked(&self, since: Timestamp, (kind, one, other): ChangeKey) -> Result<bool> {
        let key = (self.app, since.as_millis(), kind, one, other);
        Ok(self.unit.tables.tracked.get(key)?.is_some())
    }

    fn put_tracked(&mut self, since: Timestamp, (kind, one, other): ChangeKey) -> Result<bool> {
        let key = (self.app, since.as_millis(), kind, one, other);
        let is_new = self.unit.tables.tracked.insert(key, ())?.is_none();
        self.unit.wrote |= is_new;
        Ok(is_new)
    }

    fn remove_tracked_before(&mut self, since: Timestamp, max: usize) -> Result<()> {
        let earlier = (self.app, i64::MIN, 0, 0, 0)..(self.app, since.as_millis(), 0, 0, 0);
        let removed = self.unit.tables.tracked.extract_from_if(earlier, |_, ()| true)?;
        removed.take(max).try_for_each(|row| row.map(drop))
    }

    fn schedule(&mut self) -> Result<Option<std::result::Result<Arc<Schedule>, String>>> {
        if let Some(schedule) = self.unit.schedules.get(&self.app) {
            return Ok(Some(Ok(schedule.clone())));
        }
        let Some(row) = self.unit.tables.schedules.get(self.app)? else { return Ok(None) };
        let decoded = schedule_codec::decode_schedule(row.value().1).map(Arc::new);
        if let Ok(schedule) = &decoded {
            self.unit.schedules.insert(self.app, schedule.clone());
        }
        Ok(Some(decoded))
    }

    fn schedule_revision(&self) -> Result<Option<u64>> {
        Ok(self.unit.tables.schedules.get(self.app)?.map(|row| row.value().0))
    }

    fn has_schedule(&self, schedule: &Schedule) -> Result<bool> {
        let encoded = schedule_codec::encode_schedule(schedule);
        let row = self.unit.tables.schedules.get(self.app)?;
        Ok(row.is_some_and(|row| row.value().1 == encoded))
    }

    fn put_schedule(&mut self, revision: u64, schedule: &Arc<Schedule>) -> Result<()> {
        let encoded = schedule_codec::encode_schedule(schedule);
        self.unit.tables.schedules.insert(self.app, (revision, encoded.as_slice()))?;
        self.unit.schedules.insert(self.app, schedule.clone());
        self.unit.wrote = true;
        Ok(())
    }

    fn unknown_since(&self) -> Result<Option<Timestamp>> {
        let row = self.unit.tables.unknown_apps.get(self.app)?;
        Ok(row.map(|since| Timestamp::from_millis(since.value())))
    }

    fn count_unknown(&mut self, now: Timestamp, most: Option<u64>) -> Result<bool> {
        let apps = &mut self.unit.tables.unknown_apps;
        if let Some(most) = most
            && apps.get(self.app)?.is_none()
            && apps.len()? >= most
        {
            return Ok(false);
        }
        self.unit.wrote |= put(apps, self.app, Some(now.as_millis()))?;
        Ok(true)
    }

    fn uncount_unknown(&mut self) -> Result<()> {
        self.unit.wrote |= put(&mut self.unit.tables.unknown_apps, self.app, None)?;
        Ok(())
    }
}
