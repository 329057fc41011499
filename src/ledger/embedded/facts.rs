//! The facts of one app, as one operation sees them.
//!
//! Reads come from the tables; changes are buffered here and visible to later reads of the same
//! operation. [`Facts::write`] writes them into the tables at the end. An operation that fails or
//! is a dry run does not call it, and so leaves no trace. The buffer is also the reason why an id
//! that occurs twice in a batch is already held at its second occurrence.

use std::collections::HashMap;

use redb::{ReadableTable, StorageError};

use super::counts::When;
use super::tracking::{self, ChangedFact};
use super::unknown_apps::{Part, Steps};
use crate::domain::calendar::Day;
use crate::domain::id::Name;
use crate::domain::metering::{FIGURES_DAYS_KEPT, GroupDay};
use crate::domain::time::Timestamp;
use crate::redb::tables::Tables;
use crate::store::fingerprint::{AppKey, GroupKey, UserKey};

/// The number of days for which net-new counts are kept: two months, so that the current month is
/// complete.
const NET_NEW_DAYS_KEPT: i32 = 62;
/// The bit of an edge for: the first user has the second in their list.
const HAS: u8 = 1;
/// The bit of an edge for: the second user has the first in their list.
const HAS_ME: u8 = 2;

pub(super) type Result<T> = std::result::Result<T, StorageError>;

/// The usage of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct User {
    /// Friends in the user's list.
    pub friends: u64,
    /// Groups that count towards the user.
    pub groups: u64,
}

/// A group that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Its number of members.
    pub group_type: Name,
    /// Its members.
    pub members: u64,
    /// Its own limit.
    pub max_members: Option<u32>,
}

/// The facts of an app, with the changes of one operation on top.
pub struct Facts<'u, 'txn> {
    pub(super) tables: &'u mut Tables<'txn>,
    pub(super) app: AppKey,
    accounts: HashMap<UserKey, bool>,
    friendships: HashMap<(UserKey, UserKey), u8>,
    users: HashMap<UserKey, User>,
    groups: HashMap<GroupKey, Option<GroupRow>>,
    memberships: HashMap<(UserKey, GroupKey), Option<bool>>,
    pub(super) counters: HashMap<String, u64>,
    pub(super) net_new: HashMap<(Day, Name), i64>,
    /// One entry is enough: an operation happens on one day.
    pub(super) group_day: Option<(Day, GroupDay)>,
    pub(super) fact_steps: Steps,
}

impl<'u, 'txn> Facts<'u, 'txn> {
    /// Creates the view of an app's facts, without changes.
    pub fn new(tables: &'u mut Tables<'txn>, app: AppKey) -> Self {
        Self {
            tables,
            app,
            accounts: HashMap::new(),
            friendships: HashMap::new(),
            users: HashMap::new(),
            groups: HashMap::new(),
            memberships: HashMap::new(),
            counters: HashMap::new(),
            net_new: HashMap::new(),
            group_day: None,
            fact_steps: Steps::default(),
        }
    }

    /// Returns whether the account exists.
    pub fn has_account(&self, user: UserKey) -> Result<bool> {
        match self.accounts.get(&user) {
            Some(exists) => Ok(*exists),
            None => Ok(self.tables.accounts.get((self.app, user))?.is_some()),
        }
    }

    /// Adds an account that does not exist, or removes one that does.
    pub fn set_account(&mut self, user: UserKey, exists: bool) -> Result<()> {
        self.accounts.insert(user, exists);
        self.count_fact(Part::Accounts, exists);
        self.count("accounts", exists)
    }

    /// Returns the number of accounts.
    pub fn accounts(&self) -> Result<u64> {
        self.counter("accounts")
    }

    /// Returns the usage of a user.
    pub fn user(&self, user: UserKey) -> Result<User> {
        if let Some(changed) = self.users.get(&user) {
            return Ok(*changed);
        }
        let row = self.tables.users.get((self.app, user))?;
        Ok(row.map_or_else(User::default, |row| {
            let (friends, groups) = row.value();
            User { friends, groups }
        }))
    }

    /// Returns whether `user` has `friend` in their list.
    pub fn has_friend(&self, user: UserKey, friend: UserKey) -> Result<bool> {
        Ok(self.edge(user, friend)? & HAS != 0)
    }

    /// Adds `friend` to the list of `user` or removes them; the list must not or must contain them.
    pub fn set_friend(&mut self, user: UserKey, friend: UserKey, has: bool) -> Result<()> {
        self.flip(user, friend, HAS)?;
        self.flip(friend, user, HAS_ME)?;
        self.count_fact(Part::Friends, has);
        let mut row = self.user(user)?;
        row.friends = step(row.friends, has);
        self.users.insert(user, row);
        Ok(())
    }

