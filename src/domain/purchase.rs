//! What an app has bought, and the rules of buying.
//!
//! Sales only grow: each purchase and refund stands at the instant from which it counts. What is
//! valid when follows from all of them (`timeline`), and what a refund pays back is `refund`'s.

use std::sync::Arc;

use super::catalog::Catalog;
use super::id::{Name, RequestId};
use super::month::Month;
use super::terms::Terms;
use super::text::quoted_names;
use super::time::Timestamp;
use super::timeline::{AddOnRun, ServiceState, Timeline};

/// Fewest and most months of one purchase: a month, and the two years that prices are quoted for.
pub const MONTHS: std::ops::RangeInclusive<u32> = 1..=24;

/// What was bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An edition, from then on.
    Edition(Name),
    /// More months of the edition that was in force.
    Renewal(Name),
    /// The edition anew, by a renewal after it had stopped.
    Restart(Name),
    /// An add-on, from then on.
    AddOn(Name),
}

/// One purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The request that made it.
    pub request_id: RequestId,
    /// What was bought.
    pub item: Item,
    /// For how many months.
    pub months: u32,
    /// What was paid for all of them, in fen.
    pub price_fen: i64,
    /// When.
    pub at: Timestamp,
    /// The item as the catalog had it then; `None` where no catalog that was kept has it.
    pub terms: Option<Arc<Terms>>,
}

/// Money given back for a purchase, which ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The request that made it.
    pub request_id: RequestId,
    /// The purchase, by its index.
    pub purchase: usize,
    /// How many purchases had been made before it.
    pub made_after: usize,
    /// What was paid back, in fen.
    pub refund_fen: i64,
    /// Whether that was the whole price, used or not.
    pub in_full: bool,
    /// The days that it was worked out from; `None` in records of versions that kept none.
    pub used: Option<DaysUsed>,
    /// When.
    pub at: Timestamp,
}

/// How much of a purchase was used, by days of the zone of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaysUsed {
    /// Days of the purchase's period.
    pub days: i64,
    /// Days of it that are used, the running one included.
    pub days_used: i64,
}

/// Everything that an app has bought and given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sales {
    /// In the order in which they were made.
    pub purchases: Vec<Purchase>,
    /// In the order in which they were made.
    pub refunds: Vec<Refund>,
}

impl Sales {
    /// When the last of them was made.
    #[must_use]
    pub fn last_at(&self) -> Option<Timestamp> {
        let purchased = self.purchases.last().map(|purchase| purchase.at);
        purchased.max(self.refunds.last().map(|refund| refund.at))
    }

    /// Everything before the change that a request made, and with it; `None` where it made none.
    #[must_use]
    pub fn around(&self, request_id: &str) -> Option<(Self, Self)> {
        let until = |purchases: usize, refunds: usize| Self {
            purchases: self.purchases[..purchases].to_vec(),
            refunds: self.refunds[..refunds].to_vec(),
        };
        let made = self.purchases.iter().position(|made| made.request_id.as_str() == request_id);
        if let Some(index) = made {
            let refunds = self.refunds.iter().take_while(|made| made.made_after <= index).count();
            return Some((until(index, refunds), until(index + 1, refunds)));
        }
        let index = self.refunds.iter().position(|made| made.request_id.as_str() == request_id)?;
        let purchases = self.refunds[index].made_after.min(self.purchases.len());
        Some((until(purchases, index), until(purchases, index + 1)))
    }

    /// The refund of a purchase, by its index.
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

/// First instant, and first instant after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// From here.
    pub from: Timestamp,
    /// To here, this instant not included.
    pub until: Timestamp,
}

impl Period {
    /// Whether the instant lies in the period.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// Why something cannot be bought.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in the catalog.
    #[error("the catalog has no edition \"{id}\" for sale; it has {known}")]
    UnknownEdition {
        /// What was asked for.
        id: String,
        /// The editions for sale, in quotes.
        known: String,
    },
    /// Not in the catalog.
    #[error("the catalog has no add-on \"{id}\"; it has {known}")]
    UnknownAddOn {
        /// What was asked for.
        id: String,
        /// The add-ons for sale, in quotes.
        known: String,
    },
    /// It runs, or runs on in grace.
    #[error(
        "edition \"{edition}\" is in force: valid until {valid_until}, stops at {stops_at}; \
         renew it instead"
    )]
    EditionInForce {
        /// The edition.
        edition: Name,
        /// When it ends, without grace.
        valid_until: String,
        /// When its grace is over.
        stops_at: String,
    },
    /// None was bought.
    #[error("no edition was bought that could be renewed; purchase one instead")]
    NothingToRenew,
    /// Add-ons need an edition.
    #[error("edition \"{0}\" may not buy add-ons")]
    AddOnsNotAllowed(Name),
    /// Add-ons need an edition that is in force.
    #[error("edition \"{0}\" has stopped; renew it first")]
    EditionStopped(Name),
    /// One of a kind at a time.
    #[error(
        "add-on \"{add_on}\" of the same kind is in force, stops at {stops_at}; refund it first"
    )]
    AddOnInForce {
        /// The add-on that runs.
        add_on: Name,
        /// When its grace is over.
        stops_at: String,
    },
    /// A purchase is refunded once.
    #[error("purchase \"{purchase}\" was refunded by request \"{by}\" already")]
    Refunded {
        /// The request that made the purchase.
        purchase: RequestId,
        /// The request that refunded it.
        by: RequestId,
    },
    /// The last renewal goes first.
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
        /// When.
        until: String,
    },
    /// There is no such purchase.
    #[error("the app has made no purchase with request_id \"{id}\"; it has made {known}")]
    UnknownPurchase {
        /// What was asked for.
        id: String,
        /// The request ids of its purchases, the last one first, in quotes.
        known: String,
    },
    /// Sales stand in the order of their instants.
    #[error("effective_at {at} lies before the app's last purchase or refund, {last}")]
    BeforeLast {
        /// What was asked for.
        at: String,
        /// The last one's.
        last: String,
    },
    /// The statement of the month is final.
    #[error("effective_at {at} lies in a month whose statement is final; {month} is closed")]
    MonthClosed {
        /// What was asked for.
        at: String,
        /// The last month that is closed.
        month: Month,
    },
    /// The edition may not run over what is free.
    #[error(
        "edition \"{edition}\" keeps messages for the {free_days} free days and no longer{}",
        first_purchase(.offer.as_ref())
    )]
    PostpaidNotAllowed {
        /// The edition in force.
        edition: Name,
        /// The days that are free.
        free_days: u32,
        /// The edition with the lowest price that may run over, where one is for sale.
        offer: Option<Name>,
    },
    /// Messages cannot be kept so long.
    #[error("must be {free_days}, which switches it off, to {days_max}, not {days}")]
    RetentionDays {
        /// What was asked for.
        days: u32,
        /// The shortest.
        free_days: u32,
        /// The longest.
        days_max: u32,
    },
    /// Nothing is sold for later.
    #[error("effective_at {at} lies in the future; it is {now}")]
    InTheFuture {
        /// What was asked for.
        at: String,
        /// Now.
        now: String,
    },
}

