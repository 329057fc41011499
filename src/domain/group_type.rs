//! Group types: what a type allows by itself, and the effective member cap.

use super::id::{GroupId, Name};
use super::limit::{Bound, Limit, LimitId, Source};
use super::schedule::Limits;

/// A group type of the catalog (pricing rules, section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupType {
    /// Such as `Private`.
    pub name: Name,
    /// The name that people see, such as 私有群.
    pub label: String,
    /// The type's own cap on members.
    pub member_cap: Limit,
    /// Whether the ledger knows the members. If not, nobody's joining is counted or limited.
    pub members_tracked: bool,
    /// Whether being a member takes one of the user's groups.
    pub counts_towards_user: bool,
    /// How many may exist at once in an app, by the type's own rule.
    pub per_app: Limit,
    /// How many may come into being net, in an app and a day.
    pub per_day: Limit,
    /// Whether the group is dissolved when its last member leaves.
    pub reclaim_empty: bool,
    /// The IM's code when `per_app` or the edition's number of groups of this type is exceeded.
    pub per_app_im_code: i32,
}

impl GroupType {
    /// The effective member cap: the lowest of the group's own `max_members`, the type's cap and
    /// what edition or add-on allow.
    #[must_use]
    pub fn member_bound(&self, limits: &Limits, own: Option<(u32, &GroupId)>) -> Bound {
        let by_type =
            Bound { limit: self.member_cap, source: Source::GroupType(self.name.clone()) };
        if !self.members_tracked {
            return by_type;
        }
        let bound = match limits.sold(&LimitId::MembersPerGroup) {
            Some(sold) => by_type.lower(sold.clone()),
            None => by_type,
        };
        match own {
            Some((max, group)) => {
                Bound { limit: Limit::Finite(u64::from(max)), source: Source::Group(group.clone()) }
                    .lower(bound)
            }
            None => bound,
        }
    }

    /// How many groups of this type may come into being net, in an app and a day.
    #[must_use]
    pub fn per_day_bound(&self) -> Bound {
        Bound { limit: self.per_day, source: Source::GroupType(self.name.clone()) }
    }

    /// The most members that any purchase could allow: the lower of the type's cap and the group's
    /// own `max_members`.
    #[must_use]
    pub fn member_ceiling(&self, own: Option<u32>) -> Limit {
        own.map_or(self.member_cap, |max| self.member_cap.min(Limit::Finite(u64::from(max))))
    }

    /// How many groups of this type the app may have at once: the lower of the type's own rule
    /// and what edition or add-on allow.
    #[must_use]
    pub fn per_app_bound(&self, limits: &Limits) -> Bound {
        let by_type = Bound { limit: self.per_app, source: Source::GroupType(self.name.clone()) };
        match limits.sold(&LimitId::GroupsPerApp(self.name.clone())) {
            Some(sold) => by_type.lower(sold.clone()),
            None => by_type,
        }
    }
}
