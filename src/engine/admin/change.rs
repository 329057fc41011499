//! Change requests for an app, and the comparison of a retried request with the original one.

use std::fmt;

use serde_json::json;

use super::AdminError;
use crate::directory::AppRecord;
use crate::directory::audit_change::{RetentionRequest, to_text};
use crate::domain::agreed::{AgreedLimit, AgreedOrder};
use crate::domain::app_details::DetailsUpdate;
use crate::domain::audit::Action;
use crate::domain::calendar::{Day, Zone};
use crate::domain::exchange::{ExchangeOrder, Exchanged};
use crate::domain::id::{AppId, RequestId};
use crate::domain::purchase::{Item, Order, Purchase, Sales};
use crate::domain::time::Timestamp;

/// Change request for an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The app.
    pub app: AppId,
    /// Idempotency key.
    pub request_id: RequestId,
    /// Instant from which it counts, if that is not now: an earlier one.
    pub effective_at: Option<Timestamp>,
    /// Kind and content of the change.
    pub what: ChangeKind,
}

/// Kind of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// Register the app.
    Create,
    /// Sell an edition or add-on, or agree a limit.
    Purchase {
        /// The item.
        order: Order,
        /// Number of months; 0 for an agreed limit with a last day.
        months: u32,
        /// Agreed price, in fen; `None`: that of the catalog, and 0 for an agreed limit.
        price_fen: Option<i64>,
    },
    /// End a purchase and pay back its remaining value.
    Refund {
        /// The request that made the purchase.
        purchase: RequestId,
    },
    /// Refund what remains of one item and sell another instead.
    Exchange(ExchangeOrder),
    /// Set the retention of messages from now on.
    SetRetention {
        /// Number of days.
        days: u32,
    },
    /// Change details.
    Update(DetailsUpdate),
}

/// Result of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeResult {
    /// The app.
    App,
    /// A purchase, by its index.
    Purchase(usize),
    /// A refund, by its index.
    Refund(usize),
    /// An exchange, by the index of its purchase.
    Exchange(usize),
    /// A change of the retention, by its index.
    Retention(usize),
    /// A change of the details, by its index.
    Details(usize),
}

/// A field in which a retried request differs from the original one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field of the request.
    pub field: &'static str,
    /// Its original value.
    pub before: String,
    /// Its present value.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} was {} and is {} now", self.field, self.before, self.now)
    }
}

impl Change {
    /// Returns the action that the audit log records.
    #[must_use]
    pub fn action(&self) -> Action {
        match &self.what {
            ChangeKind::Create => Action::CreateApp,
            ChangeKind::Purchase { order: Order::Edition(_), .. } => Action::PurchaseEdition,
            ChangeKind::Purchase { order: Order::Renewal, .. } => Action::RenewEdition,
            ChangeKind::Purchase { order: Order::AddOn(_), .. } => Action::GrantAddOn,
            ChangeKind::Purchase { order: Order::Limit(_), .. } => Action::GrantLimit,
            ChangeKind::Refund { .. } => Action::RefundPurchase,
            ChangeKind::Exchange(ExchangeOrder { items: Exchanged::Edition(_), .. }) => {
                Action::ChangeEdition
            }
            ChangeKind::Exchange(ExchangeOrder { items: Exchanged::AddOn { .. }, .. }) => {
                Action::ExchangeAddOn
            }
            ChangeKind::SetRetention { .. } => Action::SetMessageRetention,
            ChangeKind::Update(_) => Action::UpdateApp,
        }
    }

    /// Returns the request as JSON.
    pub(super) fn request(&self, zone: Zone) -> String {
        let effective_at = self.effective_at.map(|at| zone.show(at));
        let mut request = match &self.what {
            ChangeKind::Create => json!({}),
            ChangeKind::Purchase { order, months, price_fen } => {
                let mut request = match order {
                    Order::Edition(id) => json!({"edition_id": id, "months": months}),
                    Order::Renewal => json!({"months": months}),
                    Order::AddOn(id) => json!({"add_on_id": id, "months": months}),
                    Order::Limit(order) => limit_request(order, *months),
                };
                if let Some(price_fen) = price_fen {
                    request["price_fen"] = (*price_fen).into();
                }
                request
            }
            ChangeKind::Refund { purchase } => json!({"purchase_request_id": purchase.as_str()}),
            ChangeKind::Exchange(order) => exchange_request(order),
            ChangeKind::SetRetention { days } => {
                return to_text(&RetentionRequest { days: *days, effective_at });
            }
            ChangeKind::Update(update) => details_request(update),
        };
        if let Some(at) = effective_at {
            request["effective_at"] = at.into();
        }
        request.to_string()
    }

