//! Conditions under which an edition or add-on is sold, and the rules of its price.
//!
//! An item without conditions is for sale at its price of a month, for any number of months and any
//! number of times. An item that is not for sale stays what it is for those who have it.

use super::agreed;
use super::calendar::{LastDay, Zone};
use super::catalog::{AddOn, Catalog, Edition, Validity};
use super::id::Name;
use super::limit::{Bound, Source};
use super::month::Month;
use super::purchase::{Item, Period, Refusal, Sales};
use super::text::quoted_names;
use super::time::Timestamp;
use super::timeline::{AddOnRun, ServiceState, Timeline};

/// Greatest price: ten thousand million CNY, so that years of it are far from any overflow.
pub const PRICE_MAX_FEN: i64 = 1_000_000_000_000;

/// Conditions of sale of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selling {
    /// False if it is retired, or sold on request: it is not offered, and not sold anew.
    pub is_for_sale: bool,
    /// Most months of one purchase; `None`: as many as a purchase may have.
    pub months_max: Option<u32>,
    /// True if an app may buy it once, as a trial that ends.
    pub is_once_per_app: bool,
    /// Prices of certain numbers of months, in fen, in place of the price of a month.
    pub price_of_months: Vec<(u32, i64)>,
}

impl Default for Selling {
    fn default() -> Self {
        Self {
            is_for_sale: true,
            months_max: None,
            is_once_per_app: false,
            price_of_months: Vec::new(),
        }
    }
}

impl Selling {
    /// Returns whether the item may be offered to any app: it is for sale, and as often as wanted.
    /// A decision does not read whether the app has bought an item before.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.is_for_sale && !self.is_once_per_app
    }

    /// Returns the price that is set for just this number of months, in fen.
    #[must_use]
    pub fn price_of(&self, months: u32) -> Option<i64> {
        let mut prices = self.price_of_months.iter();
        prices.find(|(of, _)| *of == months).map(|(_, price)| *price)
    }
}

/// The part of a purchase that has begun which a refund pays back, after the days in which it is
/// the whole price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefundRule {
    /// The share of the days that are left.
    #[default]
    Days,
    /// Nothing.
    Nothing,
}

/// The computation of the price of a purchase from the price of a month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FeeRule {
    /// It is paid for each month of the purchase.
    #[default]
    Months,
    /// Each day of the purchase costs its share of the calendar month in which it lies.
    CalendarDays,
}

/// Conditions of one purchase that differ from those of its item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The last valid day, by the catalog of the sale.
    pub last_day: LastDay,
    /// The computation of its price, unless a price was set for its number of months.
    pub fee: FeeRule,
    /// True if its price was agreed, whatever the catalog has.
    pub is_price_agreed: bool,
}

impl Conditions {
    /// Returns the conditions of a sale by a catalog.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        let Validity { last_day, fee, .. } = catalog.validity;
        Self { last_day, fee, is_price_agreed: false }
    }
}

impl Catalog {
    /// Returns the ids of the editions that are for sale, in quotes.
    #[must_use]
    pub fn editions_on_sale(&self) -> String {
        let priced = self.editions.iter().filter(|it| it.price_fen_per_month.is_some());
        let sold = priced.filter(|it| it.selling.is_for_sale);
        quoted_names(sold.map(|edition| edition.id.as_str()))
    }

    /// Returns the ids of the add-ons that are for sale, in quotes.
    #[must_use]
    pub fn add_ons_on_sale(&self) -> String {
        let sold = self.add_ons.iter().filter(|add_on| add_on.selling.is_for_sale);
        quoted_names(sold.map(|add_on| add_on.id.as_str()))
    }
}

/// Returns an edition and its price of a month, whether or not it is for sale.
pub(super) fn priced_edition<'a>(
    catalog: &'a Catalog,
    id: &str,
) -> Result<(&'a Edition, i64), Refusal> {
    let found = catalog.edition(id);
    found.and_then(|edition| Some((edition, edition.price_fen_per_month?))).ok_or_else(|| {
        Refusal::UnknownEdition { id: id.to_owned(), known: catalog.editions_on_sale() }
    })
}

/// Returns an edition that is for sale, and its price of a month.
pub(super) fn edition_for_sale<'a>(
    catalog: &'a Catalog,
    id: &str,
) -> Result<(&'a Edition, i64), Refusal> {
    let (edition, price) = priced_edition(catalog, id)?;
    if !edition.selling.is_for_sale {
        return Err(not_for_sale(catalog, "edition", &edition.id, false));
    }
    Ok((edition, price))
}

/// Returns an add-on that is for sale.
pub(super) fn add_on_for_sale<'a>(catalog: &'a Catalog, id: &str) -> Result<&'a AddOn, Refusal> {
    let add_on = catalog.add_on(id).ok_or_else(|| Refusal::UnknownAddOn {
        id: id.to_owned(),
        known: catalog.add_ons_on_sale(),
    })?;
    if !add_on.selling.is_for_sale {
        return Err(not_for_sale(catalog, "add-on", &add_on.id, false));
    }
    Ok(add_on)
}

