//! Creating, changing and dissolving groups.

use super::counts::When;
use super::facts::GroupRow;
use super::members;
use super::step::{Step, StepError, Verdicts};
use crate::domain::decision::{Outcome, Reason, Subject, Verdict, Violation};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, Name, UserId};
use crate::domain::limit::LimitId;
use crate::domain::usage::per_day_of_all_types;
use crate::ledger::LedgerError;

/// The reason for a denial if the group is full during its creation.
const FULL: Reason = Reason::MembersAtCreation;

/// A group to be created.
pub struct New<'a> {
    /// Its id.
    pub id: &'a GroupId,
    /// Its type.
    pub group_type: &'a Name,
    /// Its owner, who is its first member.
    pub owner: Option<&'a UserId>,
    /// Further members.
    pub members: &'a [UserId],
    /// Its own limit.
    pub max_members: Option<u32>,
}

/// Creates a group, or adds owner and members if it exists already.
pub fn create(step: &mut Step<'_, '_>, new: &New<'_>) -> Result<Verdicts, StepError> {
    let kind = step.group_type(new.id, new.group_type)?;
    let whole = match step.facts.group(step.ids.group(new.id))? {
        Some(row) if row.group_type != *new.group_type => {
            let existing = row.group_type;
            return Err(LedgerError::GroupTypeDiffers { group: new.id.clone(), existing }.into());
        }
        Some(_) => join_owner(step, &kind, new)?,
        None => create_new(step, &kind, new)?,
    };
    if whole.denied() {
        let items = new.members.iter().map(|_| Verdict::of(Outcome::Denied)).collect();
        return Ok(Verdicts { whole: Some(whole), items, ..Verdicts::default() });
    }
    let items = members::add_members(step, &kind, new.id, new.members, FULL)?;
    Ok(Verdicts { whole: Some(whole), items, ..Verdicts::default() })
}

/// Adds the owner to an existing group; the owner is a member afterwards unless the result is a
/// denial.
fn join_owner(
    step: &mut Step<'_, '_>,
    kind: &GroupType,
    new: &New<'_>,
) -> Result<Verdict, StepError> {
    let mut whole = Verdict::of(Outcome::AlreadyHeld);
    if let Some(owner) = new.owner.filter(|_| kind.members_tracked) {
        let verdict = members::add_member(step, kind, new.id, owner, FULL)?;
        if verdict.denied() {
            return Ok(verdict);
        }
        whole.violations = verdict.violations;
    }
    Ok(whole)
}

/// Creates a group with its owner, unless the result is a denial.
fn create_new(
    step: &mut Step<'_, '_>,
    kind: &GroupType,
    new: &New<'_>,
) -> Result<Verdict, StepError> {
    let row = GroupRow { group_type: kind.name.clone(), members: 0, max_members: new.max_members };
    let mut violations = app_breaches(step, kind)?;
    if let Some(owner) = new.owner {
        violations.extend(members::violations(step, kind, new.id, &row, owner, FULL)?);
    }
    let verdict = step.judge(violations);
    if !verdict.denied() {
        let group = step.ids.group(new.id);
        step.facts.create_group(group, row, When::Now(step.today))?;
        if let Some(owner) = new.owner
            && kind.members_tracked
        {
            step.facts.join(step.ids.user(owner), group, kind.counts_towards_user)?;
        }
    }
    Ok(verdict)
}

/// Returns the app's violations for one more group: of its type at once, and of the day.
fn app_breaches(step: &Step<'_, '_>, kind: &GroupType) -> Result<Vec<Violation>, StepError> {
    let name = &kind.name;
    let at_once = step.facts.groups_of_type(name)?;
    let today = step.facts.net_new(step.today, name)?;
    let today_all = step.facts.net_new_of_all_types(step.today)?;
    let per_day = kind.per_day_bound();
    let per_day_all = per_day_of_all_types(&step.call.catalog);
    let mut of_all_types = None;
    // Only editions that allow no more than is free have this limit: the others need no sum.
    if let Some(bound) = step.limits.sold(&LimitId::GroupsPerAppOfAllTypes) {
        let used = step.facts.groups_of_all_types()?;
        let id = LimitId::GroupsPerAppOfAllTypes;
        of_all_types = Violation::check(Reason::GroupsAllowance, id, &Subject::App, used, bound);
    }
    let checks = [
        Violation::check(
            Reason::GroupsPerApp,
            LimitId::GroupsPerApp(name.clone()),
            &Subject::App,
            at_once,
            &kind.per_app_bound(step.limits),
        ),
        Violation::check_net(LimitId::GroupsPerDayOfType(name.clone()), today, &per_day),
        Violation::check_net(LimitId::GroupsPerDay, today_all, &per_day_all),
    ];
    Ok(checks
        .into_iter()
        .flatten()
        .map(|violation| violation.of_group_type(name, kind.per_app))
        .chain(of_all_types)
        .collect())
}

/// Changes the group's own limit.
pub fn update(
    step: &mut Step<'_, '_>,
    group: &GroupId,
    max_members: Option<u32>,
) -> Result<Verdicts, StepError> {
    let row = step.existing(group)?;
    let kind = step.group_type(group, &row.group_type)?;
    if max_members.is_some() && !kind.members_tracked {
        let group_type = row.group_type;
        return Err(LedgerError::MembersNotTracked { group: group.clone(), group_type }.into());
    }
    let outcome = if row.max_members == max_members {
        Outcome::AlreadyHeld
    } else {
        step.facts.update_group(step.ids.group(group), GroupRow { max_members, ..row });
        Outcome::Applied
    };
    Ok(Verdicts { whole: Some(Verdict::of(outcome)), ..Verdicts::default() })
}

/// Removes all members, and the group.
pub fn dissolve(step: &mut Step<'_, '_>, group: &GroupId) -> Result<Verdicts, StepError> {
    let group = step.ids.group(group);
    let Some(row) = step.facts.group(group)? else {
        let whole = Some(Verdict::of(Outcome::NotHeld));
        return Ok(Verdicts { whole, ..Verdicts::default() });
    };
    let mut members_released = 0;
    for (user, counted) in step.facts.members(group)? {
        step.facts.leave(user, group, counted)?;
        members_released += 1;
    }
    step.facts.remove_group(group, &row.group_type, When::Now(step.today))?;
    let whole = Some(Verdict::of(Outcome::Applied));
    Ok(Verdicts { whole, members_released, ..Verdicts::default() })
}