    /// Returns the result of an earlier request with the same id; an error if its content differs.
    pub(super) fn made_before(
        &self,
        record: &AppRecord,
        zone: Zone,
    ) -> Result<Option<ChangeResult>, AdminError> {
        let Some((made, at, used_for)) = used_for(record, &self.request_id) else {
            return Ok(None);
        };
        let reused = |differs| AdminError::RequestIdReused {
            request_id: self.request_id.clone(),
            before: used_for,
            differs,
        };
        let Some(mut differs) = self.differences(record, made) else {
            return Err(reused(Vec::new()));
        };
        if let Some(effective_at) = self.effective_at.filter(|effective_at| *effective_at != at) {
            let (before, now) = (zone.show(at), zone.show(effective_at));
            differs.push(Difference { field: "effective_at", before, now });
        }
        if differs.is_empty() { Ok(Some(made)) } else { Err(reused(differs)) }
    }

    /// Returns the differences between the request and an earlier result; `None` if that is of
    /// another kind.
    fn differences(&self, record: &AppRecord, made: ChangeResult) -> Option<Vec<Difference>> {
        let sales = &record.sales;
        let mut differs = Vec::new();
        let mut compare = |field, before: &str, now: &str| {
            if before != now {
                let (before, now) = (before.to_owned(), now.to_owned());
                differs.push(Difference { field, before, now });
            }
        };
        match (&self.what, made) {
            (ChangeKind::Create, ChangeResult::App) => {}
            (ChangeKind::Refund { purchase }, ChangeResult::Refund(index)) => {
                let before = &sales.purchases[sales.refunds[index].purchase].request_id;
                compare("purchase_request_id", before.as_str(), purchase.as_str());
            }
            (ChangeKind::SetRetention { days }, ChangeResult::Retention(index)) => {
                compare("days", &record.retentions[index].days.to_string(), &days.to_string());
            }
            (ChangeKind::Update(update), ChangeResult::Details(index)) => {
                let before = &record.details[index].update;
                let both = details(before).into_iter().zip(details(update));
                for ((field, before), (_, now)) in both {
                    compare(field, &detail(before), &detail(now));
                }
            }
            (ChangeKind::Exchange(order), ChangeResult::Exchange(index)) => {
                let made = &sales.purchases[index];
                let Purchase { item, months, .. } = made;
                match (item, &order.items) {
                    (Item::Edition(name), Exchanged::Edition(id)) => {
                        compare("edition_id", name.as_str(), id);
                    }
                    (Item::AddOn(name), Exchanged::AddOn { replaced, add_on }) => {
                        let mut before = exchanged(sales, index);
                        compare("replaced_add_on_id", before.next().unwrap_or_default(), replaced);
                        compare("add_on_id", name.as_str(), add_on);
                    }
                    _ => return None,
                }
                compare("months", &months.to_string(), &order.months.to_string());
                let [before, now] = [made.agreed_price_fen(), order.price_fen].map(price);
                compare("price_fen", &before, &now);
            }
            (ChangeKind::Purchase { order, months, price_fen }, ChangeResult::Purchase(index)) => {
                let made = &sales.purchases[index];
                let Purchase { item, months: before, .. } = made;
                match (item, order) {
                    (Item::Edition(name), Order::Edition(id)) => {
                        compare("edition_id", name.as_str(), id);
                    }
                    (Item::AddOn(name), Order::AddOn(id)) => {
                        compare("add_on_id", name.as_str(), id);
                    }
                    (Item::Renewal(_) | Item::Restart(_), Order::Renewal) => {}
                    (Item::Limit(made), Order::Limit(order)) => {
                        compare("limit_id", &made.limit_id.to_string(), &order.limit_id);
                        compare("limit", &made.limit.to_string(), &order.limit.to_string());
                        compare("note", &made.note, &order.note);
                        let [before, now] = [made.last_day, order.last_day].map(day);
                        compare("until_date", &before, &now);
                    }
                    _ => return None,
                }
                compare("months", &before.to_string(), &months.to_string());
                let [before, now] = [made.agreed_price_fen(), *price_fen].map(price);
                compare("price_fen", &before, &now);
            }
            _ => return None,
        }
        Some(differs)
    }
}

