//! Creating and deleting accounts.

use super::members;
use super::rows::Rows;
use super::step::{Results, Step, StepError};
use crate::domain::decision::{ItemResult, Outcome, Violation};
use crate::domain::id::UserId;
use crate::domain::operation::Effect;
use crate::ledger::reconcile::Fact;

/// Takes one account for each user, in order.
pub fn create(step: &mut Step<'_, impl Rows>, users: &[UserId]) -> Result<Results, StepError> {
    let mut results = Results::default();
    for user in users {
        results.items.push(take(step, user)?);
    }
    Ok(results)
}

/// Takes the account of one user.
pub fn take(
    step: &mut Step<'_, impl Rows>,
    user: &UserId,
) -> Result<ItemResult<Violation>, StepError> {
    let key = step.ids.user(user);
    if step.facts.has_account(key)? {
        let outcome = step.facts.keep(Fact::Account(key), step.today)?;
        return Ok(ItemResult::of(outcome));
    }
    let violations = step.violations(Effect::account(user).counts(), None)?;
    let result = step.judge(violations);
    if !result.denied() {
        step.facts.set_account(key, true)?;
    }
    Ok(result)
}

/// Deletes an account and all facts of the user, also if the account does not exist. If the user
/// has more facts than the step may release, the account is deleted with the last of them.
pub fn delete(step: &mut Step<'_, impl Rows>, user: &UserId) -> Result<Results, StepError> {
    let user = step.ids.user(user);
    let mut held = false;
    let most = step.releases_max.saturating_add(1);
    let groups = step.facts.groups_of(user, most)?;
    let others = step.facts.neighbours(user, most)?;
    let is_unfinished = groups.len() + others.len() > step.releases_max;
    let groups_max = groups.len().min(step.releases_max);
    let others_max = step.releases_max - groups_max;
    if !is_unfinished && step.facts.has_account(user)? {
        step.facts.set_account(user, false)?;
        held = true;
    }
    for (group, counted) in groups.into_iter().take(groups_max) {
        members::remove_member(step, user, group, counted)?;
        held = true;
    }
    for other in others.into_iter().take(others_max) {
        for (from, to) in [(user, other), (other, user)] {
            if step.facts.has_friend(from, to)? {
                step.facts.set_friend(from, to, false)?;
            }
        }
        held = true;
    }
    let outcome = if held { Outcome::Applied } else { Outcome::NotHeld };
    Ok(Results { whole: Some(ItemResult::of(outcome)), is_unfinished, ..Results::default() })
}
