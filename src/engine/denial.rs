//! A denial as callers get it: the violation with error code, sentence and upgrade offer.

use crate::domain::catalog::Catalog;
use crate::domain::decision::{ItemResult, Outcome, Reason, Violation};
use crate::domain::id::Name;
use crate::domain::im_code::ImCode;
use crate::domain::limit::Source;
use crate::domain::limits::Sale;
use crate::domain::schedule::Limits;
use crate::domain::upgrade::{Upgrade, upgrades};

/// One violated limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The violation: limit, subject and counts.
    pub violation: Violation,
    /// Code for IM clients.
    pub im_code: ImCode,
    /// A sentence for logs and operators.
    pub message: String,
    /// The cheapest purchase under which the request would be admitted; empty if none helps.
    pub upgrades: Vec<Upgrade>,
}

/// Completes the violations of an item result.
pub(super) fn complete(
    catalog: &Catalog,
    limits: Option<&Limits>,
    result: ItemResult<Violation>,
) -> ItemResult<Denial> {
    let ItemResult { outcome, violations } = result;
    let denial = |violation: &Violation| {
        let offered = |limits| upgrades(catalog, limits, violation, &violations);
        let set = limits.and_then(|limits| limits.im_code_set.as_ref());
        let upgrades = limits.map(offered).unwrap_or_default();
        Denial::new(catalog, violation.clone(), set, upgrades)
    };
    ItemResult { outcome, violations: violations.iter().map(denial).collect() }
}

/// Returns the outcome of an item and its first reason, by which metrics count results.
pub(super) fn outcome_and_reason(result: &ItemResult<Denial>) -> (Outcome, Option<Reason>) {
    (result.outcome, result.violations.first().map(|denial| denial.violation.reason))
}

impl Denial {
    fn new(
        catalog: &Catalog,
        violation: Violation,
        im_code_set: Option<&Name>,
        upgrades: Vec<Upgrade>,
    ) -> Self {
        let group_type = violation.group_type.as_ref().map(Name::as_str);
        Self {
            im_code: catalog.im_code(violation.reason, group_type, im_code_set.map(Name::as_str)),
            message: sentence(&violation),
            upgrades,
            violation,
        }
    }
}

fn sentence(violation: &Violation) -> String {
    let Violation { limit_id, subject, used, bound, .. } = violation;
    let (limit, row) = (bound.limit, limit_id.kind().row());
    match (row.relation, row.sale, &bound.source) {
        (None, _, Source::Edition(edition)) => {
            format!("edition \"{edition}\" has ended and its grace is over")
        }
        (None, ..) => "the service has stopped".to_owned(),
        (_, Sale::Allowance, _) => {
            format!(
                "{subject} has {used} {}, and its edition allows no more than {limit}",
                row.noun
            )
        }
        _ => format!("{subject} has {used} of at most {limit} {}", row.noun),
    }
}
