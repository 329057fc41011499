//! Holds: takes that end unless they are confirmed.
//!
//! A script whose result facts that have expired may change writes nothing and returns them; they
//! are removed (`expired`), by one call at a time (`removals`), and the script is called again. So
//! no decision depends on an expired fact. A hold that a caller ends is read first (`record`),
//! since its facts determine the keys; the script that ends it (`end`) compares that nothing has
//! changed meanwhile. What has expired before its confirmation is taken anew by the scripts of
//! takes (`retake`).

mod argument;
mod end;
pub mod expired;
mod facts;
mod record;
mod removals;
mod retake;

use std::sync::Arc;

pub use self::argument::HoldArgument;
pub use self::removals::Removals;
use super::shared::Shared;
use crate::ledger::holds::{EndedHold, Ending};
use crate::ledger::{Call, LedgerError};
use crate::redis::keys::PARTS;
use crate::store::StoreError;

/// Most calls of scripts of each kind in one sweep of a part.
const SWEEP_STEPS_MAX: usize = 16;

/// Ends the holds of operations with an id. All steps are done even if the caller stops waiting.
pub async fn end(
    shared: &Arc<Shared>,
    call: Call,
    ending: Ending,
) -> Result<Vec<EndedHold>, LedgerError> {
    let shared = shared.clone();
    let cut_off =
        |error| StoreError::Unavailable(format!("the operation was interrupted: {error}"));
    let ended = tokio::spawn(async move {
        let mut ended = Vec::new();
        for letter in facts::letters(ending.part) {
            ended.extend(Box::pin(end::end_one(&shared, &call, &ending, *letter)).await?);
        }
        Ok(ended)
    });
    ended.await.map_err(cut_off)?
}

/// Removes what has expired, and records whose time is over.
pub async fn sweep(shared: &Arc<Shared>, call: &Call) -> Result<u64, LedgerError> {
    let mut removed = 0;
    for part in PARTS {
        for _ in 0..SWEEP_STEPS_MAX {
            let due = expired::due(shared, call, part).await?;
            if due.is_none() {
                break;
            }
            removed += due.remove(shared, call, part).await?;
        }
    }
    Ok(removed)
}
