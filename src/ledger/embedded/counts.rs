//! Counts of an app: the number of each kind of fact, and the number of groups by day.

use redb::ReadableTable;

use super::facts::{Facts, Result, step};
use crate::domain::calendar::Day;
use crate::domain::id::Name;
use crate::domain::metering::GroupDay;

/// The prefix of a counter of groups; the type follows.
const GROUPS_COUNTERS: &str = "groups/";
/// The first name after all of those: '0' follows '/'.
const GROUPS_COUNTERS_END: &str = "groups0";

/// Returns the type whose groups a counter counts; `None` for any other counter.
pub(super) fn type_of_counter(name: &str) -> Option<&str> {
    name.strip_prefix(GROUPS_COUNTERS)
}

/// The time at which a group is created or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// On this day.
    Now(Day),
    /// Some time before this day, on which it is only found out: the group is not net new on it.
    Before(Day),
}

impl When {
    fn day(self) -> Day {
        match self {
            Self::Now(day) | Self::Before(day) => day,
        }
    }
}

impl Facts<'_, '_> {
    /// Returns the number of groups of a type.
    pub fn groups_of_type(&self, group_type: &Name) -> Result<u64> {
        self.counter(&groups_counter(group_type))
    }

    /// Returns the groups of a type created minus those dissolved, on a day.
    pub fn net_new(&self, day: Day, group_type: &Name) -> Result<i64> {
        if let Some(changed) = self.net_new.get(&(day, group_type.clone())) {
            return Ok(*changed);
        }
        let row = self.tables.net_new.get((self.app, day.number(), group_type.as_str()))?;
        Ok(row.map_or(0, |row| row.value()))
    }

    /// Returns the net-new groups of all types on a day.
    pub fn net_new_of_all_types(&self, day: Day) -> Result<i64> {
        let first = (self.app, day.number(), "");
        let next_day = (self.app, day.number() + 1, "");
        let mut total = 0;
        for row in self.tables.net_new.range(first..next_day)? {
            let (key, net) = row?;
            let changed = self.net_new.get(&(day, key.value().2.into()));
            total += changed.map_or_else(|| net.value(), |_| 0);
        }
        let changed = self.net_new.iter().filter(|((of, _), _)| *of == day);
        Ok(total + changed.map(|(_, net)| net).sum::<i64>())
    }

    /// Counts a group that is created or removed.
    pub(super) fn count_groups(&mut self, group_type: &Name, when: When, more: bool) -> Result<()> {
        let before = self.groups_of_all_types()?;
        self.count(&groups_counter(group_type), more)?;
        let (day, after) = (when.day(), step(before, more));
        let net_new = match when {
            When::Now(_) if more => 1,
            When::Now(_) => -1,
            When::Before(_) => 0,
        };
        let row = self.group_day(day)?.unwrap_or_else(|| GroupDay::beginning_with(before));
        self.group_day = Some((day, row.changed(after, net_new)));
        if net_new != 0 {
            let net = self.net_new(day, group_type)? + net_new;
            self.net_new.insert((day, group_type.clone()), net);
        }
        Ok(())
    }

    /// Returns the number of groups, including those of types that are no longer in the catalog.
    pub fn groups_of_all_types(&self) -> Result<u64> {
        let first = (self.app, GROUPS_COUNTERS);
        let end = (self.app, GROUPS_COUNTERS_END);
        let mut total = 0;
        for row in self.tables.counters.range(first..end)? {
            let (key, count) = row?;
            let is_changed = self.counters.contains_key(key.value().1);
            total += if is_changed { 0 } else { count.value() };
        }
        let changed = self.counters.iter().filter(|(name, _)| name.starts_with(GROUPS_COUNTERS));
        Ok(total + changed.map(|(_, count)| count).sum::<u64>())
    }

    fn group_day(&self, day: Day) -> Result<Option<GroupDay>> {
        if let Some((_, changed)) = self.group_day.filter(|(of, _)| *of == day) {
            return Ok(Some(changed));
        }
        let row = self.tables.group_days.get((self.app, day.number()))?;
        Ok(row.map(|row| {
            let (start, peak, end, net_new) = row.value();
            GroupDay { start, peak, end, net_new }
        }))
    }

    /// Returns a count of the app.
    pub(super) fn counter(&self, name: &str) -> Result<u64> {
        if let Some(changed) = self.counters.get(name) {
            return Ok(*changed);
        }
        Ok(self.tables.counters.get((self.app, name))?.map_or(0, |row| row.value()))
    }

    /// Adds one to a count or subtracts one.
    pub(super) fn count(&mut self, name: &str, more: bool) -> Result<()> {
        let count = step(self.counter(name)?, more);
        self.counters.insert(name.to_owned(), count);
        Ok(())
    }
}

fn groups_counter(group_type: &Name) -> String {
    format!("{GROUPS_COUNTERS}{group_type}")
}
