//! The group types of which groups may exist, in any app of the store.
//!
//! A set beside the directory has every type of which a group was ever created, less those that
//! were searched for and not found. A sidecar writes a type to the set before its first creation of
//! that type and remembers it, so that later creations cost nothing more. Groups of a type are
//! searched for among the keys of all masters: rarely, and never while a decision waits.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use redis::Value;

use super::shared::Shared;
use super::verdict::unreadable;
use crate::clock::Stopwatch;
use crate::domain::id::Name;
use crate::ledger::{Call, LedgerError, TypesInUse};
use crate::redis::client::CallTimeout;
use crate::redis::keys::{ANY_GROUPS_BY_TYPE, GROUP_TYPES, HELD_GROUPS};
use crate::redis::reply::{array, bytes, text};
use crate::redis::scripts::ScriptId;
use crate::redis::store::{Store, UNWATCHED_CALL_TIMEOUT};
use crate::store::StoreError;

/// Keys scanned by one call: half a millisecond of the server's time.
const KEYS_SCANNED: &str = "1000";
/// The element that is in the set if all groups of the store were searched; no type has this name.
const COUNTED: &str = "";
/// The actions of `note_types`.
const ADD: &str = "+";
const REMOVE: &str = "-";

/// Time for which a type counts as written: after it, another sidecar that found no group of the
/// type may have removed it from the set.
const NOTED_FOR: Duration = Duration::from_secs(60);

/// The types that this process has recently written to the set or found there.
#[derive(Default)]
pub struct Noted(Mutex<HashMap<Name, Stopwatch>>);

impl Noted {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Stopwatch>> {
        let mut noted = self.0.lock();
        noted.retain(|_, since| since.elapsed() < NOTED_FOR);
        noted
    }

    fn add(&self, names: impl IntoIterator<Item = Name>) {
        self.lock().extend(names.into_iter().map(|name| (name, Stopwatch::start())));
    }

    /// Discards all types, for another generation of the store.
    pub fn clear(&self) {
        self.lock().clear();
    }
}

/// Writes the type of a group that may be created next, unless this process has done so recently.
pub async fn note(shared: &Shared, call: &Call, group_type: &Name) -> Result<(), LedgerError> {
    let store = &*shared.store;
    let is_known = call.catalog.group_type(group_type.as_str()).is_some();
    if !is_known || !call.mode.writes() || shared.noted().lock().contains_key(group_type) {
        return Ok(());
    }
    let within = call.deadline - store.clock.now();
    if within.is_zero() {
        return Err(StoreError::DeadlinePassed.into());
    }
    let timeout = CallTimeout::of(within, call.fail_fast);
    let noted = change(store, ADD, [group_type.as_str()], timeout).await;
    // Whatever the outcome, nothing was done about the group.
    noted.map_err(|error| match error {
        StoreError::Unavailable(reason) => StoreError::Refused(reason),
        StoreError::Absent { why, .. } => StoreError::Absent { why, may_be_done: false },
        other => other,
    })?;
    shared.noted().add([group_type.clone()]);
    Ok(())
}

/// Returns the types of the set, and those that this process has written to it.
pub async fn in_use(shared: &Shared) -> Result<TypesInUse, LedgerError> {
    let keys = [GROUP_TYPES.to_vec()];
    let found =
        shared.store.call_script(ScriptId::TypesInUse, &keys, &[], UNWATCHED_CALL_TIMEOUT).await?;
    let names = words(found)?;
    let is_complete = names.iter().any(|name| name == COUNTED);
    let found = names.iter().filter(|name| *name != COUNTED).map(|name| Name::from(name.as_str()));
    let noted = shared.noted();
    noted.add(found);
    Ok(TypesInUse { types: noted.lock().keys().cloned().collect(), is_complete })
}

