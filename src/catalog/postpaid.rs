//! Reads the section `metering`: prices of postpaid usage.

use crate::diagnostics::toml::{Table, Value};
use crate::domain::id::Name;
use crate::domain::postpaid::{MessageHistory, PostPaid, Region, Tier};

use super::decode::{Names, label, section};
use super::offers::price;

/// Last day that every month has.
const LAST_DAY: i64 = 28;
/// Greatest allowance or unit: far above any IM, and far from any overflow.
const FIGURE_MAX: i64 = 1_000_000_000_000;
/// Longest retention: ten years.
const HISTORY_DAYS_MAX: i64 = 3650;
/// Value for the price of usage that is listed only. A forgotten price is an error.
const NOT_CHARGED: &str = "not_charged";
/// Most regions: more than IM clouds have.
const REGIONS_MAX: usize = 64;

/// Reads the section `metering`.
pub(super) fn postpaid(table: &Table<'_>) -> Option<PostPaid> {
    let final_day = day(table, "final_day");
    let dau = section(table, "dau", |table| tier(table, allowance(table, "free", 0)));
    let groups = section(table, "groups", |table| {
        let first_day = day(table, "first_day");
        let tier = tier(table, allowance(table, "free", 0));
        Some((first_day?, tier?))
    });
    let history = section(table, "message_history", history);
    let regions = table.required("bandwidth").and_then(|value| value.tables(1..=REGIONS_MAX));
    let regions = regions.and_then(|tables| {
        Names::of(&tables, "region");
        let regions: Vec<_> = tables.into_iter().map(region).collect();
        regions.into_iter().collect()
    });
    let (groups_first_day, groups) = groups?;
    Some(PostPaid {
        final_day: final_day?,
        dau: dau?,
        groups,
        groups_first_day,
        history: history?,
        regions: regions?,
    })
}

fn day(table: &Table<'_>, key: &str) -> Option<u32> {
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

fn history(table: &Table<'_>) -> Option<MessageHistory> {
    let days = |value: &Value<'_>| value.integer::<u32>(1..=HISTORY_DAYS_MAX);
    let free_days = table.required("free_days").and_then(|value| days(&value));
    let most = table.required("days_max");
    let days_max = most.as_ref().and_then(days);
    if let (Some(free), Some(days_max), Some(value)) = (free_days, days_max, &most)
        && days_max < free
    {
        value.problem(format!("must be at least free_days, which is {free}"));
    }
    let tier = tier(table, Some(0));
    Some(MessageHistory { free_days: free_days?, days_max: days_max?, tier: tier? })
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
