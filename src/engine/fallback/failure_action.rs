//! The subjects of an operation, and its treatment without the store.

use crate::domain::bounds::GroupRules;
use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Subject};
use crate::domain::failure_policy::FailMode;
use crate::domain::id::{AppId, Name};
use crate::domain::limit::Limit;
use crate::domain::limits::{Failing, LimitKind};
use crate::domain::operation::{Change, Effect};
use crate::ledger::Operation;

/// Treatment of an operation without the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureAction {
    /// It releases, which is always accepted.
    Release,
    /// It takes, and every limit that it takes from fails open.
    Take,
    /// It fails: no decision is made.
    Closed,
}

impl FailureAction {
    /// Returns the treatment that the catalog sets for an operation of an app.
    pub(super) fn of(catalog: &Catalog, app: &AppId, mode: Mode, operation: &Operation) -> Self {
        match operation.kind().change() {
            Change::Release => return Self::Release,
            Change::Alter => return Self::Closed,
            Change::Take => {}
        }
        let modes = catalog.failure.of(app);
        let kinds = operation.relations().iter().flat_map(|it| LimitKind::checked(*it));
        let mut needed = kinds.filter(|kind| match (kind.row().failing, operation.group_type()) {
            (Failing::Unconsidered, _) => false,
            (Failing::WhereLimited, Some(name)) => limited(catalog, *kind, name),
            (Failing::WhereLimited, None) | (Failing::Always, _) => true,
        });
        // A dry run is decided by the store only.
        let open = mode.writes() && needed.all(|kind| modes.of(kind) == FailMode::Open);
        if open { Self::Take } else { Self::Closed }
    }
}

/// Returns whether groups of a type have that limit, by the type's own rule or by editions and
/// add-ons.
fn limited(catalog: &Catalog, kind: LimitKind, name: &Name) -> bool {
    let Some(id) = kind.id(Some(name)) else { return true };
    let by_edition = catalog.editions.iter().flat_map(|edition| &edition.limits).map(|(id, _)| id);
    let mut sold = by_edition.chain(catalog.add_ons.iter().map(|add_on| &add_on.limit_id));
    let group_type = catalog.group_type(name.as_str()).map(GroupRules::of_type);
    let is_ruled = group_type.is_none_or(|of| kind.ceiling(catalog, Some(&of)) != Limit::Unlimited);
    is_ruled || sold.any(|of| *of == id)
}

/// Returns every user and group that an operation names, some of them more than once.
pub fn subjects(operation: &Operation) -> Vec<Subject> {
    operation.effects().into_iter().flat_map(Effect::subjects).collect()
}
