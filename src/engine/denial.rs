//! A denial as callers get it: the violation with error code, sentence and upgrade offer.

use crate::domain::catalog::Catalog;
use crate::domain::decision::{Breach, Outcome, Reason, Verdict};
use crate::domain::id::Name;
use crate::domain::limit::Source;
use crate::domain::schedule::Limits;
use crate::domain::upgrade::{Upgrade, upgrades};

/// One violated limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The violation: limit, subject and counts.
    pub breach: Breach,
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
        let violations = verdict.breaches;
        let complete = |breach: &Breach| {
            let offered = |limits| upgrades(catalog, limits, breach, &violations);
            Denial::new(catalog, breach.clone(), limits.map(offered).unwrap_or_default())
        };
        Self { outcome: verdict.outcome, denials: violations.iter().map(complete).collect() }
    }
}

impl Denial {
    fn new(catalog: &Catalog, breach: Breach, upgrades: Vec<Upgrade>) -> Self {
        let group_type = breach.group_type.as_ref().map(Name::as_str);
        Self {
            im_error_code: catalog.im_code(breach.reason, group_type),
            message: sentence(&breach),
            upgrades,
            breach,
        }
    }
}

fn sentence(breach: &Breach) -> String {
    let Breach { reason, subject, used, bound, .. } = breach;
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
