//! Threshold crossings: counts that an operation has raised to a threshold of their limit.
//!
//! The stored counts are compared with those that the operation is about to write, so a count that
//! rises several times is checked once. A count far below its limit costs one comparison. Names of
//! counts are those of the Redis store: a letter, and the id of the subject.

use redb::{ReadableTable, StorageError};

use super::facts::Facts;
use super::step::{Step, StepError};
use crate::domain::decision::Subject;
use crate::domain::id::{GroupId, UserId};
use crate::domain::limit::{Limit, LimitId};
use crate::domain::usage::per_day_of_all_types;
use crate::domain::warning::{Warning, is_watched, rise};
use crate::ledger::Operation;
use crate::store::fingerprint::UserKey;

/// A count that is high enough to be checked.
struct Watched {
    what: String,
    limit_id: LimitId,
    subject: Subject,
    before: u64,
}

/// The crossings found so far in an operation.
#[derive(Default)]
struct Found {
    warnings: Vec<Warning>,
    /// Users whose counts were checked: one may occur twice in a batch.
    users: Vec<UserKey>,
}

/// Returns the thresholds that an operation has crossed, and records them.
pub fn warnings(step: &mut Step<'_, '_>, operation: &Operation) -> Result<Vec<Warning>, StepError> {
    let mut found = Found::default();
    match operation {
        Operation::CreateAccounts { .. } => {
            let limit = step.limits.sold_or_unlimited(&LimitId::AccountsPerApp).limit;
            let after = step.facts.accounts()?;
            found.check(step, limit, after, |step| {
                Ok(Watched {
                    what: "a".to_owned(),
                    limit_id: LimitId::AccountsPerApp,
                    subject: Subject::App,
                    before: counter(step, "accounts")?,
                })
            })?;
        }
        Operation::AddFriends { user, friends, .. } => {
            let limit = step.limits.sold_or_unlimited(&LimitId::FriendsPerUser).limit;
            for user in friends.iter().chain([user]) {
                let after = step.facts.user(step.ids.user(user))?.friends;
                found.check_user(step, limit, after, user, &LimitId::FriendsPerUser)?;
            }
        }
        Operation::CreateGroup { group, owner, members, .. } => {
            app_groups(step, group, &mut found)?;
            joined(step, group, owner.iter().chain(members), &mut found)?;
        }
        Operation::JoinGroup { group, users } => joined(step, group, users.iter(), &mut found)?,
        _ => {}
    }
    Ok(found.warnings)
}

/// Removes the recorded thresholds of a user who is deleted.
pub fn clear_user(step: &mut Step<'_, '_>, user: &UserId) -> Result<(), StorageError> {
    let (app, user) = (step.facts.app, step.ids.user(user));
    for letter in ["f", "u"] {
        step.facts.tables.thresholds.remove((app, format!("{letter}{user}").as_str()))?;
    }
    Ok(())
}

/// Removes the recorded thresholds of groups that are removed.
pub fn clear_groups(facts: &mut Facts<'_, '_>) -> Result<(), StorageError> {
    for group in facts.removed_groups() {
        facts.tables.thresholds.remove((facts.app, format!("m{group}").as_str()))?;
    }
    Ok(())
}

/// Checks the groups of the app, if the operation has created one.
fn app_groups(
    step: &mut Step<'_, '_>,
    group: &GroupId,
    found: &mut Found,
) -> Result<(), StepError> {
    let Some(row) = step.facts.group(step.ids.group(group))? else { return Ok(()) };
    let Some(kind) = step.call.catalog.group_type(row.group_type.as_str()).cloned() else {
        return Ok(());
    };
    let (name, today) = (&kind.name, step.today);
    let at_once = step.facts.groups_of_type(name)?;
    found.check(step, kind.per_app_bound(step.limits).limit, at_once, |step| {
        Ok(Watched {
            what: format!("g{name}"),
            limit_id: LimitId::GroupsPerApp(name.clone()),
            subject: Subject::App,
            before: counter(step, &format!("groups/{name}"))?,
        })
    })?;
    if let Some(bound) = step.limits.sold(&LimitId::GroupsPerAppOfAllTypes).cloned() {
        let all = step.facts.groups_of_all_types()?;
        found.check(step, bound.limit, all, |step| {
            Ok(Watched {
                what: "n".to_owned(),
                limit_id: LimitId::GroupsPerAppOfAllTypes,
                subject: Subject::App,
                // The operation has changed only the count of this type.
                before: (all + counter(step, &format!("groups/{name}"))?).saturating_sub(at_once),
            })
        })?;
    }
    let of_type = step.facts.net_new(today, name)?;
    let stored = |step: &Step<'_, '_>| -> Result<i64, StorageError> {
        let key = (step.facts.app, today.number(), name.as_str());
        Ok(step.facts.tables.net_new.get(key)?.map_or(0, |row| row.value()))
    };
    found.check(step, kind.per_day, whole(of_type), |step| {
        Ok(Watched {
            what: format!("t{name}"),
            limit_id: LimitId::GroupsPerDayOfType(name.clone()),
            subject: Subject::App,
            before: whole(stored(step)?),
        })
    })?;
    let all = step.facts.net_new_of_all_types(today)?;
    found.check(step, per_day_of_all_types(&step.call.catalog).limit, whole(all), |step| {
        Ok(Watched {
            what: "d".to_owned(),
            limit_id: LimitId::GroupsPerDay,
            subject: Subject::App,
            // The operation has changed only the count of this type.
            before: whole(all - (of_type - stored(step)?)),
        })
    })?;
    Ok(())
}

