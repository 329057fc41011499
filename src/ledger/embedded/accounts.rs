//! Creating and deleting accounts.

use super::members;
use super::step::{Results, Step, StepError};
use crate::domain::decision::{ItemResult, Outcome};
use crate::domain::id::UserId;
use crate::domain::operation::Effect;

/// Takes one account for each user, in order.
pub fn create(step: &mut Step<'_, '_>, users: &[UserId]) -> Result<Results, StepError> {
    let mut results = Results::default();
    for user in users {
        let key = step.ids.user(user);
        if step.facts.has_account(key)? {
            results.items.push(ItemResult::of(Outcome::AlreadyHeld));
            continue;
        }
        let violations = step.violations(Effect::account(user).counts(), None)?;
        let result = step.judge(violations);
        if !result.denied() {
            step.facts.set_account(key, true)?;
        }
        results.items.push(result);
    }
    Ok(results)
}

/// Deletes an account and all facts of the user, also if the account does not exist.
pub fn delete(step: &mut Step<'_, '_>, user: &UserId) -> Result<Results, StepError> {
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
    Ok(Results { whole: Some(ItemResult::of(outcome)), ..Results::default() })
}
