//! Joining and leaving groups.

use super::counts::When;
use super::facts::GroupRow;
use super::step::{Step, StepError, Verdicts};
use crate::domain::decision::{Outcome, Reason, Subject, Verdict, Violation};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, UserId};
use crate::domain::limit::LimitId;
use crate::store::fingerprint::{GroupKey, UserKey};

/// Makes users members of an existing group, in order.
pub fn join(
    step: &mut Step<'_, '_>,
    group: &GroupId,
    users: &[UserId],
) -> Result<Verdicts, StepError> {
    let row = step.existing(group)?;
    let kind = step.group_type(group, &row.group_type)?;
    let items = add_members(step, &kind, group, users, Reason::MembersPerGroup)?;
    Ok(Verdicts { items, ..Verdicts::default() })
}

/// Makes users members, with one result each; `full` is the reason if the group is full.
pub fn add_members(
    step: &mut Step<'_, '_>,
    kind: &GroupType,
    group: &GroupId,
    users: &[UserId],
    full: Reason,
) -> Result<Vec<Verdict>, StepError> {
    users.iter().map(|user| add_member(step, kind, group, user, full)).collect()
}

/// Makes one user a member.
pub fn add_member(
    step: &mut Step<'_, '_>,
    kind: &GroupType,
    group: &GroupId,
    user: &UserId,
    full: Reason,
) -> Result<Verdict, StepError> {
    let (user_key, group_key) = (step.ids.user(user), step.ids.group(group));
    if kind.members_tracked && step.facts.membership(user_key, group_key)?.is_some() {
        return Ok(Verdict::of(Outcome::AlreadyHeld));
    }
    let row = step.existing(group)?;
    let violations = violations(step, kind, group, &row, user, full)?;
    let verdict = step.judge(violations);
    if kind.members_tracked && !verdict.denied() {
        step.facts.join(user_key, group_key, kind.counts_towards_user)?;
    }
    Ok(verdict)
}

/// Returns the violations for one more member: the user's groups, and the group's members.
pub fn violations(
    step: &Step<'_, '_>,
    kind: &GroupType,
    group: &GroupId,
    row: &GroupRow,
    user: &UserId,
    full: Reason,
) -> Result<Vec<Violation>, StepError> {
    let mut violations = Vec::new();
    if kind.members_tracked && kind.counts_towards_user {
        let bound = step.limits.sold_or_unlimited(&LimitId::GroupsPerUser);
        let used = step.facts.user(step.ids.user(user))?.groups;
        let subject = Subject::User(user.clone());
        let id = LimitId::GroupsPerUser;
        violations.extend(Violation::check(Reason::GroupsPerUser, id, &subject, used, &bound));
    }
    if kind.members_tracked {
        let bound = kind.member_bound(step.limits, row.max_members.map(|max| (max, group)));
        let subject = Subject::Group(group.clone());
        let id = LimitId::MembersPerGroup;
        let violation = Violation::check(full, id, &subject, row.members, &bound);
        violations.extend(violation.map(|violation| {
            violation.of_group_type(&kind.name, kind.member_ceiling(row.max_members))
        }));
    }
    Ok(violations)
}

/// Removes users from a group; a group that does not exist has no members.
pub fn leave(
    step: &mut Step<'_, '_>,
    group: &GroupId,
    users: &[UserId],
) -> Result<Verdicts, StepError> {
    let group = step.ids.group(group);
    let mut verdicts = Verdicts::default();
    for user in users {
        let user = step.ids.user(user);
        let outcome = match step.facts.membership(user, group)? {
            Some(counted) => {
                verdicts.group_reclaimed |= remove_member(step, user, group, counted)?;
                Outcome::Applied
            }
            None => Outcome::NotHeld,
        };
        verdicts.items.push(Verdict::of(outcome));
    }
    Ok(verdicts)
}

/// Removes a member; returns whether that was the last one and the group was removed.
pub fn remove_member(
    step: &mut Step<'_, '_>,
    user: UserKey,
    group: GroupKey,
    counted: bool,
) -> Result<bool, StepError> {
    step.facts.leave(user, group, counted)?;
    let Some(row) = step.facts.group(group)? else { return Ok(false) };
    let kind = step.call.catalog.group_type(row.group_type.as_str());
    let reclaim = row.members == 0 && kind.is_some_and(|kind| kind.reclaim_empty);
    if reclaim {
        step.facts.remove_group(group, &row.group_type, When::Now(step.today))?;
    }
    Ok(reclaim)
}
