//! Conversions of the model's numbers to ids, and of the engine's answers to the model's types.

use imquota::domain::decision::{ItemResult, Subject};
use imquota::domain::id::{GroupId, UserId};
use imquota::domain::limit::Limit;
use imquota::domain::usage::Usage;
use imquota::engine::{Decision, Denial};
use imquota::ledger::LedgerError;
use imquota::store::StoreError;

use super::rules::FREE;
use super::state::{Blocked, Fault, Group, OpItem, OpResult, User, Who};
use super::usage::Line;
use crate::support::{group, user};

/// Ids with every kind of valid byte.
pub fn user_id(number: User) -> UserId {
    user(format!("{{user}} ~{number}"))
}

pub fn user_ids(numbers: &[User]) -> Vec<UserId> {
    numbers.iter().copied().map(user_id).collect()
}

pub fn group_id(number: Group) -> GroupId {
    group(format!("@TGS#/{{group}} {number}"))
}

pub fn subject(who: Who) -> Subject {
    match who {
        Who::App => Subject::App,
        Who::User(number) => Subject::User(user_id(number)),
        Who::Group(number) => Subject::Group(group_id(number)),
    }
}

fn who(subject: &Subject) -> Who {
    let number = |id: &str| {
        let digits = id.rsplit([' ', '~']).next().expect("at least one part");
        digits.parse().expect("an id of this test")
    };
    match subject {
        Subject::App => Who::App,
        Subject::User(id) => Who::User(number(id.as_str())),
        Subject::Group(id) => Who::Group(number(id.as_str())),
    }
}

fn number(limit: Limit) -> u64 {
    limit.finite().unwrap_or(FREE)
}

/// An answer of the engine.
pub fn told(decision: &Decision) -> OpResult {
    OpResult {
        whole: decision.whole.as_ref().map(said),
        items: decision.items.iter().map(said).collect(),
        released: decision.members_released,
        reclaimed: decision.group_reclaimed,
    }
}

fn said(result: &ItemResult<Denial>) -> OpItem {
    let mut blocked: Vec<Blocked> = result.violations.iter().map(one_blocked).collect();
    assert!(
        blocked.is_sorted_by_key(|one| one.reason),
        "denials come in the order of their reasons: {blocked:?}"
    );
    blocked.sort();
    OpItem { outcome: result.outcome, blocked }
}

fn one_blocked(denial: &Denial) -> Blocked {
    let violation = &denial.violation;
    let stopped = violation.reason == imquota::domain::decision::Reason::ServiceStopped;
    Blocked {
        reason: violation.reason,
        // The limit that represents all others in a stopped service is not specified.
        limit_id: if stopped { String::new() } else { violation.limit_id.to_string() },
        who: who(&violation.subject),
        used: if stopped { 0 } else { violation.used },
        limit: number(violation.bound.limit),
        im_code: denial.im_error_code,
    }
}

pub fn fault(error: &LedgerError) -> Fault {
    match error {
        LedgerError::Store(StoreError::DeadlinePassed) => Fault::DeadlinePassed,
        LedgerError::GroupNotFound(_) => Fault::GroupNotFound,
        LedgerError::GroupTypeDiffers { .. } => Fault::GroupTypeDiffers,
        LedgerError::MembersNotTracked { .. } => Fault::MembersNotTracked,
        other => panic!("no operation of this test has this error: {other}"),
    }
}

/// A reading of the engine, sorted by limit.
pub fn lines(usages: &[Usage]) -> Vec<Line> {
    let line = |usage: &Usage| Line {
        limit_id: usage.limit_id.to_string(),
        used: usage.used,
        limit: number(usage.bound.limit),
        change: usage
            .change
            .map(|change| (change.at.as_millis(), number(change.limit), change.stopped)),
    };
    let mut lines: Vec<Line> = usages.iter().map(line).collect();
    lines.sort();
    lines
}
