//! What to buy to get past a limit: the cheapest purchase that helps.
//!
//! A purchase helps where the same request would be admitted under the limits after it: it lifts
//! every violation of the result, not only the one that it is offered against. Of those that help
//! the one with the lowest monthly list price is offered, at equal price the one with the smaller
//! limit; nothing where none helps. So nothing is offered where the type's own cap, the group's own
//! limit or a daily limit stands in the way, nor where two purchases would be needed.
//!
//! For sale are the add-ons that the running edition may buy, in place of a running one of the
//! same kind, and the other editions. An edition that lowers a limit of the same part (accounts,
//! friends, or groups) is not offered: what is held of that limit is not part of the result.
//!
//! Against the limit of the peer's friends nothing is offered to the user who adds; a purchase that
//! lifts it too is offered against that user's own limit.

use super::catalog::{AddOn, Catalog, Edition};
use super::decision::{Breach, Reason};
use super::id::Name;
use super::limit::{Limit, LimitId, Source};
use super::schedule::Limits;

/// What to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// An edition.
    Edition(Name),
    /// An add-on.
    AddOn(Name),
}

/// A purchase that raises the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// What to buy.
    pub offer: Offer,
    /// The limit after it.
    pub new_limit: Limit,
    /// For how much a month, in fen.
    pub price_fen_per_month: i64,
    /// The add-on of the same kind that runs and must be refunded first.
    pub replaces: Option<Name>,
}

/// A purchase that is possible.
#[derive(Clone, Copy)]
enum Purchase<'a> {
    Edition(&'a Edition, i64),
    /// An add-on, and the edition that it is for.
    AddOn(&'a AddOn, &'a Edition),
}

/// The cheapest purchase past a violation under which all `violations` of the result, of which it
/// is one, are lifted; empty where nothing for sale helps.
#[must_use]
pub fn upgrades(
    catalog: &Catalog,
    limits: &Limits,
    violation: &Breach,
    violations: &[Breach],
) -> Vec<Upgrade> {
    if violation.reason == Reason::ServiceStopped {
        return renewal(catalog, limits).into_iter().collect();
    }
    if violation.reason == Reason::PeerFriends {
        return Vec::new();
    }
    let helps = |purchase: &Purchase<'_>| {
        let lifts =
            |of: &Breach| purchase.limit(catalog, of).is_some_and(|it| it.admits_one_more(of.used));
        violations.iter().all(lifts) && purchase.keeps(catalog, limits, violation)
    };
    let offers = purchases(catalog, limits).filter(helps).filter_map(|purchase| {
        let new_limit = purchase.limit(catalog, violation)?;
        Some(purchase.offer(new_limit, violation))
    });
    offers
        .min_by_key(|upgrade| (upgrade.price_fen_per_month, upgrade.new_limit))
        .into_iter()
        .collect()
}

/// Everything that the app may buy now, once it has refunded what the purchase replaces.
fn purchases<'a>(catalog: &'a Catalog, limits: &'a Limits) -> impl Iterator<Item = Purchase<'a>> {
    let runs = catalog.edition(limits.edition.as_str());
    let buyer = runs.filter(|edition| edition.add_ons_allowed);
    let add_ons = buyer.into_iter().flat_map(|edition| {
        catalog.add_ons.iter().map(move |add_on| Purchase::AddOn(add_on, edition))
    });
    let others = catalog.editions.iter().filter(|edition| edition.id != limits.edition);
    let editions = others.filter_map(|edition| {
        edition.price_fen_per_month.map(|price| Purchase::Edition(edition, price))
    });
    add_ons.chain(editions)
}

impl Purchase<'_> {
    /// What may be held after it of the limit that is violated, by the group's type and own limit
    /// too; `None` where it does not touch that limit.
    fn limit(self, catalog: &Catalog, violation: &Breach) -> Option<Limit> {
        let id = &violation.limit_id;
        let sold = match self {
            Self::Edition(edition, _) if part(id).is_some() => {
                catalog.edition_limit(edition, id).unwrap_or(Limit::Unlimited)
            }
            Self::AddOn(add_on, edition) if add_on.limit_id == *id => {
                add_on.limit.max(edition.limit(id)?)
            }
            _ => return None,
        };
        Some(sold.min(violation.ceiling))
    }

    /// Whether it lowers no limit of the part that the violation is of.
    fn keeps(self, catalog: &Catalog, limits: &Limits, violation: &Breach) -> bool {
        let Self::Edition(edition, _) = self else { return true };
        let of_part = part(&violation.limit_id);
        let mut same_part = limits.sold.iter().filter(|(id, _)| part(id) == of_part);
        same_part.all(|(id, bound)| {
            catalog.edition_limit(edition, id).unwrap_or(Limit::Unlimited) >= bound.limit
        })
    }

    fn offer(self, new_limit: Limit, violation: &Breach) -> Upgrade {
        let (offer, price_fen_per_month, replaces) = match self {
            Self::Edition(edition, price) => (Offer::Edition(edition.id.clone()), price, None),
            Self::AddOn(add_on, _) => {
                let replaces = match &violation.bound.source {
                    Source::AddOn(running) => Some(running.clone()),
                    _ => None,
                };
                (Offer::AddOn(add_on.id.clone()), add_on.price_fen_per_month, replaces)
            }
        };
        Upgrade { offer, new_limit, price_fen_per_month, replaces }
    }
}

/// One number for all limits that one operation may meet; `None` for a limit that is not sold.
fn part(id: &LimitId) -> Option<u8> {
    match id {
        LimitId::AccountsPerApp => Some(0),
        LimitId::FriendsPerUser => Some(1),
        LimitId::GroupsPerUser
        | LimitId::MembersPerGroup
        | LimitId::GroupsPerApp(_)
        | LimitId::GroupsPerAppOfAllTypes => Some(2),
        LimitId::Service
        | LimitId::MembersPerGroupOfType(_)
        | LimitId::GroupsPerDay
        | LimitId::GroupsPerDayOfType(_) => None,
    }
}

fn renewal(catalog: &Catalog, limits: &Limits) -> Option<Upgrade> {
    let edition = catalog.edition(limits.edition.as_str())?;
    Some(Upgrade {
        offer: Offer::Edition(edition.id.clone()),
        new_limit: Limit::Unlimited,
        price_fen_per_month: edition.price_fen_per_month?,
        replaces: None,
    })
}
