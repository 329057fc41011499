//! Timeline of an app: the validity of all purchases, refunds included.
//!
//! Validity is computed from the whole of [`Sales`], never stored. An edition is *in force* while
//! it is valid and during its grace; add-ons can only be bought and only count while one is.

use super::calendar::{Day, LastDay, Zone};
use super::catalog::{AfterGrace, Catalog};
use super::id::Name;
use super::limit::{Bound, LimitId, Source};
use super::purchase::{Item, Period, Purchase, Refund, Sales};
use super::time::Timestamp;

/// An edition in force: its purchase and the renewals that prolonged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditionRun {
    /// The edition.
    pub edition: Name,
    /// The day of the purchase, from which all months count.
    anchor: Day,
    /// Months paid for so far.
    months: u32,
    /// The last valid day, by the last of its purchases.
    last_day: LastDay,
    /// Indices of its purchases that were not refunded.
    parts: Vec<usize>,
    /// Period of validity, without grace.
    pub valid: Period,
    /// End of its grace.
    pub stops_at: Timestamp,
    /// True if a refund ended it.
    pub refunded: bool,
}

/// A purchased add-on and its period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddOnRun {
    /// The add-on.
    pub add_on: Name,
    /// Index of its purchase.
    purchase: usize,
    /// Period in force, grace included.
    pub in_force: Period,
    /// True if a refund ended it.
    pub refunded: bool,
}

/// An agreed limit and its period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedRun {
    /// The limit.
    pub limit_id: LimitId,
    /// The agreed value, with its request as the source.
    pub bound: Bound,
    /// Index of its purchase.
    purchase: usize,
    /// Period in force; there is no grace.
    pub in_force: Period,
    /// True if a refund ended it.
    pub refunded: bool,
}

/// The two ends of an edition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EditionEnd {
    /// First instant after its validity, without grace.
    pub valid_until: Timestamp,
    /// First instant after its grace.
    pub stops_at: Timestamp,
}

/// Period of a purchase, and of its grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurchaseRun {
    /// When it is valid.
    pub valid: Period,
    /// First instant after its grace.
    pub stops_at: Timestamp,
}

/// State of an app's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceState {
    /// The edition is valid.
    Active,
    /// The edition has ended and is in its days of grace.
    Grace,
    /// The grace is over: every operation that takes is denied.
    Stopped,
}

impl ServiceState {
    /// Returns the state in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Grace => "in grace",
            Self::Stopped => "stopped",
        }
    }
}

/// Periods that follow from an app's purchases, in the order of purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Editions, the last bought one last.
    pub editions: Vec<EditionRun>,
    /// Add-ons.
    pub add_ons: Vec<AddOnRun>,
    /// Agreed limits.
    pub agreed: Vec<AgreedRun>,
    /// Period of validity of each purchase, by its index.
    pub valid: Vec<Period>,
    default_edition: Name,
    after_grace: AfterGrace,
}

impl Timeline {
    /// Computes the timeline of an app's sales.
    #[must_use]
    pub fn new(catalog: &Catalog, sales: &Sales) -> Self {
        let purchases = &sales.purchases;
        let mut timeline = Self {
            editions: Vec::new(),
            add_ons: Vec::new(),
            agreed: Vec::new(),
            valid: Vec::with_capacity(purchases.len()),
            default_edition: catalog.default_edition.clone(),
            after_grace: catalog.validity.after_grace,
        };
        let mut refunds = sales.refunds.iter().peekable();
        for (index, purchase) in purchases.iter().enumerate() {
            while let Some(refund) = refunds.next_if(|refund| refund.made_after <= index) {
                timeline.take_back(catalog, purchases, refund);
            }
            let period = timeline.add(catalog, purchase);
            timeline.valid.push(period);
        }
        for refund in refunds {
            timeline.take_back(catalog, purchases, refund);
        }
        timeline
    }

    /// Ends the refunded purchase immediately, without grace; removes a renewal that has not begun.
    /// Of a purchase that has ended, as an exchange may pay back, only the grace ends.
    fn take_back(&mut self, catalog: &Catalog, purchases: &[Purchase], refund: &Refund) {
        let (index, at) = (refund.purchase, refund.at);
        if let Some(run) = self.add_ons.iter_mut().find(|run| run.purchase == index) {
            run.in_force.until = at;
            run.refunded = true;
            self.valid[index].until = at.min(self.valid[index].until);
            return;
        }
        if let Some(run) = self.agreed.iter_mut().find(|run| run.purchase == index) {
            run.in_force.until = at.min(run.in_force.until);
            run.refunded = true;
            self.valid[index].until = run.in_force.until;
            return;
        }
        let Some(run) = self.editions.iter_mut().find(|run| run.parts.last() == Some(&index))
        else {
            return;
        };
        run.parts.pop();
        let valid = &mut self.valid[index];
        if at < valid.from {
            run.months -= purchases[index].months;
            let last = run.parts.last().map(|part| purchases[*part].conditions.last_day);
            run.last_day = last.unwrap_or_default();
            run.end(catalog.zone, catalog.validity.edition_grace_days);
            valid.until = valid.from;
        } else {
            run.refunded = at < run.valid.until;
            run.valid.until = at.min(run.valid.until);
            run.stops_at = at;
            valid.until = at.min(valid.until);
        }
    }

    /// Returns the index of the last renewal of the same run, if it comes after the purchase.
    #[must_use]
    pub fn renewed_by(&self, purchase: usize) -> Option<usize> {
        let parts = self.editions.iter().map(|run| &run.parts);
        let mut parts = parts.filter(|parts| parts.contains(&purchase));
        parts.next()?.last().copied().filter(|last| *last != purchase)
    }

