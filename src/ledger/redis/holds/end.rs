//! Ends a hold for a caller: confirms or releases it.

use std::sync::Arc;

use super::argument::kept_ms;
use super::expired::{self, end_call};
use super::facts::{HoldFact, ResultOf, facts};
use super::record::{Record, read};
use super::retake::{Retake, Retaken, retake};
use crate::domain::decision::Mode;
use crate::domain::hold::{HoldEnd, HoldOutcome};
use crate::domain::time::Timestamp;
use crate::ledger::holds::{EndedHold, Ending, HoldResult};
use crate::ledger::redis::reply::{Decided, Reply};
use crate::ledger::redis::shared::Shared;
use crate::ledger::redis::verdict::{at, unreadable};
use crate::ledger::redis::work::{OperationRun, ScriptCall, refusal};
use crate::ledger::{Call, LedgerError};
use crate::redis::keys::Part;
use crate::redis::reply::{bytes, text};
use crate::redis::scripts::ScriptId;
use crate::store::StoreError;

/// Most attempts to end a hold that changes meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// The result of one attempt.
enum Attempt {
    Ended(Box<EndedHold>),
    /// The hold has changed since it was read; nothing was done.
    Changed,
}

impl Attempt {
    fn ended(hold: EndedHold) -> Self {
        Self::Ended(Box::new(hold))
    }
}

/// Ends the hold of an operation of one kind; `None` if there is no record of it.
pub async fn end_one(
    shared: &Arc<Shared>,
    call: &Call,
    ending: &Ending,
    letter: char,
) -> Result<Option<EndedHold>, LedgerError> {
    let run = OperationRun::new(shared, call);
    for _ in 0..ATTEMPTS_MAX {
        let Some(record) = read(&run, ending.part, letter, ending.id.as_str()).await? else {
            return Ok(None);
        };
        let attempt = match ending.end {
            HoldEnd::Confirm => confirm(&run, ending, &record).await?,
            HoldEnd::Release => release(&run, ending.part, &record).await?,
        };
        if let Attempt::Ended(ended) = attempt {
            return Ok(Some(*ended));
        }
    }
    Err(StoreError::Refused("the hold keeps changing".to_owned()).into())
}

async fn confirm(
    run: &OperationRun<'_>,
    ending: &Ending,
    record: &Record,
) -> Result<Attempt, LedgerError> {
    let facts = facts(run.keys(), &record.operation);
    let as_of = ending.as_of.map_or_else(|| "-".to_owned(), |it| it.as_millis().to_string());
    let confirm = confirm_live(run, ending.part, record, (&facts, &as_of));
    let (mode, states, decided_at) = match confirm.await? {
        Reply::Decided(decided) => {
            let states = states(&decided)?;
            if ending.as_of.is_some() {
                // What had not expired then is permanent now.
                expired::remove_all(run, ending.part).await?;
            }
            (Mode::Force, states, at(&decided))
        }
        Reply::Nothing { why, now, .. } if why == "expired" => {
            (run.call.mode, record.states.clone(), Timestamp::from_millis(now))
        }
        Reply::Nothing { why, .. } if why == "hold_changed" => return Ok(Attempt::Changed),
        Reply::Nothing { why, detail, .. } => return Err(refusal(run.call, None, &why, &detail)),
    };
    let record = Record { states, ..record.clone() };
    if !record.has_held() {
        return Ok(Attempt::ended(confirmed(&record, &facts, &record.states, decided_at)));
    }
    // What is left has expired, and is taken anew.
    let call = Call { mode, ..run.call.clone() };
    let retaken = match retake(run.shared, &call, ending, &record).await? {
        Retake::Taken(retaken) => retaken,
        Retake::Changed => return Ok(Attempt::Changed),
        Retake::GroupEnded => return end_with_group(run, ending.part, &record, &facts).await,
    };
    let Retaken { states, results, decided_at, limits, warnings } = retaken;
    let mut ended = confirmed(&record, &facts, &states, decided_at);
    for (index, result) in results {
        add(&mut ended, facts[index].result, result);
    }
    let expired_at = Some(record.expiry);
    Ok(Attempt::ended(EndedHold { expired_at, limits, warnings, ..ended }))
}

/// Ends what is left of a hold that had expired before its group ended.
async fn end_with_group(
    run: &OperationRun<'_>,
    part: Part,
    record: &Record,
    facts: &[HoldFact],
) -> Result<Attempt, LedgerError> {
    match confirm_live(run, part, record, (facts, "over")).await? {
        Reply::Decided(decided) => {
            let ended = confirmed(record, facts, &states(&decided)?, at(&decided));
            Ok(Attempt::ended(EndedHold { expired_at: Some(record.expiry), ..ended }))
        }
        Reply::Nothing { why, .. } if why == "hold_changed" => Ok(Attempt::Changed),
        Reply::Nothing { why, detail, .. } => Err(refusal(run.call, None, &why, &detail)),
    }
}

