//! Metering by day: logins, groups, bandwidth and gauges.
//!
//! A login counts for the day of its own instant, and so does a sample; both may
//! arrive [`LATE_DAYS_MAX`] days late. The number of groups is the ledger's own: a day's peak is
//! the highest number of the day, including the number at its beginning, so that a day without
//! changes has a peak too.

use std::time::Duration;

use super::calendar::{Day, Zone};
use super::id::{Name, UserId};
use super::time::Timestamp;

/// Days after its own on which a login or a sample is still accepted (ours): a month.
pub const LATE_DAYS_MAX: u32 = 31;
/// Furthest that an instant may lie after the store's clock, since the clocks of servers differ.
pub const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// Days for which figures by day are kept: a year and a month.
pub const FIGURES_DAYS_KEPT: u32 = 400;

/// A user who logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: UserId,
    /// Instant of the login; `None`: now, by the store's clock.
    pub at: Option<Timestamp>,
}

/// What samples measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampled {
    /// The bandwidth of a region, in kilobits a second.
    Bandwidth,
    /// A gauge of the catalog, in its own unit.
    Gauge,
}

impl Sampled {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Bandwidth, Self::Gauge];
}

/// A value of an app at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The region or the gauge.
    pub name: Name,
    /// The value.
    pub value: u64,
    /// Instant of the sample; `None`: now, by the store's clock.
    pub at: Option<Timestamp>,
}

/// Outcome of metering a login or a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeterOutcome {
    /// It changed a figure.
    Counted,
    /// It changed nothing: the user was counted on that day, or the peak was as high.
    AlreadyCounted,
    /// Its day lies too far back.
    TooLate,
    /// Its instant lies too far ahead.
    InFuture,
    /// The user was not counted on that day or in its month, and a limit admits no further one.
    Denied,
}

impl MeterOutcome {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Counted, Self::AlreadyCounted, Self::TooLate, Self::InFuture, Self::Denied];
}

/// Reason why an instant does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooFar {
    /// Its day lies too far back.
    Back,
    /// It lies too far ahead.
    Ahead,
}

/// Returns the day that an instant counts for; `None` is now.
pub fn day_counted(zone: Zone, now: Timestamp, at: Option<Timestamp>) -> Result<Day, TooFar> {
    let at = at.unwrap_or(now);
    if at > now + AHEAD_MAX {
        return Err(TooFar::Ahead);
    }
    let (day, today) = (zone.day_of(at), zone.day_of(now));
    let oldest = today.number().saturating_sub_unsigned(LATE_DAYS_MAX);
    if day.number() < oldest { Err(TooFar::Back) } else { Ok(day) }
}

/// The number of groups of an app over a day on which it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupDay {
    /// Number at the beginning of the day.
    pub start: u64,
    /// Highest number.
    pub peak: u64,
    /// Latest number.
    pub end: u64,
    /// Groups created less groups dissolved; groups whose existence was merely discovered are
    /// neither.
    pub net_new: i64,
}

impl GroupDay {
    /// Creates a day that begins with `number` groups.
    #[must_use]
    pub fn beginning_with(number: u64) -> Self {
        Self { start: number, peak: number, end: number, net_new: 0 }
    }

    /// Returns the day after a change.
    #[must_use]
    pub fn changed(self, after: u64, net_new: i64) -> Self {
        let net_new = self.net_new + net_new;
        Self { peak: self.peak.max(after), end: after, net_new, ..self }
    }
}

/// The figures of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayFigures {
    /// The day.
    pub day: Day,
    /// Users who logged in.
    pub dau: u64,
    /// The highest number of groups at the same time.
    pub groups_peak: u64,
    /// Groups created less groups dissolved.
    pub groups_net_new: i64,
    /// The highest bandwidth of each region with any, in kilobits a second, by region.
    pub bandwidth: Vec<(Name, u64)>,
    /// The highest value of each gauge with any, by name.
    pub gauges: Vec<(Name, u64)>,
}

/// Returns the sample of that name, 0 if there is none.
#[must_use]
pub fn sample_of(samples: &[(Name, u64)], name: &Name) -> u64 {
    samples.iter().find(|(of, _)| of == name).map_or(0, |(_, value)| *value)
}

/// Returns the names of the samples of several days, each once, in order.
pub fn sample_names<'a>(days: impl IntoIterator<Item = &'a Vec<(Name, u64)>>) -> Vec<Name> {
    let mut names: Vec<Name> = days.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the highest number of groups on each day from `first` to `last`. `changed` are the days
/// on which it changed, in order, and `now` is the current number. Days beyond
/// [`FIGURES_DAYS_KEPT`] are left out.
#[must_use]
pub fn group_peaks(changed: &[(Day, GroupDay)], now: u64, first: Day, last: Day) -> Vec<u64> {
    // Before the first recorded change the number was that at the beginning of its day.
    let mut carried = changed.first().map_or(now, |(_, day)| day.start);
    let mut changed = changed.iter().peekable();
    let mut peaks = Vec::new();
    let most = usize::try_from(FIGURES_DAYS_KEPT).unwrap_or(usize::MAX);
    for number in (first.number()..=last.number()).take(most) {
        let day = Day::from_number(number);
        while let Some((_, earlier)) = changed.next_if(|(of, _)| *of < day) {
            carried = earlier.end;
        }
        peaks.push(changed.peek().filter(|(of, _)| *of == day).map_or(carried, |(_, it)| it.peak));
    }
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_day_has_the_number_of_the_day_before() {
        let day = Day::from_number;
        let busy = |start, peak, end| GroupDay { start, peak, end, net_new: 0 };
        let peaks = |changed: &[(Day, GroupDay)], now| group_peaks(changed, now, day(10), day(14));
        assert_eq!(peaks(&[], 7), [7, 7, 7, 7, 7]);
        // The first event is a dissolution: before it there was one more.
        assert_eq!(peaks(&[(day(12), busy(5, 5, 4))], 4), [5, 5, 5, 4, 4]);
        assert_eq!(peaks(&[(day(8), busy(0, 9, 3)), (day(11), busy(3, 6, 2))], 2), [3, 6, 2, 2, 2]);
        assert_eq!(peaks(&[(day(16), busy(8, 9, 1))], 1), [8, 8, 8, 8, 8]);
        assert_eq!(group_peaks(&[], 1, day(0), day(i32::MAX)).len(), 400);
    }

    #[test]
    fn a_day_has_its_beginning_its_peak_and_its_end() {
        // The third change was merely discovered.
        let day = GroupDay::beginning_with(5).changed(4, -1).changed(3, -1).changed(9, 0);
        assert_eq!(day.changed(8, -1), GroupDay { start: 5, peak: 9, end: 8, net_new: -3 });
    }
}
