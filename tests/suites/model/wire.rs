//! Conversions of the model's numbers to ids, and of the engine's answers to the model's types.

use std::fmt::Debug;

use imquota::domain::decision::{ItemResult, Subject, Violation};
use imquota::domain::hold::{Hold, HoldEnd, HoldOutcome};
use imquota::domain::id::{GroupId, OperationId, UserId};
use imquota::domain::limit::Limit;
use imquota::domain::limits;
use imquota::domain::time::Timestamp;
use imquota::domain::usage::{Counts, Usage};
use imquota::engine::{Decision, Denial};
use imquota::ledger::holds::{EndedHold, Ending, HoldResult};
use imquota::ledger::{LedgerError, Operation};
use imquota::store::StoreError;

use super::counts::Held;
use super::endings::{End, Ended, Fate, HoldItem};
use super::holds::{Ask, Kind, Part};
use super::operation::{Blocked, Fault, Group, Op, OpItem, OpResult, User, Who};
use super::rules::FREE;
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
    Blocked { im_code: denial.im_code.number, ..violated(&denial.violation) }
}

/// A violated limit, without its code.
fn violated(violation: &Violation) -> Blocked {
    let stopped = violation.reason == imquota::domain::decision::Reason::ServiceStopped;
    Blocked {
        reason: violation.reason,
        // The limit that represents all others in a stopped service is not specified.
        limit_id: if stopped { String::new() } else { violation.limit_id.to_string() },
        who: who(&violation.subject),
        used: if stopped { 0 } else { violation.used },
        limit: number(violation.bound.limit),
        im_code: 0,
    }
}

pub fn fault(error: &LedgerError, what: &dyn Debug) -> Fault {
    match error {
        LedgerError::Store(StoreError::DeadlinePassed) => Fault::DeadlinePassed,
        LedgerError::GroupNotFound(_) => Fault::GroupNotFound,
        LedgerError::GroupTypeDiffers { .. } => Fault::GroupTypeDiffers,
        LedgerError::MembersNotTracked { .. } => Fault::MembersNotTracked,
        LedgerError::HoldDiffers(_) => Fault::HoldDiffers,
        other => panic!("no operation of this test has this error: {other}, of {what:?}"),
    }
}

fn hold_id(id: usize) -> String {
    format!("operation {{{id}}} ~")
}

pub fn hold(ask: Ask) -> Hold {
    Hold::new(&hold_id(ask.id), ask.seconds).expect("a valid id")
}

pub fn ending(end: End) -> Ending {
    Ending {
        id: OperationId::try_from(hold_id(end.id).as_str()).expect("a valid id"),
        part: match end.part {
            Part::Accounts => limits::Part::Accounts,
            Part::Friends => limits::Part::Friends,
            Part::Groups => limits::Part::Groups,
        },
        end: if end.confirms { HoldEnd::Confirm } else { HoldEnd::Release },
        as_of: end.as_of.map(Timestamp::from_millis),
    }
}

/// A hold that was ended.
pub fn ended(ended: &EndedHold) -> Ended {
    let kind = match &ended.operation {
        Operation::CreateAccounts { .. } => Kind::CreateAccounts,
        Operation::AddFriends { .. } => Kind::AddFriends,
        Operation::CreateGroup { .. } => Kind::CreateGroup,
        Operation::JoinGroup { .. } => Kind::Join,
        other => panic!("no operation of this test has a hold: {other:?}"),
    };
    Ended {
        kind,
        expired_at: ended.expired_at.map(Timestamp::as_millis),
        whole: ended.whole.as_ref().map(hold_item),
        items: ended.items.iter().map(|item| item.as_ref().map(hold_item)).collect(),
    }
}

fn hold_item(result: &HoldResult) -> HoldItem {
    let fate = match result.outcome {
        HoldOutcome::Confirmed => Fate::Confirmed,
        HoldOutcome::Retaken => Fate::Retaken,
        HoldOutcome::Released => Fate::Released,
        HoldOutcome::EndedOtherwise => Fate::EndedOtherwise,
        HoldOutcome::Denied => Fate::Denied,
    };
    let mut blocked: Vec<Blocked> = result.violations.iter().map(violated).collect();
    blocked.sort();
    HoldItem { fate, blocked }
}

/// The expected result without codes, which the ledger does not give.
pub fn without_codes(mut ended: Vec<Ended>) -> Vec<Ended> {
    for one in &mut ended {
        for item in one.items.iter_mut().chain([&mut one.whole]).flatten() {
            item.blocked.iter_mut().for_each(|blocked| blocked.im_code = 0);
        }
    }
    ended
}

/// The held counts of a reading, without those that are 0.
pub fn held(counts: &Counts) -> Held {
    let mut held = Held::new();
    match counts {
        Counts::App { accounts, groups, net_new_today, net_new_today_of_all_types, .. } => {
            let number = |number: &i64| u64::try_from(*number).expect("not negative");
            held.insert("accounts".into(), *accounts);
            held.extend(groups.iter().map(|(name, of)| (format!("groups of {name}"), *of)));
            let today = net_new_today.iter();
            held.extend(today.map(|(name, of)| (format!("groups of {name} today"), number(of))));
            held.insert("groups today".into(), number(net_new_today_of_all_types));
        }
        Counts::User { friends, groups } => {
            held.extend([("friends".into(), *friends), ("groups".into(), *groups)]);
        }
        Counts::Group { members, .. } => {
            held.insert("members".into(), *members);
        }
    }
    held.retain(|_, number| *number > 0);
    held
}

/// An operation of the ledger; a deletion of accounts is none.
pub fn operation(op: &Op) -> Operation {
    match op {
        Op::DeleteAccounts(_) => panic!("the engine deletes each account by itself"),
        Op::CreateAccounts(users) => Operation::CreateAccounts { users: user_ids(users) },
        Op::AddFriends { user, friends, one_way } => Operation::AddFriends {
            user: user_id(*user),
            friends: user_ids(friends),
            one_way: *one_way,
        },
        Op::RemoveFriends { user, friends, one_way } => Operation::RemoveFriends {
            user: user_id(*user),
            friends: user_ids(friends),
            one_way: *one_way,
        },
        Op::CreateGroup { group, kind, owner, members, max } => Operation::CreateGroup {
            group: group_id(*group),
            group_type: super::rules::SMALL.kinds[*kind].name.into(),
            owner: owner.map(user_id),
            members: user_ids(members),
            max_members: *max,
        },
        Op::UpdateGroup { group, max } => {
            Operation::UpdateGroup { group: group_id(*group), max_members: *max }
        }
        Op::Join { group, users } => {
            Operation::JoinGroup { group: group_id(*group), users: user_ids(users) }
        }
        Op::Leave { group, users } => {
            Operation::LeaveGroup { group: group_id(*group), users: user_ids(users) }
        }
        Op::Dissolve { group } => Operation::DissolveGroup { group: group_id(*group) },
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
