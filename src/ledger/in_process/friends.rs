//! Adding and removing friends.
//!
//! A friendship of both sides is two facts, one in either list. A fact that is held already takes
//! nothing, so only the limits of the lists that grow are checked; both grow or neither does.

use super::rows::Rows;
use super::step::{Results, Step, StepError};
use crate::domain::decision::{ItemResult, Outcome};
use crate::domain::id::UserId;
use crate::domain::operation::{Counted, Effect};

/// Adds each friend to the user's list and, unless `one_way`, the user to the friend's list.
pub fn add(
    step: &mut Step<'_, impl Rows>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Results, StepError> {
    let user_key = step.ids.user(user);
    let mut results = Results::default();
    for friend in friends {
        let friend_key = step.ids.user(friend);
        let user_list_grows = !step.facts.has_friend(user_key, friend_key)?;
        let friend_list_grows = !one_way && !step.facts.has_friend(friend_key, user_key)?;
        if !user_list_grows && !friend_list_grows {
            results.items.push(ItemResult::of(Outcome::AlreadyHeld));
            continue;
        }
        let counts = Effect::friendship(user, friend, one_way).counts();
        let grows = |counted: &Counted<'_>| {
            if counted.is_peer { friend_list_grows } else { user_list_grows }
        };
        let violations = step.violations(counts.filter(grows), None)?;
        let result = step.judge(violations);
        if !result.denied() {
            if user_list_grows {
                step.facts.set_friend(user_key, friend_key, true)?;
            }
            if friend_list_grows {
                step.facts.set_friend(friend_key, user_key, true)?;
            }
        }
        results.items.push(result);
    }
    Ok(results)
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
