//! Statement lines of usage metered in a month.

use std::sync::Arc;

use super::retention::longest;
use super::{BillingInputs, Item, Line, StatementDay, amount, input, meters};
use crate::domain::calendar::Day;
use crate::domain::catalog::Catalog;
use crate::domain::catalog_history::CatalogHistory;
use crate::domain::id::Name;
use crate::domain::metering::{DayFigures, sample_of};
use crate::domain::month::Month;
use crate::domain::postpaid::{GroupsTier, MessageHistory, Region, Tier, whole_mbps};
use crate::domain::purchase::Period;
use crate::domain::time::Timestamp;
use crate::domain::timeline::{ServiceState, Timeline};

/// A day of a month with the catalog that applies to it.
pub struct MeteredDay {
    /// The day as listed on the statement.
    pub day: StatementDay,
    /// The last edition with postpaid that was in force on it; none if it is not charged.
    pub edition: Option<Name>,
    /// The catalog of the day.
    pub catalog: Arc<Catalog>,
}

/// Returns the days of the month. A day is charged if an edition with postpaid was in force at some
/// instant of it, by the catalog of that day.
pub fn days(books: &BillingInputs<'_>) -> Vec<MeteredDay> {
    let mut run: Option<(Arc<Catalog>, Timeline, Vec<Timestamp>)> = None;
    let day = |figures: &DayFigures| {
        let catalog = books.catalogs.on(figures.day);
        // Catalogs change rarely, so most days share the timeline of one.
        let shared = run.take().filter(|(of, ..)| *of == catalog);
        let (catalog, timeline, boundaries) = shared.unwrap_or_else(|| {
            let timeline = Timeline::new(&catalog, books.sales);
            let boundaries = timeline.boundaries();
            (catalog, timeline, boundaries)
        });
        let edition = charged_edition(books, &catalog, &timeline, &boundaries, figures.day);
        run = Some((catalog.clone(), timeline, boundaries));
        let day = StatementDay { figures: figures.clone(), charged: edition.is_some() };
        MeteredDay { day, edition, catalog }
    };
    books.figures.iter().map(day).collect()
}

fn charged_edition(
    books: &BillingInputs<'_>,
    catalog: &Catalog,
    timeline: &Timeline,
    boundaries: &[Timestamp],
    day: Day,
) -> Option<Name> {
    let catalogs = books.catalogs;
    let of_day = day_of(catalogs, day);
    let with_postpaid = |at: Timestamp| {
        let (id, state) = timeline.edition_at(at);
        let edition = books.sales.edition(catalog, &id, at);
        let may_run_over = edition.is_some_and(|edition| edition.postpaid_allowed);
        (state != ServiceState::Stopped && may_run_over).then_some((at, id))
    };
    let changes = boundaries.iter().copied().filter(|at| of_day.contains(*at));
    let in_force = std::iter::once(of_day.from).chain(changes).filter_map(with_postpaid);
    in_force.max_by_key(|(at, _)| *at).map(|(_, id)| id)
}

/// Returns the period from the day's beginning to the next one's.
fn day_of(catalogs: &CatalogHistory, day: Day) -> Period {
    Period { from: catalogs.start_of(day), until: catalogs.start_of(day.plus_days(1)) }
}

/// Returns the intersection of two periods, if it is not empty.
fn shared(one: Period, other: Period) -> Option<Period> {
    let both = Period { from: one.from.max(other.from), until: one.until.min(other.until) };
    (both.from < both.until).then_some(both)
}

