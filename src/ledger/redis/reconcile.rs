//! Compares claims with the facts, and repairs the differences.
//!
//! The facts of a user or group are read whole and compared here. A script then checks each
//! different fact again by itself, leaves alone what was changed meanwhile, and repairs the rest.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::shared::Shared;
use super::takes::SUBJECTS_MAX;
use super::verdict::unreadable;
use super::work::{OperationRun, ScriptCall, flag};
use crate::domain::decision::Mode;
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::{
    ClaimedGroup, Comparison, Difference, ExpectedState, Fact, Mismatch, Outcome, PageToken,
    Repair, Section, Subjects, Tracking,
};
use crate::ledger::{Call, LedgerError};
use crate::redis::identity;
use crate::redis::keys::{BUCKETS, Cell, Keys, PARTS, Part};
use crate::redis::reply::{array, bytes, text};
use crate::redis::scripts::ScriptId;
use crate::redis::store::{Store, UNWATCHED_CALL_TIMEOUT};
use crate::store::StoreError;

/// Most claims of one call, or buckets of accounts, that are processed concurrently.
const CONCURRENT_MAX: usize = 16;
/// Keys that one call scans: half a millisecond of the server's time.
const KEYS_SCANNED: u64 = 1000;
/// Buckets of accounts that are read for one page.
const BUCKETS_READ: u64 = 32;
/// Longest time until all parts of an app track its changes. The instant of an export that is
/// proposed lies later.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The call of a script that compares and repairs.
struct Repairing<'a> {
    script: ScriptId,
    part: Part,
    /// The keys that do not depend on the users.
    keys: Vec<Vec<u8>>,
    /// The arguments that do not depend on the users.
    arguments: Vec<Vec<u8>>,
    /// Returns the keys of one user.
    keys_of: &'a (dyn Fn(Cell) -> Vec<Vec<u8>> + Sync),
}

/// A comparison that is running.
struct Comparing<'a> {
    work: OperationRun<'a>,
    keys: Keys,
    comparison: &'a Comparison,
}

/// Compares claims, and repairs if configured.
pub async fn compare(
    shared: &Arc<Shared>,
    comparison: &Comparison,
    claims: Vec<ExpectedState>,
) -> Result<Vec<Difference>, LedgerError> {
    let mode = if comparison.repair == Repair::No { Mode::CheckOnly } else { Mode::Force };
    let call = Call { mode, ..comparison.call.clone() };
    let call = &call;
    let compared = claims.into_iter().map(|claim| async move {
        // The semaphore is never closed.
        let _permit = shared.comparing.acquire().await;
        let work = OperationRun::new(shared, call);
        Comparing { keys: work.keys().clone(), work, comparison }.claim(&claim).await
    });
    let each: Vec<_> = stream::iter(compared).buffered(CONCURRENT_MAX).try_collect().await?;
    Ok(each.into_iter().flatten().collect())
}

fn cells(users: &[u64]) -> Vec<Cell> {
    users.iter().copied().map(Cell::new).collect()
}

fn missing(there: bool) -> Mismatch {
    if there { Mismatch::MissingHere } else { Mismatch::MissingThere }
}

