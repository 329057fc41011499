//! The series of operations that exist from the start, at 0: Prometheus' `rate` and `increase` do
//! not count the increment with which a series appears.

use crate::domain::decision::{Mode, Outcome, Reason};
use crate::domain::hold::HoldEnd;
use crate::domain::limits::{LimitKind, Relation};
use crate::domain::operation::{Change, OperationKind};

/// Operations that are measured and decide nothing.
const UNDECIDED: [&str; 6] = [
    "get_usage",
    "record_logins",
    "report_bandwidth",
    "report_gauge",
    HoldEnd::Confirm.name(),
    HoldEnd::Release.name(),
];
/// The measured operations. One that is missing here is also measured, by a slower look-up.
pub(super) const OPERATIONS: [&str; OperationKind::ALL.len() + UNDECIDED.len()] = {
    let mut names = [""; OperationKind::ALL.len() + UNDECIDED.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = match index.checked_sub(OperationKind::ALL.len()) {
            None => OperationKind::ALL[index].name(),
            Some(rest) => UNDECIDED[rest],
        };
        index += 1;
    }
    names
};
/// The measured calls of the store.
pub(super) const STORE_CALLS: [&str; 5] = ["apply", "read", "record", "end_hold", "sweep_holds"];
const MODES: [Mode; 4] = [Mode::Enforce, Mode::CheckOnly, Mode::Shadow, Mode::Force];

/// Operation, mode, outcome and first reason of a decision.
pub(super) type Decision = (&'static str, Mode, Outcome, Option<Reason>);

/// Returns every possible decision.
pub(super) fn decisions() -> impl Iterator<Item = Decision> {
    OperationKind::ALL.into_iter().flat_map(|kind| match kind.change() {
        Change::Take => takes(kind),
        Change::Release => unlimited(kind, Outcome::NotHeld),
        Change::Alter => unlimited(kind, Outcome::AlreadyHeld),
    })
}

fn unlimited(kind: OperationKind, otherwise: Outcome) -> Vec<Decision> {
    let decision = |outcome| (kind.name(), Mode::Enforce, outcome, None);
    [Outcome::Applied, otherwise].map(decision).into()
}

fn takes(kind: OperationKind) -> Vec<Decision> {
    let creates_group = kind == OperationKind::CreateGroup;
    // Those of an owner who joins a group that exists.
    let owner_joins = |reason: Reason| {
        let of_group = |limit: LimitKind| limit.reason(false, true) == reason;
        !LimitKind::checked(Relation::Groups).any(of_group)
    };
    let mut decisions = Vec::new();
    for mode in MODES {
        let mut add = |outcome, reason| decisions.push((kind.name(), mode, outcome, reason));
        add(Outcome::Applied, None);
        add(Outcome::AlreadyHeld, None);
        if mode.writes() {
            // A dry run has no hold.
            add(Outcome::Repeated, None);
        }
        if mode.denies() && creates_group {
            // Members of a group that is denied.
            add(Outcome::Denied, None);
        }
        if mode.denies() {
            add(Outcome::Aborted, None);
        }
        for reason in kind.reasons() {
            if mode.denies() {
                add(Outcome::Denied, Some(reason));
            } else if mode == Mode::Shadow {
                add(Outcome::Applied, Some(reason));
                if creates_group && owner_joins(reason) {
                    add(Outcome::AlreadyHeld, Some(reason));
                }
            }
        }
    }
    decisions
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_label_of_a_reason_is_its_name_in_lower_case() {
        for reason in Reason::ALL {
            assert_eq!(reason.row().label, reason.name().to_ascii_lowercase());
        }
    }

    #[test]
    fn every_deciding_operation_and_every_reason_has_series() {
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
        for operation in OPERATIONS {
            let decides = all.iter().any(|(of, ..)| *of == operation);
            assert_eq!(decides, !UNDECIDED.contains(&operation), "{operation}");
        }
    }
}
