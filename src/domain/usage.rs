//! Usage: counts against their limits.

use super::bounds::GroupRules;
use super::catalog::Catalog;
use super::id::{GroupId, Name};
use super::limit::{Bound, Limit, LimitId};
use super::limits::{LimitKind, Listed, Relation, Scope, Window};
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
        /// Users who logged in on the running day.
        active_today: u64,
        /// Users who logged in in the running month; 0 if users are not counted by month.
        active_this_month: u64,
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

impl Counts {
    /// Returns counts of the same subject that are all 0.
    #[must_use]
    pub fn none(&self) -> Self {
        match self.clone() {
            Self::App { .. } => Self::App {
                accounts: 0,
                groups: Vec::new(),
                net_new_today: Vec::new(),
                net_new_today_of_all_types: 0,
                active_today: 0,
                active_this_month: 0,
            },
            Self::User { .. } => Self::User { friends: 0, groups: 0 },
            Self::Group { group, group_type, max_members, .. } => {
                Self::Group { group, group_type, members: 0, max_members }
            }
        }
    }

    /// Returns the kind of the subject.
    fn scope(&self) -> Scope {
        match self {
            Self::App { .. } => Scope::App,
            Self::User { .. } => Scope::User,
            Self::Group { .. } => Scope::Group,
        }
    }

    /// Returns the number of facts that a limit of this subject counts; by type, of that type.
    fn of(&self, kind: LimitKind, group_type: Option<&Name>) -> i64 {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let row = kind.row();
        match (self, row.window, group_type.filter(|_| kind.is_by_type())) {
            (Self::App { active_today, active_this_month, .. }, window, _)
                if row.relation == Some(Relation::Logins) =>
            {
                whole(if window == Window::Month { *active_this_month } else { *active_today })
            }
            (Self::App { accounts, .. }, ..) if row.relation == Some(Relation::Accounts) => {
                whole(*accounts)
            }
            (Self::App { groups, .. }, Window::AtOnce, Some(name)) => whole(count_of(groups, name)),
            (Self::App { groups, .. }, Window::AtOnce, None) => {
                whole(groups.iter().map(|(_, count)| count).sum())
            }
            (Self::App { net_new_today, .. }, _, Some(name)) => count_of(net_new_today, name),
            (Self::App { net_new_today_of_all_types, .. }, _, None) => *net_new_today_of_all_types,
            (Self::User { friends, .. }, ..) if row.relation == Some(Relation::Friends) => {
                whole(*friends)
            }
            (Self::User { groups, .. }, ..) => whole(*groups),
            (Self::Group { members, .. }, ..) => whole(*members),
        }
    }
}

/// Returns every count of a subject against its limit at an instant.
#[must_use]
pub fn usages(
    catalog: &Catalog,
    schedule: &Schedule,
    counts: &Counts,
    at: Timestamp,
) -> Vec<Usage> {
    let group = match counts {
        Counts::Group { group, group_type, max_members, .. } => {
            let Some(kind) = catalog.group_type(group_type.as_str()) else { return Vec::new() };
            Some(GroupRules { kind, own: max_members.map(|max| (max, group)) })
        }
        Counts::App { .. } | Counts::User { .. } => None,
    };
    let is_counted = |kind: &&LimitKind| {
        let row = kind.row();
        row.scope == counts.scope() && row.relation.is_some() && row.letter.is_some()
    };
    let counted = LimitKind::ALL.iter().copied().filter(|kind| is_counted(&kind));
    let each = counted.flat_map(|kind| with_types(catalog, kind, group).map(move |of| (kind, of)));
    each.filter_map(|(kind, group)| {
        let name = group.map(|of| &of.kind.name);
        let bound_by = |limits: &Limits| kind.bound(catalog, limits, group.as_ref());
        let bound = bound_by(schedule.at(at));
        if !is_listed(kind, &bound) {
            return None;
        }
        let seen = |limits: &Limits| (bound_by(limits).limit, limits.stopped());
        let change = schedule.next_change_of(at, seen).map(|(at, limits)| {
            let (limit, stopped) = seen(limits);
            Change { at, limit, stopped }
        });
        Some(Usage { limit_id: kind.id(name)?, used: counts.of(kind, name), bound, change })
    })
    .collect()
}

/// Returns every limit that is the same for all users or groups of an app.
#[must_use]
pub fn entitled(catalog: &Catalog, limits: &Limits) -> Vec<(LimitId, Bound)> {
    let counted = LimitKind::ALL.iter().copied().filter(|kind| kind.row().relation.is_some());
    let each = counted.flat_map(|kind| with_types(catalog, kind, None).map(move |of| (kind, of)));
    each.filter_map(|(kind, group)| {
        let bound = kind.bound(catalog, limits, group.as_ref());
        let is_of_members = kind.row().listed == Listed::OfApp;
        if is_of_members && group.is_some_and(|of| !of.kind.members_tracked) {
            return None;
        }
        let id = kind.id(group.map(|of| &of.kind.name))?;
        is_listed(kind, &bound).then_some((id, bound))
    })
    .collect()
}

/// Returns the group to which a limit applies; by type, one of each type of the catalog.
fn with_types<'a>(
    catalog: &'a Catalog,
    kind: LimitKind,
    group: Option<GroupRules<'a>>,
) -> impl Iterator<Item = Option<GroupRules<'a>>> {
    let is_of_each_type = group.is_none() && kind.is_by_type();
    let types = catalog.group_types.iter().filter(move |_| is_of_each_type);
    let once = (!is_of_each_type).then_some(group);
    once.into_iter().chain(types.map(|kind| Some(GroupRules::of_type(kind))))
}

fn is_listed(kind: LimitKind, bound: &Bound) -> bool {
    kind.row().listed != Listed::IfFinite || bound.limit != Limit::Unlimited
}

fn count_of<T: Copy + Default>(counts: &[(Name, T)], name: &Name) -> T {
    counts.iter().find(|(of, _)| of == name).map(|(_, count)| *count).unwrap_or_default()
}