impl Comparing<'_> {
    async fn claim(&self, claim: &ExpectedState) -> Result<Vec<Difference>, LedgerError> {
        match claim {
            ExpectedState::Accounts { users, exist } => self.accounts(&cells(users), *exist).await,
            ExpectedState::Friends { user, friends } => {
                self.friends(Cell::new(*user), &cells(friends)).await
            }
            ExpectedState::Group { group, row: Some(claimed), members } => {
                self.group(Cell::new(*group), claimed, &cells(members)).await
            }
            ExpectedState::Group { group, row: None, .. } => self.no_group(Cell::new(*group)).await,
        }
    }

    /// Formats the first argument of scripts that compare.
    fn since(&self) -> Vec<u8> {
        let since = self.comparison.tracked_since;
        since.map(|since| since.as_millis().to_string()).unwrap_or_default().into_bytes()
    }

    /// Reads a whole set.
    async fn set(&self, part: Part, key: Vec<u8>) -> Result<HashSet<Cell>, LedgerError> {
        list_set(&self.work, part, key).await
    }

    async fn accounts(&self, users: &[Cell], exist: bool) -> Result<Vec<Difference>, LedgerError> {
        let bucket = |user| vec![self.keys.account_bucket(user)];
        let repairing = Repairing {
            script: ScriptId::RepairAccounts,
            part: Part::Accounts,
            keys: vec![self.keys.accounts()],
            arguments: vec![self.since(), flag(exist)],
            keys_of: &bucket,
        };
        let fact = |user: Cell| Fact::Account(user.fingerprint());
        self.repair(&repairing, users, missing(exist), &fact).await
    }

    async fn friends(&self, user: Cell, friends: &[Cell]) -> Result<Vec<Difference>, LedgerError> {
        let mut differences = Vec::new();
        let both_ways = self.comparison.repair.looks_both_ways();
        let (here, there) = if both_ways {
            differing(self.set(Part::Friends, self.keys.friends(user)).await?, friends)
        } else {
            (friends.to_vec(), Vec::new())
        };
        for (should_exist, friends) in [(true, here), (false, there)] {
            let lists = |friend| vec![self.keys.friends(friend), self.keys.fans(friend)];
            let repairing = Repairing {
                script: ScriptId::RepairFriends,
                part: Part::Friends,
                keys: vec![self.keys.friends(user), self.keys.fans(user)],
                arguments: vec![self.since(), user.element(), flag(should_exist)],
                keys_of: &lists,
            };
            let fact = |friend: Cell| Fact::Friend(user.fingerprint(), friend.fingerprint());
            let mut found = self.repair(&repairing, &friends, missing(should_exist), &fact).await?;
            differences.append(&mut found);
        }
        Ok(differences)
    }

    async fn group(
        &self,
        group: Cell,
        claimed: &ClaimedGroup,
        members: &[Cell],
    ) -> Result<Vec<Difference>, LedgerError> {
        let own = claimed.max_members.map_or_else(String::new, |own| {
            own.map_or_else(|| "-".to_owned(), |own| own.to_string())
        });
        let mut differences = self.record(group, claimed.group_type.as_str(), &own).await?;
        let kind = self.comparison.call.catalog.group_type(claimed.group_type.as_str());
        let Some(kind) = kind.filter(|kind| kind.members_tracked) else { return Ok(differences) };
        // The effect of its members on counts depends on its type.
        if differences.iter().any(|it| it.side == Mismatch::OtherType) {
            return Ok(differences);
        }
        let (here, there) = if self.comparison.repair.looks_both_ways() {
            differing(self.set(Part::Groups, self.keys.members(group)).await?, members)
        } else {
            (members.to_vec(), Vec::new())
        };
        for (should_exist, users) in [(true, here), (false, there)] {
            let counts = kind.counts_towards_user;
            differences.append(&mut self.members(group, counts, should_exist, &users).await?);
        }
        Ok(differences)
    }

    /// Compares a group's record, apart from its members; an empty type means that it should not
    /// exist.
    async fn record(
        &self,
        group: Cell,
        group_type: &str,
        own: &str,
    ) -> Result<Vec<Difference>, LedgerError> {
        let keys = &self.keys;
        let own_keys = vec![keys.group_record(group), keys.members(group), keys.groups_by_type()];
        let [group_type, own] = [group_type, own].map(|word| word.as_bytes().to_vec());
        let arguments = vec![self.since(), group.element(), group_type, Vec::new(), own];
        let (script, part, keys) = (ScriptId::RepairGroup, Part::Groups, own_keys);
        let step = ScriptCall { script, part, by_day: true, subjects: 1, keys, arguments };
        let decided = self.step(step).await?;
        let what = decided.more.into_iter().next().and_then(bytes).and_then(text);
        let side = match what.as_deref() {
            Some("nothing") => return Ok(Vec::new()),
            Some("here") => Mismatch::MissingHere,
            Some("there") => Mismatch::MissingThere,
            Some("type") => Mismatch::OtherType,
            Some("own") => Mismatch::OtherMaxMembers,
            _ => return Err(unreadable("malformed comparison")),
        };
        let letter = decided.said.first().map(|said| said.letter);
        let outcome = letter.and_then(outcome);
        let fact = Fact::Group(group.fingerprint());
        Ok(outcome.map(|outcome| Difference { fact, side, outcome }).into_iter().collect())
    }

    async fn members(
        &self,
        group: Cell,
        counts: bool,
        should_exist: bool,
        users: &[Cell],
    ) -> Result<Vec<Difference>, LedgerError> {
        let keys = &self.keys;
        let lists = |user| vec![keys.counted_groups(user), keys.other_groups(user)];
        let repairing = Repairing {
            script: ScriptId::RepairMembers,
            part: Part::Groups,
            keys: vec![keys.group_record(group), keys.members(group)],
            arguments: vec![self.since(), group.element(), flag(should_exist), flag(counts)],
            keys_of: &lists,
        };
        let fact = |user: Cell| Fact::Member(group.fingerprint(), user.fingerprint());
        self.repair(&repairing, users, missing(should_exist), &fact).await
    }

    /// Compares a group that should not exist.
    async fn no_group(&self, group: Cell) -> Result<Vec<Difference>, LedgerError> {
        let members = self.set(Part::Groups, self.keys.members(group)).await?;
        let members: Vec<Cell> = members.into_iter().collect();
        let mut differences = self.members(group, false, false, &members).await?;
        let stays = differences.iter().any(|it| it.outcome == Outcome::LeftAlone);
        let mut record = self.record(group, "", "").await?;
        for difference in &mut record {
            // A member who stays keeps the group.
            if stays {
                difference.outcome = Outcome::LeftAlone;
            }
        }
        differences.append(&mut record);
        Ok(differences)
    }

    async fn repair(
        &self,
        repairing: &Repairing<'_>,
        users: &[Cell],
        side: Mismatch,
        fact: &(dyn Fn(Cell) -> Fact + Sync),
    ) -> Result<Vec<Difference>, LedgerError> {
        let mut differences = Vec::new();
        for users in users.chunks(SUBJECTS_MAX) {
            let Repairing { script, part, keys, arguments, keys_of } = repairing;
            let step = ScriptCall::new(*script, *part)
                .keys(keys.iter().cloned())
                .arguments(arguments.iter().cloned())
                .on(users.iter().copied(), keys_of);
            let decided = self.step(step).await?;
            for (said, user) in decided.said.iter().zip(users) {
                let difference = |outcome| Difference { fact: fact(*user), side, outcome };
                differences.extend(outcome(said.letter).map(difference));
            }
        }
        Ok(differences)
    }

    async fn step(&self, step: ScriptCall) -> Result<super::reply::Decided, LedgerError> {
        match self.work.try_step(&step).await? {
            super::reply::Reply::Decided(decided) => Ok(decided),
            super::reply::Reply::Nothing { why, detail, .. } => {
                match self.comparison.tracked_since.filter(|_| why == "not_since") {
                    Some(since) => Err(LedgerError::NotTracked(since)),
                    None => Err(super::work::refusal(self.work.call, None, &why, &detail)),
                }
            }
        }
    }
}

