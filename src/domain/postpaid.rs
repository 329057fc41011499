//! Postpaid usage: the catalog's prices, and the units that a figure comes to (pricing rules,
//! section 6).

use super::id::Name;

/// Prices and rules of metered usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPaid {
    /// Day of the next month, 1-28, at whose beginning a statement becomes final.
    pub final_day: u32,
    /// Price by the month's highest number of users who logged in on a day.
    pub dau: Tier,
    /// Price by the highest number of groups from [`PostPaid::groups_first_day`] on.
    pub groups: Tier,
    /// The day of the month from which the number of groups counts.
    pub groups_first_day: u32,
    /// Message history.
    pub history: MessageHistory,
    /// Regions of audio-video bandwidth, in the order in which statements list them.
    pub regions: Vec<Region>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHistory {
    /// Days for which messages are kept free of charge.
    pub free_days: u32,
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
