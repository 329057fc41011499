//! Violations of limits, made of the counts that a store hands in.

use super::bounds::GroupRules;
use super::catalog::Catalog;
use super::decision::{Subject, Violation};
use super::id::Name;
use super::limit::{Bound, Limit};
use super::limits::{LimitKind, Relation, Rule, Scope};
use super::operation::{Counted, OperationKind};
use super::schedule::Limits;

/// The context in which counts are compared with limits.
#[derive(Debug, Clone, Copy)]
pub struct Checks<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// The values that are sold.
    pub limits: &'a Limits,
    /// The kind of the operation.
    pub kind: OperationKind,
    /// The rules of its group, if it has one.
    pub group: Option<GroupRules<'a>>,
}

/// Returns the violation if a limit on the users of an app who log in does not admit one more
/// beside `used`.
#[must_use]
pub fn violation_of_logins(limit: LimitKind, used: u64, bound: &Bound) -> Option<Violation> {
    let reason = limit.reason(false, false);
    Violation::check(reason, limit.id(None)?, &Subject::App, used, bound)
}

impl Checks<'_> {
    /// Returns the value of a limit; `None` if the operation's group is not counted for it.
    #[must_use]
    pub fn bound(&self, limit: LimitKind) -> Option<Bound> {
        let row = limit.row();
        let is_counted = match (row.relation, self.group) {
            (Some(Relation::Memberships), Some(GroupRules { kind, .. })) => {
                kind.members_tracked && (row.scope != Scope::User || kind.counts_towards_user)
            }
            _ => true,
        };
        is_counted.then(|| limit.bound(self.catalog, self.limits, self.group.as_ref()))
    }

    /// Returns the violation if a limit does not admit one more fact beside `used`, which is not
    /// computed if there is no limit. On a day on which more groups were removed than created the
    /// count is negative, which leaves more room.
    pub fn check<E>(
        &self,
        counted: Counted<'_>,
        used: impl FnOnce() -> Result<i64, E>,
    ) -> Result<Option<Violation>, E> {
        if counted.limit.row().relation.is_none() {
            return Ok(Some(Violation::of_stopped_service(&self.limits.edition)));
        }
        let Some(bound) = self.bound(counted.limit).filter(|of| of.limit != Limit::Unlimited)
        else {
            return Ok(None);
        };
        let used = used()?;
        Ok(u64::try_from(used).ok().and_then(|used| self.violation(counted, used, &bound)))
    }

    fn violation(&self, counted: Counted<'_>, used: u64, bound: &Bound) -> Option<Violation> {
        let (limit_id, reason) = counted.violated(self.kind, self.group_type())?;
        let subject = counted.whose.subject();
        let violation = Violation::check(reason, limit_id, &subject, used, bound)?;
        let group = self.group.filter(|_| !matches!(counted.limit.row().rule, Rule::No));
        Some(match group {
            Some(group) => {
                let ceiling = counted.limit.ceiling(self.catalog, Some(&group));
                violation.of_group_type(&group.kind.name, ceiling)
            }
            None => violation,
        })
    }

    /// Returns the type of the operation's group.
    #[must_use]
    pub fn group_type(&self) -> Option<&Name> {
        self.group.map(|group| &group.kind.name)
    }
}