/// Returns the result of an earlier request with that id, its instant, and its content in words.
fn used_for(record: &AppRecord, id: &RequestId) -> Option<(ChangeResult, Timestamp, String)> {
    if record.created_by == *id {
        return Some((
            ChangeResult::App,
            record.created_at,
            "the registration of the app".to_owned(),
        ));
    }
    let sales = &record.sales;
    if let Some(index) = sales.purchases.iter().position(|purchase| purchase.request_id == *id) {
        let purchase = &sales.purchases[index];
        let replaced: Vec<&str> = exchanged(sales, index).collect();
        if replaced.is_empty() {
            return Some((ChangeResult::Purchase(index), purchase.at, bought(purchase)));
        }
        let used_for = format!("{} in exchange for {}", bought(purchase), replaced.join(", "));
        return Some((ChangeResult::Exchange(index), purchase.at, used_for));
    }
    if let Some(index) = record.retentions.iter().position(|change| change.request_id == *id) {
        let change = &record.retentions[index];
        let used_for = format!("a retention of {} days", change.days);
        return Some((ChangeResult::Retention(index), change.at, used_for));
    }
    if let Some(index) = record.details.iter().position(|change| change.request_id == *id) {
        let at = record.details[index].at;
        return Some((ChangeResult::Details(index), at, "a change of details".to_owned()));
    }
    let index = sales.refunds.iter().position(|refund| refund.request_id == *id)?;
    let refund = &sales.refunds[index];
    let of = &sales.purchases[refund.purchase].request_id;
    Some((ChangeResult::Refund(index), refund.at, format!("the refund of purchase \"{of}\"")))
}

/// Returns the ids of the items that were exchanged for a purchase, by its index, each once and in
/// the order of their refunds; none if it was no exchange.
fn exchanged(sales: &Sales, purchase: usize) -> impl Iterator<Item = &str> {
    // No exchange refunds an agreed limit.
    let items = sales.exchanged_for(purchase).filter_map(|(_, refund)| {
        sales.purchases[refund.purchase].item.named().map(|(_, name)| name.as_str())
    });
    let mut items: Vec<&str> = items.collect();
    items.dedup();
    items.into_iter()
}

/// Returns an exchange's request as JSON.
fn exchange_request(order: &ExchangeOrder) -> serde_json::Value {
    let months = order.months;
    let mut request = match &order.items {
        Exchanged::Edition(id) => json!({"edition_id": id, "months": months}),
        Exchanged::AddOn { replaced, add_on } => {
            json!({"add_on_id": add_on, "months": months, "replaced_add_on_id": replaced})
        }
    };
    if let Some(max_sum_fen) = order.max_sum_fen {
        request["max_sum_fen"] = max_sum_fen.into();
    }
    if let Some(price_fen) = order.price_fen {
        request["price_fen"] = price_fen.into();
    }
    request
}

/// Returns the request of an agreed limit as JSON.
fn limit_request(order: &AgreedOrder, months: u32) -> serde_json::Value {
    let AgreedOrder { limit_id, limit, last_day, note } = order;
    let limit = limit.finite().map_or_else(|| json!("unlimited"), |number| json!(number));
    let mut request = json!({"limit_id": limit_id, "limit": limit, "note": note});
    match last_day {
        Some(day) => request["until_date"] = day.to_string().into(),
        None => request["months"] = months.into(),
    }
    request
}

/// Returns a change of details as JSON.
fn details_request(update: &DetailsUpdate) -> serde_json::Value {
    let mut request = json!({});
    for (field, text) in details(update) {
        if let Some(text) = text {
            request[field] = text.as_str().into();
        }
    }
    request
}

/// Returns the details of an update by the names of their fields.
fn details(update: &DetailsUpdate) -> [(&'static str, Option<&String>); 3] {
    let DetailsUpdate { display_name, note, im_code_set } = update;
    [
        ("display_name", display_name.as_ref()),
        ("im_code_set", im_code_set.as_ref()),
        ("note", note.as_ref()),
    ]
}

/// Formats a detail for the comparison of two requests.
fn detail(text: Option<&String>) -> String {
    text.map_or_else(|| "not set".to_owned(), |text| format!("\"{text}\""))
}

/// Formats an agreed price for the comparison of two requests.
fn price(fen: Option<i64>) -> String {
    fen.map_or_else(|| "none".to_owned(), |fen| fen.to_string())
}

/// Formats a last valid day for the comparison of two requests.
fn day(day: Option<Day>) -> String {
    day.map_or_else(|| "none".to_owned(), |day| day.to_string())
}

fn bought(purchase: &Purchase) -> String {
    let what = match &purchase.item {
        Item::Edition(name) => format!("edition \"{name}\""),
        Item::Renewal(name) | Item::Restart(name) => format!("a renewal of edition \"{name}\""),
        Item::AddOn(name) => format!("add-on \"{name}\""),
        Item::Limit(AgreedLimit { limit_id, last_day: Some(day), .. }) => {
            return format!("agreed limit \"{limit_id}\" until {day}");
        }
        Item::Limit(AgreedLimit { limit_id, .. }) => format!("agreed limit \"{limit_id}\""),
    };
    format!("{what} for {} months", purchase.months)
}

/// Formats the differences as the end of a sentence.
pub(super) fn in_words(differs: &[Difference]) -> String {
    let words: Vec<String> = differs.iter().map(ToString::to_string).collect();
    if words.is_empty() { String::new() } else { format!("; {}", words.join("; ")) }
}