/// Returns the elements that are missing in a set, and those that should not be in it.
fn differing(held: HashSet<Cell>, claimed: &[Cell]) -> (Vec<Cell>, Vec<Cell>) {
    let here = claimed.iter().copied().filter(|cell| !held.contains(cell)).collect();
    let claimed: HashSet<Cell> = claimed.iter().copied().collect();
    (here, held.into_iter().filter(|cell| !claimed.contains(cell)).collect())
}

/// Converts a letter; `None` if there is no difference.
fn outcome(letter: u8) -> Option<Outcome> {
    match letter {
        b'F' => Some(Outcome::Found),
        b'R' => Some(Outcome::Repaired),
        b'L' => Some(Outcome::LeftAlone),
        _ => None,
    }
}

/// Returns the elements of a set.
pub(super) async fn list_set(
    work: &OperationRun<'_>,
    part: Part,
    key: Vec<u8>,
) -> Result<HashSet<Cell>, LedgerError> {
    let script = ScriptId::ListSet;
    let (keys, arguments) = (vec![key], Vec::new());
    let step = ScriptCall { script, part, by_day: false, subjects: 1, keys, arguments };
    let decided = work.step(None, step).await?;
    let elements = decided.more.into_iter().next().and_then(array);
    let cells = elements.and_then(|elements| {
        elements.into_iter().map(|element| Cell::from_element(&bytes(element)?)).collect()
    });
    cells.ok_or_else(|| unreadable("a set holds an element that is no fingerprint"))
}

/// Returns a page of a section's subjects.
pub async fn subjects(
    shared: &Arc<Shared>,
    call: &Call,
    section: Section,
    from: Option<PageToken>,
) -> Result<Subjects, LedgerError> {
    let store = &*shared.store;
    let keys = Keys::new(store.ids, &call.app);
    let (part, pattern) = match section {
        Section::Accounts => {
            return accounts(shared, call, from.map_or(0, |place| place.0)).await;
        }
        Section::Friends => (Part::Friends, keys.any_friends()),
        Section::Groups => (Part::Groups, keys.any_group_record()),
    };
    scan(store, keys.limits(part), pattern, from.as_ref(), UNWATCHED_CALL_TIMEOUT).await
}

