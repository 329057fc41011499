//! Purchases and refunds of an app, and the rules of purchasing.
//!
//! Sales are append-only: each purchase and refund has the instant from which it counts. Validity
//! follows from all of them (`timeline`); the amount of a refund is computed in `refund`. An
//! exchange (`exchange`) is refunds and a purchase that one request made, in this order.

use std::sync::Arc;

use super::agreed::{AgreedLimit, AgreedOrder, AgreedRefusal};
use super::catalog::Catalog;
use super::exchange::ExchangeRefusal;
use super::id::{Name, RequestId};
use super::limit::{Limit, LimitId};
use super::month::Month;
use super::selling::{
    Conditions, FeeRule, add_on_for_sale, check_add_on, check_selling, edition_for_sale,
    not_for_sale, price_by_calendar_days, priced_edition,
};
use super::terms::Terms;
use super::time::Timestamp;
use super::timeline::Timeline;

/// Fewest and most months of one purchase: a month, and the two years that prices are quoted for.
pub const MONTHS: std::ops::RangeInclusive<u32> = 1..=24;

/// The item of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An edition, starting at the purchase.
    Edition(Name),
    /// More months of the edition in force.
    Renewal(Name),
    /// The edition started anew, by a renewal after it had stopped.
    Restart(Name),
    /// An add-on, starting at the purchase.
    AddOn(Name),
    /// An agreed limit, starting at the purchase.
    Limit(AgreedLimit),
}

impl Item {
    /// Returns the kind of an item of the catalog in words, and its id; `None` for an agreed limit.
    #[must_use]
    pub fn named(&self) -> Option<(&'static str, &Name)> {
        match self {
            Self::Edition(id) | Self::Renewal(id) | Self::Restart(id) => Some(("edition", id)),
            Self::AddOn(id) => Some(("add-on", id)),
            Self::Limit(_) => None,
        }
    }

    /// Returns whether an edition that was bought before is continued.
    #[must_use]
    pub fn is_renewal(&self) -> bool {
        matches!(self, Self::Renewal(_) | Self::Restart(_))
    }
}

/// One purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The request that made it.
    pub request_id: RequestId,
    /// The item.
    pub item: Item,
    /// Number of months; 0 for an agreed limit with a last day.
    pub months: u32,
    /// Price paid for all of them, in fen.
    pub price_fen: i64,
    /// Instant from which it counts.
    pub at: Timestamp,
    /// Terms of the item in the catalog of that time; `None` if no retained catalog has the item.
    pub terms: Option<Arc<Terms>>,
    /// Its own conditions.
    pub conditions: Conditions,
}

/// Refund of a purchase, which ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The request that made it.
    pub request_id: RequestId,
    /// Index of the purchase.
    pub purchase: usize,
    /// Number of purchases that had been made before the refund.
    pub made_after: usize,
    /// Amount paid back, in fen.
    pub refund_fen: i64,
    /// True if the amount was the whole price, used or not.
    pub in_full: bool,
    /// Days that the amount was computed from; `None` in records of versions that did not store
    /// them.
    pub used: Option<DaysUsed>,
    /// Instant from which it counts.
    pub at: Timestamp,
}

/// Used part of a purchase, by days of the catalog's zone at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaysUsed {
    /// Days of the purchase's period.
    pub days: i64,
    /// Used days of it, the running one included.
    pub days_used: i64,
}

/// All purchases and refunds of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sales {
    /// Purchases, in the order in which they were made.
    pub purchases: Vec<Purchase>,
    /// Refunds, in the order in which they were made.
    pub refunds: Vec<Refund>,
}

impl Sales {
    /// Returns the instant of the last purchase or refund.
    #[must_use]
    pub fn last_at(&self) -> Option<Timestamp> {
        let purchased = self.purchases.last().map(|purchase| purchase.at);
        purchased.max(self.refunds.last().map(|refund| refund.at))
    }

