//! A denial as callers get it: the violation with error code, sentence and upgrade offer.

use crate::domain::catalog::Catalog;
use crate::domain::decision::{Outcome, Reason, Verdict, Violation};
use crate::domain::id::Name;
use crate::domain::limit::Source;
use crate::domain::schedule::Limits;
use crate::domain::upgrade::{Upgrade, upgrades};

/// One violated limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The violation: limit, subject and counts.
    pub violation: Violation,
    /// Error code for IM clients.
    pub im_error_code: i32,
    /// A sentence for logs and operators.
    pub message: String,
    /// The cheapest purchase under which the request would be admitted; empty if none helps.
    pub upgrades: Vec<Upgrade>,
}

/// Item result: the outcome for one subject, and its denials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The outcome.
    pub outcome: Outcome,
    /// Every violated limit, in the order of their reasons.
    pub denials: Vec<Denial>,
}

impl Ruling {
    pub(super) fn new(catalog: &Catalog, limits: Option<&Limits>, verdict: Verdict) -> Self {
        let violations = verdict.violations;
        let complete = |violation: &Violation| {
            let offered = |limits| upgrades(catalog, limits, violation, &violations);
            Denial::new(catalog, violation.clone(), limits.map(offered).unwrap_or_default())
        };
        Self { outcome: verdict.outcome, denials: violations.iter().map(complete).collect() }
    }
}

impl Denial {
    fn new(catalog: &Catalog, violation: Violation, upgrades: Vec<Upgrade>) -> Self {
        let group_type = violation.group_type.as_ref().map(Name::as_str);
        Self {
            im_error_code: catalog.im_code(violation.reason, group_type),
            message: sentence(&violation),
            upgrades,
            violation,
        }
    }
}

fn sentence(violation: &Violation) -> String {
    let Violation { reason, subject, used, bound, .. } = violation;
    let limit = bound.limit;
    let what = match reason {
        Reason::ServiceStopped => {
            return match &bound.source {
                Source::Edition(edition) => {
                    format!("edition \"{edition}\" has ended and its grace is over")
                }
                _ => "the service has stopped".to_owned(),
            };
        }
        Reason::AccountsPerApp => "accounts",
        Reason::MyFriends | Reason::PeerFriends => "friends",
        Reason::GroupsPerUser => "groups",
        Reason::GroupsPerApp => "groups of this type",
        Reason::GroupsPerDay => "net-new groups today",
        Reason::GroupsAllowance => {
            return format!(
                "{subject} has {used} groups, and its edition allows no more than {limit}"
            );
        }
        Reason::MembersPerGroup | Reason::MembersAtCreation => "members",
    };
    format!("{subject} has {used} of at most {limit} {what}")
}
