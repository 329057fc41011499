//! Removes facts whose holds have expired, and records whose time is over.

use std::sync::Arc;

use super::argument::types_of;
use super::facts::keys_of;
use crate::ledger::redis::catalog_args::UnknownAs;
use crate::ledger::redis::reply::Reply;
use crate::ledger::redis::shared::Shared;
use crate::ledger::redis::verdict::unreadable;
use crate::ledger::redis::work::{OperationRun, ScriptCall, refusal};
use crate::ledger::{Call, LedgerError};
use crate::redis::keys::{Keys, Part};
use crate::redis::reply::{bytes, integer, text};
use crate::redis::scripts::ScriptId;

/// What is to be removed from a part.
pub struct Due {
    facts: String,
    records: String,
}

/// Returns what is to be removed from a part, up to 256 facts and records.
pub async fn due(shared: &Arc<Shared>, call: &Call, part: Part) -> Result<Due, LedgerError> {
    let run = OperationRun::new(shared, call);
    let decided = run.step(None, ScriptCall::new(ScriptId::DueHolds, part)).await?;
    let mut more = decided.more.into_iter().map(|value| text(bytes(value)?));
    let (Some(Some(facts)), Some(Some(records))) = (more.next(), more.next()) else {
        return Err(unreadable("malformed list of holds"));
    };
    Ok(Due { facts, records })
}

impl Due {
    /// Returns whether there is nothing.
    pub fn is_none(&self) -> bool {
        self.facts.is_empty() && self.records.is_empty()
    }

    /// Removes it, as far as it is still to be removed. Returns the number of facts.
    pub async fn remove(
        &self,
        shared: &Arc<Shared>,
        call: &Call,
        part: Part,
    ) -> Result<u64, LedgerError> {
        let run = OperationRun::new(shared, call);
        let mut removed = 0;
        if !self.facts.is_empty() {
            removed = remove(&run, part, &self.facts).await?;
        }
        if !self.records.is_empty() {
            let records = self.records.split('\n').map(|record| record.as_bytes().to_vec());
            let step = ScriptCall::new(ScriptId::ForgetHolds, part).arguments(records);
            run.step(None, step).await?;
        }
        Ok(removed)
    }
}

/// Removes every fact of a part that has expired.
pub async fn remove_all(run: &OperationRun<'_>, part: Part) -> Result<(), LedgerError> {
    loop {
        let due = due(run.shared, run.call, part).await?;
        if due.facts.is_empty() {
            return Ok(());
        }
        remove(run, part, &due.facts).await?;
    }
}

/// Removes facts that have expired, as a script lists them. Returns their number.
pub async fn remove(run: &OperationRun<'_>, part: Part, listed: &str) -> Result<u64, LedgerError> {
    let facts: Vec<(&str, usize)> = listed.split(';').map(|name| (name, 0)).collect();
    let step = end_call(run.keys(), part, &facts, ["", "", ""], run.types())?;
    match run.call_with_clock_retry(&step, UnknownAs::Counted).await? {
        Reply::Decided(decided) => {
            let removed = decided.more.first().and_then(integer);
            Ok(removed.and_then(|removed| u64::try_from(removed).ok()).unwrap_or(0))
        }
        Reply::Nothing { why, detail, .. } => Err(refusal(run.call, None, &why, &detail)),
    }
}

/// Returns the call of the script that ends facts, each with its index in the hold: those that have
/// expired, or those of a hold with its number and its states, behind which the record's time is.
pub fn end_call(
    keys: &Keys,
    part: Part,
    facts: &[(&str, usize)],
    [hold, number, states]: [&str; 3],
    types: Vec<u8>,
) -> Result<ScriptCall, LedgerError> {
    let word = |text: &str| text.as_bytes().to_vec();
    let mut step = match part {
        Part::Accounts => ScriptCall::new(ScriptId::EndAccounts, part).keys([keys.accounts()]),
        Part::Friends => ScriptCall::new(ScriptId::EndFriends, part),
        Part::Groups => {
            let counts = [keys.groups_by_type(), keys.groups_by_day()];
            let step = ScriptCall::new(ScriptId::EndGroups, part).by_day();
            step.keys(counts.clone()).keys(counts)
        }
    };
    step = step.arguments([types_of(part, types), word(hold), word(number)]);
    if part == Part::Groups {
        // Filled in with the days.
        step = step.arguments([Vec::new()]);
    }
    step = step.arguments([word(states)]);
    for (name, index) in facts {
        let malformed = || unreadable("a fact of a hold has a malformed name");
        let its_keys = keys_of(keys, part, name).ok_or_else(malformed)?;
        step = step.keys(its_keys).arguments([word(name), word(&index.to_string())]);
    }
    step.subjects = facts.len();
    Ok(step)
}