    /// Returns the sales before the change made by a request, and the sales with it; `None` if it
    /// made none.
    #[must_use]
    pub fn around(&self, request_id: &str) -> Option<(Self, Self)> {
        let until = |purchases: usize, refunds: usize| Self {
            purchases: self.purchases[..purchases].to_vec(),
            refunds: self.refunds[..refunds].to_vec(),
        };
        let made = self.purchases.iter().position(|made| made.request_id.as_str() == request_id);
        if let Some(index) = made {
            let refunds = self.refunds.iter().take_while(|made| made.made_after <= index);
            let own = refunds.clone().filter(|made| made.request_id.as_str() == request_id);
            let (refunds, own) = (refunds.count(), own.count());
            return Some((until(index, refunds - own), until(index + 1, refunds)));
        }
        let index = self.refunds.iter().position(|made| made.request_id.as_str() == request_id)?;
        let purchases = self.refunds[index].made_after.min(self.purchases.len());
        Some((until(purchases, index), until(purchases, index + 1)))
    }

    /// Returns the refunds that the same request made as a purchase, by the purchase's index, each
    /// with its index; none if that is not of an exchange.
    pub fn exchanged_for(&self, purchase: usize) -> impl Iterator<Item = (usize, &Refund)> {
        let request_id = &self.purchases[purchase].request_id;
        let refunds = self.refunds.iter().enumerate();
        refunds.filter(move |(_, refund)| refund.request_id == *request_id)
    }

    /// Returns the refund of a purchase, by the purchase's index.
    #[must_use]
    pub fn refund_of(&self, purchase: usize) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.purchase == purchase)
    }
}

impl From<Vec<Purchase>> for Sales {
    fn from(purchases: Vec<Purchase>) -> Self {
        Self { purchases, refunds: Vec::new() }
    }
}

/// Half-open interval of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// First instant.
    pub from: Timestamp,
    /// First instant after the period.
    pub until: Timestamp,
}

