//! The stored format of editions and add-ons: JSON, in catalogs and in the terms of purchases.

use serde::{Deserialize, Serialize};

use super::selling_codec::{StoredSelling, is_default};
use crate::domain::catalog::{AddOn, Edition};
use crate::domain::limit::{Limit, LimitId};
use crate::domain::terms::Terms;

/// The terms of a purchase.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredTerms {
    /// The terms of an edition.
    Edition(StoredEdition),
    /// The terms of an add-on.
    AddOn(StoredAddOn),
}

/// An edition. A limit of null is unlimited.
#[derive(Serialize, Deserialize)]
pub struct StoredEdition {
    id: String,
    label: String,
    price_fen: Option<i64>,
    add_ons_allowed: bool,
    postpaid_allowed: bool,
    limits: Vec<(String, Option<u64>)>,
    #[serde(default, skip_serializing_if = "is_default")]
    selling: StoredSelling,
}

/// An add-on. A limit of null is unlimited.
#[derive(Serialize, Deserialize)]
pub struct StoredAddOn {
    id: String,
    label: String,
    limit_id: String,
    limit: Option<u64>,
    price_fen: i64,
    #[serde(default, skip_serializing_if = "is_default")]
    selling: StoredSelling,
}

/// Converts terms to their stored form.
pub fn store(terms: &Terms) -> StoredTerms {
    match terms {
        Terms::Edition(edition) => StoredTerms::Edition(store_edition(edition)),
        Terms::AddOn(add_on) => StoredTerms::AddOn(store_add_on(add_on)),
    }
}

/// Converts stored terms; `None` if they name a limit that this version does not sell.
pub fn load(stored: StoredTerms) -> Option<Terms> {
    Some(match stored {
        StoredTerms::Edition(edition) => Terms::Edition(load_edition(edition)?),
        StoredTerms::AddOn(add_on) => Terms::AddOn(load_add_on(add_on)?),
    })
}

/// Converts an edition to its stored form.
pub fn store_edition(edition: &Edition) -> StoredEdition {
    let limit = |(id, limit): &(LimitId, Limit)| (id.to_string(), limit.finite());
    StoredEdition {
        id: edition.id.to_string(),
        label: edition.label.clone(),
        price_fen: edition.price_fen_per_month,
        add_ons_allowed: edition.add_ons_allowed,
        postpaid_allowed: edition.postpaid_allowed,
        limits: edition.limits.iter().map(limit).collect(),
        selling: (&edition.selling).into(),
    }
}

/// Converts a stored edition; `None` if it names a limit that this version does not sell.
pub fn load_edition(stored: StoredEdition) -> Option<Edition> {
    let limit =
        |(id, most): (String, Option<u64>)| Some((LimitId::sold_by_name(&id)?, limit(most)));
    Some(Edition {
        id: stored.id.as_str().into(),
        label: stored.label,
        price_fen_per_month: stored.price_fen,
        add_ons_allowed: stored.add_ons_allowed,
        postpaid_allowed: stored.postpaid_allowed,
        limits: stored.limits.into_iter().map(limit).collect::<Option<_>>()?,
        selling: stored.selling.into(),
    })
}

/// Converts an add-on to its stored form.
pub fn store_add_on(add_on: &AddOn) -> StoredAddOn {
    StoredAddOn {
        id: add_on.id.to_string(),
        label: add_on.label.clone(),
        limit_id: add_on.limit_id.to_string(),
        limit: add_on.limit.finite(),
        price_fen: add_on.price_fen_per_month,
        selling: (&add_on.selling).into(),
    }
}

/// Converts a stored add-on; `None` if it names a limit that this version does not sell.
pub fn load_add_on(stored: StoredAddOn) -> Option<AddOn> {
    Some(AddOn {
        id: stored.id.as_str().into(),
        label: stored.label,
        limit_id: LimitId::sold_by_name(&stored.limit_id)?,
        limit: limit(stored.limit),
        price_fen_per_month: stored.price_fen,
        selling: stored.selling.into(),
    })
}

fn limit(stored: Option<u64>) -> Limit {
    stored.map_or(Limit::Unlimited, Limit::Finite)
}
