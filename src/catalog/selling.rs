//! Reads the price of an edition or add-on, and the conditions of its sale.
//!
//! Every condition is optional. A price is not: what is free says so, so that nothing is free
//! because its price was forgotten.

use crate::diagnostics::toml::{Table, Value};
use crate::domain::purchase::MONTHS;
use crate::domain::selling::Selling;

use super::offers::price;

/// The key of the price of a month.
pub(super) const PRICE: &str = "price_fen_per_month";
/// The key of items without a price.
const FREE: &str = "free";
/// The key of the prices of certain numbers of months.
const PRICE_OF_MONTHS: &str = "price_of_months";
/// The end of a report about a missing price.
pub(super) const FREE_IS: &str = "free is \"free = true\"";
/// The keys of conditions, and of what is free.
const CONDITIONS: [&str; 5] = [FREE, "for_sale", "months_max", "once_per_app", PRICE_OF_MONTHS];

/// A price of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MonthPrice {
    /// In fen; 0 if it is free.
    Fen(i64),
    /// There is none.
    Absent,
    /// It is invalid, which was reported.
    Wrong,
}

/// Reads the price of a month of an item.
pub(super) fn price_of_month(table: &Table<'_>) -> MonthPrice {
    let price_value = table.optional(PRICE);
    let free_value = table.optional(FREE);
    let free = match &free_value {
        Some(value) => value.boolean(),
        None => Some(false),
    };
    match (price_value, free) {
        (Some(_), Some(true)) => {
            if let Some(free) = free_value {
                free.problem(format!("must not be true where there is a {PRICE}"));
            }
            MonthPrice::Wrong
        }
        (Some(value), Some(false)) => price(&value).map_or(MonthPrice::Wrong, MonthPrice::Fen),
        (Some(_) | None, None) => MonthPrice::Wrong,
        (None, Some(true)) => MonthPrice::Fen(0),
        (None, Some(false)) => MonthPrice::Absent,
    }
}

/// Reads the conditions of sale of an item.
pub(super) fn selling(table: &Table<'_>) -> Option<Selling> {
    let boolean = |key, default| table.optional(key).map_or(Some(default), |it| it.boolean());
    let is_for_sale = boolean("for_sale", true);
    let is_once_per_app = boolean("once_per_app", false);
    let most = i64::from(*MONTHS.end());
    let months_max = match table.optional("months_max") {
        Some(value) => value.integer(1..=most).map(Some),
        None => Some(None),
    };
    let price_of_months = match table.optional(PRICE_OF_MONTHS) {
        Some(value) => prices(&value, months_max.flatten().unwrap_or(*MONTHS.end())),
        None => Some(Vec::new()),
    };
    Some(Selling {
        is_for_sale: is_for_sale?,
        months_max: months_max?,
        is_once_per_app: is_once_per_app?,
        price_of_months: price_of_months?,
    })
}

/// Reads prices by their numbers of months.
fn prices(value: &Value<'_>, months_max: u32) -> Option<Vec<(u32, i64)>> {
    let table = value.table()?;
    let read: Vec<_> = table
        .keys()
        .map(|key| {
            let value = table.optional(key)?;
            let months = key.parse().ok().filter(|it: &u32| it.to_string() == key);
            let Some(months) = months.filter(|it| (1..=months_max).contains(it)) else {
                value.problem(format!("the key must be a number of months, 1 to {months_max}"));
                return None;
            };
            Some((months, price(&value)?))
        })
        .collect();
    let mut prices: Vec<(u32, i64)> = read.into_iter().collect::<Option<_>>()?;
    prices.sort_unstable();
    Some(prices)
}

/// Reports a price and conditions of the default edition, which is not for sale.
pub(super) fn refuse_all(table: &Table<'_>) {
    if let Some(price) = table.optional(PRICE) {
        price.problem("the default edition is not for sale and has no price");
    }
    for value in CONDITIONS.iter().filter_map(|key| table.optional(key)) {
        value.problem("the default edition is not for sale, and has no such condition");
    }
}
