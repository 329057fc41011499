//! Reads the section `metering`: prices of postpaid usage.

use crate::diagnostics::toml::{Table, Value};
use crate::domain::catalog::Edition;
use crate::domain::id::Name;
use crate::domain::postpaid::{
    GroupsTier, HISTORY_DAYS_MAX, MessageHistory, PostPaid, Region, Tier,
};

use super::decode::{Names, label};
use super::meters;
use super::offers::price;

/// Last day that every month has.
const LAST_DAY: i64 = 28;
/// Greatest allowance or unit: far above any IM, and far from any overflow.
pub(super) const FIGURE_MAX: i64 = 1_000_000_000_000;
/// Value for the price of usage that is listed only. A forgotten price is an error.
pub(super) const NOT_CHARGED: &str = "not_charged";
/// Most regions: more than IM clouds have.
pub(super) const REGIONS_MAX: usize = 64;

/// Reads the section `metering`; `editions` are those of the catalog, if they could be read.
pub(super) fn postpaid(table: &Table<'_>, editions: Option<&[Edition]>) -> Option<PostPaid> {
    let final_day = day(table, "final_day");
    let dau = part(table, "dau", |table| tier(table, allowance(table, "free", 0)));
    let groups = part(table, "groups", |table| {
        let first_day = day(table, "first_day");
        let tier = tier(table, allowance(table, "free", 0));
        Some(GroupsTier { first_day: first_day?, tier: tier? })
    });
    let history = part(table, "message_history", |table| history(table, editions));
    let regions = table.optional("bandwidth").map_or_else(
        || Some(Vec::new()),
        |value| {
            let tables = value.tables(1..=REGIONS_MAX)?;
            Names::of(&tables, "region");
            let regions: Vec<_> = tables.into_iter().map(region).collect();
            regions.into_iter().collect()
        },
    );
    let meters = table.optional("meters");
    let meters = meters.map_or_else(|| Some(Vec::new()), |value| meters::meters(&value, editions));
    Some(PostPaid {
        final_day: final_day?,
        dau: dau?,
        groups: groups?,
        history: history?,
        regions: regions?,
        meters: meters?,
    })
}

/// Reads a section that may be absent; the outer `None` if it is invalid.
#[allow(clippy::option_option, reason = "absent and invalid are different")]
fn part<T>(
    table: &Table<'_>,
    key: &str,
    read: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Option<Option<T>> {
    let Some(value) = table.optional(key) else { return Some(None) };
    let table = value.table()?;
    let section = read(&table);
    table.finish();
    section.map(Some)
}

pub(super) fn day(table: &Table<'_>, key: &str) -> Option<u32> {
    table.required(key).and_then(|value| value.integer(1..=LAST_DAY))
}

fn allowance(table: &Table<'_>, key: &str, least: i64) -> Option<u64> {
    table.required(key).and_then(|value| value.integer(least..=FIGURE_MAX))
}

fn tier(table: &Table<'_>, free: Option<u64>) -> Option<Tier> {
    let unit = allowance(table, "unit", 1);
    let price = table.required("price_fen_per_unit").and_then(|value| price(&value));
    Some(Tier { free: free?, unit: unit?, price_fen_per_unit: price? })
}

fn history(table: &Table<'_>, editions: Option<&[Edition]>) -> Option<MessageHistory> {
    let free_days = table.required("free_days").and_then(|value| history_days(&value));
    let of = table.optional("free_days_of");
    let of = of.map_or_else(|| Some(Vec::new()), |value| free_days_of(value.table()?, editions?));
    let most = table.required("days_max");
    let days_max = most.as_ref().and_then(history_days);
    let highest = of.iter().flatten().map(|(_, days)| *days).chain(free_days).max();
    if let (Some(free), Some(days_max), Some(value)) = (highest, days_max, &most)
        && days_max < free
    {
        value.problem(format!("must be at least the free days, which are {free}"));
    }
    let tier = tier(table, Some(0));
    Some(MessageHistory {
        free_days: free_days?,
        free_days_of: of?,
        days_max: days_max?,
        tier: tier?,
    })
}

fn history_days(value: &Value<'_>) -> Option<u32> {
    value.integer(1..=HISTORY_DAYS_MAX.into())
}

/// Reads the free days of editions.
fn free_days_of(table: Table<'_>, editions: &[Edition]) -> Option<Vec<(Name, u32)>> {
    let mut all = Vec::new();
    for edition in editions {
        if let Some(value) = table.optional(edition.id.as_str()) {
            all.push(history_days(&value).map(|days| (edition.id.clone(), days)));
        }
    }
    table.finish();
    all.into_iter().collect()
}

fn region(table: Table<'_>) -> Option<Region> {
    // Problems of the name were reported with the names of all regions.
    let id = table.optional("region").and_then(|value| value.as_str()).map(Name::from);
    let label = label(&table);
    let price = table.required("price_fen_per_mbps_day").and_then(|value| match value.as_str() {
        Some(NOT_CHARGED) => Some(None),
        _ => price(&value).map(Some),
    });
    table.finish();
    Some(Region { id: id?, label: label?, price_fen_per_mbps_day: price? })
}
