//! The counts of an operation's facts, as they are handed in to be compared with limits.

use super::facts::Facts;
use super::rows::{Result, Rows};
use super::step::{Step, StepError};
use crate::domain::bounds::GroupRules;
use crate::domain::calendar::Day;
use crate::domain::checks::Checks;
use crate::domain::decision::Violation;
use crate::domain::id::Name;
use crate::domain::limits::{Relation, Window};
use crate::domain::operation::{Counted, Whose};
use crate::store::Fingerprints;

impl<'a, R: Rows> Step<'a, R> {
    /// Returns the context of an operation on a group with those rules, if it is on one.
    pub fn checks<'c>(&self, group: Option<GroupRules<'c>>) -> Checks<'c>
    where
        'a: 'c,
    {
        let Self { call, limits, kind, .. } = *self;
        Checks { catalog: &call.catalog, limits, kind, group }
    }

    /// Returns the limits that these counts violate.
    pub fn violations<'c>(
        &self,
        counts: impl Iterator<Item = Counted<'c>>,
        group: Option<GroupRules<'_>>,
    ) -> std::result::Result<Vec<Violation>, StepError> {
        let checks = self.checks(group);
        let mut violations = Vec::new();
        for counted in counts {
            let used = || count(&self.facts, self.ids, self.today, &counted, checks.group_type());
            violations.extend(checks.check(counted, used)?);
        }
        Ok(violations)
    }
}

/// Returns a count.
pub fn count(
    facts: &Facts<'_, impl Rows>,
    ids: &Fingerprints,
    today: Day,
    counted: &Counted<'_>,
    group_type: Option<&Name>,
) -> Result<i64> {
    let row = counted.limit.row();
    let of_type = group_type.filter(|_| counted.limit.is_by_type());
    let count = match (counted.whose, row.relation) {
        (Whose::User(user), Some(Relation::Friends)) => facts.user(ids.user(user))?.friends,
        (Whose::User(user), _) => facts.user(ids.user(user))?.groups,
        (Whose::Group(group), _) => facts.group(ids.group(group))?.map_or(0, |row| row.members),
        (Whose::App, Some(Relation::Accounts)) => facts.accounts()?,
        (Whose::App, _) => match (row.window, of_type) {
            (Window::AtOnce, Some(name)) => facts.groups_of_type(name)?,
            (Window::AtOnce, None) => facts.groups_of_all_types()?,
            (_, Some(name)) => return facts.net_new(today, name),
            (_, None) => return facts.net_new_of_all_types(today),
        },
    };
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}
