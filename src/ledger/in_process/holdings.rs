//! The usage of all users and groups of an app.

use redb::StorageError;

use super::holds::view;
use super::reconcile::next_page;
use super::rows::Rows;
use super::step::StepError;
use crate::domain::clock_guard::ClockReading;
use crate::ledger::Call;
use crate::ledger::holdings::{Holdings, SubjectUsage, UsageCount, UsageScope};
use crate::ledger::reconcile::PageToken;
use crate::store::StoreError;

/// Returns a page of usage, of at most `page` rows.
pub fn holdings(
    rows: &mut impl Rows,
    call: &Call,
    reading: ClockReading,
    of: UsageScope,
    (from, page): (Option<&PageToken>, usize),
) -> Result<Holdings, StepError> {
    if reading.now > call.deadline {
        return Err(StoreError::DeadlinePassed.into());
    }
    let from = from.map_or(u64::MIN, |place| place.0);
    // Without facts whose holds have expired.
    let facts = view(rows, call, reading)?;
    let users = || facts.rows.users(from, page);
    let read: Result<Vec<(u64, Option<UsageCount>)>, StorageError> = match of {
        UsageScope::UsersWithFriends => {
            let held = |friends| (friends > 0).then_some(UsageCount::Friends(friends));
            let count = |(key, _)| Ok((key, held(facts.user(key)?.friends)));
            users()?.into_iter().map(count).collect()
        }
        UsageScope::UsersInGroups => {
            let held = |groups| (groups > 0).then_some(UsageCount::Groups(groups));
            let count = |(key, _)| Ok((key, held(facts.user(key)?.groups)));
            users()?.into_iter().map(count).collect()
        }
        UsageScope::Groups => {
            let count = |(key, _)| {
                let held = facts.group(key)?.map(|row| {
                    let (group_type, members, max_members) =
                        (row.group_type, row.members, row.max_members);
                    UsageCount::Members { group_type, members, max_members }
                });
                Ok((key, held))
            };
            facts.rows.groups(from, page)?.into_iter().map(count).collect()
        }
    };
    let read = read?;
    let next = next_page(read.len(), read.last().map(|(key, _)| *key), page);
    let each = read.into_iter().filter_map(|(key, held)| Some(SubjectUsage { key, held: held? }));
    Ok(Holdings { each: each.collect(), next })
}
