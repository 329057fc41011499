//! Adding and removing friends.
//!
//! A friendship of both sides is two facts, one in either list. A fact that is held already takes
//! nothing, so only the limits of the lists that grow are checked; both grow or neither does.

use super::rows::Rows;
use super::step::{Results, Step, StepError};
use crate::domain::decision::{ItemResult, Outcome, Violation};
use crate::domain::id::UserId;
use crate::domain::operation::Effect;
use crate::ledger::reconcile::Fact;

/// Adds each friend to the user's list and, unless `one_way`, the user to the friend's list.
pub fn add(
    step: &mut Step<'_, impl Rows>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Results, StepError> {
    let mut results = Results::default();
    for friend in friends {
        results.items.push(take(step, user, friend, [true, !one_way])?);
    }
    Ok(results)
}

/// Adds a friend to the user's list, and the user to the friend's list, as far as they are wanted
/// there.
pub fn take(
    step: &mut Step<'_, impl Rows>,
    user: &UserId,
    friend: &UserId,
    wanted: [bool; 2],
) -> Result<ItemResult<Violation>, StepError> {
    let [user_key, friend_key] = [user, friend].map(|it| step.ids.user(it));
    let pairs = [(user_key, friend_key), (friend_key, user_key)];
    let mut grows = [false; 2];
    for (index, (from, to)) in pairs.into_iter().enumerate() {
        grows[index] = wanted[index] && !step.facts.has_friend(from, to)?;
    }
    let mut result = ItemResult::of(Outcome::AlreadyHeld);
    if grows.contains(&true) {
        // The counts of the user and, unless the friend's list does not grow, of the friend.
        let counts = Effect::friendship(user, friend, !wanted[1]).counts();
        let counts = counts.filter(|counted| grows[usize::from(counted.is_peer)]);
        let violations = step.violations(counts, None)?;
        result = step.judge(violations);
        if result.denied() {
            return Ok(result);
        }
    }
    for (index, (from, to)) in pairs.into_iter().enumerate() {
        if grows[index] {
            step.facts.set_friend(from, to, true)?;
        } else if wanted[index] {
            let outcome = step.facts.keep(Fact::Friend(from, to), step.today)?;
            if outcome == Outcome::Repeated && result.outcome == Outcome::AlreadyHeld {
                result.outcome = outcome;
            }
        }
    }
    Ok(result)
}

/// Removes each friend from the user's list and, unless `one_way`, the user from the friend's list.
pub fn remove(
    step: &mut Step<'_, impl Rows>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Results, StepError> {
    let user_key = step.ids.user(user);
    let mut results = Results::default();
    for friend in friends {
        let friend_key = step.ids.user(friend);
        let mut held = false;
        if step.facts.has_friend(user_key, friend_key)? {
            step.facts.set_friend(user_key, friend_key, false)?;
            held = true;
        }
        if !one_way && step.facts.has_friend(friend_key, user_key)? {
            step.facts.set_friend(friend_key, user_key, false)?;
            held = true;
        }
        let outcome = if held { Outcome::Applied } else { Outcome::NotHeld };
        results.items.push(ItemResult::of(outcome));
    }
    Ok(results)
}
