//! Group types: the type's own limits, and the effective member cap.

use super::bounds::GroupRules;
use super::id::{GroupId, Name};
use super::limit::{Bound, Limit};
use super::limits::LimitKind;
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
        let group = GroupRules { kind: self, own };
        LimitKind::MembersPerGroup.bound_beside(None, limits, Some(&group))
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
        LimitKind::GroupsPerApp.bound_beside(None, limits, Some(&GroupRules::of_type(self)))
    }
}
