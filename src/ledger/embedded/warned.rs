//! Warnings before a limit bites: which counts an operation has raised past a threshold.
//!
//! What stood in the tables before is compared with what the operation is about to write, so that
//! a count that rises several times is looked at once. Names of counts are those of the Redis
//! store: a letter, and whose it is.

use redb::{ReadableTable, StorageError};

use super::step::{Step, StepError};
use crate::domain::decision::Subject;
use crate::domain::id::{GroupId, Name, UserId};
use crate::domain::limit::{Limit, LimitId};
use crate::domain::usage::per_day_of_all_types;
use crate::domain::warning::{Warning, is_watched, rise};
use crate::ledger::Operation;
use crate::ledger::fingerprint::UserKey;

/// A count that may have risen.
struct Count {
    limit_id: LimitId,
    subject: Subject,
    before: u64,
    after: u64,
    limit: Limit,
}

/// Counts that an operation has raised past a threshold; what was warned of is noted.
pub fn warnings(step: &mut Step<'_, '_>, operation: &Operation) -> Result<Vec<Warning>, StepError> {
    let mut warnings = Vec::new();
    match operation {
        Operation::CreateAccounts { .. } => {
            let before = counter(step, "accounts")?;
            let count = Count {
                before,
                after: step.facts.accounts()?,
                ..sold(step, LimitId::AccountsPerApp, Subject::App)
            };
            warnings.extend(judge(step, "a", count)?);
        }
        Operation::AddFriends { user, friends, .. } => {
            for user in each_once(step, friends.iter().chain([user])) {
                let count = sold(step, LimitId::FriendsPerUser, Subject::User(user.clone()));
                let key = step.ids.user(user);
                let (before, after) = (users_row(step, key)?.0, step.facts.user(key)?.friends);
                let count = Count { before, after, ..count };
                warnings.extend(judge(step, &format!("f{key}"), count)?);
            }
        }
        Operation::CreateGroup { group, owner, members, .. } => {
            app_groups(step, group, &mut warnings)?;
            joined(step, group, owner.iter().chain(members), &mut warnings)?;
        }
        Operation::JoinGroup { group, users } => joined(step, group, users.iter(), &mut warnings)?,
        _ => {}
    }
    Ok(warnings)
}

/// Drops what was warned of groups that go away and of a user who is deleted.
pub fn forget(step: &mut Step<'_, '_>, operation: &Operation) -> Result<(), StorageError> {
    let app = step.facts.app;
    for group in step.facts.removed_groups() {
        step.facts.tables.warned.remove((app, format!("m{group}").as_str()))?;
    }
    if let Operation::DeleteAccount { user } = operation {
        let user = step.ids.user(user);
        for letter in ["f", "u"] {
            step.facts.tables.warned.remove((app, format!("{letter}{user}").as_str()))?;
        }
    }
    Ok(())
}

/// The groups of the app, where the operation has created one.
fn app_groups(
    step: &mut Step<'_, '_>,
    group: &GroupId,
    warnings: &mut Vec<Warning>,
) -> Result<(), StepError> {
    let Some(row) = step.facts.group(step.ids.group(group))? else { return Ok(()) };
    let Some(kind) = step.call.catalog.group_type(row.group_type.as_str()).cloned() else {
        return Ok(());
    };
    let name = &kind.name;
    let (today, app) = (step.today, step.facts.app);
    let at_once = (counter(step, &format!("groups/{name}"))?, step.facts.groups_of_type(name)?);
    let stored = |of: &Name| -> Result<i64, StorageError> {
        let row = step.facts.tables.net_new.get((app, today.number(), of.as_str()))?;
        Ok(row.map_or(0, |row| row.value()))
    };
    let of_type = (whole(stored(name)?), whole(step.facts.net_new(today, name)?));
    // Of all types, the operation has changed this one.
    let all = step.facts.net_new_of_all_types(today)?;
    let risen_by = step.facts.net_new(today, name)? - stored(name)?;
    let per_day = per_day_of_all_types(&step.call.catalog).limit;
    let counts = [
        (
            format!("g{name}"),
            LimitId::GroupsPerApp(name.clone()),
            at_once,
            kind.per_app_bound(step.limits).limit,
        ),
        (format!("t{name}"), LimitId::GroupsPerDayOfType(name.clone()), of_type, kind.per_day),
        ("d".to_owned(), LimitId::GroupsPerDay, (whole(all - risen_by), whole(all)), per_day),
    ];
    for (what, limit_id, (before, after), limit) in counts {
        let count = Count { limit_id, subject: Subject::App, before, after, limit };
        warnings.extend(judge(step, &what, count)?);
    }
    Ok(())
}

