//! Recent metering by measure: today, this month's peak, and the last 31 days.

use std::fmt;

use super::calendar::Day;
use super::id::Name;
use super::metering::{DayFigures, sample_names, sample_of};
use super::month::Month;

/// Number of days shown; a month is never longer.
pub const DAYS_SHOWN: u32 = 31;

/// A metered value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// `dau`: users who logged in.
    Dau,
    /// `groups`: the highest number of groups at the same time.
    Groups,
    /// `bandwidth/REGION`: the highest bandwidth, in kilobits a second.
    Bandwidth(Name),
    /// `gauge/NAME`: the highest value of a gauge.
    Gauge(Name),
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dau => out.write_str("dau"),
            Self::Groups => out.write_str("groups"),
            Self::Bandwidth(region) => write!(out, "bandwidth/{region}"),
            Self::Gauge(name) => write!(out, "gauge/{name}"),
        }
    }
}

/// One measure, day by day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The measure.
    pub measure: Measure,
    /// The first day.
    pub first: Day,
    /// The figures from the first day to today.
    pub days: Vec<u64>,
    /// The highest figure of the month in which the last day lies.
    pub month_peak: u64,
}

/// Returns the first day that is shown on a day.
#[must_use]
pub fn first_shown(today: Day) -> Day {
    Day::from_number(today.number().saturating_sub_unsigned(DAYS_SHOWN - 1))
}

/// Returns the histories of an app, from figures that end today. Regions and gauges without any
/// sample are left out.
#[must_use]
pub fn histories(figures: &[DayFigures]) -> Vec<History> {
    let (Some(first), Some(last)) = (figures.first(), figures.last()) else { return Vec::new() };
    let month = Month::of(last.day);
    let history = |measure, figure: &dyn Fn(&DayFigures) -> u64| {
        let of_month = figures.iter().filter(|it| Month::of(it.day) == month);
        History {
            measure,
            first: first.day,
            days: figures.iter().map(figure).collect(),
            month_peak: of_month.map(figure).max().unwrap_or(0),
        }
    };
    let mut all =
        vec![history(Measure::Dau, &|it| it.dau), history(Measure::Groups, &|it| it.groups_peak)];
    for name in sample_names(figures.iter().map(|it| &it.bandwidth)) {
        all.push(history(Measure::Bandwidth(name.clone()), &|it| sample_of(&it.bandwidth, &name)));
    }
    for name in sample_names(figures.iter().map(|it| &it.gauges)) {
        all.push(history(Measure::Gauge(name.clone()), &|it| sample_of(&it.gauges, &name)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_has_its_own_peak() {
        let figures = |day: u32, dau, groups_peak, kbps: u64| DayFigures {
            day: "2019-08".parse::<Month>().expect("a month").first_day().plus_days(day),
            dau,
            groups_peak,
            groups_net_new: 0,
            bandwidth: if kbps > 0 { vec![("mainland".into(), kbps)] } else { Vec::new() },
            gauges: Vec::new(),
        };
        // 30 and 31 August, 1 and 2 September.
        let shown = histories(&[
            figures(29, 9, 4, 0),
            figures(30, 8, 4, 500),
            figures(31, 3, 6, 0),
            figures(32, 5, 5, 300),
        ]);
        let shown: Vec<_> = shown
            .iter()
            .map(|it| (it.measure.to_string(), it.days.clone(), it.month_peak))
            .collect();
        assert_eq!(
            shown,
            [
                ("dau".to_owned(), vec![9, 8, 3, 5], 5),
                ("groups".to_owned(), vec![4, 4, 6, 5], 6),
                ("bandwidth/mainland".to_owned(), vec![0, 500, 0, 300], 300),
            ]
        );
    }

    #[test]
    fn thirty_one_days_are_shown() {
        assert_eq!(first_shown(Day::from_number(100)), Day::from_number(70));
    }
}
