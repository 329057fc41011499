//! The series of operations that exist from the start, at 0: Prometheus' `rate` and `increase` do
//! not see the increment with which a series appears.

use crate::domain::decision::{Mode, Outcome, Reason};

/// Every operation that is measured. One that is missing here is measured too, by look-up.
pub(super) const OPERATIONS: [&str; 12] = [
    "join_group",
    "leave_group",
    "add_friends",
    "remove_friends",
    "create_group",
    "create_accounts",
    "dissolve_group",
    "update_group",
    "delete_account",
    "get_usage",
    "record_logins",
    "report_bandwidth",
];
/// Every call of the store that is measured.
pub(super) const STORE_CALLS: [&str; 3] = ["apply", "read", "record"];
/// Operations that take, and why each may be denied.
pub(super) const TAKES: [(&str, &[Reason]); 4] = [
    ("create_accounts", &[Reason::ServiceStopped, Reason::AccountsPerApp]),
    ("add_friends", &[Reason::ServiceStopped, Reason::MyFriends, Reason::PeerFriends]),
    (
        CREATE_GROUP,
        &[
            Reason::ServiceStopped,
            Reason::GroupsPerUser,
            Reason::GroupsPerApp,
            Reason::GroupsPerDay,
            Reason::MembersAtCreation,
            Reason::GroupsAllowance,
        ],
    ),
    ("join_group", &[Reason::ServiceStopped, Reason::GroupsPerUser, Reason::MembersPerGroup]),
];
/// Operations that release.
pub(super) const RELEASES: [&str; 4] =
    ["leave_group", "remove_friends", "dissolve_group", "delete_account"];

const CREATE_GROUP: &str = "create_group";
/// What an owner who joins a group that exists may be denied by.
const OWNER_JOINS: [Reason; 3] =
    [Reason::ServiceStopped, Reason::GroupsPerUser, Reason::MembersAtCreation];
const MODES: [Mode; 4] = [Mode::Enforce, Mode::CheckOnly, Mode::Shadow, Mode::Force];

/// Operation, mode, outcome and first reason of a decision.
pub(super) type Decision = (&'static str, Mode, Outcome, Option<Reason>);

/// Every decision that can be made.
pub(super) fn decisions() -> impl Iterator<Item = Decision> {
    let release = |operation| {
        [Outcome::Applied, Outcome::NotHeld]
            .map(|outcome| (operation, Mode::Enforce, outcome, None))
    };
    let update = [Outcome::Applied, Outcome::AlreadyHeld]
        .map(|outcome| ("update_group", Mode::Enforce, outcome, None));
    TAKES.into_iter().flat_map(takes).chain(RELEASES.into_iter().flat_map(release)).chain(update)
}

fn takes((operation, reasons): (&'static str, &'static [Reason])) -> Vec<Decision> {
    let creates_group = operation == CREATE_GROUP;
    let mut decisions = Vec::new();
    for mode in MODES {
        let mut add = |outcome, reason| decisions.push((operation, mode, outcome, reason));
        add(Outcome::Applied, None);
        add(Outcome::AlreadyHeld, None);
        if mode.denies() && creates_group {
            // Members of a group that is denied.
            add(Outcome::Denied, None);
        }
        for reason in reasons.iter().copied().map(Some) {
            if mode.denies() {
                add(Outcome::Denied, reason);
            } else if mode == Mode::Shadow {
                add(Outcome::Applied, reason);
                if creates_group && reason.is_some_and(|it| OWNER_JOINS.contains(&it)) {
                    add(Outcome::AlreadyHeld, reason);
                }
            }
        }
    }
    decisions
}

/// The label of a reason. [`Reason::name`] is how stored events and error details name it.
pub(super) fn reason_label(reason: Reason) -> &'static str {
    match reason {
        Reason::ServiceStopped => "service_stopped",
        Reason::AccountsPerApp => "accounts_per_app",
        Reason::MyFriends => "my_friends",
        Reason::PeerFriends => "peer_friends",
        Reason::GroupsPerUser => "groups_per_user",
        Reason::GroupsPerApp => "groups_per_app",
        Reason::GroupsPerDay => "groups_per_day",
        Reason::MembersPerGroup => "members_per_group",
        Reason::MembersAtCreation => "members_at_creation",
        Reason::GroupsAllowance => "groups_allowance",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_reason_is_labelled_by_its_name_in_lower_case() {
        for reason in Reason::ALL {
            assert_eq!(reason_label(reason), reason.name().to_ascii_lowercase());
        }
    }

    #[test]
    fn every_operation_that_decides_and_every_reason_has_series() {
        let all: Vec<Decision> = decisions().collect();
        let unique: BTreeSet<String> = all.iter().map(|it| format!("{it:?}")).collect();
        assert_eq!(unique.len(), all.len(), "each once");
        for reason in Reason::ALL {
            assert!(
                all.iter().any(|(_, _, outcome, it)| {
                    *outcome == Outcome::Denied && *it == Some(reason)
                })
            );
        }
        let decide_nothing = ["get_usage", "record_logins", "report_bandwidth"];
        for operation in OPERATIONS {
            let decides = all.iter().any(|(of, ..)| *of == operation);
            assert_eq!(decides, !decide_nothing.contains(&operation), "{operation}");
        }
    }
}
