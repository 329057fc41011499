//! The usage of all users and groups of an app.

use super::reconcile::next_page;
use super::rows::Rows;
use super::step::StepError;
use crate::domain::time::Timestamp;
use crate::ledger::Call;
use crate::ledger::holdings::{Holdings, SubjectUsage, UsageCount, UsageScope};
use crate::ledger::reconcile::PageToken;
use crate::store::StoreError;

/// Returns a page of usage, of at most `page` rows.
pub fn holdings(
    rows: &impl Rows,
    call: &Call,
    now: Timestamp,
    of: UsageScope,
    (from, page): (Option<&PageToken>, usize),
) -> Result<Holdings, StepError> {
    if now > call.deadline {
        return Err(StoreError::DeadlinePassed.into());
    }
    let from = from.map_or(u64::MIN, |place| place.0);
    let read: Vec<(u64, Option<UsageCount>)> = match of {
        UsageScope::UsersWithFriends => {
            let users = rows.users(from, page)?.into_iter();
            let held = |friends| (friends > 0).then_some(UsageCount::Friends(friends));
            users.map(|(key, user)| (key, held(user.friends))).collect()
        }
        UsageScope::UsersInGroups => {
            let users = rows.users(from, page)?.into_iter();
            let held = |groups| (groups > 0).then_some(UsageCount::Groups(groups));
            users.map(|(key, user)| (key, held(user.groups))).collect()
        }
        UsageScope::Groups => {
            let groups = rows.groups(from, page)?.into_iter();
            let held = groups.map(|(key, row)| {
                let (group_type, members, max_members) =
                    (row.group_type, row.members, row.max_members);
                (key, Some(UsageCount::Members { group_type, members, max_members }))
            });
            held.collect()
        }
    };
    let next = next_page(read.len(), read.last().map(|(key, _)| *key), page);
    let each = read.into_iter().filter_map(|(key, held)| Some(SubjectUsage { key, held: held? }));
    Ok(Holdings { each: each.collect(), next })
}