/// The groups of users who were taken into a group, and its members.
fn joined<'o>(
    step: &mut Step<'_, '_>,
    group: &GroupId,
    users: impl Iterator<Item = &'o UserId>,
    warnings: &mut Vec<Warning>,
) -> Result<(), StepError> {
    let key = step.ids.group(group);
    let Some(row) = step.facts.group(key)? else { return Ok(()) };
    let kind = step.call.catalog.group_type(row.group_type.as_str()).cloned();
    let Some(kind) = kind.filter(|kind| kind.members_tracked) else { return Ok(()) };
    for user in each_once(step, users) {
        let count = sold(step, LimitId::GroupsPerUser, Subject::User(user.clone()));
        let key = step.ids.user(user);
        let (before, after) = (users_row(step, key)?.1, step.facts.user(key)?.groups);
        let count = Count { before, after, ..count };
        warnings.extend(judge(step, &format!("u{key}"), count)?);
    }
    let stored = step.facts.tables.groups.get((step.facts.app, key))?;
    let before = stored.map_or(0, |row| row.value().1);
    let limit = kind.member_bound(step.limits, row.max_members.map(|max| (max, group))).limit;
    let count = Count {
        limit_id: LimitId::MembersPerGroup,
        subject: Subject::Group(group.clone()),
        before,
        after: row.members,
        limit,
    };
    warnings.extend(judge(step, &format!("m{key}"), count)?);
    Ok(())
}

/// A count against what edition or add-on allow; it has not been read yet.
fn sold(step: &Step<'_, '_>, limit_id: LimitId, subject: Subject) -> Count {
    let limit = step.limits.sold_or_unlimited(&limit_id).limit;
    Count { limit_id, subject, before: 0, after: 0, limit }
}

/// Whether a count has passed a threshold; what stands then is noted.
fn judge(
    step: &mut Step<'_, '_>,
    what: &str,
    count: Count,
) -> Result<Option<Warning>, StorageError> {
    let Count { limit_id, subject, before, after, limit } = count;
    let Limit::Finite(limit) = limit else { return Ok(None) };
    if after <= before || !is_watched(after, limit) {
        return Ok(None);
    }
    let (app, warned) = (step.facts.app, &mut step.facts.tables.warned);
    let standing = warned.get((app, what))?.map_or(0, |row| row.value());
    let risen = rise(standing, before, after, limit);
    if risen.standing == 0 {
        warned.remove((app, what))?;
    } else if risen.standing != standing {
        warned.insert((app, what), risen.standing)?;
    }
    let used = after;
    Ok(risen.passed.map(|percent| Warning { limit_id, subject, used, limit, percent }))
}

/// Users of an operation, those that come twice once.
fn each_once<'o>(step: &Step<'_, '_>, users: impl Iterator<Item = &'o UserId>) -> Vec<&'o UserId> {
    let mut seen = std::collections::HashSet::new();
    users.filter(|user| seen.insert(step.ids.user(user))).collect()
}

/// Friends and groups of a user as the tables have them.
fn users_row(step: &Step<'_, '_>, user: UserKey) -> Result<(u64, u64), StorageError> {
    let row = step.facts.tables.users.get((step.facts.app, user))?;
    Ok(row.map_or((0, 0), |row| row.value()))
}

/// A count of the app as the tables have it.
fn counter(step: &Step<'_, '_>, name: &str) -> Result<u64, StorageError> {
    let row = step.facts.tables.counters.get((step.facts.app, name))?;
    Ok(row.map_or(0, |row| row.value()))
}

/// A count that is negative where more were dissolved than created.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
