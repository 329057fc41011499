//! Tracking of the facts that were taken or released since a reconciliation began.
//!
//! Records of an earlier tracking are removed gradually, so that no transaction has to remove them
//! all.

use std::time::Duration;

use redb::{ReadableTable, StorageError};

use super::step::Results;
use crate::domain::decision::ItemResult;
use crate::domain::limits::Relation;
use crate::domain::operation::Effect;
use crate::domain::time::Timestamp;
use crate::ledger::Operation;
use crate::ledger::reconcile::{Fact, TRACKED_MAX, Tracking};
use crate::redb::tables::Tables;
use crate::redb::writer::Unit;
use crate::store::fingerprint::{AppKey, Fingerprints, GroupKey, UserKey};

type Result<T> = std::result::Result<T, StorageError>;

/// The number of earlier rows that are removed for each row added.
const DROPPED_PER_ROW: usize = 2;

/// A tracked change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedFact {
    /// A fact was taken or released; or its group was created, changed or dissolved.
    Of(Fact),
    /// The user was deleted with all of their facts.
    Deleted(UserKey),
}

impl ChangedFact {
    /// Returns the table row: a kind and two fingerprints.
    fn row(self) -> (u8, u64, u64) {
        match self {
            Self::Of(Fact::Account(user)) => (0, user, 0),
            Self::Of(Fact::Friend(user, friend)) => (1, user, friend),
            Self::Of(Fact::Group(group)) => (2, group, 0),
            Self::Of(Fact::Member(group, user)) => (3, group, user),
            Self::Deleted(user) => (4, user, 0),
        }
    }
}

/// Starts tracking, and discards earlier tracking.
pub fn begin(
    unit: &mut Unit<'_, '_>,
    app: AppKey,
    now: Timestamp,
    keep_for: Duration,
) -> Result<Tracking> {
    let before = unit.tables.tracking.get(app)?.map(|row| row.value().0);
    let since = before.map_or(now.as_millis(), |before| now.as_millis().max(before + 1));
    let since = Timestamp::from_millis(since);
    let until = since + keep_for;
    unit.tables.tracking.insert(app, (since.as_millis(), until.as_millis(), 0))?;
    unit.wrote = true;
    Ok(Tracking { since, until })
}

/// Returns the running tracking of changes, if there is one.
pub fn current(tables: &Tables<'_>, app: AppKey, now: Timestamp) -> Result<Option<Tracking>> {
    let row = tables.tracking.get(app)?.map(|row| row.value());
    let tracking = row.map(|(since, until, _)| Tracking {
        since: Timestamp::from_millis(since),
        until: Timestamp::from_millis(until),
    });
    Ok(tracking.filter(|tracking| now < tracking.until))
}

/// Returns whether any of these changes was tracked since then.
pub fn has_any(
    tables: &Tables<'_>,
    app: AppKey,
    since: Timestamp,
    traces: &[ChangedFact],
) -> Result<bool> {
    for trace in traces {
        let (sort, one, other) = trace.row();
        if tables.tracked.get((app, since.as_millis(), sort, one, other))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Records changes while changes are tracked.
pub fn record(
    unit: &mut Unit<'_, '_>,
    app: AppKey,
    tracking: Tracking,
    traces: Vec<ChangedFact>,
) -> Result<()> {
    let Tracking { since, until } = tracking;
    let since_millis = since.as_millis();
    let mut added = 0;
    for trace in traces {
        let (sort, one, other) = trace.row();
        let new = unit.tables.tracked.insert((app, since_millis, sort, one, other), ())?.is_none();
        added += u64::from(new);
    }
    if added == 0 {
        return Ok(());
    }
    unit.wrote = true;
    drop_earlier(unit.tables, app, since_millis, added)?;
    let count = unit.tables.tracking.get(app)?.map_or(0, |row| row.value().2) + added;
    if count > TRACKED_MAX {
        // The row is kept, so that the next tracking begins after this one.
        unit.tables.tracking.insert(app, (since_millis, since_millis, count))?;
    } else {
        unit.tables.tracking.insert(app, (since_millis, until.as_millis(), count))?;
    }
    Ok(())
}

fn drop_earlier(tables: &mut Tables<'_>, app: AppKey, since: i64, added: u64) -> Result<()> {
    let most = usize::try_from(added).unwrap_or(usize::MAX).saturating_mul(DROPPED_PER_ROW);
    let earlier = (app, i64::MIN, 0, 0, 0)..(app, since, 0, 0, 0);
    for row in tables.tracked.extract_from_if(earlier, |_, ()| true)?.take(most) {
        row?;
    }
    Ok(())
}

/// Returns the facts that an operation took or released, and the groups that it removed. Denied
/// takes are not included.
pub fn traces(
    ids: &Fingerprints,
    operation: &Operation,
    results: &Results,
    removed_groups: Vec<GroupKey>,
) -> Vec<ChangedFact> {
    let is_denied = |effect: &Effect<'_>| match effect.item {
        Some(index) => results.items.get(index).is_some_and(ItemResult::denied),
        None => results.whole.as_ref().is_some_and(ItemResult::denied),
    };
    // The members of a group that is created are not tracked apart from it.
    let is_tracked = |effect: &Effect<'_>| {
        operation.group_type().is_none() || effect.relation == Relation::Groups
    };
    let effects = operation.effects().into_iter();
    let facts = effects
        .filter(|effect| is_tracked(effect) && !is_denied(effect))
        .flat_map(|effect| facts_of(ids, effect));
    let removed = removed_groups.into_iter().map(Fact::Group);
    let deleted = match operation {
        Operation::DeleteAccount { user } => Some(ChangedFact::Deleted(ids.user(user))),
        _ => None,
    };
    facts.chain(removed).map(ChangedFact::Of).chain(deleted).collect()
}