    /// Returns all users who have the user in their list or are in the user's.
    pub fn neighbours(&self, user: UserKey) -> Result<Vec<UserKey>> {
        let range = (self.app, user, UserKey::MIN)..=(self.app, user, UserKey::MAX);
        self.tables.friendships.range(range)?.map(|row| Ok(row?.0.value().2)).collect()
    }

    /// Returns the friends in the user's list on disk.
    pub fn friends(&self, user: UserKey) -> Result<Vec<UserKey>> {
        let range = (self.app, user, UserKey::MIN)..=(self.app, user, UserKey::MAX);
        let mut friends = Vec::new();
        for row in self.tables.friendships.range(range)? {
            let (key, edge) = row?;
            if edge.value() & HAS != 0 {
                friends.push(key.value().2);
            }
        }
        Ok(friends)
    }

    /// Returns whether any of these changes was tracked since then.
    pub fn has_trace(&self, since: Timestamp, traces: &[ChangedFact]) -> Result<bool> {
        tracking::has_any(self.tables, self.app, since, traces)
    }

    /// Returns the group, if it exists.
    pub fn group(&self, group: GroupKey) -> Result<Option<GroupRow>> {
        if let Some(changed) = self.groups.get(&group) {
            return Ok(changed.clone());
        }
        let row = self.tables.groups.get((self.app, group))?;
        Ok(row.map(|row| {
            let (group_type, members, max_members) = row.value();
            GroupRow {
                group_type: group_type.into(),
                members,
                max_members: (max_members > 0).then_some(max_members),
            }
        }))
    }

    /// Creates a group without members.
    pub fn create_group(&mut self, group: GroupKey, row: GroupRow, when: When) -> Result<()> {
        self.count_groups(&row.group_type, when, true)?;
        self.count_fact(Part::Groups, true);
        self.groups.insert(group, Some(row));
        Ok(())
    }

    /// Replaces the row of a group.
    pub fn update_group(&mut self, group: GroupKey, row: GroupRow) {
        self.groups.insert(group, Some(row));
    }

    /// Removes a group whose members have been removed.
    pub fn remove_group(&mut self, group: GroupKey, group_type: &Name, when: When) -> Result<()> {
        self.count_groups(group_type, when, false)?;
        self.count_fact(Part::Groups, false);
        self.groups.insert(group, None);
        Ok(())
    }

    /// Returns the groups that this operation removes.
    pub fn removed_groups(&self) -> Vec<GroupKey> {
        let removed = self.groups.iter().filter(|(_, row)| row.is_none());
        removed.map(|(group, _)| *group).collect()
    }

    /// Returns the membership: `None` if the user is not a member, else whether it counts towards
    /// the user's groups.
    pub fn membership(&self, user: UserKey, group: GroupKey) -> Result<Option<bool>> {
        if let Some(changed) = self.memberships.get(&(user, group)) {
            return Ok(*changed);
        }
        let row = self.tables.memberships.get((self.app, user, group))?;
        Ok(row.map(|row| row.value()))
    }

    /// Makes the user a member of an existing group; the user must not be a member.
    pub fn join(&mut self, user: UserKey, group: GroupKey, counts: bool) -> Result<()> {
        self.set_membership(user, group, Some(counts), counts)
    }

    /// Removes a member from an existing group; `counted` is what [`Facts::membership`] returned.
    pub fn leave(&mut self, user: UserKey, group: GroupKey, counted: bool) -> Result<()> {
        self.set_membership(user, group, None, counted)
    }

    fn set_membership(
        &mut self,
        user: UserKey,
        group: GroupKey,
        membership: Option<bool>,
        counts: bool,
    ) -> Result<()> {
        let joins = membership.is_some();
        self.count_fact(Part::Groups, joins);
        self.memberships.insert((user, group), membership);
        if let Some(mut row) = self.group(group)? {
            row.members = step(row.members, joins);
            self.groups.insert(group, Some(row));
        }
        if counts {
            let mut row = self.user(user)?;
            row.groups = step(row.groups, joins);
            self.users.insert(user, row);
        }
        Ok(())
    }

    /// Returns the members of a group on disk, and whether each membership is counted.
    pub fn members(&self, group: GroupKey) -> Result<Vec<(UserKey, bool)>> {
        let range = (self.app, group, UserKey::MIN)..=(self.app, group, UserKey::MAX);
        let rows = self.tables.members.range(range)?;
        rows.map(|row| row.map(|(key, counted)| (key.value().2, counted.value()))).collect()
    }