/// Confirms the facts that the hold still has; `as_of`: see `scripts/shared/confirm.lua`.
async fn confirm_live(
    run: &OperationRun<'_>,
    part: Part,
    record: &Record,
    (facts, as_of): (&[HoldFact], &str),
) -> Result<Reply, LedgerError> {
    let keys = run.keys();
    let Record { name, number, states, operation, .. } = record;
    let how = format!("{number} {states} {} {as_of}", kept_ms(run.call));
    let mut step = match operation.group().filter(|_| part == Part::Groups) {
        Some(group) => {
            let cell = keys.group(group);
            ScriptCall::new(ScriptId::ConfirmGroup, part)
                .keys(keys.of_group(cell))
                .keys([keys.groups_by_type(), keys.groups_by_day()])
                .arguments([name.clone().into_bytes(), how.into_bytes(), cell.element()])
                // Filled in with the days.
                .arguments([Vec::new()])
                .by_day()
        }
        None => ScriptCall::new(ScriptId::ConfirmHold, part)
            .arguments([name.clone().into_bytes(), how.into_bytes()]),
    };
    step = step.arguments(facts.iter().map(|fact| fact.name.clone().into_bytes()));
    step.subjects = facts.len();
    run.try_step(&step).await
}

async fn release(
    run: &OperationRun<'_>,
    part: Part,
    record: &Record,
) -> Result<Attempt, LedgerError> {
    let facts = facts(run.keys(), &record.operation);
    let ended = |states: &str, decided_at| {
        let outcome = |state| match state {
            'r' => HoldOutcome::Released,
            _ => HoldOutcome::EndedOtherwise,
        };
        let is_late = record.has_held() && decided_at >= record.expiry;
        let expired_at = is_late.then_some(record.expiry);
        EndedHold { expired_at, ..of_states(record, &facts, states, decided_at, outcome) }
    };
    let held = facts.iter().zip(record.states.chars()).enumerate();
    let held = held.filter(|(_, (_, state))| *state == 'h');
    let mut held: Vec<(&str, usize)> =
        held.map(|(index, (fact, _))| (fact.name.as_str(), index + 1)).collect();
    // A group goes behind its members.
    held.sort_by_key(|(name, _)| name.starts_with('z'));
    let states = format!("{} {}", record.states, kept_ms(run.call));
    let hold = [record.name.as_str(), &record.number, &states];
    let step = end_call(run.keys(), part, &held, hold, run.types())?;
    match run.try_step(&step).await? {
        Reply::Decided(decided) => {
            Ok(Attempt::ended(ended(&record.states.replace('h', "r"), at(&decided))))
        }
        Reply::Nothing { why, .. } if why == "hold_changed" => Ok(Attempt::Changed),
        Reply::Nothing { why, detail, .. } => Err(refusal(run.call, None, &why, &detail)),
    }
}

/// Returns the states that a confirmation has left.
fn states(decided: &Decided) -> Result<String, LedgerError> {
    let states = decided.more.first().cloned().and_then(|value| text(bytes(value)?));
    states.ok_or_else(|| unreadable("a hold's states are malformed"))
}

fn confirmed(
    record: &Record,
    facts: &[HoldFact],
    states: &str,
    decided_at: Timestamp,
) -> EndedHold {
    of_states(record, facts, states, decided_at, |state| match state {
        'c' => HoldOutcome::Confirmed,
        _ => HoldOutcome::EndedOtherwise,
    })
}

/// Returns the results by the states of facts, without those that are held or in no hold.
fn of_states(
    record: &Record,
    facts: &[HoldFact],
    states: &str,
    decided_at: Timestamp,
    outcome: impl Fn(char) -> HoldOutcome,
) -> EndedHold {
    let mut ended = EndedHold {
        operation: record.operation.clone(),
        decided_at,
        expired_at: None,
        whole: None,
        items: vec![None; record.operation.items().len()],
        limits: None,
        warnings: Vec::new(),
    };
    for (fact, state) in facts.iter().zip(states.chars()) {
        if !matches!(state, '-' | 'h') {
            add(&mut ended, fact.result, HoldResult::of(outcome(state)));
        }
    }
    ended
}

/// Adds the result of a fact to that of its subject, of which the last one in their order remains.
fn add(ended: &mut EndedHold, of: ResultOf, result: HoldResult) {
    let place = match of {
        ResultOf::Whole => &mut ended.whole,
        ResultOf::Item(index) => &mut ended.items[index],
        ResultOf::Nothing => return,
    };
    if place.as_ref().is_none_or(|before| before.outcome < result.outcome) {
        *place = Some(result);
    }
}
