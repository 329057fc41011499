//! Threshold crossings: counts that an operation has raised to a threshold of their limit.
//!
//! The stored counts are compared with those that the operation is about to write, so a count that
//! rises several times is checked once. A count far below its limit costs one comparison.

use super::checks::count;
use super::facts::Facts;
use super::rows::{Result, Rows, ThresholdKey, ThresholdOf};
use super::step::{Step, StepError};
use crate::domain::bounds::GroupRules;
use crate::domain::id::{Name, UserId};
use crate::domain::limits::{LimitKind, Scope};
use crate::domain::operation::{Counted, Whose};
use crate::domain::warning::{Warning, is_watched, rise};
use crate::ledger::Operation;

/// Returns the thresholds that an operation has crossed, and records them.
pub fn warnings(
    step: &mut Step<'_, impl Rows>,
    operation: &Operation,
) -> std::result::Result<Vec<Warning>, StepError> {
    let mut warnings = Vec::new();
    move_group(&mut step.facts)?;
    let raised = operation.raised();
    let Some(id) = operation.group() else {
        for counted in &raised {
            warnings.extend(check(step, counted, None)?);
        }
        return Ok(warnings);
    };
    // A group whose creation was denied does not exist.
    let Some(row) = step.facts.group(step.ids.group(id))? else { return Ok(warnings) };
    let kind = step.call.catalog.group_type(row.group_type.as_str()).cloned();
    let Some(kind) = kind else { return Ok(warnings) };
    let rules = GroupRules { kind: &kind, own: row.max_members.map(|max| (max, id)) };
    for counted in &raised {
        warnings.extend(check(step, counted, Some(rules))?);
    }
    Ok(warnings)
}

/// Checks a count that may have risen; its previous value is only read if the count is high.
fn check(
    step: &mut Step<'_, impl Rows>,
    counted: &Counted<'_>,
    group: Option<GroupRules<'_>>,
) -> Result<Option<Warning>> {
    let group_type = group.map(|group| &group.kind.name);
    let bound = step.checks(group).bound(counted.limit);
    let Some(limit) = bound.and_then(|bound| bound.limit.finite()) else { return Ok(None) };
    let (ids, today) = (step.ids, step.today);
    let whole = |count: i64| u64::try_from(count).unwrap_or(0);
    let after = whole(count(&step.facts, ids, today, counted, group_type)?);
    if !is_watched(after, limit) {
        return Ok(None);
    }
    let stored = Facts::new(&mut *step.facts.rows);
    let before = match (counted.whose, step.facts.changes.moved_group) {
        // Its members were those of the group that it replaces.
        (Whose::Group(group), Some((from, to))) if ids.group(group) == to => {
            stored.group(from)?.map_or(0, |row| row.members)
        }
        _ => whole(count(&stored, ids, today, counted, group_type)?),
    };
    let Some(key) = key(step, counted, group_type).filter(|_| after > before) else {
        return Ok(None);
    };
    let rows = &mut *step.facts.rows;
    let standing = rows.threshold(&key)?;
    let risen = rise(standing, before, after, limit);
    if risen.standing != standing {
        rows.put_threshold(&key, risen.standing)?;
    }
    Ok(risen.passed.and_then(|percent| {
        let subject = counted.whose.subject();
        Warning::of(counted.limit, group_type, subject, (after, limit), percent)
    }))
}

/// Returns the key of a count: its letter, and the subject or type.
fn key(
    step: &Step<'_, impl Rows>,
    counted: &Counted<'_>,
    group_type: Option<&Name>,
) -> Option<ThresholdKey> {
    let letter = counted.limit.row().letter?;
    let of = match counted.whose {
        Whose::User(user) => ThresholdOf::Subject(step.ids.user(user)),
        Whose::Group(group) => ThresholdOf::Subject(step.ids.group(group)),
        Whose::App if counted.limit.is_by_type() => ThresholdOf::Type(group_type?.clone()),
        Whose::App => ThresholdOf::App,
    };
    Some(ThresholdKey { letter, of })
}

/// Returns the letters of the counts of a scope.
fn letters(scope: Scope) -> impl Iterator<Item = char> {
    let of_scope = move |kind: &&LimitKind| kind.row().scope == scope;
    LimitKind::ALL.iter().filter(of_scope).filter_map(|kind| kind.row().letter)
}

/// Removes the recorded thresholds of a user who is deleted.
pub fn clear_user(step: &mut Step<'_, impl Rows>, user: &UserId) -> Result<()> {
    let of = ThresholdOf::Subject(step.ids.user(user));
    for letter in letters(Scope::User) {
        step.facts.rows.put_threshold(&ThresholdKey { letter, of: of.clone() }, 0)?;
    }
    Ok(())
}

/// Moves the recorded thresholds of a group that is replaced.
fn move_group(facts: &mut Facts<'_, impl Rows>) -> Result<()> {
    let Some((from, to)) = facts.changes.moved_group else { return Ok(()) };
    for letter in letters(Scope::Group) {
        let key = |group| ThresholdKey { letter, of: ThresholdOf::Subject(group) };
        let percent = facts.rows.threshold(&key(from))?;
        facts.rows.put_threshold(&key(to), percent)?;
    }
    Ok(())
}

/// Removes the recorded thresholds of groups that are removed.
pub fn clear_groups(facts: &mut Facts<'_, impl Rows>) -> Result<()> {
    for group in facts.removed_groups() {
        for letter in letters(Scope::Group) {
            let of = ThresholdOf::Subject(group);
            facts.rows.put_threshold(&ThresholdKey { letter, of }, 0)?;
        }
    }
    Ok(())
}
