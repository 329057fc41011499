//! Usage: counts against their limits.

use super::catalog::Catalog;
use super::group_type::GroupType;
use super::id::{GroupId, Name};
use super::limit::{Bound, Limit, LimitId, Source};
use super::schedule::{Limits, Schedule};
use super::time::Timestamp;

/// Counts of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counts {
    /// An app.
    App {
        /// Accounts.
        accounts: u64,
        /// Groups that exist, by type; types without groups may be missing.
        groups: Vec<(Name, u64)>,
        /// Net-new groups of the running day, by type; negative if more were dissolved.
        net_new_today: Vec<(Name, i64)>,
        /// Net-new groups of the running day over all types, including types that the catalog no
        /// longer has.
        net_new_today_of_all_types: i64,
    },
    /// A user.
    User {
        /// Friends in the user's list.
        friends: u64,
        /// Groups that count towards the user, joined and created.
        groups: u64,
    },
    /// A group.
    Group {
        /// Its id.
        group: GroupId,
        /// Its type.
        group_type: Name,
        /// Members; 0 if they are not tracked.
        members: u64,
        /// Its own limit.
        max_members: Option<u32>,
    },
}

/// One count against its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The limit.
    pub limit_id: LimitId,
    /// The number held.
    pub used: i64,
    /// The number that may be held, and the source of that limit.
    pub bound: Bound,
    /// The next change of the limit: its instant and the new value.
    pub change: Option<Change>,
}

/// Value of a limit from a future instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Instant of the change.
    pub at: Timestamp,
    /// The number that may be held from then on.
    pub limit: Limit,
    /// True if the service is stopped from then on.
    pub stopped: bool,
}

/// Returns every count of a subject against its limit at an instant.
#[must_use]
pub fn usages(
    catalog: &Catalog,
    schedule: &Schedule,
    counts: &Counts,
    at: Timestamp,
) -> Vec<Usage> {
    match counts {
        Counts::App { accounts, groups, net_new_today, net_new_today_of_all_types } => {
            let mut all = vec![sold(schedule, at, &LimitId::AccountsPerApp, *accounts)];
            for kind in &catalog.group_types {
                let used = count_of(groups, &kind.name);
                all.push(usage(
                    schedule,
                    at,
                    LimitId::GroupsPerApp(kind.name.clone()),
                    i64::try_from(used).unwrap_or(i64::MAX),
                    |limits| kind.per_app_bound(limits),
                ));
            }
            let id = LimitId::GroupsPerAppOfAllTypes;
            if schedule.at(at).sold(&id).is_some() {
                let all_types = groups.iter().map(|(_, count)| count).sum();
                all.push(sold(schedule, at, &id, all_types));
            }
            all.extend(per_day(catalog, schedule, net_new_today, *net_new_today_of_all_types, at));
            all
        }
        Counts::User { friends, groups } => vec![
            sold(schedule, at, &LimitId::FriendsPerUser, *friends),
            sold(schedule, at, &LimitId::GroupsPerUser, *groups),
        ],
        Counts::Group { group, group_type, members, max_members } => {
            let Some(kind) = catalog.group_type(group_type.as_str()) else { return Vec::new() };
            let used = i64::try_from(*members).unwrap_or(i64::MAX);
            vec![usage(schedule, at, LimitId::MembersPerGroup, used, |limits| {
                kind.member_bound(limits, max_members.map(|max| (max, group)))
            })]
        }
    }
}

/// Returns every limit that is the same for all users or groups of an app.
#[must_use]
pub fn entitled(catalog: &Catalog, limits: &Limits) -> Vec<(LimitId, Bound)> {
    let sold = [
        LimitId::AccountsPerApp,
        LimitId::FriendsPerUser,
        LimitId::GroupsPerUser,
        LimitId::MembersPerGroup,
    ];
    let mut all: Vec<_> = sold
        .into_iter()
        .map(|id| {
            let bound = limits.sold_or_unlimited(&id);
            (id, bound)
        })
        .collect();
    for kind in catalog.group_types.iter().filter(|kind| kind.members_tracked) {
        let id = LimitId::MembersPerGroupOfType(kind.name.clone());
        all.push((id, kind.member_bound(limits, None)));
    }
    for kind in &catalog.group_types {
        let id = LimitId::GroupsPerApp(kind.name.clone());
        all.push((id, kind.per_app_bound(limits)));
    }
    if let Some(bound) = limits.sold(&LimitId::GroupsPerAppOfAllTypes) {
        all.push((LimitId::GroupsPerAppOfAllTypes, bound.clone()));
    }
    all.push((LimitId::GroupsPerDay, per_day_of_all_types(catalog)));
    for kind in catalog.group_types.iter().filter(|kind| kind.per_day != Limit::Unlimited) {
        all.push((LimitId::GroupsPerDayOfType(kind.name.clone()), kind.per_day_bound()));
    }
    all
}

/// Returns the limit of net-new groups of an app in a day, over all types.
#[must_use]
pub fn per_day_of_all_types(catalog: &Catalog) -> Bound {
    Bound { limit: catalog.groups_per_day, source: Source::App }
}

fn per_day(
    catalog: &Catalog,
    schedule: &Schedule,
    net_new_today: &[(Name, i64)],
    of_all_types: i64,
    at: Timestamp,
) -> Vec<Usage> {
    let by_app = per_day_of_all_types(catalog);
    let mut all =
        vec![usage(schedule, at, LimitId::GroupsPerDay, of_all_types, |_| by_app.clone())];
    let limited = |kind: &&GroupType| kind.per_day != Limit::Unlimited;
    for kind in catalog.group_types.iter().filter(limited) {
        let by_type = kind.per_day_bound();
        all.push(usage(
            schedule,
            at,
            LimitId::GroupsPerDayOfType(kind.name.clone()),
            count_of(net_new_today, &kind.name),
            |_| by_type.clone(),
        ));
    }
    all
}

fn count_of<T: Copy + Default>(counts: &[(Name, T)], name: &Name) -> T {
    counts.iter().find(|(of, _)| of == name).map(|(_, count)| *count).unwrap_or_default()
}

fn sold(schedule: &Schedule, at: Timestamp, id: &LimitId, used: u64) -> Usage {
    let used = i64::try_from(used).unwrap_or(i64::MAX);
    usage(schedule, at, id.clone(), used, |limits| limits.sold_or_unlimited(id))
}

fn usage(
    schedule: &Schedule,
    at: Timestamp,
    limit_id: LimitId,
    used: i64,
    bound_by: impl Fn(&Limits) -> Bound,
) -> Usage {
    let seen = |limits: &Limits| (bound_by(limits).limit, limits.stopped());
    let change = schedule.next_change_of(at, seen).map(|(at, limits)| {
        let (limit, stopped) = seen(limits);
        Change { at, limit, stopped }
    });
    Usage { limit_id, used, bound: bound_by(schedule.at(at)), change }
}
