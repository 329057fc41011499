//! Meters: rows of the catalog that charge for metered usage, and what they have in common with
//! one another.
//!
//! A row takes a figure of the month ([`Source`] and [`Aggregate`]), subtracts what is free, and
//! applies a price, or a fee, to the rest. The lines of a statement are made from them in
//! [`super::billing`].

use super::currency::Currency;
use super::id::Name;
use super::price::{Price, Sum};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Id, which statements have.
    pub id: Name,
    /// Display name.
    pub label: String,
    /// The thing that is counted.
    pub of: Source,
    /// How the days become one figure; `None` if it is that of another row.
    pub aggregate: Option<Aggregate>,
    /// First day of the month that counts.
    pub from_day: u32,
    /// Size of a unit; at least 1.
    pub unit: u64,
    /// The treatment of a begun unit.
    pub rounding: Rounding,
    /// True if each day is rounded to whole units before days are added.
    pub round_each_day: bool,
    /// The part that is free.
    pub free: Free,
    /// The price of the rest.
    pub charge: Charge,
}

/// The thing that a row counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Users who logged in.
    Logins,
    /// Groups that exist at the same time.
    Groups,
    /// Bandwidth in each of the row's regions, in kilobits a second.
    Bandwidth,
    /// The gauge of that name.
    Gauge(Name),
    /// The figure of the row of that id, which stands above.
    Meter(Name),
}

/// How the days of a month become one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// The most users of a day.
    DayDistinctPeak,
    /// The users of the month, each once.
    MonthDistinct,
    /// The most groups at the same time.
    CountPeak,
    /// The sum of the highest values of the days.
    DailyPeakSum,
    /// The highest value.
    MonthPeak,
}

/// The treatment of a begun unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// It counts whole.
    Up,
    /// It does not count.
    Down,
    /// It counts by its share.
    Exact,
}

/// A value for all editions, or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerEdition<T> {
    /// For all.
    All(T),
    /// By edition.
    Each(Vec<(Name, T)>),
}

/// The part of a figure that is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Free {
    /// A number.
    Number(PerEdition<u64>),
    /// A share of the figure of another row, which stands above.
    ShareOf {
        /// The id of the row.
        meter: Name,
        /// From 1 to 100.
        percent: u32,
    },
}

/// The price of the figure beyond the part that is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charge {
    /// A price of a unit.
    Price(Price),
    /// A price of a unit by region; `None`: listed, not charged.
    Regions(Vec<(Name, Option<Price>)>),
    /// The fee of the band in which the figure lies.
    Fees(Vec<Band<PerEdition<Price>>>),
    /// A price of a unit by the band in which the unit lies.
    Prices(Vec<Band<Price>>),
}

/// A band of figures, from the end of the band before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band<T> {
    /// The last figure of it; `None`: there is no end.
    pub up_to: Option<u64>,
    /// The value that applies in it.
    pub value: T,
}

impl Source {
    /// The words for sources in catalogs.
    pub const WORDS: [&'static str; 5] = ["logins", "groups", "bandwidth", "gauge", "meter"];

    /// Returns the source of a word, with its name if it is one that has one.
    #[must_use]
    pub fn of(word: &str, name: Option<Name>) -> Option<Self> {
        match (word, name) {
            ("logins", None) => Some(Self::Logins),
            ("groups", None) => Some(Self::Groups),
            ("bandwidth", None) => Some(Self::Bandwidth),
            ("gauge", Some(name)) => Some(Self::Gauge(name)),
            ("meter", Some(name)) => Some(Self::Meter(name)),
            _ => None,
        }
    }

    /// Returns its word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Logins => "logins",
            Self::Groups => "groups",
            Self::Bandwidth => "bandwidth",
            Self::Gauge(_) => "gauge",
            Self::Meter(_) => "meter",
        }
    }

    /// Returns the name of the gauge or row.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Gauge(name) | Self::Meter(name) => Some(name),
            Self::Logins | Self::Groups | Self::Bandwidth => None,
        }
    }

    /// Returns the aggregates that exist for it; none for another row.
    #[must_use]
    pub fn aggregates(&self) -> &'static [Aggregate] {
        match self {
            Self::Logins => &[Aggregate::DayDistinctPeak, Aggregate::MonthDistinct],
            Self::Groups => &[Aggregate::CountPeak],
            Self::Bandwidth | Self::Gauge(_) => &[Aggregate::DailyPeakSum, Aggregate::MonthPeak],
            Self::Meter(_) => &[],
        }
    }
}