/// What to do, as it ends a sentence.
fn first_purchase(offer: Option<&Name>) -> String {
    offer.map_or_else(String::new, |offer| format!("; purchase edition \"{offer}\" first"))
}

/// An order that has not been checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Buy this edition.
    Edition(String),
    /// Prolong the edition that runs, or start the one anew that stopped.
    Renewal,
    /// Buy this add-on.
    AddOn(String),
}

impl Purchase {
    /// What an order buys at an instant, with the terms that it carries; nothing is added to the
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
        Ok(Self { request_id, item, months, price_fen, at, terms })
    }
}

/// Checks an order against what runs, and prices it: what is bought, and for how many fen.
pub fn sell(
    catalog: &Catalog,
    sales: &Sales,
    order: &Order,
    months: u32,
    at: Timestamp,
) -> Result<(Item, i64), Refusal> {
    let timeline = Timeline::new(catalog, sales);
    let running = timeline.bought_edition_in_force(at);
    let zone = catalog.zone;
    let (item, price) = match order {
        Order::Edition(id) => {
            let (edition, price) = edition_for_sale(catalog, id)?;
            if let Some(run) = running {
                return Err(Refusal::EditionInForce {
                    edition: run.edition.clone(),
                    valid_until: zone.show(run.valid.until),
                    stops_at: zone.show(run.stops_at),
                });
            }
            (Item::Edition(edition), price)
        }
        Order::Renewal => {
            let last = timeline.editions.last().ok_or(Refusal::NothingToRenew)?;
            let (edition, price) = edition_for_sale(catalog, last.edition.as_str())?;
            // Recorded for good, so that a later change of the grace does not change the past.
            let item = if running.is_some() { Item::Renewal } else { Item::Restart };
            (item(edition), price)
        }
        Order::AddOn(id) => {
            let add_on = catalog.add_on(id).ok_or_else(|| {
                let known = catalog.add_ons.iter().map(|add_on| add_on.id.as_str());
                Refusal::UnknownAddOn { id: id.to_owned(), known: quoted_names(known) }
            })?;
            check_add_on(catalog, sales, &timeline, id, at)?;
            (Item::AddOn(add_on.id.clone()), add_on.price_fen_per_month)
        }
    };
    Ok((item, price.saturating_mul(months.into())))
}

fn edition_for_sale(catalog: &Catalog, id: &str) -> Result<(Name, i64), Refusal> {
    catalog
        .edition(id)
        .and_then(|edition| Some((edition.id.clone(), edition.price_fen_per_month?)))
        .ok_or_else(|| {
            let sold = catalog.editions.iter().filter(|it| it.price_fen_per_month.is_some());
            let known = quoted_names(sold.map(|edition| edition.id.as_str()));
            Refusal::UnknownEdition { id: id.to_owned(), known }
        })
}

fn check_add_on(
    catalog: &Catalog,
    sales: &Sales,
    timeline: &Timeline,
    id: &str,
    at: Timestamp,
) -> Result<(), Refusal> {
    let (edition, state) = timeline.edition_at(at);
    if state == ServiceState::Stopped {
        return Err(Refusal::EditionStopped(edition));
    }
    if !sales.edition(catalog, &edition, at).is_some_and(|edition| edition.add_ons_allowed) {
        return Err(Refusal::AddOnsNotAllowed(edition));
    }
    let wanted = catalog.add_on(id).map(|add_on| &add_on.limit_id);
    let kind = |id: &Name| sales.add_on(catalog, id, at).map(|add_on| &add_on.limit_id);
    let same_kind = |run: &&AddOnRun| at < run.in_force.until && kind(&run.add_on) == wanted;
    match timeline.add_ons.iter().find(same_kind) {
        Some(run) => Err(Refusal::AddOnInForce {
            add_on: run.add_on.clone(),
            stops_at: catalog.zone.show(run.in_force.until),
        }),
        None => Ok(()),
    }
}
