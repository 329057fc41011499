//! Statement lines of purchases and refunds in a month.

use super::{BillingInputs, Item, Line, input};
use crate::domain::agreed::AgreedLimit;
use crate::domain::calendar::Zone;
use crate::domain::catalog::Catalog;
use crate::domain::month::Month;
use crate::domain::purchase::{Item as Bought, Period, Purchase, Refund};
use crate::domain::refund::Remaining;
use crate::domain::selling::{FeeRule, RefundRule};
use crate::domain::terms::Terms;
use crate::domain::time::Timestamp;
use crate::domain::timeline::Timeline;

/// Returns purchases and then refunds, each in the order in which they were made.
pub fn lines(books: &BillingInputs<'_>, month: Month) -> Vec<Line> {
    let (catalogs, sales) = (books.catalogs, books.sales);
    let catalog = catalogs.pricing(month);
    let zone = catalogs.zone_of(month);
    // A purchase that was backdated before the first open month is on that month's statement, and
    // so is one made in a month that was left out, so that it is billed at all. Closed months are
    // already billed.
    let is_of = |at: Timestamp| {
        let of = catalogs.month_of(at);
        books.closed_through < Some(of) && of.max(books.since) == month
    };
    let timeline = Timeline::new(catalog, sales);
    let purchases = sales.purchases.iter().zip(&timeline.valid).filter(|(it, _)| is_of(it.at));
    let purchases = purchases.map(|(purchase, valid)| {
        let (item, item_id, name) = named(catalog, purchase);
        let months = i64::from(purchase.months);
        let per_month = purchase.price_fen / months.max(1);
        let (by_months, formula) = price_of(purchase);
        let even = by_months && per_month * months == purchase.price_fen;
        let (quantity, unit_price_fen) =
            if even { (months, per_month) } else { (1, purchase.price_fen) };
        Line {
            item,
            item_id,
            description: format!(
                "{name}, {} bought {}",
                term_of(purchase),
                zone.day_of(purchase.at)
            ),
            inputs: inputs(zone, purchase, *valid),
            formula,
            quantity,
            unit_price: None,
            unit_price_fen: Some(unit_price_fen),
            amount_fen: purchase.price_fen,
        }
    });
    let mut lines: Vec<Line> = purchases.collect();
    let refunds = sales.refunds.iter().enumerate().filter(|(_, it)| is_of(it.at));
    lines.extend(refunds.map(|(index, refund)| of_refund(books, catalog, index, refund)));
    lines
}

fn of_refund(books: &BillingInputs<'_>, catalog: &Catalog, index: usize, made: &Refund) -> Line {
    let (catalog_then, sales) = (books.catalogs.at(made.at), books.sales);
    let zone = catalog_then.zone;
    let purchase = &sales.purchases[made.purchase];
    let (.., name) = named(catalog, purchase);
    let mut inputs = vec![
        input("request_id", &made.request_id),
        input("purchase", &purchase.request_id),
        input("price_fen", purchase.price_fen),
    ];
    if let Ok(figures) = Remaining::of_made(catalog_then, sales, index) {
        inputs.push(input("days", figures.days));
        inputs.push(input("days_used", figures.days_used));
    }
    let rule = catalog_then.validity.refund;
    let formula = if made.in_full {
        "the whole price, since the purchase was made lately"
    } else if rule == RefundRule::Nothing && made.refund_fen == 0 && purchase.price_fen > 0 {
        "nothing is paid back of what has begun"
    } else {
        "price x (days - days used) / days, rounded half up"
    };
    Line {
        item: Item::Refund,
        item_id: purchase.request_id.to_string(),
        description: format!("Refund of {name}, {}", zone.day_of(made.at)),
        inputs,
        formula: formula.to_owned(),
        quantity: 1,
        unit_price: None,
        unit_price_fen: Some(-made.refund_fen),
        amount_fen: -made.refund_fen,
    }
}

/// Returns the kind of line for a purchase, its item's id, and its item's name.
fn named(catalog: &Catalog, purchase: &Purchase) -> (Item, String, String) {
    // If the catalog lacks the item, its label is that of the purchase.
    let carried = match purchase.terms.as_deref() {
        Some(Terms::Edition(edition)) => Some(&edition.label),
        Some(Terms::AddOn(add_on)) => Some(&add_on.label),
        None => None,
    };
    let label = |id: &str, label: Option<&String>| {
        label.or(carried).cloned().unwrap_or_else(|| id.to_owned())
    };
    match &purchase.item {
        Bought::Limit(AgreedLimit { limit_id, limit, .. }) => {
            (Item::AgreedLimit, limit_id.to_string(), format!("Agreed limit {limit_id}: {limit}"))
        }
        Bought::AddOn(id) => {
            let name = label(id.as_str(), catalog.add_on(id.as_str()).map(|it| &it.label));
            (Item::AddOn, id.to_string(), format!("Add-on {name}"))
        }
        Bought::Edition(id) | Bought::Renewal(id) | Bought::Restart(id) => {
            let name = label(id.as_str(), catalog.edition(id.as_str()).map(|it| &it.label));
            let renewed =
                if matches!(purchase.item, Bought::Edition(_)) { "" } else { " (renewal)" };
            (Item::Edition, id.to_string(), format!("Edition {name}{renewed}"))
        }
    }
}

/// Returns whether the price is that of a month for each month, and its computation in words.
fn price_of(purchase: &Purchase) -> (bool, String) {
    if purchase.conditions.is_price_agreed || matches!(purchase.item, Bought::Limit(_)) {
        return (false, "the agreed price".to_owned());
    }
    let selling = match purchase.terms.as_deref() {
        Some(Terms::Edition(edition)) => Some(&edition.selling),
        Some(Terms::AddOn(add_on)) => Some(&add_on.selling),
        None => None,
    };
    let set = selling.and_then(|selling| selling.price_of(purchase.months));
    if set == Some(purchase.price_fen) {
        return (false, format!("the price of {} months", purchase.months));
    }
    match purchase.conditions.fee {
        FeeRule::Months => (true, "months x price of a month".to_owned()),
        FeeRule::CalendarDays => {
            (false, "each day's share of the price of its calendar month, rounded half up".into())
        }
    }
}

fn term_of(purchase: &Purchase) -> String {
    match (&purchase.item, purchase.months) {
        (Bought::Limit(AgreedLimit { last_day: Some(day), .. }), _) => format!("through {day},"),
        (_, 1) => "1 month,".to_owned(),
        (_, months) => format!("{months} months,"),
    }
}

/// Returns the figures of a purchase.
fn inputs(zone: Zone, purchase: &Purchase, valid: Period) -> Vec<(String, String)> {
    let mut inputs = vec![input("request_id", &purchase.request_id)];
    if purchase.months > 0 {
        inputs.push(input("months", purchase.months));
    }
    inputs.push(input("valid_from", zone.show(valid.from)));
    inputs.push(input("valid_until", zone.show(valid.until)));
    if let Bought::Limit(agreed) = &purchase.item {
        inputs.push(input("note", &agreed.note));
    }
    inputs
}