/// Returns every metered line that the catalog has, even if nothing is due, so that the figures are
/// listed.
pub fn lines(
    books: &BillingInputs<'_>,
    month: Month,
    days: &[MeteredDay],
    now: Timestamp,
) -> Vec<Line> {
    let catalog = books.catalogs.pricing(month);
    let rules = &catalog.postpaid;
    let charged: Vec<&MeteredDay> = days.iter().filter(|it| it.day.charged).collect();
    let figures: Vec<&DayFigures> = charged.iter().map(|it| &it.day.figures).collect();
    let mut lines = Vec::new();
    lines.extend(rules.dau.map(|tier| {
        let free = |catalog: &Catalog| catalog.postpaid.dau.unwrap_or(tier).free;
        of_dau(tier, &Peak::of(&charged, |figures| figures.dau, free))
    }));
    lines.extend(rules.history.as_ref().map(|rules| {
        let users = Peak::highest(&figures, |figures| figures.dau);
        of_history(books, rules, month, &users, &charged, now)
    }));
    lines.extend(rules.groups.map(|rules| {
        let from = month.day(rules.first_day);
        let is_in_window = |it: &&MeteredDay| it.day.figures.day >= from;
        let window: Vec<&MeteredDay> = charged.iter().copied().filter(is_in_window).collect();
        let free = |catalog: &Catalog| catalog.postpaid.groups.unwrap_or(rules).tier.free;
        let groups = Peak::of(&window, |figures| figures.groups_peak, free);
        of_groups(rules, month, from, &groups)
    }));
    lines.extend(rules.regions.iter().map(|region| of_bandwidth(region, &figures)));
    let removed = removed_regions(books, month, &figures);
    lines.extend(removed.into_iter().map(|region| of_bandwidth(region, &figures)));
    lines.extend(meters::lines(books, month, &charged));
    lines
}

/// Returns the regions with traffic that the month's last catalog lacks, each as in the month's
/// last catalog that had it.
fn removed_regions<'a>(
    books: &'a BillingInputs<'_>,
    month: Month,
    charged: &[&DayFigures],
) -> Vec<&'a Region> {
    let mut regions: Vec<&Region> = Vec::new();
    let last = &books.catalogs.pricing(month).postpaid.regions;
    for catalog in books.catalogs.within(month) {
        for region in &catalog.postpaid.regions {
            let is = |other: &Region| other.id == region.id;
            let listed = last.iter().any(is) || regions.iter().any(|other| is(other));
            if !listed && charged.iter().any(|figures| of_day(figures, region) > 0) {
                regions.push(region);
            }
        }
    }
    regions
}

/// The figure that is charged, which is that of the day that exceeds its allowance most, and the
/// first day that had it.
struct Peak {
    figure: u64,
    free: u64,
    day: Option<Day>,
    charged_days: usize,
}

impl Peak {
    fn of(
        days: &[&MeteredDay],
        figure: impl Fn(&DayFigures) -> u64,
        free: impl Fn(&Catalog) -> u64,
    ) -> Self {
        let first_free = days.last().map_or(0, |day| free(&day.catalog));
        let mut peak = Self { figure: 0, free: first_free, day: None, charged_days: days.len() };
        let mut highest = (0, 0);
        for MeteredDay { day, catalog, .. } in days {
            let (of_day, free) = (figure(&day.figures), free(catalog));
            let exceeds = (of_day.saturating_sub(free), of_day);
            if exceeds > highest {
                highest = exceeds;
                peak = Self { figure: of_day, free, day: Some(day.figures.day), ..peak };
            }
        }
        peak
    }

    /// Returns the highest figure, whatever the allowance.
    fn highest(days: &[&DayFigures], figure: impl Fn(&DayFigures) -> u64) -> Self {
        let mut peak = Self { figure: 0, free: 0, day: None, charged_days: days.len() };
        for day in days {
            let of_day = figure(day);
            if of_day > peak.figure {
                (peak.figure, peak.day) = (of_day, Some(day.day));
            }
        }
        peak
    }

    /// Returns the rules of a tier with the allowance of the day that is charged.
    fn tier(&self, tier: Tier) -> Tier {
        if self.charged_days == 0 { tier } else { Tier { free: self.free, ..tier } }
    }

    fn inputs(&self) -> Vec<(String, String)> {
        vec![
            input("peak", self.figure),
            input("peak_day", self.day.map_or_else(String::new, |day| day.to_string())),
            input("charged_days", self.charged_days),
        ]
    }
}

