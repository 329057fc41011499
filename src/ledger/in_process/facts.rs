//! The facts of one app, as one operation sees them.
//!
//! Reads come from the rows; changes are buffered here and visible to later reads of the same
//! operation. [`Facts::write`] writes them into the rows at the end. An operation that fails or
//! is a dry run does not call it, and so leaves no trace. The buffer is also the reason why an id
//! that occurs twice in a batch is already held at its second occurrence.

use std::collections::BTreeMap;

use super::counts::When;
use super::held_facts::{Removal, Taking};
use super::hold_record::{HoldKey, Provisional, Record};
use super::rows::{Counter, GroupRow, Result, Rows, User};
use super::tracking::{self, ChangedFact};
use super::unknown_apps::{Part, Steps};
use crate::domain::calendar::Day;
use crate::domain::id::Name;
use crate::domain::metering::{FIGURES_DAYS_KEPT, GroupDay};
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::Fact;
use crate::store::fingerprint::{GroupKey, UserKey};

/// The number of days for which net-new counts are kept: two months, so that the current month is
/// complete.
const NET_NEW_DAYS_KEPT: i32 = 62;
/// The bit of an edge for: the first user has the second in their list.
const HAS: u8 = 1;
/// The bit of an edge for: the second user has the first in their list.
const HAS_ME: u8 = 2;

/// The facts of an app, with the changes of one operation on top.
pub struct Facts<'r, R> {
    pub(super) rows: &'r mut R,
    pub(super) changes: Changes,
    /// The hold of what is taken; `None`: it is permanent.
    pub(super) taking: Option<Taking>,
    /// The cause for which facts are removed.
    pub(super) removal: Removal,
}

/// Changes that are not written yet, in the order of their keys, so that rows of one page are
/// written one after another.
#[derive(Debug, Default)]
pub struct Changes {
    accounts: BTreeMap<UserKey, bool>,
    friendships: BTreeMap<(UserKey, UserKey), u8>,
    users: BTreeMap<UserKey, User>,
    pub(super) groups: BTreeMap<GroupKey, Option<GroupRow>>,
    pub(super) memberships: BTreeMap<(UserKey, GroupKey), Option<bool>>,
    pub(super) counters: BTreeMap<Counter, u64>,
    pub(super) net_new: BTreeMap<(Day, Name), i64>,
    /// One entry is enough: an operation happens on one day.
    pub(super) group_day: Option<(Day, GroupDay)>,
    pub(super) fact_steps: Steps,
    /// The group that was replaced, and the one that it became.
    pub(super) moved_group: Option<(GroupKey, GroupKey)>,
    pub(super) provisional: BTreeMap<Fact, Option<Provisional>>,
    pub(super) holds: BTreeMap<HoldKey, Record>,
}

impl<'r, R: Rows> Facts<'r, R> {
    /// Creates the view of an app's facts, without changes.
    pub fn new(rows: &'r mut R) -> Self {
        Self::with(rows, Changes::default())
    }

    /// Creates the view of an app's facts, with these changes on top.
    pub fn with(rows: &'r mut R, changes: Changes) -> Self {
        Self { rows, changes, taking: None, removal: Removal::Other }
    }

    /// Returns the changes, which are not written.
    pub fn into_changes(self) -> Changes {
        self.changes
    }

    /// Drops the changes.
    pub fn discard(&mut self) {
        self.changes = Changes::default();
        self.taking = None;
    }

    /// Returns whether the account exists.
    pub fn has_account(&self, user: UserKey) -> Result<bool> {
        match self.changes.accounts.get(&user) {
            Some(exists) => Ok(*exists),
            None => self.rows.has_account(user),
        }
    }

    /// Adds an account that does not exist, or removes one that does.
    pub fn set_account(&mut self, user: UserKey, exists: bool) -> Result<()> {
        self.changes.accounts.insert(user, exists);
        self.count_fact(Part::Accounts, exists);
        self.count(Counter::Accounts, exists)?;
        let fact = Fact::Account(user);
        if exists { self.attach(fact) } else { self.end(fact).map(drop) }
    }

