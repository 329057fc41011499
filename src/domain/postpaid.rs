//! What is paid for afterwards: the catalog's prices, and how many units a figure comes to (pricing
//! rules, section 6).

use super::id::Name;

/// Prices and rules of what is metered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPaid {
    /// A statement becomes final on this day of the next month, at its beginning: 1-28.
    pub final_day: u32,
    /// By the month's highest day of users who logged in.
    pub dau: Tier,
    /// By the highest number of groups from [`PostPaid::groups_first_day`] on.
    pub groups: Tier,
    /// The day of the month from which the number of groups counts.
    pub groups_first_day: u32,
    /// Message history.
    pub history: MessageHistory,
    /// Regions of audio-video bandwidth, in the order in which statements list them.
    pub regions: Vec<Region>,
}

/// So many are free, and every begun unit beyond has a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// How many are free.
    pub free: u64,
    /// How many are one unit; at least 1.
    pub unit: u64,
    /// Price of a unit and month.
    pub price_fen_per_unit: i64,
}

/// What it costs to keep messages longer than some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHistory {
    /// For so many days they are kept free of charge.
    pub free_days: u32,
    /// For so many days at most.
    pub days_max: u32,
    /// By the month's highest day of users who logged in; none are free.
    pub tier: Tier,
}

/// A region in which bandwidth is metered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Such as `mainland`.
    pub id: Name,
    /// The name that people see.
    pub label: String,
    /// Price of a megabit a second and day; `None`: it is listed, and not charged.
    pub price_fen_per_mbps_day: Option<i64>,
}

impl Tier {
    /// Units that a figure comes to.
    #[must_use]
    pub fn units(&self, figure: u64) -> u64 {
        figure.saturating_sub(self.free).div_ceil(self.unit.max(1))
    }
}

/// Whole megabits a second of a day's peak, rounded up (ours).
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