impl Period {
    /// Returns whether the instant lies in the period.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// Reason why an order or refund is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The edition is not in the catalog, or not for sale.
    #[error("the catalog has no edition \"{id}\" for sale; it has {known}")]
    UnknownEdition {
        /// The id requested.
        id: String,
        /// The editions for sale, in quotes.
        known: String,
    },
    /// The add-on is not in the catalog.
    #[error("the catalog has no add-on \"{id}\"; it has {known}")]
    UnknownAddOn {
        /// The id requested.
        id: String,
        /// The add-ons for sale, in quotes.
        known: String,
    },
    /// The item is retired, or sold on request only.
    #[error(
        "{what} \"{id}\" is not for sale (for_sale in the catalog){}; for sale are {known}",
        if *.is_renewal { ", and has stopped; it could be renewed until then" } else { "" }
    )]
    NotForSale {
        /// `edition` or `add-on`.
        what: &'static str,
        /// The item.
        id: Name,
        /// True if a stopped edition was to be renewed.
        is_renewal: bool,
        /// The items of that kind that are for sale, in quotes.
        known: String,
    },
    /// The purchase has more months than the item is sold for.
    #[error("must be 1-{months_max} for \"{id}\" (months_max in the catalog), not {months}")]
    MonthsAboveMax {
        /// The item.
        id: Name,
        /// The number of months requested.
        months: u32,
        /// Most months of one purchase of it.
        months_max: u32,
    },
    /// The app has bought the item, which is sold once to an app.
    #[error(
        "{what} \"{id}\" is sold once to an app (once_per_app in the catalog); \
         request \"{by}\" bought it"
    )]
    SoldOnce {
        /// `edition` or `add-on`.
        what: &'static str,
        /// The item.
        id: Name,
        /// True if it was to be renewed.
        is_renewal: bool,
        /// The request that bought it.
        by: RequestId,
    },
    /// An edition is in force, or in its grace.
    #[error(
        "edition \"{edition}\" is in force: valid until {valid_until}, stops at {stops_at}; \
         renew it instead, or change to another edition"
    )]
    EditionInForce {
        /// The edition.
        edition: Name,
        /// When it ends, without grace.
        valid_until: String,
        /// When its grace is over.
        stops_at: String,
    },
    /// No edition was bought.
    #[error("the app has bought no edition to renew; purchase one instead")]
    NothingToRenew,
    /// The edition does not allow add-ons.
    #[error("edition \"{0}\" does not allow add-ons")]
    AddOnsNotAllowed(Name),
    /// The edition has stopped; add-ons need an edition that is in force.
    #[error("edition \"{0}\" has stopped; renew it first")]
    EditionStopped(Name),
    /// An add-on of the same kind is in force.
    #[error(
        "add-on \"{add_on}\" of the same kind is in force, stops at {stops_at}; exchange it for \
         this one, or refund it first"
    )]
    AddOnInForce {
        /// The add-on in force.
        add_on: Name,
        /// When its grace is over.
        stops_at: String,
    },
    /// The add-on has no effect under the edition in force.
    #[error("add-on \"{add_on}\" raises {limit_id} to {raised}, which {instead}")]
    RaisesNothing {
        /// The add-on requested.
        add_on: Name,
        /// Its limit.
        limit_id: LimitId,
        /// The value of the add-on.
        raised: Limit,
        /// What has another value instead, in words.
        instead: String,
    },
    /// A rule of exchanges refuses it.
    #[error(transparent)]
    Exchange(#[from] ExchangeRefusal),
    /// A rule of agreed limits refuses it.
    #[error(transparent)]
    Agreed(#[from] AgreedRefusal),
    /// The purchase has been refunded already.
    #[error("purchase \"{purchase}\" was refunded by request \"{by}\" already")]
    Refunded {
        /// The request that made the purchase.
        purchase: RequestId,
        /// The request that refunded it.
        by: RequestId,
    },
    /// The purchase was renewed; the last renewal has to be refunded first.
    #[error("purchase \"{purchase}\" was renewed by \"{by}\"; refund that first")]
    RenewedSince {
        /// The request that made the purchase.
        purchase: RequestId,
        /// The request that renewed it.
        by: RequestId,
    },
    /// There is no value left.
    #[error("purchase \"{purchase}\" was valid until {until}; nothing of it is left to refund")]
    NothingLeft {
        /// The request that made the purchase.
        purchase: RequestId,
        /// End of the purchase.
        until: String,
    },
    /// There is no such purchase.
    #[error("the app has made no purchase with request_id \"{id}\"; it has made {known}")]
    UnknownPurchase {
        /// The request id requested.
        id: String,
        /// The request ids of its purchases, the last one first, in quotes.
        known: String,
    },
    /// Sales have to be in the order of their instants.
    #[error("effective_at {at} lies before the app's last purchase or refund, {last}")]
    BeforeLast {
        /// The instant requested.
        at: String,
        /// The instant of the last purchase or refund.
        last: String,
    },
    /// The statement of the month is final.
    #[error("effective_at {at} lies in a month whose statement is final; {month} is closed")]
    MonthClosed {
        /// The instant requested.
        at: String,
        /// The last month that is closed.
        month: Month,
    },
    /// The edition does not allow postpaid.
    #[error(
        "edition \"{edition}\" keeps messages for the {free_days} free days and no longer{}",
        first_purchase(.offer.as_ref())
    )]
    PostpaidNotAllowed {
        /// The edition in force.
        edition: Name,
        /// Days of retention that are free.
        free_days: u32,
        /// The edition with postpaid that has the lowest price, if one is for sale.
        offer: Option<Name>,
    },
    /// The retention is out of range.
    #[error("must be {free_days} (free of charge) to {days_max}, not {days}")]
    RetentionDays {
        /// The number of days requested.
        days: u32,
        /// The shortest retention.
        free_days: u32,
        /// The longest retention.
        days_max: u32,
    },
    /// Purchases cannot be dated in the future.
    #[error("effective_at {at} lies in the future; the time is now {now}")]
    InTheFuture {
        /// The instant requested.
        at: String,
        /// The current instant.
        now: String,
    },
}

/// Ends an error with the purchase that has to be made first.
fn first_purchase(offer: Option<&Name>) -> String {
    offer.map_or_else(String::new, |offer| format!("; purchase edition \"{offer}\" first"))
}

