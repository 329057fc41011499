//! The store's generation: what its marks carry.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::keys::IDENTITY;
use super::reply::{bytes, integer};
use super::scripts::ScriptId;
use super::store::{PATIENCE, Store};
use super::verdict::unreadable;
use crate::domain::text::hex;
use crate::ledger::LedgerError;

/// Random bytes of a generation: two stores never have the same one.
const GENERATION_BYTES: usize = 16;
/// Marks that are written at once: a fresh cluster has all of them in half a second.
const AT_ONCE: usize = 256;

/// A new generation, in hexadecimal.
pub fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; GENERATION_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// Writes the marks that are missing, and records that all were written.
pub async fn put_marks(store: &Store) -> Result<(), LedgerError> {
    let generation = store.generation();
    let put = |mark: Vec<u8>| {
        let arguments = [generation.to_vec()];
        async move {
            let script = ScriptId::PutMark as usize;
            let there = store.client.call(script, &[mark], &arguments, PATIENCE).await?;
            let there = bytes(there).unwrap_or_default();
            if there == arguments[0] { Ok(()) } else { Err(other_generation(&there)) }
        }
    };
    stream::iter(store.marks.all().into_iter().map(put))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let arguments = [generation.to_vec()];
    let script = ScriptId::FinishMarks as usize;
    let finished = store.client.call(script, &[IDENTITY.to_vec()], &arguments, PATIENCE).await?;
    match integer(&finished) {
        Some(1) => Ok(()),
        Some(_) => Err(LedgerError::StoreLost("its generation has changed".to_owned())),
        None => Err(unreadable("the end of the marks is malformed")),
    }
}

fn other_generation(there: &[u8]) -> LedgerError {
    let there = String::from_utf8_lossy(there);
    LedgerError::StoreLost(format!("a mark carries generation \"{there}\""))
}
