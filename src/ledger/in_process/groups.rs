//! Creating, changing and dissolving groups.

use redb::StorageError;

use super::counts::When;
use super::facts::Facts;
use super::members;
use super::replace::replace;
use super::rows::{GroupRow, Rows};
use super::step::{Results, Step, StepError};
use crate::domain::bounds::GroupRules;
use crate::domain::decision::{ItemResult, Outcome, Violation};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, Name, UserId};
use crate::domain::operation::Effect;
use crate::ledger::LedgerError;
use crate::ledger::reconcile::Fact;
use crate::store::fingerprint::GroupKey;

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
pub fn create(step: &mut Step<'_, impl Rows>, new: &New<'_>) -> Result<Results, StepError> {
    let kind = step.group_type(new.id, new.group_type)?;
    let replaced = match &step.call.take.replaces {
        Some(held) => replace(step, new, held)?,
        None => false,
    };
    let mut adds_owner = replaced;
    let mut whole = match step.facts.group(step.ids.group(new.id))? {
        Some(row) if row.group_type != *new.group_type => {
            let existing = row.group_type;
            return Err(LedgerError::GroupTypeDiffers { group: new.id.clone(), existing }.into());
        }
        Some(_) => {
            let (whole, added) = join_owner(step, &kind, new)?;
            adds_owner |= added;
            whole
        }
        None => create_new(step, &kind, new)?,
    };
    if replaced && whole.denied() {
        // Nothing is moved either.
        step.facts.discard();
    } else if replaced {
        whole.outcome = Outcome::Applied;
    }
    // The members of a whole batch are judged also if the group is denied.
    if whole.denied() && !step.call.aborts() {
        let items = new.members.iter().map(|_| ItemResult::of(Outcome::Denied)).collect();
        return Ok(Results { whole: Some(whole), items, ..Results::default() });
    }
    let items = members::add_members(step, &kind, new.id, new.members)?;
    Ok(Results { whole: Some(whole), items, adds_owner, ..Results::default() })
}

/// Adds the owner to an existing group; the owner is a member afterwards unless the result is a
/// denial. Returns also whether they are a new one.
fn join_owner(
    step: &mut Step<'_, impl Rows>,
    kind: &GroupType,
    new: &New<'_>,
) -> Result<(ItemResult<Violation>, bool), StepError> {
    let mut added = false;
    let mut whole = ItemResult::of(Outcome::AlreadyHeld);
    if let Some(owner) = new.owner.filter(|_| kind.members_tracked) {
        let result = members::add_member(step, kind, new.id, owner)?;
        if result.denied() {
            return Ok((result, false));
        }
        added = result.outcome == Outcome::Applied;
        whole.violations = result.violations;
    }
    whole.outcome = step.facts.keep(Fact::Group(step.ids.group(new.id)), step.today)?;
    Ok((whole, added))
}

/// Creates a group with its owner, unless the result is a denial. In a whole batch the group is
/// created also then, for the members to be judged, and is never written.
pub fn create_new(
    step: &mut Step<'_, impl Rows>,
    kind: &GroupType,
    new: &New<'_>,
) -> Result<ItemResult<Violation>, StepError> {
    let row = GroupRow { group_type: kind.name.clone(), members: 0, max_members: new.max_members };
    let rules = GroupRules::of_type(kind);
    let mut violations = step.violations(Effect::group(new.id).counts(), Some(rules))?;
    if let Some(owner) = new.owner {
        violations.extend(members::violations(step, kind, new.id, &row, owner)?);
    }
    let result = step.judge(violations);
    if !result.denied() || step.call.aborts() {
        let group = step.ids.group(new.id);
        step.facts.create_group(group, row, When::Now(step.today))?;
        if let Some(owner) = new.owner
            && !result.denied()
            && kind.members_tracked
        {
            let (owner, counts) = (step.ids.user(owner), kind.counts_towards_user);
            step.facts.join((owner, group), counts, step.today)?;
        }
    }
    Ok(result)
}

/// Changes the group's own limit.
pub fn update(
    step: &mut Step<'_, impl Rows>,
    group: &GroupId,
    max_members: Option<u32>,
) -> Result<Results, StepError> {
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
    Ok(Results { whole: Some(ItemResult::of(outcome)), ..Results::default() })
}

/// Removes the group, and its members: as many as the step may release, and the others in further
/// steps. Also releases members that an earlier dissolution has left.
pub fn dissolve(step: &mut Step<'_, impl Rows>, group: &GroupId) -> Result<Results, StepError> {
    let group = step.ids.group(group);
    let row = step.facts.group(group)?;
    let (released, is_unfinished) = release_members(&mut step.facts, group, step.releases_max)?;
    let Some(row) = row else {
        let whole = Some(ItemResult::of(Outcome::NotHeld));
        return Ok(Results { whole, is_unfinished, ..Results::default() });
    };
    step.facts.remove_group(group, &row.group_type, When::Now(step.today))?;
    let whole = Some(ItemResult::of(Outcome::Applied));
    // None is a member of a group that is gone.
    let members_released = if is_unfinished { row.members } else { released };
    Ok(Results { whole, members_released, is_unfinished, ..Results::default() })
}

/// Releases at most that many members of a group. Returns their number, and whether there are more.
pub fn release_members(
    facts: &mut Facts<'_, impl Rows>,
    group: GroupKey,
    max: usize,
) -> Result<(u64, bool), StorageError> {
    let members = facts.members(group, max.saturating_add(1))?;
    let is_unfinished = members.len() > max;
    let mut released = 0;
    for (user, counted) in members.into_iter().take(max) {
        facts.leave(user, group, counted)?;
        released += 1;
    }
    Ok((released, is_unfinished))
}