impl Aggregate {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DayDistinctPeak,
        Self::MonthDistinct,
        Self::CountPeak,
        Self::DailyPeakSum,
        Self::MonthPeak,
    ];

    /// Returns its word in catalogs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::DayDistinctPeak => "day_distinct_peak",
            Self::MonthDistinct => "month_distinct",
            Self::CountPeak => "count_peak",
            Self::DailyPeakSum => "daily_peak_sum",
            Self::MonthPeak => "month_peak",
        }
    }
}

impl Rounding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Exact];

    /// Returns its word in catalogs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Exact => "exact",
        }
    }
}

impl<T: Copy + Ord> PerEdition<T> {
    /// Returns the value of an edition; `None` if there is none for it.
    #[must_use]
    pub fn of(&self, edition: &Name) -> Option<T> {
        match self {
            Self::All(value) => Some(*value),
            Self::Each(values) => values.iter().find(|(of, _)| of == edition).map(|(_, it)| *it),
        }
    }

    /// Returns the highest value.
    #[must_use]
    pub fn highest(&self) -> Option<T> {
        match self {
            Self::All(value) => Some(*value),
            Self::Each(values) => values.iter().map(|(_, value)| *value).max(),
        }
    }
}

impl<T> Band<T> {
    /// Returns whether a figure lies in it or in a band before.
    #[must_use]
    pub fn reaches(&self, figure: u128) -> bool {
        self.up_to.is_none_or(|up_to| figure <= u128::from(up_to))
    }
}

impl Meter {
    /// Returns the units that a number beyond what is free comes to; without begun ones, unless
    /// these count whole.
    #[must_use]
    pub fn units(&self, beyond: u128) -> u128 {
        let unit = u128::from(self.unit.max(1));
        match self.rounding {
            Rounding::Up => beyond.div_ceil(unit),
            Rounding::Down | Rounding::Exact => beyond / unit,
        }
    }

    /// Returns a number in which begun units are rounded.
    #[must_use]
    pub fn in_units(&self, beyond: u128) -> u128 {
        match self.rounding {
            Rounding::Exact => beyond,
            Rounding::Up | Rounding::Down => self.units(beyond) * u128::from(self.unit.max(1)),
        }
    }

    /// Returns the amount for a number beyond what is free at a price of a unit, in minor units.
    #[must_use]
    pub fn amount(&self, beyond: u128, price: Price, currency: Currency) -> i64 {
        Sum::default().plus(self.in_units(beyond), price).rounded(self.unit, currency)
    }

    /// Returns the numbers of units in each band of prices that the figure reaches, and the
    /// amount, in minor units.
    #[must_use]
    pub fn graduated(
        &self,
        bands: &[Band<Price>],
        figure: u128,
        free: u128,
        currency: Currency,
    ) -> (Vec<u128>, i64) {
        let (mut below, mut units, mut sum) = (0_u128, Vec::new(), Sum::default());
        for band in bands {
            let end = band.up_to.map_or(figure, |up_to| figure.min(u128::from(up_to)));
            let (from, to) = (below.saturating_sub(free), end.saturating_sub(free));
            units.push(self.units(to) - self.units(from));
            sum = sum.plus(self.in_units(to) - self.in_units(from), band.value);
            if band.reaches(figure) {
                break;
            }
            below = end;
        }
        (units, sum.rounded(self.unit, currency))
    }
}
