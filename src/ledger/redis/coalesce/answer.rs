//! The answer of an operation that was decided together with others.

use crate::domain::decision::{ItemResult, Outcome, Violation};
use crate::ledger::redis::releases::released;
use crate::ledger::redis::reply::Decided;
use crate::ledger::redis::takes::{group_context, malformed_reply};
use crate::ledger::redis::verdict::{ReplyContext, at, empty, extend, limits};
use crate::ledger::{Answer, Call, LedgerError, Operation, OperationKind};

/// Returns the answer from the decision about its only user.
pub fn answer(
    call: &Call,
    operation: &Operation,
    decided: &Decided,
) -> Result<Answer, LedgerError> {
    let [said] = decided.said.as_slice() else { return Err(malformed_reply()) };
    let item = match said.letter {
        b'A' => ItemResult::of(Outcome::Applied),
        b'H' => ItemResult::of(Outcome::AlreadyHeld),
        b'N' => released(said.letter),
        _ => return denial(call, operation, decided),
    };
    Ok(Answer { decided_at: at(decided), items: vec![item], ..empty() })
}

/// Returns the answer with what the take violates.
fn denial(call: &Call, operation: &Operation, decided: &Decided) -> Result<Answer, LedgerError> {
    let context = |kind| ReplyContext { call, actor: None, group: None, kind };
    let (users, context) = match operation {
        Operation::CreateAccounts { users } => (users, context(OperationKind::CreateAccounts)),
        Operation::AddFriends { user, friends, .. } => {
            (friends, ReplyContext { actor: Some(user), ..context(OperationKind::AddFriends) })
        }
        Operation::JoinGroup { group, users } => {
            (users, group_context(call, group, decided, OperationKind::JoinGroup)?)
        }
        _ => return Err(malformed_reply()),
    };
    let limits = limits(call, decided)?;
    let users: Vec<_> = users.iter().collect();
    let items: Option<Vec<ItemResult<Violation>>> =
        context.results(&decided.said, &users, limits.as_ref());
    let mut answer = empty();
    extend(&mut answer, decided, limits, items.ok_or_else(malformed_reply)?);
    Ok(answer)
}
