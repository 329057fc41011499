//! Reads the offers of a catalog: editions and add-ons.
//!
//! A forgotten limit must not become unlimited: every edition lists every limit that it can have,
//! and if one edition limits the groups of a type, or of all, all do. A limit without which another
//! one or a rule applies may be missing.

use crate::diagnostics::toml::{Table, Value};
use crate::diagnostics::{did_you_mean, join_quoted};
use crate::domain::catalog::{AddOn, Edition};
use crate::domain::id::Name;
use crate::domain::limit::{Limit, LimitId};
use crate::domain::limits::{LimitKind, Presence, Sale};
use crate::domain::selling::PRICE_MAX_FEN;

use super::decode::{Names, label, limit, required_boolean, required_limit};
use super::selling::{self, FREE_IS, MonthPrice, PRICE, price_of_month};

/// Most editions: several times the number that IM clouds sell.
const EDITIONS_MAX: usize = 32;
/// Most add-ons: several sizes of each limit and group type.
const ADD_ONS_MAX: usize = 256;

/// The offers that could be read.
pub(super) struct Sold {
    pub(super) default_edition: Option<Name>,
    pub(super) editions: Option<Vec<Edition>>,
    pub(super) add_ons: Option<Vec<AddOn>>,
}

/// Reads editions and add-ons.
pub(super) fn sold(root: &Table<'_>, types: &Names) -> Sold {
    let editions = root.required("editions").and_then(|value| value.tables(1..=EDITIONS_MAX));
    let editions = editions.unwrap_or_default();
    let ids = Names::of(&editions, "id");
    let default_edition = default_edition(root, &ids);
    let kinds = limit_ids(&editions, types);
    let editions: Vec<_> = editions
        .into_iter()
        .map(|table| edition(table, default_edition.as_ref(), &kinds, types))
        .collect();
    let editions: Option<Vec<_>> =
        editions.into_iter().collect::<Option<_>>().filter(|all: &Vec<_>| !all.is_empty());

    let add_ons = match root.optional("add_ons") {
        Some(value) => value.tables(0..=ADD_ONS_MAX),
        None => Some(Vec::new()),
    };
    let add_ons = add_ons.and_then(|tables| {
        Names::of(&tables, "id");
        let add_ons: Vec<_> =
            tables.into_iter().map(|table| add_on(table, editions.as_deref(), types)).collect();
        add_ons.into_iter().collect()
    });
    Sold { default_edition, editions, add_ons }
}

fn default_edition(root: &Table<'_>, editions: &Names) -> Option<Name> {
    let value = root.required("default_edition")?;
    let id = value.string()?;
    if editions.complete && !editions.contains(id) {
        value.problem(format!("no edition has this id; there are {}", editions.listed()));
    }
    editions.contains(id).then(|| Name::from(id))
}

/// A limit that an edition lists.
struct Due {
    id: LimitId,
    /// The least useful number: without an account, or a member in a group, nothing would work.
    least: u64,
    /// False if the edition may leave it out.
    is_required: bool,
}