    /// Returns the number of accounts.
    pub fn accounts(&self) -> Result<u64> {
        self.counter(&Counter::Accounts)
    }

    /// Returns the number of users who logged in on a day.
    pub fn logins_on(&self, day: Day) -> Result<u64> {
        self.rows.logins_on(day)
    }

    /// Returns the number of users who logged in in the month that begins with a day.
    pub fn month_users(&self, first: Day) -> Result<u64> {
        self.rows.month_users(first)
    }

    /// Returns the usage of a user.
    pub fn user(&self, user: UserKey) -> Result<User> {
        if let Some(changed) = self.changes.users.get(&user) {
            return Ok(*changed);
        }
        self.rows.user(user)
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
        self.changes.users.insert(user, row);
        let fact = Fact::Friend(user, friend);
        if has { self.attach(fact) } else { self.end(fact).map(drop) }
    }

    /// Returns the first stored groups of a user, and whether each membership is counted.
    pub fn groups_of(&self, user: UserKey, max: usize) -> Result<Vec<(GroupKey, bool)>> {
        self.rows.groups_of(user, max)
    }

    /// Returns the first stored users who have the user in their list or are in the user's.
    pub fn neighbours(&self, user: UserKey, max: usize) -> Result<Vec<UserKey>> {
        Ok(self.rows.edges(user, max)?.into_iter().map(|(other, _)| other).collect())
    }

    /// Returns the stored friends in the user's list.
    pub fn friends(&self, user: UserKey) -> Result<Vec<UserKey>> {
        let edges = self.rows.edges(user, usize::MAX)?.into_iter();
        Ok(edges.filter(|(_, edge)| edge & HAS != 0).map(|(other, _)| other).collect())
    }

    /// Returns whether any of these changes was tracked since then.
    pub fn has_trace(&self, since: Timestamp, traces: &[ChangedFact]) -> Result<bool> {
        tracking::has_any(self.rows, since, traces)
    }

    /// Returns the group, if it exists.
    pub fn group(&self, group: GroupKey) -> Result<Option<GroupRow>> {
        if let Some(changed) = self.changes.groups.get(&group) {
            return Ok(changed.clone());
        }
        self.rows.group(group)
    }

    /// Creates a group without members.
    pub fn create_group(&mut self, group: GroupKey, row: GroupRow, when: When) -> Result<()> {
        match &self.taking {
            Some(taking) => self.count_held_group(&row.group_type, taking.today, true)?,
            None => self.count_groups(&row.group_type, when, true)?,
        }
        self.count_fact(Part::Groups, true);
        self.changes.groups.insert(group, Some(row));
        self.attach(Fact::Group(group))
    }

    /// Replaces the row of a group.
    pub fn update_group(&mut self, group: GroupKey, row: GroupRow) {
        self.changes.groups.insert(group, Some(row));
    }

    /// Removes a group whose members have been removed.
    pub fn remove_group(&mut self, group: GroupKey, group_type: &Name, when: When) -> Result<()> {
        match self.end(Fact::Group(group))? {
            Some(held) => self.count_held_group(group_type, held.taken_on, false)?,
            None => self.count_groups(group_type, when, false)?,
        }
        self.count_fact(Part::Groups, false);
        self.changes.groups.insert(group, None);
        Ok(())
    }

    /// Returns the groups that this operation removes.
    pub fn removed_groups(&self) -> Vec<GroupKey> {
        let removed = self.changes.groups.iter().filter(|(_, row)| row.is_none());
        removed.map(|(group, _)| *group).collect()
    }

    /// Returns the membership: `None` if the user is not a member, else whether it counts towards
    /// the user's groups.
    pub fn membership(&self, user: UserKey, group: GroupKey) -> Result<Option<bool>> {
        if let Some(changed) = self.changes.memberships.get(&(user, group)) {
            return Ok(*changed);
        }
        self.rows.membership(user, group)
    }