fn of_tier(
    item: Item,
    description: String,
    tier: Tier,
    peak: Vec<(String, String)>,
    units: u64,
) -> Line {
    let quantity = i64::try_from(units).unwrap_or(i64::MAX);
    let mut inputs = peak;
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
        unit_price: None,
        unit_price_fen: Some(tier.price_fen_per_unit),
        amount_fen: amount(quantity, tier.price_fen_per_unit),
    }
}

fn of_dau(tier: Tier, peak: &Peak) -> Line {
    let (tier, description) =
        (peak.tier(tier), "Daily active users, by the highest day".to_owned());
    of_tier(Item::Dau, description, tier, peak.inputs(), tier.units(peak.figure))
}

fn of_groups(rules: GroupsTier, month: Month, from: Day, peak: &Peak) -> Line {
    let tier = peak.tier(rules.tier);
    let description = format!("Groups, by the highest number from {from} on");
    let units = tier.units(peak.figure);
    let mut line = of_tier(Item::Groups, description, tier, peak.inputs(), units);
    line.inputs.push(input("from", from));
    line.inputs.push(input("until", month.last_day()));
    line
}

fn of_history(
    books: &BillingInputs<'_>,
    rules: &MessageHistory,
    month: Month,
    peak: &Peak,
    charged: &[&MeteredDay],
    now: Timestamp,
) -> Line {
    let catalogs = books.catalogs;
    let end = catalogs.start_of(month.next().first_day());
    let so_far = Timestamp::from_millis(now.as_millis().saturating_add(1));
    let period = Period { from: catalogs.start_of(month.first_day()), until: end.min(so_far) };
    // If it was on only during days that are not charged, it is not charged either.
    let beyond = charged.iter().filter_map(|day| {
        let free_days = free_days(rules, day);
        let of_day = shared(day_of(catalogs, day.day.figures.day), period)?;
        let kept = longest(books.retentions, free_days, of_day);
        (kept > free_days).then_some((kept, *day))
    });
    let charged_for = beyond.max_by_key(|(kept, _)| *kept);
    let on = charged_for.is_some();
    let of_rules = charged_for.map(|(_, day)| day).or(charged.last().copied());
    let of_rules = of_rules.and_then(|day| day.edition.as_ref());
    let free_days = of_rules.map_or(rules.free_days, |edition| rules.free_days(edition));
    let kept =
        charged_for.map_or_else(|| longest(books.retentions, free_days, period), |(kept, _)| kept);
    let units = if on { rules.tier.units(peak.figure) } else { 0 };
    let description = if on {
        format!("Message history, kept for {kept} days")
    } else {
        format!("Message history, kept for {kept} days: nothing is charged")
    };
    let mut line = of_tier(Item::MessageHistory, description, rules.tier, peak.inputs(), units);
    line.inputs.push(input("retention_days", kept));
    line.inputs.push(input("free_days", free_days));
    line.inputs.push(input("months", u32::from(on)));
    let formula = "for the whole month if kept beyond the free days at any time of it: \
                   ceil(peak / unit) x price of a unit";
    Line { formula: formula.to_owned(), ..line }
}

/// Returns the days for which messages were kept free of charge on a day.
fn free_days(rules: &MessageHistory, day: &MeteredDay) -> u32 {
    let of_day = day.catalog.postpaid.history.as_ref().unwrap_or(rules);
    day.edition.as_ref().map_or(of_day.free_days, |edition| of_day.free_days(edition))
}

/// Returns a day's peak in a region, in whole megabits a second.
fn of_day(figures: &DayFigures, region: &Region) -> u64 {
    whole_mbps(sample_of(&figures.bandwidth, &region.id))
}

fn of_bandwidth(region: &Region, charged: &[&DayFigures]) -> Line {
    let of_day = |figures: &DayFigures| of_day(figures, region);
    let peak = Peak::highest(charged, of_day);
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
        unit_price: None,
        unit_price_fen: region.price_fen_per_mbps_day,
        amount_fen: amount(quantity, region.price_fen_per_mbps_day.unwrap_or(0)),
    }
}
