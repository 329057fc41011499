//! Adding and removing friends.
//!
//! A friendship of both sides is two facts, one in either list. A fact that is held already takes
//! nothing, so only the limits of the lists that grow are checked; both grow or neither does.

use super::step::{Step, StepError, Verdicts};
use crate::domain::decision::{Outcome, Reason, Subject, Verdict, Violation};
use crate::domain::id::UserId;
use crate::domain::limit::{Bound, LimitId};

/// Adds each friend to the user's list and, unless `one_way`, the user to the friend's list.
pub fn add(
    step: &mut Step<'_, '_>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Verdicts, StepError> {
    let bound = step.limits.sold_or_unlimited(&LimitId::FriendsPerUser);
    let user_key = step.ids.user(user);
    let mut verdicts = Verdicts::default();
    for friend in friends {
        let friend_key = step.ids.user(friend);
        let user_list_grows = !step.facts.has_friend(user_key, friend_key)?;
        let friend_list_grows = !one_way && !step.facts.has_friend(friend_key, user_key)?;
        if !user_list_grows && !friend_list_grows {
            verdicts.items.push(Verdict::of(Outcome::AlreadyHeld));
            continue;
        }
        let mut violations = Vec::new();
        if user_list_grows {
            violations.extend(full_list(step, Reason::MyFriends, user, &bound)?);
        }
        if friend_list_grows {
            violations.extend(full_list(step, Reason::PeerFriends, friend, &bound)?);
        }
        let verdict = step.judge(violations);
        if !verdict.denied() {
            if user_list_grows {
                step.facts.set_friend(user_key, friend_key, true)?;
            }
            if friend_list_grows {
                step.facts.set_friend(friend_key, user_key, true)?;
            }
        }
        verdicts.items.push(verdict);
    }
    Ok(verdicts)
}

fn full_list(
    step: &Step<'_, '_>,
    reason: Reason,
    user: &UserId,
    bound: &Bound,
) -> Result<Option<Violation>, StepError> {
    let used = step.facts.user(step.ids.user(user))?.friends;
    let subject = Subject::User(user.clone());
    Ok(Violation::check(reason, LimitId::FriendsPerUser, &subject, used, bound))
}

/// Removes each friend from the user's list and, unless `one_way`, the user from the friend's list.
pub fn remove(
    step: &mut Step<'_, '_>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Verdicts, StepError> {
    let user_key = step.ids.user(user);
    let mut verdicts = Verdicts::default();
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
        verdicts.items.push(Verdict::of(outcome));
    }
    Ok(verdicts)
}