/// Returns a fact; of a friendship of both sides, that of either.
fn facts_of(ids: &Fingerprints, effect: Effect<'_>) -> impl Iterator<Item = Fact> {
    let (user, peer) = (effect.user.map(|it| ids.user(it)), effect.peer.map(|it| ids.user(it)));
    let group = effect.group.map(|group| ids.group(group));
    let facts = match effect.relation {
        Relation::Accounts => [user.map(Fact::Account), None],
        Relation::Friends => {
            let (one, other) = (user.zip(peer), peer.zip(user).filter(|_| !effect.one_way));
            [one, other].map(|pair| pair.map(|(from, to)| Fact::Friend(from, to)))
        }
        Relation::Groups => [group.map(Fact::Group), None],
        Relation::Memberships => {
            [group.zip(user).map(|(group, user)| Fact::Member(group, user)), None]
        }
    };
    facts.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;
    use redb::{Database, ReadableTableMetadata};

    use super::*;
    use crate::redb::writer::Schedules;

    const APP: AppKey = 7;
    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Runs a test within a transaction.
    fn within(test: impl FnOnce(&mut Unit<'_, '_>) -> Result<()>) {
        let database = Database::builder().create_with_backend(InMemoryBackend::new());
        let txn = database.expect("opens").begin_write().expect("begins");
        let mut tables = Tables::open(&txn).expect("opens");
        let mut schedules = Schedules::new();
        let mut unit = Unit { tables: &mut tables, schedules: &mut schedules, wrote: false };
        test(&mut unit).expect("the store works");
    }

    fn accounts(users: std::ops::Range<u64>) -> Vec<ChangedFact> {
        users.map(|user| ChangedFact::Of(Fact::Account(user))).collect()
    }

    /// Tracks changes like an operation at that instant.
    fn record_at(unit: &mut Unit<'_, '_>, millis: i64, traces: Vec<ChangedFact>) -> Result<()> {
        let tracking = current(unit.tables, APP, at(millis))?.expect("changes are tracked");
        record(unit, APP, tracking, traces)
    }

    #[test]
    fn records_of_an_earlier_tracking_are_removed_gradually() {
        within(|unit| {
            let first = begin(unit, APP, at(5), HOUR)?;
            record_at(unit, 6, accounts(0..10))?;
            assert!(has_any(unit.tables, APP, first.since, &accounts(9..10))?);
            // Also if the clock was set back.
            let second = begin(unit, APP, at(1), HOUR)?;
            assert!(second.since > first.since);
            assert!(!has_any(unit.tables, APP, second.since, &accounts(0..10))?);
            record_at(unit, 2, accounts(0..2))?;
            assert_eq!(unit.tables.tracked.len()?, 10 - 2 * 2 + 2);
            Ok(())
        });
    }

    #[test]
    fn tracking_ends_at_its_deadline_and_after_too_many_changes() {
        within(|unit| {
            assert_eq!(current(unit.tables, APP, at(0))?, None);
            let Tracking { since, until } = begin(unit, APP, at(5), HOUR)?;
            assert!(current(unit.tables, APP, at(until.as_millis() - 1))?.is_some());
            assert_eq!(current(unit.tables, APP, until)?, None);
            let (from, to) = (since.as_millis(), until.as_millis());
            unit.tables.tracking.insert(APP, (from, to, TRACKED_MAX - 1))?;
            record_at(unit, 6, accounts(0..1))?;
            assert!(current(unit.tables, APP, at(7))?.is_some());
            // A change that is recorded already does not count again.
            record_at(unit, 7, accounts(0..1))?;
            assert!(current(unit.tables, APP, at(8))?.is_some());
            record_at(unit, 8, accounts(1..2))?;
            assert_eq!(current(unit.tables, APP, at(9))?, None);
            assert!(begin(unit, APP, at(9), HOUR)?.since > since);
            Ok(())
        });
    }
}
