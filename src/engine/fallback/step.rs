//! The next action for an operation: a pure function of the failure policy, of the journal's
//! entries about the same users and groups, and of whether their server is absent.
//!
//! | journal | server | release | take, fails open | closed |
//! |---|---|---|---|---|
//! | nothing | any | to the store | to the store | to the store |
//! | entries wait | available | journaled behind them | waits for them | waits for them |
//! | entries wait | absent | journaled behind them | admitted behind them | UNAVAILABLE |
//! | an entry is blocked | any | journaled behind it | JOURNAL_BLOCKED | JOURNAL_BLOCKED |
//!
//! | result of the store | release | take, fails open | closed |
//! |---|---|---|---|
//! | a decision | the decision | the decision | the decision |
//! | absent server | journaled | admitted | UNAVAILABLE |
//! | any other error | the error | the error | the error |

use super::failure_action::FailureAction;
use super::queue::Ahead;

/// Action before the store is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The store decides.
    Ask,
    /// It is written to the journal as a release.
    Accept,
    /// It is decided without the store.
    Admit,
    /// It waits until the entry of that number is in the store.
    Wait(u64),
    /// It fails: its server is absent.
    Absent,
    /// It fails: the entry of that number is blocked.
    Blocked(u64),
}

/// Returns the action before the store is called.
pub(super) fn before(plan: FailureAction, ahead: Ahead, is_absent: impl FnOnce() -> bool) -> Step {
    match (ahead, plan) {
        (Ahead::Nothing, _) => Step::Ask,
        (_, FailureAction::Release) => Step::Accept,
        (Ahead::Blocked(entry), FailureAction::Take | FailureAction::Closed) => {
            Step::Blocked(entry)
        }
        (Ahead::Waits(entry), FailureAction::Take | FailureAction::Closed) => {
            match (is_absent(), plan) {
                (false, _) => Step::Wait(entry),
                (true, FailureAction::Take) => Step::Admit,
                (true, _) => Step::Absent,
            }
        }
    }
}

/// Action once there is no entry to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It is written to the journal as a release.
    Accept,
    /// It is decided without the store.
    Admit,
    /// The store's result stands.
    Ask,
}

/// Returns the action after an operation failed.
pub(super) fn after(plan: FailureAction, is_absence: bool) -> After {
    match (is_absence, plan) {
        (true, FailureAction::Release) => After::Accept,
        (true, FailureAction::Take) => After::Admit,
        (true, FailureAction::Closed) | (false, _) => After::Ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_matches_the_table() {
        use Ahead::{Blocked, Nothing, Waits};
        let plans = [FailureAction::Release, FailureAction::Take, FailureAction::Closed];
        let table = [
            (Nothing, false, [Step::Ask, Step::Ask, Step::Ask]),
            (Nothing, true, [Step::Ask, Step::Ask, Step::Ask]),
            (Waits(7), false, [Step::Accept, Step::Wait(7), Step::Wait(7)]),
            (Waits(7), true, [Step::Accept, Step::Admit, Step::Absent]),
            (Blocked(7), false, [Step::Accept, Step::Blocked(7), Step::Blocked(7)]),
            (Blocked(7), true, [Step::Accept, Step::Blocked(7), Step::Blocked(7)]),
        ];
        for (ahead, is_absent, steps) in table {
            for (plan, step) in plans.into_iter().zip(steps) {
                assert_eq!(
                    before(plan, ahead, || is_absent),
                    step,
                    "{ahead:?} {is_absent} {plan:?}"
                );
            }
        }
        let table = [
            (true, [After::Accept, After::Admit, After::Ask]),
            (false, [After::Ask, After::Ask, After::Ask]),
        ];
        for (is_absence, afters) in table {
            for (plan, step) in plans.into_iter().zip(afters) {
                assert_eq!(after(plan, is_absence), step, "{is_absence} {plan:?}");
            }
        }
    }

    #[test]
    fn nothing_but_absence_ever_admits_without_the_store() {
        for plan in [FailureAction::Release, FailureAction::Take, FailureAction::Closed] {
            for ahead in [Ahead::Nothing, Ahead::Waits(1), Ahead::Blocked(1)] {
                assert_ne!(before(plan, ahead, || false), Step::Admit);
            }
            assert_ne!(after(plan, false), After::Admit);
        }
    }
}
