//! The rows of an app about samples, in maps.

use std::collections::BTreeMap;

use super::login_rows::keep_from;
use crate::domain::calendar::Day;
use crate::domain::id::Name;
use crate::domain::metering::Sampled;

/// The highest samples by kind, day and name.
#[derive(Debug, Default)]
pub struct Samples {
    of_kind: [BTreeMap<Day, BTreeMap<Name, u64>>; Sampled::ALL.len()],
}

impl Samples {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.of_kind.iter().all(BTreeMap::is_empty)
    }

    /// Returns the highest sample of a day and name.
    pub fn get(&self, of: Sampled, day: Day, name: &Name) -> Option<u64> {
        self.of_kind[of as usize].get(&day)?.get(name).copied()
    }

    /// Writes the highest sample of a day and name.
    pub fn put(&mut self, of: Sampled, day: Day, name: &Name, value: u64) {
        self.of_kind[of as usize].entry(day).or_default().insert(name.clone(), value);
    }

    /// Returns the highest samples of a day, by name.
    pub fn on(&self, of: Sampled, day: Day) -> Vec<(Name, u64)> {
        of_day(&self.of_kind[of as usize], day)
    }

    /// Removes the samples of all days before.
    pub fn remove_before(&mut self, of: Sampled, day: Day) {
        keep_from(&mut self.of_kind[of as usize], day);
    }
}

/// Returns the rows of a day.
pub fn of_day<V: Copy>(rows: &BTreeMap<Day, BTreeMap<Name, V>>, day: Day) -> Vec<(Name, V)> {
    let rows = rows.get(&day).into_iter().flatten();
    rows.map(|(name, value)| (name.clone(), *value)).collect()
}
