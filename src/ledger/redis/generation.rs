//! The marks of a generation: written once for a new store, renewed by an acceptance, looked at.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::client::Patience;
use super::keys::IDENTITY;
use super::reply::{bytes, integer};
use super::scripts::ScriptId;
use super::store::{PATIENCE, Store};
use super::verdict::unreadable;
use crate::ledger::LedgerError;

/// Marks that are written or read at once: a fresh cluster has all of them in half a second.
const AT_ONCE: usize = 256;
/// Longest time for one mark of many: a server that is away is not waited for.
const MARK_PATIENCE: Patience = Patience { within: Duration::from_secs(1), hurried: true };

/// What became of the marks of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// All are there.
    All,
    /// Some could not be written yet.
    Some,
    /// One is missing that was seen, or carries another generation.
    Lost(String),
}

/// Writes the marks that are missing and were never seen, and records when all were written.
pub async fn put_marks(store: &Store) -> Result<Marked, LedgerError> {
    let slots = store.marks.slots().filter(|slot| !store.standing.seen.contains(*slot));
    let put = slots.map(|slot| put_mark(store, slot, MARK_PATIENCE));
    let put: Vec<_> = stream::iter(put).buffer_unordered(AT_ONCE).collect().await;
    let mut missing = false;
    for one in put {
        match one {
            Err(LedgerError::StoreLost(why)) => return Ok(Marked::Lost(why)),
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

/// Records that all marks of the generation were written; `false` where the store has another one.
pub async fn finish(store: &Store) -> Result<bool, LedgerError> {
    let arguments = [store.generation().to_vec()];
    let script = ScriptId::FinishMarks as usize;
    let finished = store.client.call(script, &[IDENTITY.to_vec()], &arguments, PATIENCE).await?;
    match integer(&finished) {
        Some(finished) => Ok(finished == 1),
        None => Err(unreadable("the end of the marks is malformed")),
    }
}

/// Writes the mark of a slot that has none.
pub async fn put_mark(
    store: &Store,
    slot: u16,
    patience: impl Into<Patience>,
) -> Result<(), LedgerError> {
    let generation = [store.generation().to_vec()];
    let script = ScriptId::PutMark as usize;
    let mark = store.marks.key(slot);
    let there = store.client.call(script, &[mark], &generation, patience).await?;
    let there = bytes(there).unwrap_or_default();
    if there != generation[0] {
        return Err(LedgerError::StoreLost(other(slot, &there)));
    }
    store.standing.seen.insert(slot);
    Ok(())
}

/// Gives every slot the mark of the generation, whatever it had.
pub async fn renew_marks(store: &Store) -> Result<(), LedgerError> {
    let generation = store.generation();
    let script = ScriptId::RenewMark as usize;
    let renew = |slot| {
        let (mark, arguments) = (store.marks.key(slot), [generation.to_vec()]);
        async move { store.client.call(script, &[mark], &arguments, PATIENCE).await.map(drop) }
    };
    let renewed = stream::iter(store.marks.slots().map(renew)).buffer_unordered(AT_ONCE);
    Ok(renewed.try_collect::<()>().await?)
}

/// What is wrong with the marks of those slots, as far as their servers answer.
pub async fn wrong(store: &Store, slots: impl Iterator<Item = u16> + Send) -> Option<String> {
    let looked = stream::iter(slots.map(|slot| look(store, slot))).buffer_unordered(AT_ONCE);
    looked.filter_map(|one| async move { one.ok().flatten() }).boxed().next().await
}

/// Whether every slot is known to have the mark of the generation.
pub async fn all_there(store: &Store) -> bool {
    let looked =
        stream::iter(store.marks.slots().map(|slot| look(store, slot))).buffer_unordered(AT_ONCE);
    looked.all(|one| async move { matches!(one, Ok(None)) }).await
}

/// What is wrong with the mark of a slot. One that is missing and was never seen is not wrong.
async fn look(store: &Store, slot: u16) -> Result<Option<String>, LedgerError> {
    let script = ScriptId::ReadMark as usize;
    let seen = store.standing.seen.contains(slot);
    let there = store.client.call(script, &[store.marks.key(slot)], &[], MARK_PATIENCE).await?;
    let there = bytes(there).unwrap_or_default();
    let right = there == *store.generation() || (there.is_empty() && !seen);
    Ok((!right).then(|| other(slot, &there)))
}

/// What is said of a mark that is not the generation's.
pub fn other(slot: u16, there: &[u8]) -> String {
    if there.is_empty() {
        return format!("the mark of slot {slot} is missing");
    }
    format!("the mark of slot {slot} carries generation {}", String::from_utf8_lossy(there))
}
