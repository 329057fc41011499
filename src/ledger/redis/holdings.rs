//! Lists the usage of all users and groups of an app: scans keys, and then reads their sizes.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redis::Value;

use super::reconcile::scan;
use super::verdict::unreadable;
use crate::ledger::holdings::{Holdings, SubjectUsage, UsageCount, UsageScope};
use crate::ledger::reconcile::{PageToken, Subjects};
use crate::ledger::{Call, LedgerError};
use crate::redis::keys::{Cell, Keys, Part};
use crate::redis::reply::{array, bytes, integer, text};
use crate::redis::scripts::ScriptId;
use crate::redis::store::{Store, UNWATCHED_CALL_TIMEOUT};
use crate::store::StoreError;

/// Most keys of one call: a tenth of a millisecond.
const KEYS_MAX: usize = 256;
/// Most calls of one page that run concurrently.
const CONCURRENT_MAX: usize = 4;

/// Returns a page of usage.
pub async fn holdings(
    store: &Store,
    call: &Call,
    of: UsageScope,
    from: Option<&PageToken>,
) -> Result<Holdings, LedgerError> {
    let keys = Keys::new(store.ids, &call.app);
    let (part, pattern) = match of {
        UsageScope::UsersWithFriends => (Part::Friends, keys.any_friends()),
        UsageScope::UsersInGroups => (Part::Groups, keys.any_counted_groups()),
        UsageScope::Groups => (Part::Groups, keys.any_group_record()),
    };
    let within = time_left(store, call)?;
    let Subjects { keys: found, next } =
        scan(store, keys.limits(part), pattern, from, within).await?;
    let cells: Vec<Cell> = found.into_iter().map(Cell::new).collect();
    let keys_of = |cell: &Cell| match of {
        UsageScope::UsersWithFriends => vec![keys.friends(*cell)],
        UsageScope::UsersInGroups => vec![keys.counted_groups(*cell)],
        UsageScope::Groups => vec![keys.group_record(*cell), keys.members(*cell)],
    };
    let at_a_time = KEYS_MAX / if of == UsageScope::Groups { 2 } else { 1 };
    let chunks = cells.chunks(at_a_time);
    let chunks: Vec<_> =
        chunks.map(|cells| (cells.to_vec(), cells.iter().flat_map(keys_of).collect())).collect();
    let calls =
        chunks.into_iter().map(|(cells, keys): (_, Vec<_>)| sizes(store, call, of, cells, keys));
    let each: Vec<_> = stream::iter(calls).buffered(CONCURRENT_MAX).try_collect().await?;
    Ok(Holdings { each: each.into_iter().flatten().collect(), next })
}

/// Returns the timeout of the next call.
fn time_left(store: &Store, call: &Call) -> Result<Duration, LedgerError> {
    let time_left = (call.deadline - store.clock.now()).min(UNWATCHED_CALL_TIMEOUT);
    if time_left.is_zero() {
        Err(LedgerError::Store(StoreError::DeadlinePassed))
    } else {
        Ok(time_left)
    }
}

async fn sizes(
    store: &Store,
    call: &Call,
    of: UsageScope,
    cells: Vec<Cell>,
    keys: Vec<Vec<u8>>,
) -> Result<Vec<SubjectUsage>, LedgerError> {
    let what: &[u8] = if of == UsageScope::Groups { b"groups" } else { b"sets" };
    let within = time_left(store, call)?;
    let found = store.call_script(ScriptId::Sizes, &keys, &[what.to_vec()], within).await?;
    let found =
        array(found).filter(|found| found.len() == cells.len()).ok_or_else(malformed_reply)?;
    let mut each = Vec::with_capacity(found.len());
    for (cell, size) in cells.into_iter().zip(found) {
        each.extend(held(of, size)?.map(|held| SubjectUsage { key: cell.fingerprint(), held }));
    }
    Ok(each)
}

/// Converts a size; `None` if nothing is held any more.
fn held(of: UsageScope, size: Value) -> Result<Option<UsageCount>, LedgerError> {
    let count = |value: &Value| integer(value).and_then(|count| u64::try_from(count).ok());
    let is_positive = |count: &u64| *count > 0;
    match of {
        UsageScope::UsersWithFriends => {
            let friends = count(&size).ok_or_else(malformed_reply)?;
            Ok(Some(friends).filter(is_positive).map(UsageCount::Friends))
        }
        UsageScope::UsersInGroups => {
            let groups = count(&size).ok_or_else(malformed_reply)?;
            Ok(Some(groups).filter(is_positive).map(UsageCount::Groups))
        }
        UsageScope::Groups => {
            let mut parts = array(size).ok_or_else(malformed_reply)?.into_iter();
            let Some(name) = parts.next() else { return Ok(None) };
            let read = || {
                let group_type = text(bytes(name)?)?.as_str().into();
                let max_members = text(bytes(parts.next()?)?)?.parse().ok();
                let members = count(&parts.next()?)?;
                Some(UsageCount::Members { group_type, members, max_members })
            };
            read().ok_or_else(malformed_reply).map(Some)
        }
    }
}

fn malformed_reply() -> LedgerError {
    unreadable("malformed sizes")
}
