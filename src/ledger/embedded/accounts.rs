//! Creating and deleting accounts.

use super::members;
use super::step::{Step, StepError, Verdicts};
use crate::domain::decision::{Outcome, Reason, Subject, Verdict, Violation};
use crate::domain::id::UserId;
use crate::domain::limit::LimitId;

/// Takes one account for each user, in order.
pub fn create(step: &mut Step<'_, '_>, users: &[UserId]) -> Result<Verdicts, StepError> {
    let bound = step.limits.sold_or_unlimited(&LimitId::AccountsPerApp);
    let mut verdicts = Verdicts::default();
    for user in users {
        let user = step.ids.user(user);
        if step.facts.has_account(user)? {
            verdicts.items.push(Verdict::of(Outcome::AlreadyHeld));
            continue;
        }
        let used = step.facts.accounts()?;
        let violation = Violation::check(
            Reason::AccountsPerApp,
            LimitId::AccountsPerApp,
            &Subject::App,
            used,
            &bound,
        );
        let verdict = step.judge(violation.into_iter().collect());
        if !verdict.denied() {
            step.facts.set_account(user, true)?;
        }
        verdicts.items.push(verdict);
    }
    Ok(verdicts)
}

/// Deletes an account and all facts of the user, also if the account does not exist.
pub fn delete(step: &mut Step<'_, '_>, user: &UserId) -> Result<Verdicts, StepError> {
    let user = step.ids.user(user);
    let mut held = false;
    if step.facts.has_account(user)? {
        step.facts.set_account(user, false)?;
        held = true;
    }
    for (group, counted) in step.facts.groups_of(user)? {
        members::remove_member(step, user, group, counted)?;
        held = true;
    }
    for other in step.facts.neighbours(user)? {
        for (from, to) in [(user, other), (other, user)] {
            if step.facts.has_friend(from, to)? {
                step.facts.set_friend(from, to, false)?;
            }
        }
        held = true;
    }
    let outcome = if held { Outcome::Applied } else { Outcome::NotHeld };
    Ok(Verdicts { whole: Some(Verdict::of(outcome)), ..Verdicts::default() })
}