    /// Makes the user a member of an existing group; the user must not be a member. A permanent
    /// member makes the group permanent.
    pub fn join(
        &mut self,
        (user, group): (UserKey, GroupKey),
        counts: bool,
        today: Day,
    ) -> Result<()> {
        self.set_membership(user, group, Some(counts), counts)?;
        let fact = Fact::Member(group, user);
        if self.taking.is_some() { self.attach(fact) } else { self.make_permanent(fact, today) }
    }

    /// Removes a member from an existing group; `counted` is what [`Facts::membership`] returned.
    pub fn leave(&mut self, user: UserKey, group: GroupKey, counted: bool) -> Result<()> {
        self.end(Fact::Member(group, user))?;
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
        self.changes.memberships.insert((user, group), membership);
        if let Some(mut row) = self.group(group)? {
            row.members = step(row.members, joins);
            self.changes.groups.insert(group, Some(row));
        }
        if counts {
            let mut row = self.user(user)?;
            row.groups = step(row.groups, joins);
            self.changes.users.insert(user, row);
        }
        Ok(())
    }

    /// Returns the first stored members of a group, and whether each membership is counted.
    pub fn members(&self, group: GroupKey, max: usize) -> Result<Vec<(UserKey, bool)>> {
        self.rows.members(group, max)
    }

    fn edge(&self, user: UserKey, other: UserKey) -> Result<u8> {
        if let Some(changed) = self.changes.friendships.get(&(user, other)) {
            return Ok(*changed);
        }
        self.rows.edge(user, other)
    }

    fn flip(&mut self, user: UserKey, other: UserKey, bit: u8) -> Result<()> {
        let edge = self.edge(user, other)? ^ bit;
        self.changes.friendships.insert((user, other), edge);
        Ok(())
    }

    /// Writes the changes.
    pub fn write(self) -> Result<()> {
        let Self { rows, changes, .. } = self;
        for (fact, row) in &changes.provisional {
            rows.put_provisional(*fact, row.as_ref())?;
        }
        for (key, record) in &changes.holds {
            rows.put_hold(key, Some(record))?;
        }
        for (user, exists) in changes.accounts {
            rows.put_account(user, exists)?;
        }
        for ((user, other), edge) in changes.friendships {
            rows.put_edge(user, other, edge)?;
        }
        for (user, row) in changes.users {
            rows.put_user(user, row)?;
        }
        for (group, row) in &changes.groups {
            rows.put_group(*group, row.as_ref())?;
        }
        if !changes.memberships.is_empty() {
            let rows_of = changes.memberships.into_iter();
            rows.put_memberships(rows_of.map(|((user, group), it)| (user, group, it)).collect())?;
        }
        for (counter, count) in &changes.counters {
            rows.put_counter(counter, *count)?;
        }
        for ((day, group_type), net) in &changes.net_new {
            let is_new = rows.net_new(*day, group_type)?.is_none();
            rows.put_net_new(*day, group_type, *net)?;
            if is_new && !rows.keeps_figures() {
                let oldest = day.number().saturating_sub(NET_NEW_DAYS_KEPT);
                rows.remove_net_new_before(Day::from_number(oldest))?;
            }
        }
        if let Some((day, row)) = changes.group_day {
            let is_new = rows.group_day(day)?.is_none();
            rows.put_group_day(day, row)?;
            if is_new && !rows.keeps_figures() {
                let oldest = day.number().saturating_sub_unsigned(FIGURES_DAYS_KEPT);
                rows.remove_group_days_before(Day::from_number(oldest))?;
            }
        }
        Ok(())
    }
}

/// Returns the count plus or minus one.
pub(super) fn step(count: u64, more: bool) -> u64 {
    debug_assert!(more || count > 0, "a count is the number of facts");
    if more { count + 1 } else { count.saturating_sub(1) }
}
