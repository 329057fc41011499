//! Exchanges: the refund of what remains of one item and the sale of another as one change (pricing
//! rules, section 5).
//!
//! The refund is always by days, whatever the catalog pays back otherwise: never the whole price
//! that is paid back soon after a purchase, none of which it uses up. The running day counts as
//! used in the old purchase and is the first day of the new one, whose months count from it. The
//! old purchase ends and the new one begins at the same instant. The records of both have the
//! request's id.

use super::catalog::Catalog;
use super::id::RequestId;
use super::purchase::{Order, Purchase, Refund, Refusal, Sales};
use super::refund::Remaining;
use super::selling::{add_on_for_sale, edition_for_sale};
use super::text::quoted_names;
use super::time::Timestamp;
use super::timeline::{AddOnRun, EditionRun, Timeline};

/// What is exchanged for what; unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchanged {
    /// The edition in force for this one. Add-ons that raise nothing under it are refunded too.
    Edition(String),
    /// An add-on in force for another one.
    AddOn {
        /// The add-on in force.
        replaced: String,
        /// The add-on to buy.
        add_on: String,
    },
}

/// An unchecked order of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeOrder {
    /// The items.
    pub items: Exchanged,
    /// Number of months of the new purchase.
    pub months: u32,
    /// Highest sum to pay that the caller accepts, in fen; `None` accepts every sum.
    pub max_sum_fen: Option<i64>,
    /// Agreed price of the new purchase, in fen; `None`: that of the catalog.
    pub price_fen: Option<i64>,
}

/// Reason why an exchange is refused, in addition to those of a purchase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeRefusal {
    /// No purchased edition is in force.
    #[error("the app has no purchased edition in force to change; purchase one instead")]
    NothingToChange,
    /// The add-on that is to be replaced is neither in the catalog nor was it bought.
    #[error("there is no add-on \"{id}\" to replace; in force: {running}")]
    UnknownReplaced {
        /// The id requested.
        id: String,
        /// The add-ons in force, in quotes.
        running: String,
    },
    /// The add-on that is to be replaced is not in force.
    #[error("add-on \"{id}\" is not in force, so that it cannot be exchanged; in force: {running}")]
    AddOnNotInForce {
        /// The id requested.
        id: String,
        /// The add-ons in force, in quotes.
        running: String,
    },
    /// The sum to pay is higher than the caller accepts.
    #[error(
        "the sum to pay is {sum_fen} fen now, more than max_sum_fen, {max_sum_fen}; preview the \
         change again"
    )]
    SumAboveMax {
        /// The sum, in fen.
        sum_fen: i64,
        /// The highest sum that the caller accepts, in fen.
        max_sum_fen: i64,
    },
}

/// An exchange: refunds, and the purchase that follows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The refunds, in the order in which they are made.
    pub refunds: Vec<Refund>,
    /// The purchase.
    pub purchase: Purchase,
}

impl Exchange {
    /// Returns the exchange that an order makes at an instant; adds nothing to the sales.
    pub fn of_order(
        catalog: &Catalog,
        sales: &Sales,
        request_id: &RequestId,
        order: &ExchangeOrder,
        at: Timestamp,
    ) -> Result<Self, Refusal> {
        let timeline = &Timeline::new(catalog, sales);
        let mut refunding = Refunding { catalog, request_id, at, timeline, sales: sales.clone() };
        let new = match &order.items {
            Exchanged::Edition(id) => {
                edition_for_sale(catalog, id)?;
                let run = replaced_edition(catalog, timeline, id, at)?;
                refunding.refund_edition(run);
                Order::Edition(id.clone())
            }
            Exchanged::AddOn { replaced, add_on } => {
                add_on_for_sale(catalog, add_on)?;
                let run = replaced_add_on(catalog, sales, timeline, replaced, at)?;
                refunding.refund(run.purchase());
                Order::AddOn(add_on.clone())
            }
        };
        let id = request_id.clone();
        let sold = Purchase::of_order(catalog, &refunding.sales, id, &new, order.months, at)?;
        let sold = sold.at_price(order.price_fen);
        if let Exchanged::Edition(id) = &order.items {
            refunding.refund_useless_add_ons(id);
        }
        let refunds = refunding.sales.refunds.split_off(sales.refunds.len());
        let exchange = Self { refunds, purchase: sold };
        let sum_fen = exchange.sum_fen();
        match order.max_sum_fen.filter(|max_sum_fen| sum_fen > *max_sum_fen) {
            Some(max_sum_fen) => Err(ExchangeRefusal::SumAboveMax { sum_fen, max_sum_fen }.into()),
            None => Ok(exchange),
        }
    }