/// Returns the limits that editions list.
fn limit_ids(editions: &[Table<'_>], types: &Names) -> Vec<Due> {
    let listed_somewhere = |key: &str| {
        let limits = editions.iter().filter_map(|edition| edition.optional("limits"));
        limits.filter_map(|value| value.as_table()).any(|table| table.keys().any(|k| k == key))
    };
    let due = |id: LimitId| match id.kind().row().sale {
        Sale::ByName { least, presence } => {
            let is_due = presence != Presence::EveryOrNone || listed_somewhere(&id.to_string());
            is_due.then_some(Due { id, least, is_required: presence != Presence::Any })
        }
        Sale::Never | Sale::Allowance => None,
    };
    sellable(types).filter_map(due).collect()
}

/// Returns every limit that an edition can have.
fn sellable(types: &Names) -> impl Iterator<Item = LimitId> {
    LimitKind::sold_ids(types.known.iter())
}

/// Returns whether a limit is on the members of a type without any.
fn counts_untracked(id: &LimitId, types: &Names) -> bool {
    id.counts_members_of(|group_type| types.untracked.contains(group_type))
}

/// Returns whether a key is that of a limit by type.
fn is_by_type(key: &str) -> bool {
    let mut kinds = LimitKind::sold_by_name().filter(|kind| kind.is_by_type());
    kinds.any(|kind| key.strip_prefix(kind.row().name).is_some_and(|rest| rest.starts_with('/')))
}

fn edition(
    table: Table<'_>,
    default: Option<&Name>,
    kinds: &[Due],
    types: &Names,
) -> Option<Edition> {
    // Problems of the id were reported with the ids of all editions.
    let id = table.optional("id").and_then(|value| value.as_str()).map(Name::from);
    let label = label(&table);
    let price = price_of_month(&table);
    let selling = selling::selling(&table);
    if let (Some(id), Some(default)) = (&id, default) {
        if id == default {
            selling::refuse_all(&table);
        } else if price == MonthPrice::Absent {
            table.missing(PRICE, &format!("; only the default edition has none, and {FREE_IS}"));
        }
    }
    let add_ons_allowed = required_boolean(&table, "add_ons_allowed");
    let postpaid_allowed = required_boolean(&table, "postpaid_allowed");
    let limits = table
        .required("limits")
        .and_then(|value| value.table())
        .and_then(|table| edition_limits(table, kinds, types));
    table.finish();
    Some(Edition {
        id: id?,
        label: label?,
        price_fen_per_month: match price {
            MonthPrice::Wrong => return None,
            MonthPrice::Fen(price) => Some(price),
            MonthPrice::Absent => None,
        },
        selling: selling?,
        add_ons_allowed: add_ons_allowed?,
        postpaid_allowed: postpaid_allowed?,
        limits: limits?,
    })
}

fn edition_limits(table: Table<'_>, kinds: &[Due], types: &Names) -> Option<Vec<(LimitId, Limit)>> {
    let read = |Due { id, least, is_required }: &Due| {
        let key = id.to_string();
        let value = table.optional(&key);
        if value.is_none() && !is_required {
            return None;
        }
        if let Some(value) = value.filter(|_| counts_untracked(id, types)) {
            value.problem("limits nothing: members of this type are not tracked");
        }
        Some(required_limit(&table, &key, *least).map(|limit| (id.clone(), limit)))
    };
    let limits: Vec<_> = kinds.iter().filter_map(read).collect();
    for id in sellable(types) {
        // Valid, although no edition has it: a misspelled key may have been meant for it.
        table.optional(&id.to_string());
    }
    if !types.complete {
        for key in table.keys().filter(|key| is_by_type(key)) {
            table.optional(key);
        }
    }
    table.finish();
    limits.into_iter().collect()
}

fn add_on(table: Table<'_>, editions: Option<&[Edition]>, types: &Names) -> Option<AddOn> {
    let id = table.optional("id").and_then(|value| value.as_str()).map(Name::from);
    let label = label(&table);
    let limit_id = table.required("limit_id").and_then(|value| limit_id(&value, types));
    let limit_value = table.required("limit");
    let limit = limit_value.as_ref().and_then(|value| limit(value, 1));
    let price = price_of_month(&table);
    if price == MonthPrice::Absent {
        table.missing(PRICE, &format!("; {FREE_IS}"));
    }
    let selling = selling::selling(&table);
    if let (Some(editions), Some(value), Some(limit_id), Some(limit)) =
        (editions, &limit_value, &limit_id, limit)
    {
        let raises = editions.iter().any(|edition| {
            edition.add_ons_allowed && edition.limit(limit_id).is_some_and(|sold| sold < limit)
        });
        if !raises {
            value.problem(format!(
                "raises nothing: no edition with add_ons_allowed has a lower {limit_id}"
            ));
        }
    }
    table.finish();
    Some(AddOn {
        id: id?,
        label: label?,
        limit_id: limit_id?,
        limit: limit?,
        price_fen_per_month: match price {
            MonthPrice::Fen(price) => price,
            MonthPrice::Absent | MonthPrice::Wrong => return None,
        },
        selling: selling?,
    })
}

/// Reads the id of a limit that an edition can have.
fn limit_id(value: &Value<'_>, types: &Names) -> Option<LimitId> {
    let text = value.string()?;
    let valid: Vec<_> = sellable(types).collect();
    let found = valid.iter().find(|id| id.to_string() == text);
    let of_unknown_type = !types.complete && is_by_type(text);
    if found.is_none() && !of_unknown_type {
        let names: Vec<_> = valid.iter().map(ToString::to_string).collect();
        value.problem(match did_you_mean(text, names.iter().map(String::as_str)) {
            Some(name) => format!("no edition has such a limit; did you mean \"{name}\"?"),
            None => format!("no edition has such a limit; there are {}", join_quoted(names.iter())),
        });
    }
    found.cloned()
}

pub(super) fn price(value: &Value<'_>) -> Option<i64> {
    value.integer(0..=PRICE_MAX_FEN)
}
