//! Upgrade offers: the cheapest purchase that lifts a violation.
//!
//! A purchase helps if the same request would be admitted under the limits after it: it lifts every
//! violation of the result, not only the one that it is offered against. Of those that help the one
//! with the lowest monthly list price is offered, at equal price the one with the smaller limit; if
//! none helps, nothing is offered. So nothing is offered if the type's own cap, the group's own
//! limit or a daily limit is violated, nor if two purchases would be needed.
//!
//! For sale are the add-ons that the current edition may buy, in exchange for an add-on of the same
//! kind that is in force, and the other editions, in exchange for a purchased one. Add-ons in force
//! that still raise a limit under the new edition stay and count. An edition that lowers a limit of
//! the same part (accounts, friends, or groups) is not offered: the count against that limit is not
//! part of the result. An agreed limit stays whatever is bought, so that nothing is offered against
//! it.
//!
//! Against the limit of the peer's friends nothing is offered to the user who adds; a purchase that
//! lifts it too is offered against that user's own limit.

use super::catalog::{AddOn, Catalog, Edition};
use super::currency::Currency;
use super::decision::{Reason, Violation};
use super::id::Name;
use super::limit::{Limit, LimitId, Source};
use super::limits::{Part, Relation, Sale};
use super::schedule::Limits;

/// Item that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// An edition.
    Edition(Name),
    /// An add-on.
    AddOn(Name),
}

/// Offer of a purchase that raises the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The item.
    pub offer: Offer,
    /// The limit after the purchase.
    pub new_limit: Limit,
    /// Price of a month, in minor units.
    pub price_fen_per_month: i64,
    /// The currency of the price.
    pub currency: Currency,
    /// The purchased edition, or the add-on of the same kind, that is in force and is exchanged for
    /// the item; `None` if the item is bought in addition.
    pub replaces: Option<Name>,
}

/// A possible purchase.
#[derive(Clone, Copy)]
enum Purchase<'a> {
    Edition(&'a Edition, i64),
    /// An add-on, and the edition that buys it.
    AddOn(&'a AddOn, &'a Edition),
}

/// Returns the cheapest purchase for a violation that lifts all `violations` of the result, of
/// which it is one; empty if no purchase helps.
#[must_use]
pub fn upgrades(
    catalog: &Catalog,
    limits: &Limits,
    violation: &Violation,
    violations: &[Violation],
) -> Vec<Upgrade> {
    if violation.reason == Reason::ServiceStopped {
        return renewal(catalog, limits).into_iter().collect();
    }
    if violation.reason == Reason::PeerFriends {
        return Vec::new();
    }
    let helps = |purchase: &Purchase<'_>| {
        let lifts = |of: &Violation| {
            purchase.limit(catalog, limits, of).is_some_and(|it| it.admits_one_more(of.used))
        };
        violations.iter().all(lifts) && purchase.keeps(catalog, limits, violation)
    };
    let offers = purchases(catalog, limits).filter(helps).filter_map(|purchase| {
        let new_limit = purchase.limit(catalog, limits, violation)?;
        Some(purchase.offer(catalog, limits, new_limit))
    });
    offers
        .min_by_key(|upgrade| (upgrade.price_fen_per_month, upgrade.new_limit))
        .into_iter()
        .collect()
}

/// Returns every purchase that the app may make now, some of them in exchange for what it has.
fn purchases<'a>(catalog: &'a Catalog, limits: &'a Limits) -> impl Iterator<Item = Purchase<'a>> {
    let runs = catalog.edition(limits.edition.as_str());
    let buyer = runs.filter(|edition| edition.add_ons_allowed);
    let add_ons = buyer.into_iter().flat_map(|edition| {
        let offered = catalog.add_ons.iter().filter(|add_on| add_on.selling.is_offered());
        offered.map(move |add_on| Purchase::AddOn(add_on, edition))
    });
    let others = catalog.editions.iter().filter(|edition| edition.id != limits.edition);
    let editions = others.filter_map(|edition| {
        edition.offered_price().map(|price| Purchase::Edition(edition, price))
    });
    add_ons.chain(editions)
}

impl Purchase<'_> {
    /// Returns the value of the violated limit after the purchase, capped by the group's type and
    /// own limit; `None` if the purchase does not change that limit.
    fn limit(self, catalog: &Catalog, limits: &Limits, violation: &Violation) -> Option<Limit> {
        let id = &violation.limit_id;
        let sold = match self {
            Self::Edition(edition, _) if part(id).is_some() => {
                let mut ids = sold_as(violation);
                let found = ids.find_map(|id| limits.limit_under(catalog, edition, &id));
                found.unwrap_or(Limit::Unlimited)
            }
            Self::AddOn(add_on, edition) => {
                let is_set = |id: &LimitId| limits.agreed_limit(id).or(edition.limit(id)).is_some();
                let id = sold_as(violation).find(is_set).filter(|id| *id == add_on.limit_id)?;
                // No purchase changes an agreed limit.
                if limits.agreed_limit(&id).is_some() {
                    return None;
                }
                add_on.limit.max(edition.limit(&id)?)
            }
            Self::Edition(..) => return None,
        };
        Some(sold.min(violation.ceiling))
    }

    /// Returns whether the purchase lowers no limit in the part of the violated limit.
    fn keeps(self, catalog: &Catalog, limits: &Limits, violation: &Violation) -> bool {
        let Self::Edition(edition, _) = self else { return true };
        limits.are_kept(catalog, edition, |id| part(id) == part(&violation.limit_id))
    }

    fn offer(self, catalog: &Catalog, limits: &Limits, new_limit: Limit) -> Upgrade {
        let (offer, price_fen_per_month, replaces) = match self {
            Self::Edition(edition, price) => {
                // The default edition is not for sale: every other one was bought.
                let bought = Some(&limits.edition).filter(|id| **id != catalog.default_edition);
                (Offer::Edition(edition.id.clone()), price, bought)
            }
            Self::AddOn(add_on, _) => {
                let running = match limits.sold(&add_on.limit_id).map(|bound| &bound.source) {
                    Some(Source::AddOn(running)) => Some(running),
                    _ => None,
                };
                (Offer::AddOn(add_on.id.clone()), add_on.price_fen_per_month, running)
            }
        };
        Upgrade {
            offer,
            new_limit,
            price_fen_per_month,
            currency: catalog.currency,
            replaces: replaces.cloned(),
        }
    }
}

/// Returns the ids under which a value for the violated limit may be sold; the first one that is
/// sold applies.
fn sold_as(violation: &Violation) -> impl Iterator<Item = LimitId> {
    let id = &violation.limit_id;
    let name = id.group_type().or(violation.group_type.as_ref());
    id.kind().sold_as().filter_map(move |kind| kind.id(name))
}

/// Returns the part of a limit, with all limits that one operation may meet; `None` if it is not
/// sold.
fn part(id: &LimitId) -> Option<Part> {
    let row = id.kind().row();
    row.relation.filter(|_| row.sale != Sale::Never).map(Relation::part)
}

fn renewal(catalog: &Catalog, limits: &Limits) -> Option<Upgrade> {
    let edition = catalog.edition(limits.edition.as_str())?;
    Some(Upgrade {
        offer: Offer::Edition(edition.id.clone()),
        new_limit: Limit::Unlimited,
        price_fen_per_month: edition.offered_price()?,
        currency: catalog.currency,
        replaces: None,
    })
}
