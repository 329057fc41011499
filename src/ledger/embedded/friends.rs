//! Adding and removing friends.
//!
//! Both ways means two facts, one in either list. A fact that is there already takes nothing, so
//! only the limits of the lists that grow are looked at; both grow or neither.

use super::step::{Step, StepError, Verdicts};
use crate::domain::decision::{Breach, Outcome, Reason, Subject, Verdict};
use crate::domain::id::UserId;
use crate::domain::limit::{Bound, LimitId};

/// Adds each friend to the user's list and, unless `one_way`, the user to his.
pub fn add(
    step: &mut Step<'_, '_>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Verdicts, StepError> {
    let bound = step.limits.sold_or_unlimited(&LimitId::FriendsPerUser);
    let mine = step.ids.user(user);
    let mut verdicts = Verdicts::default();
    for friend in friends {
        let his = step.ids.user(friend);
        let i_need_him = !step.facts.has_friend(mine, his)?;
        let he_needs_me = !one_way && !step.facts.has_friend(his, mine)?;
        if !i_need_him && !he_needs_me {
            verdicts.items.push(Verdict::of(Outcome::AlreadyHeld));
            continue;
        }
        let mut breaches = Vec::new();
        if i_need_him {
            breaches.extend(full_list(step, Reason::MyFriends, user, &bound)?);
        }
        if he_needs_me {
            breaches.extend(full_list(step, Reason::PeerFriends, friend, &bound)?);
        }
        let verdict = step.judge(breaches);
        if !verdict.denied() {
            if i_need_him {
                step.facts.set_friend(mine, his, true)?;
            }
            if he_needs_me {
                step.facts.set_friend(his, mine, true)?;
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
) -> Result<Option<Breach>, StepError> {
    let used = step.facts.user(step.ids.user(user))?.friends;
    let subject = Subject::User(user.clone());
    Ok(Breach::check(reason, LimitId::FriendsPerUser, &subject, used, bound))
}

/// Removes each friend from the user's list and, unless `one_way`, the user from his.
pub fn remove(
    step: &mut Step<'_, '_>,
    user: &UserId,
    friends: &[UserId],
    one_way: bool,
) -> Result<Verdicts, StepError> {
    let mine = step.ids.user(user);
    let mut verdicts = Verdicts::default();
    for friend in friends {
        let his = step.ids.user(friend);
        let mut held = false;
        if step.facts.has_friend(mine, his)? {
            step.facts.set_friend(mine, his, false)?;
            held = true;
        }
        if !one_way && step.facts.has_friend(his, mine)? {
            step.facts.set_friend(his, mine, false)?;
            held = true;
        }
        let outcome = if held { Outcome::Applied } else { Outcome::NotHeld };
        verdicts.items.push(Verdict::of(outcome));
    }
    Ok(verdicts)
}