/// Returns the refusal of an item that is not for sale: an `edition` or `add-on`.
pub(super) fn not_for_sale(
    catalog: &Catalog,
    what: &'static str,
    id: &Name,
    is_renewal: bool,
) -> Refusal {
    let known = match what {
        "edition" => catalog.editions_on_sale(),
        _ => catalog.add_ons_on_sale(),
    };
    Refusal::NotForSale { what, id: id.clone(), is_renewal, known }
}

/// Checks that an add-on may be bought at an instant: by the edition in force, one of a kind, and
/// not without effect.
pub(super) fn check_add_on(
    catalog: &Catalog,
    sales: &Sales,
    timeline: &Timeline,
    add_on: &AddOn,
    at: Timestamp,
) -> Result<(), Refusal> {
    let (name, state) = timeline.edition_at(at);
    if state == ServiceState::Stopped {
        return Err(Refusal::EditionStopped(name));
    }
    let edition = sales.edition(catalog, &name, at).filter(|edition| edition.add_ons_allowed);
    let Some(edition) = edition else { return Err(Refusal::AddOnsNotAllowed(name)) };
    let agreed = agreed::instead_of(&timeline.agreed, add_on, at);
    let instead = match (agreed, edition.limit(&add_on.limit_id)) {
        (Some((Bound { limit, source }, until)), _) => {
            let request = match source {
                Source::Agreed(request_id) => format!(" (request \"{request_id}\")"),
                _ => String::new(),
            };
            let until = catalog.zone.show(until);
            Some(format!("an agreed limit{request} sets to {limit} until {until}"))
        }
        _ if add_on.raises(edition) => None,
        (None, Some(limit)) => Some(format!("edition \"{name}\" sets to {limit} already")),
        (None, None) => Some(format!("edition \"{name}\" does not limit")),
    };
    if let Some(instead) = instead {
        let (id, limit_id) = (add_on.id.clone(), add_on.limit_id.clone());
        return Err(Refusal::RaisesNothing { add_on: id, limit_id, raised: add_on.limit, instead });
    }
    let kind = |id: &Name| sales.add_on(catalog, id, at).map(|add_on| &add_on.limit_id);
    let same_kind =
        |run: &&AddOnRun| at < run.in_force.until && kind(&run.add_on) == Some(&add_on.limit_id);
    match timeline.add_ons.iter().find(same_kind) {
        Some(run) => Err(Refusal::AddOnInForce {
            add_on: run.add_on.clone(),
            stops_at: catalog.zone.show(run.in_force.until),
        }),
        None => Ok(()),
    }
}

/// Checks the conditions of sale of an item: how often, and for how many months.
pub(super) fn check_selling(
    sales: &Sales,
    selling: &Selling,
    item: &Item,
    months: u32,
) -> Result<(), Refusal> {
    let Some((what, id)) = item.named() else { return Ok(()) };
    if let Some(months_max) = selling.months_max.filter(|most| months > *most) {
        return Err(Refusal::MonthsAboveMax { id: id.clone(), months, months_max });
    }
    let mut sold = sales.purchases.iter().filter(|_| selling.is_once_per_app);
    match sold.find(|made| made.item.named() == Some((what, id))) {
        Some(made) => {
            let (is_renewal, by) = (item.is_renewal(), made.request_id.clone());
            Err(Refusal::SoldOnce { what, id: id.clone(), is_renewal, by })
        }
        None => Ok(()),
    }
}

/// Common multiple of the numbers of days that months have: 28, 29, 30 and 31.
const DAYS_MULTIPLE: i128 = 28 * 29 * 15 * 31;

/// Returns the price of a period by the days of calendar months, in fen, rounded half up once. The
/// days on which it begins and ends count whole.
#[must_use]
pub fn price_by_calendar_days(zone: Zone, period: Period, price_fen_per_month: i64) -> i64 {
    let first = zone.day_of(period.from);
    let last = zone.day_of(Timestamp::from_millis(period.until.as_millis() - 1));
    let mut shares: i128 = 0;
    let mut month = Month::of(first);
    while month.first_day() <= last {
        let (of_first, of_last) = (month.first_day(), month.last_day());
        let days = |from: i32, to: i32| i128::from(to) - i128::from(from) + 1;
        let used = days(of_first.max(first).number(), of_last.min(last).number());
        shares += used * DAYS_MULTIPLE / days(of_first.number(), of_last.number());
        month = month.next();
    }
    let price = i128::from(price_fen_per_month) * shares;
    let rounded = (2 * price + DAYS_MULTIPLE).div_euclid(2 * DAYS_MULTIPLE);
    i64::try_from(rounded).unwrap_or(i64::MAX)
}