    /// Adds the run of a purchase, and returns the purchase's period of validity.
    pub(super) fn add(&mut self, catalog: &Catalog, purchase: &Purchase) -> Period {
        let index = self.valid.len();
        let (zone, last_day) = (catalog.zone, purchase.conditions.last_day);
        let grace = catalog.validity;
        match (&purchase.item, self.editions.last_mut()) {
            (Item::AddOn(add_on), _) => {
                let end = zone.day_of(purchase.at).end_after_months(purchase.months, last_day);
                let valid = Period { from: purchase.at, until: zone.start_of(end) };
                let until = zone.start_of(end.plus_days(grace.add_on_grace_days));
                let in_force = Period { from: purchase.at, until };
                let add_on = add_on.clone();
                self.add_ons.push(AddOnRun { add_on, purchase: index, in_force, refunded: false });
                valid
            }
            (Item::Limit(agreed), _) => {
                let in_force = agreed.valid(zone, purchase.at, purchase.months, last_day);
                let source = Source::Agreed(purchase.request_id.clone());
                let bound = Bound { limit: agreed.limit, source };
                let limit_id = agreed.limit_id.clone();
                let (purchase, refunded) = (index, false);
                self.agreed.push(AgreedRun { limit_id, bound, purchase, in_force, refunded });
                in_force
            }
            (Item::Renewal(_), Some(run)) => {
                let from = run.valid.until;
                run.months += purchase.months;
                run.last_day = last_day;
                run.parts.push(index);
                run.end(zone, grace.edition_grace_days);
                Period { from, until: run.valid.until }
            }
            // A renewal is only sold if there is a run to renew; without one, it would start a run.
            (Item::Edition(edition) | Item::Restart(edition) | Item::Renewal(edition), _) => {
                let mut run = EditionRun {
                    edition: edition.clone(),
                    anchor: zone.day_of(purchase.at),
                    months: purchase.months,
                    last_day,
                    parts: vec![index],
                    valid: Period { from: purchase.at, until: purchase.at },
                    stops_at: purchase.at,
                    refunded: false,
                };
                run.end(zone, grace.edition_grace_days);
                let valid = run.valid;
                self.editions.push(run);
                valid
            }
        }
    }

    /// Returns the edition at an instant and the state of its service.
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

    /// Returns the end of the edition of an instant; `None` if none was bought, or if the default
    /// edition followed it.
    #[must_use]
    pub fn edition_end(&self, at: Timestamp) -> Option<EditionEnd> {
        let run = self.editions.iter().rev().find(|run| run.valid.from <= at)?;
        let is_replaced = at >= run.stops_at && self.after_grace == AfterGrace::DefaultEdition;
        let end = EditionEnd { valid_until: run.valid.until, stops_at: run.stops_at };
        (!is_replaced).then_some(end)
    }

    /// Returns the period of the last purchase; `None` if nothing was bought.
    #[must_use]
    pub fn last_purchase(&self) -> Option<PurchaseRun> {
        let index = self.valid.len().checked_sub(1)?;
        let add_on = self.add_ons.last().filter(|run| run.purchase == index);
        let agreed = self.agreed.last().filter(|run| run.purchase == index);
        let in_force = add_on.map(|run| run.in_force).or(agreed.map(|run| run.in_force));
        let stops_at = match in_force {
            Some(in_force) => in_force.until,
            None => self.editions.last()?.stops_at,
        };
        Some(PurchaseRun { valid: self.valid[index], stops_at })
    }

    /// Returns the state after the end of a run, by the run's index; `None` if another run has
    /// begun before that end.
    #[must_use]
    pub fn after_end_of(&self, run: usize) -> Option<AfterGrace> {
        let stops_at = self.editions.get(run)?.stops_at;
        let last = self.editions.iter().rposition(|it| it.valid.from <= stops_at);
        (last == Some(run)).then_some(self.after_grace)
    }

    /// Returns the instants at which anything may change, sorted and unique.
    #[must_use]
    pub fn boundaries(&self) -> Vec<Timestamp> {
        let editions =
            self.editions.iter().flat_map(|run| [run.valid.from, run.valid.until, run.stops_at]);
        let add_ons = self.add_ons.iter().flat_map(|run| [run.in_force.from, run.in_force.until]);
        let agreed = self.agreed.iter().flat_map(|run| [run.in_force.from, run.in_force.until]);
        let mut all: Vec<_> = editions.chain(add_ons).chain(agreed).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns the purchased edition that is in force at an instant.
    #[must_use]
    pub fn bought_edition_in_force(&self, at: Timestamp) -> Option<&EditionRun> {
        self.editions.last().filter(|run| run.valid.from <= at && at < run.stops_at)
    }
}

impl AddOnRun {
    /// Returns the index of its purchase.
    #[must_use]
    pub fn purchase(&self) -> usize {
        self.purchase
    }
}

impl AgreedRun {
    /// Returns the index of its purchase.
    #[must_use]
    pub fn purchase(&self) -> usize {
        self.purchase
    }
}

impl EditionRun {
    /// Returns the indices of its purchases that were not refunded, in the order of purchase.
    #[must_use]
    pub fn purchases(&self) -> &[usize] {
        &self.parts
    }

    fn end(&mut self, zone: Zone, grace_days: u32) {
        let end = self.anchor.end_after_months(self.months, self.last_day);
        self.valid.until = zone.start_of(end);
        self.stops_at = zone.start_of(end.plus_days(grace_days));
    }
}