/// An unchecked order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Buy an edition.
    Edition(String),
    /// Prolong the edition in force, or start the stopped one anew.
    Renewal,
    /// Buy an add-on.
    AddOn(String),
    /// Agree a limit, at a price that is agreed too.
    Limit(AgreedOrder),
}

impl Purchase {
    /// Returns the purchase that an order makes at an instant, with its terms; adds nothing to the
    /// sales.
    pub fn of_order(
        catalog: &Catalog,
        sales: &Sales,
        request_id: RequestId,
        order: &Order,
        months: u32,
        at: Timestamp,
    ) -> Result<Self, Refusal> {
        let (item, price_fen) = sell(catalog, sales, order, months, at)?;
        let terms = Terms::of(catalog, &item);
        let conditions = Conditions::of(catalog);
        Ok(Self { request_id, item, months, price_fen, at, terms, conditions })
    }

    /// Returns the purchase at an agreed price in fen, if there is one, instead of its own.
    #[must_use]
    pub fn at_price(mut self, price_fen: Option<i64>) -> Self {
        if let Some(price_fen) = price_fen {
            self.price_fen = price_fen;
            self.conditions.is_price_agreed = true;
        }
        self
    }

    /// Returns the agreed price, in fen; `None` if the price is that of the catalog.
    #[must_use]
    pub fn agreed_price_fen(&self) -> Option<i64> {
        self.conditions.is_price_agreed.then_some(self.price_fen)
    }
}

/// Checks an order against the app's sales, and prices it: returns the item and its price in fen.
pub fn sell(
    catalog: &Catalog,
    sales: &Sales,
    order: &Order,
    months: u32,
    at: Timestamp,
) -> Result<(Item, i64), Refusal> {
    let mut timeline = Timeline::new(catalog, sales);
    let running = timeline.bought_edition_in_force(at);
    let zone = catalog.zone;
    let (item, price, selling) = match order {
        Order::Edition(id) => {
            let (edition, price) = edition_for_sale(catalog, id)?;
            if let Some(run) = running {
                return Err(Refusal::EditionInForce {
                    edition: run.edition.clone(),
                    valid_until: zone.show(run.valid.until),
                    stops_at: zone.show(run.stops_at),
                });
            }
            (Item::Edition(edition.id.clone()), price, &edition.selling)
        }
        Order::Renewal => {
            let last = timeline.editions.last().ok_or(Refusal::NothingToRenew)?;
            let (edition, price) = priced_edition(catalog, last.edition.as_str())?;
            // Stored permanently, so that a later change of the grace does not change the past.
            let item = if running.is_some() { Item::Renewal } else { Item::Restart };
            let item = item(edition.id.clone());
            if !edition.selling.is_for_sale && running.is_none() {
                return Err(not_for_sale(catalog, "edition", &edition.id, true));
            }
            (item, price, &edition.selling)
        }
        Order::AddOn(id) => {
            let add_on = add_on_for_sale(catalog, id)?;
            check_add_on(catalog, sales, &timeline, add_on, at)?;
            (Item::AddOn(add_on.id.clone()), add_on.price_fen_per_month, &add_on.selling)
        }
        Order::Limit(order) => {
            let agreed = AgreedLimit::of_order(catalog, &timeline.agreed, order, at)?;
            return Ok((Item::Limit(agreed), 0));
        }
    };
    check_selling(sales, selling, &item, months)?;
    let price_fen = match (selling.price_of(months), catalog.validity.fee) {
        (Some(price), _) => price,
        (None, FeeRule::Months) => price.saturating_mul(months.into()),
        (None, FeeRule::CalendarDays) => {
            let conditions = Conditions::of(catalog);
            let request_id = RequestId::try_from("planned").expect("it is printable and short");
            let item = item.clone();
            let planned =
                Purchase { request_id, item, months, price_fen: 0, at, terms: None, conditions };
            price_by_calendar_days(zone, timeline.add(catalog, &planned), price)
        }
    };
    Ok((item, price_fen))
}
