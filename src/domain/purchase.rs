//! What an app has bought, the rules of buying, and when each purchase is valid.
//!
//! Purchases form a timeline that only grows: each stands at the instant from which it counts.
//! Validity is worked out from the whole timeline, never stored. An edition is *in force* while it
//! is valid and during its grace; that is what add-ons need, to be bought and to count.

use super::calendar::{Day, Zone};
use super::catalog::{AfterGrace, Catalog};
use super::id::{Name, RequestId};
use super::time::Timestamp;

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
    #[error("the catalog has no edition \"{0}\" for sale")]
    UnknownEdition(String),
    /// Not in the catalog.
    #[error("the catalog has no add-on \"{0}\"")]
    UnknownAddOn(String),
    /// It runs, or runs on in grace.
    #[error("edition \"{edition}\" is in force until {until}; renew it instead")]
    EditionInForce {
        /// The edition.
        edition: Name,
        /// When its grace is over.
        until: String,
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
    #[error("add-on \"{add_on}\" of the same kind runs until {until}; refund it first")]
    AddOnInForce {
        /// The add-on that runs.
        add_on: Name,
        /// Until when.
        until: String,
    },
}

/// An edition as it runs: its purchase and the renewals that prolonged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditionRun {
    /// The edition.
    pub edition: Name,
    /// The day of the purchase, from which all months count.
    anchor: Day,
    /// Months paid for so far.
    months: u32,
    /// When it is valid.
    pub valid: Period,
    /// When its grace is over.
    pub stops_at: Timestamp,
}

/// An add-on as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddOnRun {
    /// The add-on.
    pub add_on: Name,
    /// When it is in force, grace included.
    pub in_force: Period,
}

/// State of an app's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceState {
    /// The edition is valid.
    Active,
    /// It has ended and runs on for its days of grace.
    Grace,
    /// The grace is over: everything that takes is denied.
    Stopped,
}

/// All that follows from an app's purchases, in the order of purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Editions, the last bought one last.
    pub editions: Vec<EditionRun>,
    /// Add-ons.
    pub add_ons: Vec<AddOnRun>,
    /// When each purchase is valid, by its index.
    pub valid: Vec<Period>,
    default_edition: Name,
    after_grace: AfterGrace,
}

impl Timeline {
    /// Works out what runs when.
    #[must_use]
    pub fn new(catalog: &Catalog, purchases: &[Purchase]) -> Self {
        let mut timeline = Self {
            editions: Vec::new(),
            add_ons: Vec::new(),
            valid: Vec::with_capacity(purchases.len()),
            default_edition: catalog.default_edition.clone(),
            after_grace: catalog.validity.after_grace,
        };
        for purchase in purchases {
            let period = timeline.add(catalog, purchase);
            timeline.valid.push(period);
        }
        timeline
    }

    fn add(&mut self, catalog: &Catalog, purchase: &Purchase) -> Period {
        let zone = catalog.zone;
        let grace = catalog.validity;
        match (&purchase.item, self.editions.last_mut()) {
            (Item::AddOn(add_on), _) => {
                let end = zone.day_of(purchase.at).end_after_months(purchase.months);
                let valid = Period { from: purchase.at, until: zone.start_of(end) };
                let until = zone.start_of(end.plus_days(grace.add_on_grace_days));
                let in_force = Period { from: purchase.at, until };
                self.add_ons.push(AddOnRun { add_on: add_on.clone(), in_force });
                valid
            }
            (Item::Renewal(_), Some(run)) => {
                let from = run.valid.until;
                run.months += purchase.months;
                run.end(zone, grace.edition_grace_days);
                Period { from, until: run.valid.until }
            }
            // A renewal is only sold where something runs; were there nothing, it would begin it.
            (Item::Edition(edition) | Item::Restart(edition) | Item::Renewal(edition), _) => {
                let mut run = EditionRun {
                    edition: edition.clone(),
                    anchor: zone.day_of(purchase.at),
                    months: purchase.months,
                    valid: Period { from: purchase.at, until: purchase.at },
                    stops_at: purchase.at,
                };
                run.end(zone, grace.edition_grace_days);
                let valid = run.valid;
                self.editions.push(run);
                valid
            }
        }
    }