    /// Returns the sum to pay, in fen: the price less the refunds. A negative sum is paid out.
    #[must_use]
    pub fn sum_fen(&self) -> i64 {
        let refund_fen = self.refunds.iter().map(|refund| refund.refund_fen);
        refund_fen.fold(self.purchase.price_fen, i64::saturating_sub)
    }

    /// Adds it to the sales, and returns the index of the purchase.
    pub fn add_to(self, sales: &mut Sales) -> usize {
        sales.refunds.extend(self.refunds);
        sales.purchases.push(self.purchase);
        sales.purchases.len() - 1
    }
}

/// Returns the run of the edition in force, which another edition may replace.
fn replaced_edition<'a>(
    catalog: &Catalog,
    timeline: &'a Timeline,
    new: &str,
    at: Timestamp,
) -> Result<&'a EditionRun, Refusal> {
    let run = timeline.bought_edition_in_force(at).ok_or(ExchangeRefusal::NothingToChange)?;
    if run.edition.as_str() == new {
        return Err(Refusal::EditionInForce {
            edition: run.edition.clone(),
            valid_until: catalog.zone.show(run.valid.until),
            stops_at: catalog.zone.show(run.stops_at),
        });
    }
    Ok(run)
}

/// Returns the run of an add-on in force.
fn replaced_add_on<'a>(
    catalog: &Catalog,
    sales: &Sales,
    timeline: &'a Timeline,
    id: &str,
    at: Timestamp,
) -> Result<&'a AddOnRun, ExchangeRefusal> {
    let in_force = || timeline.add_ons.iter().filter(|run| run.in_force.contains(at));
    in_force().rfind(|run| run.add_on.as_str() == id).ok_or_else(|| {
        let running = quoted_names(in_force().map(|run| run.add_on.as_str()));
        let is_known = sales.add_on(catalog, &id.into(), at).is_some();
        let id = id.to_owned();
        if is_known {
            ExchangeRefusal::AddOnNotInForce { id, running }
        } else {
            ExchangeRefusal::UnknownReplaced { id, running }
        }
    })
}

/// The refunds of an exchange so far.
struct Refunding<'a> {
    catalog: &'a Catalog,
    request_id: &'a RequestId,
    at: Timestamp,
    /// The timeline without them: they change no period of a purchase that is not refunded yet.
    timeline: &'a Timeline,
    /// The sales with them.
    sales: Sales,
}

impl Refunding<'_> {
    /// Refunds the renewals of an edition that have not begun, the last one first, and what remains
    /// of the purchase that runs or, in grace, ran last.
    fn refund_edition(&mut self, run: &EditionRun) {
        for purchase in run.purchases().iter().rev() {
            let valid_from = self.refund(*purchase);
            if valid_from <= self.at {
                break;
            }
        }
    }

    /// Refunds the add-ons that are valid and raise nothing under an edition.
    fn refund_useless_add_ons(&mut self, edition: &str) {
        let Some(edition) = self.catalog.edition(edition) else { return };
        for run in &self.timeline.add_ons {
            let add_on = self.sales.add_on(self.catalog, &run.add_on, self.at);
            let is_useless = add_on.is_some_and(|add_on| !add_on.raises(edition));
            if is_useless && self.timeline.valid[run.purchase()].contains(self.at) {
                self.refund(run.purchase());
            }
        }
    }

    /// Refunds a purchase, and returns the first instant of its validity.
    fn refund(&mut self, purchase: usize) -> Timestamp {
        let (valid, zone) = (self.timeline.valid[purchase], self.catalog.zone);
        let price_fen = self.sales.purchases[purchase].price_fen;
        let remaining = Remaining::by_days(zone, price_fen, valid, self.at);
        let id = self.request_id.clone();
        let refund = Refund::with_figures(&self.sales, id, purchase, remaining, self.at);
        self.sales.refunds.push(refund);
        valid.from
    }
}
