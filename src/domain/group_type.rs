//! Group types: the type's own limits, and the effective member cap.

use super::id::{GroupId, Name};
use super::limit::{Bound, Limit, LimitId, Source};
use super::schedule::Limits;

/// A group type of the catalog (pricing rules, section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupType {
    /// Name, such as `Private`.
    pub name: Name,
    /// Display name, such as 私有群.
    pub label: String,
    /// The type's own cap on members.
    pub member_cap: Limit,
    /// True if the ledger stores the members. If not, joins are neither counted nor limited.
    pub members_tracked: bool,
    /// True if each membership counts towards the user's number of groups.
    pub counts_towards_user: bool,
    /// Most groups of the type in an app at the same time, by the type's own rule.
    pub per_app: Limit,
    /// Most net-new groups of the type in an app in a day.
    pub per_day: Limit,
    /// True if the group is dissolved when its last member leaves.
    pub reclaim_empty: bool,
    /// The IM's code when `per_app` or the edition's number of groups of this type is exceeded.
    pub per_app_im_code: i32,
}

impl GroupType {
    /// Returns the effective member cap: the lowest of the group's own `max_members`, the type's
    /// cap and the limit set by edition or add-on.
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

    /// Returns the limit of net-new groups of this type in an app in a day.
    #[must_use]
    pub fn per_day_bound(&self) -> Bound {
        Bound { limit: self.per_day, source: Source::GroupType(self.name.clone()) }
    }

    /// Returns the highest member cap that any purchase could reach: the lower of the type's cap
    /// and the group's own `max_members`.
    #[must_use]
    pub fn member_ceiling(&self, own: Option<u32>) -> Limit {
        own.map_or(self.member_cap, |max| self.member_cap.min(Limit::Finite(u64::from(max))))
    }

    /// Returns the limit of groups of this type that the app may have at the same time: the lower
    /// of the type's own rule and the limit set by edition or add-on.
    #[must_use]
    pub fn per_app_bound(&self, limits: &Limits) -> Bound {
        let by_type = Bound { limit: self.per_app, source: Source::GroupType(self.name.clone()) };
        match limits.sold(&LimitId::GroupsPerApp(self.name.clone())) {
            Some(sold) => by_type.lower(sold.clone()),
            None => by_type,
        }
    }
}
