//! What a purchase carries of the catalog by which it was made.
//!
//! While the catalog in force has an item, its limits are the catalog's. Where it lacks an item
//! that an app bought, the terms that the purchase carries count, so that a price list without
//! an item takes nothing away from those who bought it. Prices are those of the purchase in any
//! case.

use std::sync::Arc;

use super::catalog::{AddOn, Catalog, Edition};
use super::id::Name;
use super::purchase::{Item, Sales};
use super::time::Timestamp;

/// An item of a catalog as it was when it was bought: limits, price of a month, kind and label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terms {
    /// Of an edition.
    Edition(Edition),
    /// Of an add-on.
    AddOn(AddOn),
}

impl Terms {
    /// The terms of an item in a catalog; `None` where the catalog lacks it.
    #[must_use]
    pub fn of(catalog: &Catalog, item: &Item) -> Option<Arc<Self>> {
        let terms = match item {
            Item::Edition(id) | Item::Renewal(id) | Item::Restart(id) => {
                Self::Edition(catalog.edition(id.as_str())?.clone())
            }
            Item::AddOn(id) => Self::AddOn(catalog.add_on(id.as_str())?.clone()),
        };
        Some(Arc::new(terms))
    }

    /// Whether these are the terms of that item.
    #[must_use]
    pub fn are_of(&self, item: &Item) -> bool {
        match (self, item) {
            (Self::Edition(edition), Item::Edition(id) | Item::Renewal(id) | Item::Restart(id)) => {
                edition.id == *id
            }
            (Self::AddOn(add_on), Item::AddOn(id)) => add_on.id == *id,
            _ => false,
        }
    }
}

impl Sales {
    /// An edition: the catalog's, or, where the catalog lacks it, as the last purchase of it up to
    /// an instant carries it.
    #[must_use]
    pub fn edition<'a>(
        &'a self,
        catalog: &'a Catalog,
        id: &Name,
        at: Timestamp,
    ) -> Option<&'a Edition> {
        let carried = |terms: &'a Terms| match terms {
            Terms::Edition(edition) if edition.id == *id => Some(edition),
            _ => None,
        };
        catalog.edition(id.as_str()).or_else(|| self.carried(at, carried))
    }

    /// An add-on: the catalog's, or, where the catalog lacks it, as the last purchase of it up to
    /// an instant carries it.
    #[must_use]
    pub fn add_on<'a>(
        &'a self,
        catalog: &'a Catalog,
        id: &Name,
        at: Timestamp,
    ) -> Option<&'a AddOn> {
        let carried = |terms: &'a Terms| match terms {
            Terms::AddOn(add_on) if add_on.id == *id => Some(add_on),
            _ => None,
        };
        catalog.add_on(id.as_str()).or_else(|| self.carried(at, carried))
    }

    /// The last terms that fit, of those carried up to an instant; the first later ones where none
    /// are that old.
    fn carried<'a, T>(
        &'a self,
        at: Timestamp,
        pick: impl Fn(&'a Terms) -> Option<&'a T>,
    ) -> Option<&'a T> {
        let mut found = None;
        for purchase in &self.purchases {
            let Some(terms) = purchase.terms.as_deref().and_then(&pick) else { continue };
            if found.is_some() && purchase.at > at {
                break;
            }
            found = Some(terms);
        }
        found
    }
}