    /// Returns the groups of a user on disk, and whether each membership is counted.
    pub fn groups_of(&self, user: UserKey) -> Result<Vec<(GroupKey, bool)>> {
        let range = (self.app, user, GroupKey::MIN)..=(self.app, user, GroupKey::MAX);
        let rows = self.tables.memberships.range(range)?;
        rows.map(|row| row.map(|(key, counted)| (key.value().2, counted.value()))).collect()
    }

    fn edge(&self, user: UserKey, other: UserKey) -> Result<u8> {
        if let Some(changed) = self.friendships.get(&(user, other)) {
            return Ok(*changed);
        }
        let row = self.tables.friendships.get((self.app, user, other))?;
        Ok(row.map_or(0, |row| row.value()))
    }

    fn flip(&mut self, user: UserKey, other: UserKey, bit: u8) -> Result<()> {
        let edge = self.edge(user, other)? ^ bit;
        self.friendships.insert((user, other), edge);
        Ok(())
    }

    /// Writes the changes; returns whether there were any.
    pub fn write(self) -> Result<bool> {
        let (tables, app) = (self.tables, self.app);
        let mut wrote = false;
        for (user, exists) in self.accounts {
            put(&mut tables.accounts, (app, user), exists.then_some(()))?;
            wrote = true;
        }
        for ((user, other), edge) in sorted(self.friendships) {
            put(&mut tables.friendships, (app, user, other), (edge != 0).then_some(edge))?;
            wrote = true;
        }
        for (user, row) in sorted(self.users) {
            let row = (row != User::default()).then_some((row.friends, row.groups));
            put(&mut tables.users, (app, user), row)?;
            wrote = true;
        }
        for (group, row) in &self.groups {
            let row = row
                .as_ref()
                .map(|row| (row.group_type.as_str(), row.members, row.max_members.unwrap_or(0)));
            put(&mut tables.groups, (app, *group), row)?;
            wrote = true;
        }
        let mut memberships = sorted(self.memberships);
        for ((user, group), counted) in &memberships {
            put(&mut tables.memberships, (app, *user, *group), *counted)?;
            wrote = true;
        }
        memberships.sort_unstable_by_key(|((user, group), _)| (*group, *user));
        for ((user, group), counted) in memberships {
            put(&mut tables.members, (app, group, user), counted)?;
        }
        for (name, count) in &self.counters {
            put(&mut tables.counters, (app, name.as_str()), (*count > 0).then_some(*count))?;
            wrote = true;
        }
        for ((day, group_type), net) in &self.net_new {
            let key = (app, day.number(), group_type.as_str());
            if tables.net_new.insert(key, *net)?.is_none() && !tables.keeps_figures {
                remove_days_before(tables, app, day.number() - NET_NEW_DAYS_KEPT)?;
            }
            wrote = true;
        }
        if let Some((day, GroupDay { start, peak, end, net_new })) = self.group_day {
            let key = (app, day.number());
            let is_new = tables.group_days.insert(key, (start, peak, end, net_new))?.is_none();
            if is_new && !tables.keeps_figures {
                let oldest = day.number().saturating_sub_unsigned(FIGURES_DAYS_KEPT);
                tables.group_days.retain_in((app, i32::MIN)..(app, oldest), |_, _| false)?;
            }
            wrote = true;
        }
        Ok(wrote)
    }
}

/// Sorts changes by key, so that rows of one page are written one after another.
fn sorted<K: Ord, V>(changes: HashMap<K, V>) -> Vec<(K, V)> {
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    changes
}

fn remove_days_before(tables: &mut Tables<'_>, app: AppKey, day: i32) -> Result<()> {
    tables.net_new.retain_in((app, i32::MIN, "")..(app, day, ""), |_, _| false)
}

fn put<K: redb::Key + 'static, V: redb::Value + 'static>(
    table: &mut redb::Table<'_, K, V>,
    key: K::SelfType<'_>,
    value: Option<V::SelfType<'_>>,
) -> Result<()> {
    match value {
        Some(value) => drop(table.insert(key, value)?),
        None => drop(table.remove(key)?),
    }
    Ok(())
}

/// Returns the count plus or minus one.
pub(super) fn step(count: u64, more: bool) -> u64 {
    debug_assert!(more || count > 0, "a count is the number of facts");
    if more { count + 1 } else { count.saturating_sub(1) }
}
