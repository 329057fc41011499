//! The usage of all users and groups of an app.

use redb::ReadableTable;

use super::reconcile::PAGE;
use super::step::StepError;
use crate::domain::time::Timestamp;
use crate::ledger::Call;
use crate::ledger::holdings::{Holdings, SubjectUsage, UsageCount, UsageScope};
use crate::ledger::reconcile::PageToken;
use crate::redb::writer::Unit;
use crate::store::StoreError;
use crate::store::fingerprint::AppKey;

/// Returns a page of usage.
pub fn holdings(
    unit: &Unit<'_, '_>,
    app: AppKey,
    call: &Call,
    now: Timestamp,
    of: UsageScope,
    from: Option<&PageToken>,
) -> Result<Holdings, StepError> {
    if now > call.deadline {
        return Err(StoreError::DeadlinePassed.into());
    }
    let range = (app, from.map_or(u64::MIN, |place| place.0))..=(app, u64::MAX);
    let tables = &unit.tables;
    let (mut each, mut rows, mut last) = (Vec::new(), 0, None);
    let mut note = |key: u64, held: Option<UsageCount>| {
        rows += 1;
        last = Some(key);
        each.extend(held.map(|held| SubjectUsage { key, held }));
    };
    match of {
        UsageScope::UsersWithFriends => {
            for row in tables.users.range(range)?.take(PAGE) {
                let (key, user) = row?;
                let friends = user.value().0;
                note(key.value().1, (friends > 0).then_some(UsageCount::Friends(friends)));
            }
        }
        UsageScope::UsersInGroups => {
            for row in tables.users.range(range)?.take(PAGE) {
                let (key, user) = row?;
                let groups = user.value().1;
                note(key.value().1, (groups > 0).then_some(UsageCount::Groups(groups)));
            }
        }
        UsageScope::Groups => {
            for row in tables.groups.range(range)?.take(PAGE) {
                let (key, group) = row?;
                let (group_type, members, max_members) = group.value();
                let max_members = (max_members > 0).then_some(max_members);
                let group_type = group_type.into();
                note(key.value().1, Some(UsageCount::Members { group_type, members, max_members }));
            }
        }
    }
    let next = last.filter(|_| rows == PAGE).and_then(|last: u64| last.checked_add(1));
    Ok(Holdings { each, next: next.map(PageToken) })
}