/// Searches for groups of these types, or of all types, and writes those that were found to the
/// set.
pub async fn recheck(
    shared: &Shared,
    wanted: Option<&BTreeSet<Name>>,
) -> Result<BTreeSet<Name>, LedgerError> {
    let store = &*shared.store;
    let found = scan_masters(store, wanted).await?;
    let counted = wanted.is_none().then_some(COUNTED);
    let names = found.iter().map(Name::as_str).chain(counted);
    change(store, ADD, names, UNWATCHED_CALL_TIMEOUT.into()).await?;
    shared.noted().add(found.iter().cloned());
    if let Some(wanted) = wanted {
        let gone: Vec<&Name> = wanted.difference(&found).collect();
        shared.noted().lock().retain(|name, _| !gone.contains(&name));
        change(store, REMOVE, gone.into_iter().map(Name::as_str), UNWATCHED_CALL_TIMEOUT.into())
            .await?;
        return Ok(found.intersection(wanted).cloned().collect());
    }
    Ok(found)
}

/// Scans the keys of all masters until every wanted type is found.
async fn scan_masters(
    store: &Store,
    wanted: Option<&BTreeSet<Name>>,
) -> Result<BTreeSet<Name>, LedgerError> {
    let mut found = BTreeSet::new();
    let masters = addresses(store);
    for master in &masters {
        let mut cursor = "0".to_owned();
        loop {
            let words = [cursor.as_bytes(), ANY_GROUPS_BY_TYPE, KEYS_SCANNED.as_bytes()];
            let page = store.client.call_at(
                master,
                ScriptId::ScanGroupTypes as usize,
                &words,
                UNWATCHED_CALL_TIMEOUT,
            );
            let mut page = array(page.await?).unwrap_or_default().into_iter();
            let next =
                page.next().and_then(|next| text(bytes(next)?)).ok_or_else(malformed_reply)?;
            for key in page.next().and_then(array).ok_or_else(malformed_reply)? {
                let key = bytes(key).ok_or_else(malformed_reply)?;
                found.extend(counted(store, key).await?);
            }
            if wanted.is_some_and(|wanted| wanted.is_subset(&found)) {
                return Ok(found);
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
    }
    // Keys may have moved to a master that was scanned before.
    if addresses(store) != masters {
        return Err(
            StoreError::Refused("the masters changed during the search for groups".into()).into()
        );
    }
    Ok(found)
}

fn addresses(store: &Store) -> Vec<String> {
    let mut addresses: Vec<_> = store.client.nodes().into_iter().map(|node| node.address).collect();
    addresses.sort();
    addresses
}

/// Returns the types of which an app has groups, from the key of its counts.
async fn counted(store: &Store, key: Vec<u8>) -> Result<Vec<Name>, LedgerError> {
    let counts = words(
        store.call_script(ScriptId::GroupsByType, &[key], &[], UNWATCHED_CALL_TIMEOUT).await?,
    )?;
    let pairs = counts.chunks_exact(2);
    let some = pairs
        .filter(|pair| pair[0] != HELD_GROUPS && pair[1].parse().is_ok_and(|count: i64| count > 0));
    Ok(some.map(|pair| Name::from(pair[0].as_str())).collect())
}

/// Adds types to the set, or removes them.
async fn change(
    store: &Store,
    how: &str,
    types: impl IntoIterator<Item = &str>,
    timeout: CallTimeout,
) -> Result<(), StoreError> {
    let mut arguments = vec![how.as_bytes().to_vec()];
    arguments.extend(types.into_iter().map(|name| name.as_bytes().to_vec()));
    if arguments.len() > 1 {
        let keys = [GROUP_TYPES.to_vec()];
        store.call_script(ScriptId::NoteTypes, &keys, &arguments, timeout).await?;
    }
    Ok(())
}

fn words(value: Value) -> Result<Vec<String>, LedgerError> {
    let words = array(value).ok_or_else(malformed_reply)?.into_iter();
    let words: Option<Vec<_>> = words.map(|word| text(bytes(word)?)).collect();
    words.ok_or_else(malformed_reply)
}

fn malformed_reply() -> LedgerError {
    unreadable("malformed reply about group types")
}
