//! Counts of an app: the number of each kind of fact, and the number of groups by day.

use super::facts::{Facts, step};
use super::rows::{Counter, Held, Result, Rows};
use crate::domain::calendar::Day;
use crate::domain::id::Name;
use crate::domain::metering::GroupDay;

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

impl<R: Rows> Facts<'_, R> {
    /// Returns the number of groups of a type.
    pub fn groups_of_type(&self, group_type: &Name) -> Result<u64> {
        self.counter(&Counter::Groups(group_type.clone()))
    }

    /// Returns the groups of a type created minus those dissolved, on a day.
    pub fn net_new(&self, day: Day, group_type: &Name) -> Result<i64> {
        if let Some(changed) = self.changes.net_new.get(&(day, group_type.clone())) {
            return Ok(*changed);
        }
        Ok(self.rows.net_new(day, group_type)?.unwrap_or(0))
    }

    /// Returns the net-new groups of all types on a day.
    pub fn net_new_of_all_types(&self, day: Day) -> Result<i64> {
        let mut total = 0;
        for (group_type, net) in self.rows.net_new_on(day)? {
            let is_changed = self.changes.net_new.contains_key(&(day, group_type));
            total += if is_changed { 0 } else { net };
        }
        let changed = self.changes.net_new.iter().filter(|((of, _), _)| *of == day);
        Ok(total + changed.map(|(_, net)| net).sum::<i64>())
    }

    /// Counts a permanent group that is created or removed.
    pub(super) fn count_groups(&mut self, group_type: &Name, when: When, more: bool) -> Result<()> {
        let before = self.billed_groups()?;
        self.count(Counter::Groups(group_type.clone()), more)?;
        let (day, after) = (when.day(), step(before, more));
        let net_new = match when {
            When::Now(_) if more => 1,
            When::Now(_) => -1,
            When::Before(_) => 0,
        };
        let row = self.group_day(day)?.unwrap_or_else(|| GroupDay::beginning_with(before));
        self.changes.group_day = Some((day, row.changed(after, net_new)));
        if net_new != 0 {
            self.count_net_new(day, group_type, net_new)?;
        }
        Ok(())
    }

    /// Counts a provisional group that is created or removed: towards limits, and as net new on the
    /// day of the take, but not as a group that is billed.
    pub(super) fn count_held_group(
        &mut self,
        group_type: &Name,
        taken_on: Day,
        more: bool,
    ) -> Result<()> {
        self.count(Counter::Groups(group_type.clone()), more)?;
        self.count_net_new(taken_on, group_type, if more { 1 } else { -1 })
    }

    /// Counts a provisional group that becomes permanent on a day as billed from then on.
    pub(super) fn bill_group(&mut self, day: Day) -> Result<()> {
        let before = self.billed_groups()?;
        let row = self.group_day(day)?.unwrap_or_else(|| GroupDay::beginning_with(before));
        self.changes.group_day = Some((day, row.changed(before + 1, 1)));
        Ok(())
    }

    fn count_net_new(&mut self, day: Day, group_type: &Name, net_new: i64) -> Result<()> {
        let net = self.net_new(day, group_type)? + net_new;
        self.changes.net_new.insert((day, group_type.clone()), net);
        Ok(())
    }

    /// Returns the number of groups that are not provisional.
    pub fn billed_groups(&self) -> Result<u64> {
        Ok(self.groups_of_all_types()?.saturating_sub(self.held(Held::AllGroups)?))
    }

    /// Returns the number of groups, including those of types that are no longer in the catalog.
    pub fn groups_of_all_types(&self) -> Result<u64> {
        let mut total = 0;
        for (group_type, count) in self.rows.groups_by_type()? {
            let is_changed = self.changes.counters.contains_key(&Counter::Groups(group_type));
            total += if is_changed { 0 } else { count };
        }
        let is_of_groups = |counter: &Counter| matches!(counter, Counter::Groups(_));
        let changed = self.changes.counters.iter().filter(|(counter, _)| is_of_groups(counter));
        Ok(total + changed.map(|(_, count)| count).sum::<u64>())
    }

    fn group_day(&self, day: Day) -> Result<Option<GroupDay>> {
        match self.changes.group_day.filter(|(of, _)| *of == day) {
            Some((_, changed)) => Ok(Some(changed)),
            None => self.rows.group_day(day),
        }
    }

    /// Returns a count of the app.
    pub(super) fn counter(&self, counter: &Counter) -> Result<u64> {
        match self.changes.counters.get(counter) {
            Some(changed) => Ok(*changed),
            None => Ok(self.rows.counter(counter)?.unwrap_or(0)),
        }
    }

    /// Adds one to a count or subtracts one.
    pub(super) fn count(&mut self, counter: Counter, more: bool) -> Result<()> {
        let count = step(self.counter(&counter)?, more);
        self.changes.counters.insert(counter, count);
        Ok(())
    }
}