    /// The edition of an instant and the state of its service.
    #[must_use]
    pub fn edition_at(&self, at: Timestamp) -> (Name, ServiceState) {
        let Some(run) = self.editions.iter().rev().find(|run| run.valid.from <= at) else {
            return (self.default_edition.clone(), ServiceState::Active);
        };
        if at < run.valid.until {
            (run.edition.clone(), ServiceState::Active)
        } else if at < run.stops_at {
            (run.edition.clone(), ServiceState::Grace)
        } else {
            match self.after_grace {
                AfterGrace::Stop => (run.edition.clone(), ServiceState::Stopped),
                AfterGrace::DefaultEdition => (self.default_edition.clone(), ServiceState::Active),
            }
        }
    }

    /// The instants at which anything may change, sorted, each once.
    #[must_use]
    pub fn boundaries(&self) -> Vec<Timestamp> {
        let editions =
            self.editions.iter().flat_map(|run| [run.valid.from, run.valid.until, run.stops_at]);
        let add_ons = self.add_ons.iter().flat_map(|run| [run.in_force.from, run.in_force.until]);
        let mut all: Vec<_> = editions.chain(add_ons).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn bought_edition_in_force(&self, at: Timestamp) -> Option<&EditionRun> {
        self.editions.last().filter(|run| run.valid.from <= at && at < run.stops_at)
    }
}

impl EditionRun {
    fn end(&mut self, zone: Zone, grace_days: u32) {
        let end = self.anchor.end_after_months(self.months);
        self.valid.until = zone.start_of(end);
        self.stops_at = zone.start_of(end.plus_days(grace_days));
    }
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

/// Checks an order against what runs, and prices it: what is bought, and for how many fen.
pub fn sell(
    catalog: &Catalog,
    purchases: &[Purchase],
    order: &Order,
    months: u32,
    at: Timestamp,
) -> Result<(Item, i64), Refusal> {
    let timeline = Timeline::new(catalog, purchases);
    let running = timeline.bought_edition_in_force(at);
    let zone = catalog.zone;
    let (item, price) = match order {
        Order::Edition(id) => {
            let (edition, price) = edition_for_sale(catalog, id)?;
            if let Some(run) = running {
                return Err(Refusal::EditionInForce {
                    edition: run.edition.clone(),
                    until: zone.show(run.stops_at),
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
            let add_on = catalog.add_on(id).ok_or_else(|| Refusal::UnknownAddOn(id.to_owned()))?;
            check_add_on(catalog, &timeline, id, at)?;
            (Item::AddOn(add_on.id.clone()), add_on.price_fen_per_month)
        }
    };
    Ok((item, price.saturating_mul(months.into())))
}

fn edition_for_sale(catalog: &Catalog, id: &str) -> Result<(Name, i64), Refusal> {
    catalog
        .edition(id)
        .and_then(|edition| Some((edition.id.clone(), edition.price_fen_per_month?)))
        .ok_or_else(|| Refusal::UnknownEdition(id.to_owned()))
}

fn check_add_on(
    catalog: &Catalog,
    timeline: &Timeline,
    id: &str,
    at: Timestamp,
) -> Result<(), Refusal> {
    let (edition, state) = timeline.edition_at(at);
    if state == ServiceState::Stopped {
        return Err(Refusal::EditionStopped(edition));
    }
    if !catalog.edition(edition.as_str()).is_some_and(|edition| edition.add_ons_allowed) {
        return Err(Refusal::AddOnsNotAllowed(edition));
    }
    let kind = |id: &str| catalog.add_on(id).map(|add_on| &add_on.limit_id);
    let same_kind =
        |run: &&AddOnRun| at < run.in_force.until && kind(run.add_on.as_str()) == kind(id);
    match timeline.add_ons.iter().find(same_kind) {
        Some(run) => Err(Refusal::AddOnInForce {
            add_on: run.add_on.clone(),
            until: catalog.zone.show(run.in_force.until),
        }),
        None => Ok(()),
    }
}
