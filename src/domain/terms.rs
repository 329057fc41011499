//! Terms: the part of the catalog that a purchase was made by and carries.
//!
//! While the catalog in force has an item, the catalog's limits apply. If it lacks an item that an
//! app bought, the terms carried by the purchase apply, so that removing an item from the price
//! list takes nothing away from its buyers. Prices are always those of the purchase.

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
    /// Returns the terms of an item in a catalog; `None` if the catalog lacks it, or for an agreed
    /// limit.
    #[must_use]
    pub fn of(catalog: &Catalog, item: &Item) -> Option<Arc<Self>> {
        let terms = match item {
            Item::Edition(id) | Item::Renewal(id) | Item::Restart(id) => {
                Self::Edition(catalog.edition(id.as_str())?.clone())
            }
            Item::AddOn(id) => Self::AddOn(catalog.add_on(id.as_str())?.clone()),
            Item::Limit(_) => return None,
        };
        Some(Arc::new(terms))
    }

    /// Returns whether these are the terms of that item.
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
    /// Returns an edition: the catalog's, or, if the catalog lacks it, the terms of its last
    /// purchase up to an instant.
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

    /// Returns an add-on: the catalog's, or, if the catalog lacks it, the terms of its last
    /// purchase up to an instant.
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

    /// Returns the last matching terms of the purchases up to an instant; if none are that old, the
    /// first later ones.
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
