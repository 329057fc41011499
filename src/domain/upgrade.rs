//! What to buy to get past a limit: the smallest step that raises it.
//!
//! An app that may not buy add-ons is offered an edition, any other the next add-on. Nothing is
//! offered where it would not help: the type's own cap or the group's own limit binds, or the
//! limit is the peer's.

use super::catalog::Catalog;
use super::decision::{Breach, Reason};
use super::id::Name;
use super::limit::{Limit, Source};
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

/// The smallest step past a breach; empty where nothing for sale helps.
#[must_use]
pub fn upgrades(catalog: &Catalog, limits: &Limits, breach: &Breach) -> Vec<Upgrade> {
    if breach.reason == Reason::ServiceStopped {
        return renewal(catalog, limits).into_iter().collect();
    }
    let sold = matches!(breach.bound.source, Source::Edition(_) | Source::AddOn(_));
    if breach.reason == Reason::PeerFriends || !sold {
        return Vec::new();
    }
    let current = catalog.edition(limits.edition.as_str());
    let offers = if current.is_some_and(|edition| edition.add_ons_allowed) {
        add_ons(catalog, breach)
    } else {
        editions(catalog, breach)
    };
    let raised = offers.into_iter().filter(|upgrade| upgrade.new_limit > breach.bound.limit);
    raised
        .min_by_key(|upgrade| (upgrade.new_limit, upgrade.price_fen_per_month))
        .into_iter()
        .collect()
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

fn add_ons(catalog: &Catalog, breach: &Breach) -> Vec<Upgrade> {
    let of_kind = catalog.add_ons.iter().filter(|add_on| add_on.limit_id == breach.limit_id);
    of_kind
        .map(|add_on| Upgrade {
            offer: Offer::AddOn(add_on.id.clone()),
            new_limit: add_on.limit.min(breach.ceiling),
            price_fen_per_month: add_on.price_fen_per_month,
            replaces: match &breach.bound.source {
                Source::AddOn(running) => Some(running.clone()),
                _ => None,
            },
        })
        .collect()
}

fn editions(catalog: &Catalog, breach: &Breach) -> Vec<Upgrade> {
    let for_sale = catalog.editions.iter().filter_map(|edition| {
        Some((edition, edition.price_fen_per_month?, edition.limit(&breach.limit_id)?))
    });
    for_sale
        .map(|(edition, price_fen_per_month, limit)| Upgrade {
            offer: Offer::Edition(edition.id.clone()),
            new_limit: limit.min(breach.ceiling),
            price_fen_per_month,
            replaces: None,
        })
        .collect()
}
