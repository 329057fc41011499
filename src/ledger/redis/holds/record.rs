//! The record of a hold, as it is read.

use super::argument::name;
use crate::domain::id::GroupId;
use crate::domain::time::Timestamp;
use crate::ledger::redis::verdict::{at, unreadable};
use crate::ledger::redis::work::{OperationRun, ScriptCall};
use crate::ledger::{LedgerError, Operation, operation_codec};
use crate::redis::keys::Part;
use crate::redis::reply::{bytes, text};
use crate::redis::scripts::ScriptId;

/// The record of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name of the hold in scripts.
    pub name: String,
    /// The operation that took with it.
    pub operation: Operation,
    /// When it expires.
    pub expiry: Timestamp,
    /// Distinguishes it from other holds of the same id.
    pub number: String,
    /// The states of its facts: see `scripts/shared/holds.lua`.
    pub states: String,
    /// The server's clock when it was read.
    pub read_at: Timestamp,
}

impl Record {
    /// Returns whether anything that the operation names is held, or was when the hold expired.
    pub fn has_held(&self) -> bool {
        // The group that is joined is not named.
        let first = usize::from(matches!(self.operation, Operation::JoinGroup { .. }));
        self.states.get(first..).is_some_and(|named| named.contains('h'))
    }
}

/// Reads the record of a hold; `None` if there is none.
pub async fn read(
    run: &OperationRun<'_>,
    part: Part,
    letter: char,
    id: &str,
) -> Result<Option<Record>, LedgerError> {
    let name = name(letter, id);
    let step = ScriptCall::new(ScriptId::ReadHolds, part).arguments([name.clone().into_bytes()]);
    let decided = run.step(None, step).await?;
    let read_at = at(&decided);
    let mut more = decided.more.into_iter().map(bytes);
    let (Some(Some(record)), Some(Some(operation))) = (more.next(), more.next()) else {
        return Err(malformed("it is no text"));
    };
    if record.is_empty() {
        return Ok(None);
    }
    let record = text(record).ok_or_else(|| malformed("it is no text"))?;
    let mut operation = operation_codec::decode(&operation).map_err(|why| malformed(&why))?;
    let moved_to = more.next().flatten().and_then(text).unwrap_or_default();
    if !moved_to.is_empty() {
        let id = GroupId::try_from(moved_to).map_err(|why| malformed(&why.to_string()))?;
        operation.set_group(id);
    }
    let words: Vec<&str> = record.split(' ').collect();
    let [expiry, number, _, states] = words.as_slice() else {
        return Err(malformed("it has another number of words"));
    };
    let expiry = expiry.parse().map_err(|_| malformed("its expiry is no number"))?;
    Ok(Some(Record {
        name,
        operation,
        expiry: Timestamp::from_millis(expiry),
        number: (*number).to_owned(),
        states: (*states).to_owned(),
        read_at,
    }))
}

fn malformed(why: &str) -> LedgerError {
    unreadable(&format!("the record of a hold: {why}"))
}