/// Checks the groups of users who joined a group, and the group's members.
fn joined<'o>(
    step: &mut Step<'_, '_>,
    group: &GroupId,
    users: impl Iterator<Item = &'o UserId>,
    found: &mut Found,
) -> Result<(), StepError> {
    let key = step.ids.group(group);
    let Some(row) = step.facts.group(key)? else { return Ok(()) };
    let kind = step.call.catalog.group_type(row.group_type.as_str()).cloned();
    let Some(kind) = kind.filter(|kind| kind.members_tracked) else { return Ok(()) };
    let per_user = step.limits.sold_or_unlimited(&LimitId::GroupsPerUser).limit;
    for user in users {
        let after = step.facts.user(step.ids.user(user))?.groups;
        found.check_user(step, per_user, after, user, &LimitId::GroupsPerUser)?;
    }
    let limit = kind.member_bound(step.limits, row.max_members.map(|max| (max, group))).limit;
    found.check(step, limit, row.members, |step| {
        let stored = step.facts.tables.groups.get((step.facts.app, key))?;
        Ok(Watched {
            what: format!("m{key}"),
            limit_id: LimitId::MembersPerGroup,
            subject: Subject::Group(group.clone()),
            before: stored.map_or(0, |row| row.value().1),
        })
    })?;
    Ok(())
}

impl Found {
    /// Checks a user's friends or groups.
    fn check_user(
        &mut self,
        step: &mut Step<'_, '_>,
        limit: Limit,
        after: u64,
        user: &UserId,
        limit_id: &LimitId,
    ) -> Result<(), StorageError> {
        let key = step.ids.user(user);
        if !limit.finite().is_some_and(|limit| is_watched(after, limit))
            || self.users.contains(&key)
        {
            return Ok(());
        }
        self.users.push(key);
        self.check(step, limit, after, |step| {
            let row = step.facts.tables.users.get((step.facts.app, key))?;
            let (friends, groups) = row.map_or((0, 0), |row| row.value());
            let of_friends = *limit_id == LimitId::FriendsPerUser;
            let (letter, before) = if of_friends { ("f", friends) } else { ("u", groups) };
            Ok(Watched {
                what: format!("{letter}{key}"),
                limit_id: limit_id.clone(),
                subject: Subject::User(user.clone()),
                before,
            })
        })
    }

    /// Checks a count that may have risen; its previous value is only read if the count is high.
    fn check(
        &mut self,
        step: &mut Step<'_, '_>,
        limit: Limit,
        after: u64,
        watched: impl FnOnce(&Step<'_, '_>) -> Result<Watched, StorageError>,
    ) -> Result<(), StorageError> {
        let Some(limit) = limit.finite().filter(|limit| is_watched(after, *limit)) else {
            return Ok(());
        };
        let Watched { what, limit_id, subject, before } = watched(step)?;
        if after <= before {
            return Ok(());
        }
        let (key, thresholds) =
            ((step.facts.app, what.as_str()), &mut step.facts.tables.thresholds);
        let standing = thresholds.get(key)?.map_or(0, |row| row.value());
        let risen = rise(standing, before, after, limit);
        if risen.standing == 0 {
            thresholds.remove(key)?;
        } else if risen.standing != standing {
            thresholds.insert(key, risen.standing)?;
        }
        if let Some(percent) = risen.passed {
            self.warnings.push(Warning { limit_id, subject, used: after, limit, percent });
        }
        Ok(())
    }
}

/// Returns a count of the app as stored in the tables.
fn counter(step: &Step<'_, '_>, name: &str) -> Result<u64, StorageError> {
    let row = step.facts.tables.counters.get((step.facts.app, name))?;
    Ok(row.map_or(0, |row| row.value()))
}

/// Returns the count, or 0 if it is negative because more groups were dissolved than created.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
