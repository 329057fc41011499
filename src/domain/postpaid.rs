//! Postpaid usage: the catalog's prices, and the units that a figure comes to (pricing rules,
//! section 6).

use super::id::Name;
use super::meter::{Aggregate, Charge, Meter, Source};

/// Longest retention of messages: ten years.
pub const HISTORY_DAYS_MAX: u32 = 3650;

/// Prices and rules of metered usage. What is absent is not charged and has no line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPaid {
    /// Day of the next month, 1-28, at whose beginning a statement becomes final.
    pub final_day: u32,
    /// Price by the month's highest number of users who logged in on a day.
    pub dau: Option<Tier>,
    /// Price by the highest number of groups.
    pub groups: Option<GroupsTier>,
    /// Message history.
    pub history: Option<MessageHistory>,
    /// Regions of audio-video bandwidth, in the order in which statements list them.
    pub regions: Vec<Region>,
    /// Rows, in the order in which statements list them.
    pub meters: Vec<Meter>,
}

impl PostPaid {
    /// Returns the row with that id.
    #[must_use]
    pub fn meter(&self, id: &Name) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.id == *id)
    }

    /// Returns the gauges that rows charge for; one with several rows repeatedly.
    pub fn gauges(&self) -> impl Iterator<Item = &Name> + Clone {
        self.meters.iter().filter_map(|meter| match &meter.of {
            Source::Gauge(name) => Some(name),
            _ => None,
        })
    }

    /// Returns the regions in which bandwidth is metered; one that is listed twice repeatedly.
    pub fn bandwidth_regions(&self) -> impl Iterator<Item = &Name> + Clone {
        let of_meters = self.meters.iter().flat_map(|meter| match &meter.charge {
            Charge::Regions(regions) => regions.as_slice(),
            _ => &[],
        });
        let of_meters = of_meters.map(|(region, _)| region);
        self.regions.iter().map(|region| &region.id).chain(of_meters)
    }

    /// Returns whether a row charges for the users of a month, each once.
    #[must_use]
    pub fn needs_month_users(&self) -> bool {
        self.meters.iter().any(|meter| meter.aggregate == Some(Aggregate::MonthDistinct))
    }
}

/// Price by the highest number of groups at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupsTier {
    /// The day of the month from which the number counts.
    pub first_day: u32,
    /// Allowance and price.
    pub tier: Tier,
}

/// Free allowance, and a price for every begun unit beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// The free allowance.
    pub free: u64,
    /// Size of one unit; at least 1.
    pub unit: u64,
    /// Price of a unit and month.
    pub price_fen_per_unit: i64,
}

/// Price of keeping messages longer than the free days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageHistory {
    /// Days for which messages are kept free of charge, on editions without days of their own.
    pub free_days: u32,
    /// Free days of editions.
    pub free_days_of: Vec<(Name, u32)>,
    /// Most days for which messages are kept.
    pub days_max: u32,
    /// Price by the month's highest number of users who logged in on a day; none are free.
    pub tier: Tier,
}

/// A region in which bandwidth is metered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Id, such as `mainland`.
    pub id: Name,
    /// Display name.
    pub label: String,
    /// Price of a megabit a second and day; `None` if it is listed and not charged.
    pub price_fen_per_mbps_day: Option<i64>,
}

impl MessageHistory {
    /// Returns the days for which messages are kept free of charge on an edition.
    #[must_use]
    pub fn free_days(&self, edition: &Name) -> u32 {
        let own = self.free_days_of.iter().find(|(of, _)| of == edition);
        own.map_or(self.free_days, |(_, days)| *days)
    }
}

impl Tier {
    /// Returns the units that a figure comes to.
    #[must_use]
    pub fn units(&self, figure: u64) -> u64 {
        figure.saturating_sub(self.free).div_ceil(self.unit.max(1))
    }
}

/// Returns a day's peak in whole megabits a second, rounded up (ours).
#[must_use]
pub fn whole_mbps(kbps: u64) -> u64 {
    kbps.div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_begun_unit_beyond_what_is_free_counts() {
        let tier = Tier { free: 100_000, unit: 100_000, price_fen_per_unit: 1 };
        for (figure, units) in [
            (0, 0),
            (100_000, 0),
            (100_001, 1),
            (150_000, 1),
            (200_000, 1),
            (200_001, 2),
            (550_000, 5),
        ] {
            assert_eq!(tier.units(figure), units, "{figure}");
        }
    }

    #[test]
    fn a_begun_megabit_counts_whole() {
        for (kbps, mbps) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (300_000, 300)] {
            assert_eq!(whole_mbps(kbps), mbps, "{kbps}");
        }
    }
}
