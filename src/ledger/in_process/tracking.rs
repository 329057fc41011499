//! Tracking of the facts that were taken or released since a reconciliation began.
//!
//! Records of an earlier tracking are removed gradually, so that no transaction has to remove them
//! all.

use std::time::Duration;

use super::rows::{ChangeKey, Result, Rows, TrackingRow};
use super::step::Results;
use crate::domain::decision::ItemResult;
use crate::domain::limits::Relation;
use crate::domain::operation::Effect;
use crate::domain::time::Timestamp;
use crate::ledger::Operation;
use crate::ledger::reconcile::{Fact, TRACKED_MAX, Tracking};
use crate::store::fingerprint::{Fingerprints, GroupKey, UserKey};

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
    /// Returns the key of its row.
    fn key(self) -> ChangeKey {
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
pub fn begin(rows: &mut impl Rows, now: Timestamp, keep_for: Duration) -> Result<Tracking> {
    let before = rows.tracking()?.map(|row| row.since.as_millis());
    let since = before.map_or(now.as_millis(), |before| now.as_millis().max(before + 1));
    let since = Timestamp::from_millis(since);
    let until = since + keep_for;
    rows.put_tracking(TrackingRow { since, until, changes: 0 })?;
    Ok(Tracking { since, until })
}

/// Returns the running tracking of changes, if there is one.
pub fn current(rows: &impl Rows, now: Timestamp) -> Result<Option<Tracking>> {
    let running = rows.tracking()?.filter(|row| now < row.until);
    Ok(running.map(|TrackingRow { since, until, .. }| Tracking { since, until }))
}

/// Returns whether any of these changes was tracked since then.
pub fn has_any(rows: &impl Rows, since: Timestamp, traces: &[ChangedFact]) -> Result<bool> {
    for trace in traces {
        if rows.is_tracked(since, trace.key())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Records changes while changes are tracked.
pub fn record(rows: &mut impl Rows, tracking: Tracking, traces: Vec<ChangedFact>) -> Result<()> {
    let Tracking { since, until } = tracking;
    let mut added = 0;
    for trace in traces {
        added += u64::from(rows.put_tracked(since, trace.key())?);
    }
    if added == 0 {
        return Ok(());
    }
    let most = usize::try_from(added).unwrap_or(usize::MAX).saturating_mul(DROPPED_PER_ROW);
    rows.remove_tracked_before(since, most)?;
    let changes = rows.tracking()?.map_or(0, |row| row.changes) + added;
    // The row is kept, so that the next tracking begins after this one.
    let until = if changes > TRACKED_MAX { since } else { until };
    rows.put_tracking(TrackingRow { since, until, changes })
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
        // No operation takes logins.
        Relation::Logins => [None, None],
    };
    facts.into_iter().flatten()
}
