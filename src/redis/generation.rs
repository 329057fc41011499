//! The marks of a generation: written once for a new store, renewed by an acceptance, and checked.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::client::CallTimeout;
use super::keys::IDENTITY;
use super::reply::{bytes, integer};
use super::scripts::ScriptId;
use super::store::{Store, UNWATCHED_CALL_TIMEOUT};
use crate::store::StoreError;

/// Most marks that are written or read concurrently: a new cluster has all of them in half a
/// second.
const CONCURRENT_MAX: usize = 256;
/// Timeout for one mark of many; fails fast if its server is absent.
const MARK_TIMEOUT: CallTimeout = CallTimeout::of(Duration::from_secs(1), true);

/// The outcome of writing the marks of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// All exist.
    All,
    /// Some could not be written yet.
    Some,
    /// One is missing that was observed before, or carries another generation.
    Lost(String),
}

/// Writes the marks that are missing and were never observed, and records when all are written.
pub async fn put_marks(store: &Store) -> Result<Marked, StoreError> {
    let slots = store.marks.slots().filter(|slot| !store.standing.seen.contains(*slot));
    let put = slots.map(|slot| put_mark(store, slot, MARK_TIMEOUT));
    let put: Vec<_> = stream::iter(put).buffer_unordered(CONCURRENT_MAX).collect().await;
    let mut missing = false;
    for one in put {
        match one {
            Err(StoreError::StoreLost(why)) => return Ok(Marked::Lost(why)),
            Err(_) => missing = true,
            Ok(()) => {}
        }
    }
    if missing {
        return Ok(Marked::Some);
    }
    if finish(store).await? {
        store.standing.seen.insert_all();
        return Ok(Marked::All);
    }
    Ok(Marked::Lost("its generation has changed".to_owned()))
}

/// Records that all marks of the generation are written; `false` if the store has another
/// generation.
pub async fn finish(store: &Store) -> Result<bool, StoreError> {
    let arguments = [store.generation().to_vec()];
    let script = ScriptId::FinishMarks as usize;
    let finished =
        store.client.call(script, &[IDENTITY.to_vec()], &arguments, UNWATCHED_CALL_TIMEOUT).await?;
    match integer(&finished) {
        Some(finished) => Ok(finished == 1),
        None => Err(StoreError::malformed("the end of the marks is malformed")),
    }
}

/// Writes the mark of a slot that has none.
pub async fn put_mark(
    store: &Store,
    slot: u16,
    timeout: impl Into<CallTimeout>,
) -> Result<(), StoreError> {
    let generation = [store.generation().to_vec()];
    let script = ScriptId::PutMark as usize;
    let mark = store.marks.key(slot);
    let found = store.client.call(script, &[mark], &generation, timeout).await?;
    let found = bytes(found).unwrap_or_default();
    if found != generation[0] {
        return Err(StoreError::StoreLost(describe_mark(slot, &found)));
    }
    store.standing.seen.insert(slot);
    Ok(())
}

/// Writes the mark of the generation to every slot, whatever it had.
pub async fn renew_marks(store: &Store) -> Result<(), StoreError> {
    let generation = store.generation();
    let script = ScriptId::RenewMark as usize;
    let renew = |slot| {
        let (mark, arguments) = (store.marks.key(slot), [generation.to_vec()]);
        async move {
            store.client.call(script, &[mark], &arguments, UNWATCHED_CALL_TIMEOUT).await.map(drop)
        }
    };
    let renewed = stream::iter(store.marks.slots().map(renew)).buffer_unordered(CONCURRENT_MAX);
    Ok(renewed.try_collect::<()>().await?)
}

/// Returns what is wrong with the marks of these slots, of the servers that answer.
pub async fn find_wrong_mark(
    store: &Store,
    slots: impl Iterator<Item = u16> + Send,
) -> Option<String> {
    let checks =
        stream::iter(slots.map(|slot| check_mark(store, slot))).buffer_unordered(CONCURRENT_MAX);
    checks.filter_map(|one| async move { one.ok().flatten() }).boxed().next().await
}

/// Returns whether every slot certainly has the mark of the generation.
pub async fn has_all_marks(store: &Store) -> bool {
    let checks = stream::iter(store.marks.slots().map(|slot| check_mark(store, slot)))
        .buffer_unordered(CONCURRENT_MAX);
    checks.all(|one| async move { matches!(one, Ok(None)) }).await
}

/// Returns what is wrong with the mark of a slot. A missing mark that was never observed is not
/// wrong.
async fn check_mark(store: &Store, slot: u16) -> Result<Option<String>, StoreError> {
    let script = ScriptId::ReadMark as usize;
    let seen = store.standing.seen.contains(slot);
    let found = store.client.call(script, &[store.marks.key(slot)], &[], MARK_TIMEOUT).await?;
    let found = bytes(found).unwrap_or_default();
    let right = found == *store.generation() || (found.is_empty() && !seen);
    Ok((!right).then(|| describe_mark(slot, &found)))
}

/// Returns the description of a mark that is not the generation's.
pub fn describe_mark(slot: u16, found: &[u8]) -> String {
    if found.is_empty() {
        return format!("the mark of slot {slot} is missing");
    }
    format!("the mark of slot {slot} carries generation {}", String::from_utf8_lossy(found))
}
