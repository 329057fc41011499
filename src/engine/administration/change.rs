//! What may be changed about an app, and whether a request asks for what it asked before.

use std::fmt;

use serde_json::json;

use super::AdminError;
use crate::directory::AppRecord;
use crate::domain::calendar::Zone;
use crate::domain::id::{AppId, RequestId};
use crate::domain::purchase::{Item, Order, Purchase};
use crate::domain::time::Timestamp;

/// A change of an app that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The app.
    pub app: AppId,
    /// Makes it idempotent.
    pub request_id: RequestId,
    /// From when it counts, where that is not now: an instant before it.
    pub effective_at: Option<Timestamp>,
    /// What.
    pub what: What,
}

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Register the app.
    Create,
    /// Sell something.
    Buy {
        /// What.
        order: Order,
        /// For how many months.
        months: u32,
    },
    /// End a purchase and pay back what is left of it.
    Refund {
        /// The request that made the purchase.
        purchase: RequestId,
    },
    /// Keep messages for so long from now on.
    SetRetention {
        /// For how many days.
        days: u32,
    },
}

/// What a change has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// The app.
    App,
    /// A purchase, by its index.
    Purchase(usize),
    /// A refund, by its index.
    Refund(usize),
    /// A change of the retention, by its index.
    Retention(usize),
}

/// One field that a repeated request has otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field of the request.
    pub field: &'static str,
    /// What it was.
    pub before: String,
    /// What it is.
    pub now: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} was {} and is {} now", self.field, self.before, self.now)
    }
}

impl Change {
    /// The RPC that asks for it.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match &self.what {
            What::Create => "CreateApp",
            What::Buy { order: Order::Edition(_), .. } => "PurchaseEdition",
            What::Buy { order: Order::Renewal, .. } => "RenewEdition",
            What::Buy { order: Order::AddOn(_), .. } => "GrantAddOn",
            What::Refund { .. } => "RefundPurchase",
            What::SetRetention { .. } => "SetMessageRetention",
        }
    }

    /// What is asked for, as JSON.
    pub(super) fn request(&self, zone: Zone) -> String {
        let mut request = match &self.what {
            What::Create => json!({}),
            What::Buy { order: Order::Edition(id), months } => {
                json!({"edition_id": id, "months": months})
            }
            What::Buy { order: Order::Renewal, months } => json!({"months": months}),
            What::Buy { order: Order::AddOn(id), months } => {
                json!({"add_on_id": id, "months": months})
            }
            What::Refund { purchase } => json!({"purchase_request_id": purchase.as_str()}),
            What::SetRetention { days } => json!({"days": days}),
        };
        if let Some(at) = self.effective_at {
            request["effective_at"] = zone.show(at).into();
        }
        request.to_string()
    }

    /// What the same request made before; an error where it asked for something else then.
    pub(super) fn made_before(
        &self,
        record: &AppRecord,
        zone: Zone,
    ) -> Result<Option<Made>, AdminError> {
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

    /// How what is asked for differs from what was made; `None` where it is of another kind.
    fn differences(&self, record: &AppRecord, made: Made) -> Option<Vec<Difference>> {
        let sales = &record.sales;
        let mut differs = Vec::new();
        let mut compare = |field, before: &str, now: &str| {
            if before != now {
                let (before, now) = (before.to_owned(), now.to_owned());
                differs.push(Difference { field, before, now });
            }
        };
        match (&self.what, made) {
            (What::Create, Made::App) => {}
            (What::Refund { purchase }, Made::Refund(index)) => {
                let before = &sales.purchases[sales.refunds[index].purchase].request_id;
                compare("purchase_request_id", before.as_str(), purchase.as_str());
            }
            (What::SetRetention { days }, Made::Retention(index)) => {
                compare("days", &record.retentions[index].days.to_string(), &days.to_string());
            }
            (What::Buy { order, months }, Made::Purchase(index)) => {
                let Purchase { item, months: before, .. } = &sales.purchases[index];
                match (item, order) {
                    (Item::Edition(name), Order::Edition(id)) => {
                        compare("edition_id", name.as_str(), id);
                    }
                    (Item::AddOn(name), Order::AddOn(id)) => {
                        compare("add_on_id", name.as_str(), id);
                    }
                    (Item::Renewal(_) | Item::Restart(_), Order::Renewal) => {}
                    _ => return None,
                }
                compare("months", &before.to_string(), &months.to_string());
            }
            _ => return None,
        }
        Some(differs)
    }
}

/// What a request id was used for, when, and in words.
fn used_for(record: &AppRecord, id: &RequestId) -> Option<(Made, Timestamp, String)> {
    if record.created_by == *id {
        return Some((Made::App, record.created_at, "the registration of the app".to_owned()));
    }
    let sales = &record.sales;
    if let Some(index) = sales.purchases.iter().position(|purchase| purchase.request_id == *id) {
        let purchase = &sales.purchases[index];
        return Some((Made::Purchase(index), purchase.at, bought(purchase)));
    }
    if let Some(index) = record.retentions.iter().position(|change| change.request_id == *id) {
        let change = &record.retentions[index];
        let used_for = format!("a retention of {} days", change.days);
        return Some((Made::Retention(index), change.at, used_for));
    }
    let index = sales.refunds.iter().position(|refund| refund.request_id == *id)?;
    let refund = &sales.refunds[index];
    let of = &sales.purchases[refund.purchase].request_id;
    Some((Made::Refund(index), refund.at, format!("the refund of purchase \"{of}\"")))
}

fn bought(purchase: &Purchase) -> String {
    let what = match &purchase.item {
        Item::Edition(name) => format!("edition \"{name}\""),
        Item::Renewal(name) | Item::Restart(name) => format!("a renewal of edition \"{name}\""),
        Item::AddOn(name) => format!("add-on \"{name}\""),
    };
    format!("{what} for {} months", purchase.months)
}

/// The differences as they end a sentence.
pub(super) fn in_words(differs: &[Difference]) -> String {
    let words: Vec<String> = differs.iter().map(ToString::to_string).collect();
    if words.is_empty() { String::new() } else { format!("; {}", words.join("; ")) }
}