/// Returns the cells of a page of the keys that match a pattern; `key_in_slot` is for routing.
pub async fn scan(
    store: &Store,
    key_in_slot: Vec<u8>,
    pattern: Vec<u8>,
    from: Option<&PageToken>,
    within: Duration,
) -> Result<Subjects, LedgerError> {
    let cursor = from.map_or(0, |place| place.0).to_string().into_bytes();
    let arguments = [cursor, pattern, KEYS_SCANNED.to_string().into_bytes()];
    let found = store.call_script(ScriptId::ScanKeys, &[key_in_slot], &arguments, within).await?;
    let read = || {
        let mut parts = array(found)?.into_iter();
        let next: u64 = text(bytes(parts.next()?)?)?.parse().ok()?;
        let found = array(parts.next()?)?.into_iter();
        let found: Option<Vec<u64>> =
            found.map(|key| Some(Keys::cell_of(&bytes(key)?)?.fingerprint())).collect();
        Some(Subjects { keys: found?, next: (next > 0).then_some(PageToken(next)) })
    };
    read().ok_or_else(|| unreadable("malformed keys"))
}

async fn accounts(shared: &Arc<Shared>, call: &Call, from: u64) -> Result<Subjects, LedgerError> {
    let keys = Keys::new(shared.store.ids, &call.app);
    let until = BUCKETS.min(from.saturating_add(BUCKETS_READ));
    let work = &OperationRun::new(shared, call);
    let buckets = (from..until).map(|number| list_set(work, Part::Accounts, keys.bucket(number)));
    let buckets: Vec<_> = stream::iter(buckets).buffered(CONCURRENT_MAX).try_collect().await?;
    let keys = buckets.into_iter().flatten().map(Cell::fingerprint).collect();
    Ok(Subjects { keys, next: (until < BUCKETS).then_some(PageToken(until)) })
}

/// Starts to track changes in all parts of an app.
pub async fn track(
    store: &Store,
    app: &AppId,
    keep_for: Duration,
) -> Result<Tracking, LedgerError> {
    let keys = Keys::new(store.ids, app);
    let since = identity::read(&store.client).await?.now;
    let since = Timestamp::from_millis(since);
    let until = since + keep_for;
    let arguments = [since, until].map(|at| at.as_millis().to_string().into_bytes());
    let began_at = store.clock.now();
    for part in PARTS {
        let keys = [keys.tracking(part), keys.tracked(part)];
        store.call_script(ScriptId::TrackChanges, &keys, &arguments, BEGIN_TIMEOUT).await?;
    }
    if store.clock.now() - began_at > BEGIN_TIMEOUT {
        let reason = "changes are not tracked in all parts in time; start again".to_owned();
        return Err(StoreError::Unavailable(reason).into());
    }
    Ok(Tracking { since, until })
}

/// Returns the period in which all parts of an app track changes.
pub async fn tracking(store: &Store, app: &AppId) -> Result<Option<Tracking>, LedgerError> {
    let keys = Keys::new(store.ids, app);
    let mut found = None;
    for part in PARTS {
        let keys = [keys.tracking(part), keys.tracked(part)];
        let tracking =
            store.call_script(ScriptId::Tracking, &keys, &[], UNWATCHED_CALL_TIMEOUT).await?;
        let tracking = bytes(tracking).and_then(text).unwrap_or_default();
        let read = || {
            let (since, until) = tracking.split_once(' ')?;
            let at = |text: &str| text.parse().ok().map(Timestamp::from_millis);
            Some(Tracking { since: at(since)?, until: at(until)? })
        };
        let Some(tracking) = read() else { return Ok(None) };
        if *found.get_or_insert(tracking) != tracking {
            return Ok(None);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::ledger::reconcile::TRACKED_MAX;
    use crate::redis::scripts::{self, ScriptId};

    #[test]
    fn scripts_remember_as_many_changes_as_other_stores() {
        let most = format!("local tracked_max = {TRACKED_MAX}\n");
        assert!(scripts::all()[ScriptId::JoinGroup as usize].text.contains(&most));
    }
}
