//! Lines for what was metered in a month.

use super::retention::longest;
use super::{Books, Item, Line, StatementDay, amount, input};
use crate::domain::calendar::Day;
use crate::domain::metering::DayFigures;
use crate::domain::month::Month;
use crate::domain::postpaid::{Region, Tier, whole_mbps};
use crate::domain::purchase::Period;
use crate::domain::time::Timestamp;
use crate::domain::timeline::{ServiceState, Timeline};

/// The days of the month, and whether each is charged: an edition that may run over was in force
/// at some instant of it.
pub fn days(books: &Books<'_>) -> Vec<StatementDay> {
    let (catalog, zone) = (books.catalog, books.catalog.zone);
    let timeline = Timeline::new(catalog, books.sales);
    let boundaries = timeline.boundaries();
    let is_charged = |at: Timestamp| {
        let (edition, state) = timeline.edition_at(at);
        let edition = catalog.edition(edition.as_str());
        state != ServiceState::Stopped && edition.is_some_and(|edition| edition.postpaid_allowed)
    };
    let day = |figures: &DayFigures| {
        let of_day = Period {
            from: zone.start_of(figures.day),
            until: zone.start_of(figures.day.plus_days(1)),
        };
        let changes = boundaries.iter().copied().filter(|at| of_day.contains(*at));
        let charged = std::iter::once(of_day.from).chain(changes).any(is_charged);
        StatementDay { figures: figures.clone(), charged }
    };
    books.figures.iter().map(day).collect()
}

/// Every metered line, also where nothing is due, so that the figures are seen.
pub fn lines(books: &Books<'_>, month: Month, days: &[StatementDay], now: Timestamp) -> Vec<Line> {
    let rules = &books.catalog.postpaid;
    let charged: Vec<&DayFigures> =
        days.iter().filter(|day| day.charged).map(|day| &day.figures).collect();
    let dau = Peak::of(&charged, |figures| figures.dau);
    let mut lines = vec![of_dau(rules.dau, &dau), of_history(books, month, &dau, &charged, now)];
    let from = month.day(rules.groups_first_day);
    let window: Vec<&DayFigures> = charged.iter().copied().filter(|it| it.day >= from).collect();
    lines.push(of_groups(rules.groups, month, from, &window));
    lines.extend(rules.regions.iter().map(|region| of_bandwidth(region, &charged)));
    lines
}

/// The highest figure, and the first day that had it.
struct Peak {
    figure: u64,
    day: Option<Day>,
    charged_days: usize,
}

impl Peak {
    fn of(days: &[&DayFigures], figure: impl Fn(&DayFigures) -> u64) -> Self {
        let mut peak = Self { figure: 0, day: None, charged_days: days.len() };
        for day in days {
            let of_day = figure(day);
            if of_day > peak.figure {
                (peak.figure, peak.day) = (of_day, Some(day.day));
            }
        }
        peak
    }

    fn inputs(&self) -> Vec<(String, String)> {
        vec![
            input("peak", self.figure),
            input("peak_day", self.day.map_or_else(String::new, |day| day.to_string())),
            input("charged_days", self.charged_days),
        ]
    }
}

fn of_tier(item: Item, description: String, tier: Tier, peak: &Peak, units: u64) -> Line {
    let quantity = i64::try_from(units).unwrap_or(i64::MAX);
    let mut inputs = peak.inputs();
    inputs.push(input("free", tier.free));
    inputs.push(input("unit", tier.unit));
    Line {
        item,
        item_id: String::new(),
        description,
        inputs,
        formula: "units begun beyond what is free: ceil((peak - free) / unit), x price of a unit"
            .to_owned(),
        quantity,
        unit_price_fen: Some(tier.price_fen_per_unit),
        amount_fen: amount(quantity, tier.price_fen_per_unit),
    }
}

fn of_dau(tier: Tier, peak: &Peak) -> Line {
    let description = "Daily active users, by the highest day".to_owned();
    of_tier(Item::Dau, description, tier, peak, tier.units(peak.figure))
}

fn of_groups(tier: Tier, month: Month, from: Day, window: &[&DayFigures]) -> Line {
    let peak = Peak::of(window, |figures| figures.groups_peak);
    let description = format!("Groups, by the highest number from {from} on");
    let mut line = of_tier(Item::Groups, description, tier, &peak, tier.units(peak.figure));
    line.inputs.push(input("from", from));
    line.inputs.push(input("until", month.last_day()));
    line
}

fn of_history(
    books: &Books<'_>,
    month: Month,
    peak: &Peak,
    charged: &[&DayFigures],
    now: Timestamp,
) -> Line {
    let (zone, rules) = (books.catalog.zone, books.catalog.postpaid.history);
    let end = zone.start_of(month.next().first_day());
    let so_far = Timestamp::from_millis(now.as_millis().saturating_add(1));
    let period = Period { from: zone.start_of(month.first_day()), until: end.min(so_far) };
    let kept = longest(books.retentions, rules.free_days, period);
    let on = kept > rules.free_days && !charged.is_empty();
    let units = if on { rules.tier.units(peak.figure) } else { 0 };
    let description = if on {
        format!("Message history, kept for {kept} days")
    } else {
        format!("Message history, kept for {kept} days: nothing is charged")
    };
    let mut line = of_tier(Item::MessageHistory, description, rules.tier, peak, units);
    line.inputs.push(input("retention_days", kept));
    line.inputs.push(input("free_days", rules.free_days));
    line.inputs.push(input("months", u32::from(on)));
    let formula = "for the whole month if kept beyond the free days at any time of it: \
                   ceil(peak / unit) x price of a unit";
    Line { formula: formula.to_owned(), ..line }
}

fn of_bandwidth(region: &Region, charged: &[&DayFigures]) -> Line {
    let of_day = |figures: &DayFigures| {
        let found = figures.bandwidth.iter().find(|(of, _)| *of == region.id);
        found.map_or(0, |(_, kbps)| whole_mbps(*kbps))
    };
    let peak = Peak::of(charged, of_day);
    let sum: u128 = charged.iter().map(|figures| u128::from(of_day(figures))).sum();
    let quantity = i64::try_from(sum).unwrap_or(i64::MAX);
    let days = charged.iter().filter(|figures| of_day(figures) > 0).count();
    let mut inputs = peak.inputs();
    inputs.push(input("days_with_traffic", days));
    inputs.push(input("sum_mbps", quantity));
    let formula = match region.price_fen_per_mbps_day {
        Some(_) => {
            "sum of the days' peaks, each rounded up to a whole Mbps, x price of a Mbps and day"
        }
        None => "sum of the days' peaks, each rounded up to a whole Mbps; listed, not charged",
    };
    Line {
        item: Item::Bandwidth,
        item_id: region.id.to_string(),
        description: format!("Audio-video bandwidth, {}", region.label),
        inputs,
        formula: formula.to_owned(),
        quantity,
        unit_price_fen: region.price_fen_per_mbps_day,
        amount_fen: amount(quantity, region.price_fen_per_mbps_day.unwrap_or(0)),
    }
}
