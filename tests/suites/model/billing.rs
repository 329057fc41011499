//! The model's billed numbers of groups by day: held groups are not in them.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy)]
struct BilledDay {
    start: i64,
    peak: i64,
    end: i64,
    net_new: i64,
}

/// The billed groups of an app: the number, and its course on each day on which it changed.
#[derive(Debug, Clone, Default)]
pub struct Billed {
    number: i64,
    days: BTreeMap<i64, BilledDay>,
}

impl Billed {
    pub fn change(&mut self, day: i64, step: i64) {
        let before = self.number;
        self.number += step;
        let new = BilledDay { start: before, peak: before, end: before, net_new: 0 };
        let of_day = self.days.entry(day).or_insert(new);
        of_day.peak = of_day.peak.max(self.number);
        of_day.end = self.number;
        of_day.net_new += step;
    }

    /// The highest number on a day, and the change of it on that day.
    pub fn on(&self, day: i64) -> (i64, i64) {
        if let Some(of_day) = self.days.get(&day) {
            return (of_day.peak, of_day.net_new);
        }
        let before = self.days.range(..day).next_back().map(|(_, earlier)| earlier.end);
        let after = self.days.range(day..).next().map(|(_, later)| later.start);
        (before.or(after).unwrap_or(self.number), 0)
    }
}
