//! Joining and leaving groups.

use redb::StorageError;

use super::counts::When;
use super::facts::Facts;
use super::rows::{GroupRow, Rows};
use super::step::{Results, Step, StepError};
use crate::domain::bounds::GroupRules;
use crate::domain::calendar::Day;
use crate::domain::catalog::Catalog;
use crate::domain::decision::{ItemResult, Outcome, Violation};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, UserId};
use crate::domain::operation::Effect;
use crate::ledger::reconcile::Fact;
use crate::store::fingerprint::{GroupKey, UserKey};

/// Makes users members of an existing group, in order.
pub fn join(
    step: &mut Step<'_, impl Rows>,
    group: &GroupId,
    users: &[UserId],
) -> Result<Results, StepError> {
    let row = step.existing(group)?;
    let kind = step.group_type(group, &row.group_type)?;
    let items = add_members(step, &kind, group, users)?;
    Ok(Results { items, ..Results::default() })
}

/// Makes users members, with one result each.
pub fn add_members(
    step: &mut Step<'_, impl Rows>,
    kind: &GroupType,
    group: &GroupId,
    users: &[UserId],
) -> Result<Vec<ItemResult<Violation>>, StepError> {
    users.iter().map(|user| add_member(step, kind, group, user)).collect()
}

/// Makes one user a member.
pub fn add_member(
    step: &mut Step<'_, impl Rows>,
    kind: &GroupType,
    group: &GroupId,
    user: &UserId,
) -> Result<ItemResult<Violation>, StepError> {
    let (user_key, group_key) = (step.ids.user(user), step.ids.group(group));
    if kind.members_tracked && step.facts.membership(user_key, group_key)?.is_some() {
        let outcome = step.facts.keep(Fact::Member(group_key, user_key), step.today)?;
        return Ok(ItemResult::of(outcome));
    }
    let row = step.existing(group)?;
    let violations = violations(step, kind, group, &row, user)?;
    let result = step.judge(violations);
    if kind.members_tracked && !result.denied() {
        let counts = kind.counts_towards_user;
        step.facts.join((user_key, group_key), counts, step.today)?;
    }
    Ok(result)
}

/// Returns the violations for one more member: the user's groups, and the group's members.
pub fn violations(
    step: &Step<'_, impl Rows>,
    kind: &GroupType,
    group: &GroupId,
    row: &GroupRow,
    user: &UserId,
) -> Result<Vec<Violation>, StepError> {
    let rules = GroupRules { kind, own: row.max_members.map(|max| (max, group)) };
    step.violations(Effect::membership(user, group).counts(), Some(rules))
}

/// Removes users from a group; a group that does not exist has no members.
pub fn leave(
    step: &mut Step<'_, impl Rows>,
    group: &GroupId,
    users: &[UserId],
) -> Result<Results, StepError> {
    let group = step.ids.group(group);
    let mut results = Results::default();
    for user in users {
        let user = step.ids.user(user);
        let outcome = match step.facts.membership(user, group)? {
            Some(counted) => {
                results.group_reclaimed |= remove_member(step, user, group, counted)?;
                Outcome::Applied
            }
            None => Outcome::NotHeld,
        };
        results.items.push(ItemResult::of(outcome));
    }
    Ok(results)
}

/// Removes a member; returns whether that was the last one and the group was removed.
pub fn remove_member(
    step: &mut Step<'_, impl Rows>,
    user: UserKey,
    group: GroupKey,
    counted: bool,
) -> Result<bool, StepError> {
    let (catalog, today) = (&step.call.catalog, step.today);
    Ok(leave_group(&mut step.facts, (catalog, today), (user, group), counted)?)
}

/// Removes a member on a day; returns whether that was the last one and the group was removed.
pub fn leave_group(
    facts: &mut Facts<'_, impl Rows>,
    (catalog, today): (&Catalog, Day),
    (user, group): (UserKey, GroupKey),
    counted: bool,
) -> Result<bool, StorageError> {
    facts.leave(user, group, counted)?;
    let Some(row) = facts.group(group)? else { return Ok(false) };
    let kind = catalog.group_type(row.group_type.as_str());
    let reclaim = row.members == 0 && kind.is_some_and(|kind| kind.reclaim_empty);
    if reclaim {
        facts.remove_group(group, &row.group_type, When::Now(today))?;
    }
    Ok(reclaim)
}
