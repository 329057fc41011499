//! Carries operations out, and records those whose reply does not reach the caller.

use std::sync::Arc;

use super::coalesce::{self, Decision};
use super::holds::HoldArgument;
use super::shared::Shared;
use super::unanswered::Unreported;
use super::work::OperationRun;
use super::{releases, takes};
use crate::ledger::{Answer, Call, LedgerError, Operation, OperationKind, abort_repeats};
use crate::store::StoreError;

/// Decides and writes an operation: together with others that wait, or by its own scripts.
pub async fn apply(
    shared: &Arc<Shared>,
    call: Call,
    operation: Operation,
) -> Result<Answer, LedgerError> {
    let in_flight = match coalesce::decide(shared, &call, &operation).await? {
        Decision::Together(answer) => return Ok(answer),
        Decision::OwnScript(in_flight) => in_flight,
    };
    // On the heap: it is large, and operations that wait do not need it.
    let answer = Box::pin(by_own_scripts(shared, call, operation)).await;
    if let Some(in_flight) = in_flight.filter(|_| answer.is_ok()) {
        in_flight.answered();
    }
    answer
}

async fn by_own_scripts(
    shared: &Arc<Shared>,
    call: Call,
    operation: Operation,
) -> Result<Answer, LedgerError> {
    let takes_steps = may_take_steps(&call, &operation);
    let unreported = Unreported::new(shared.clone(), call, operation);
    let steps = async move {
        let Unreported { shared, call, operation, sent } = &unreported;
        let hold = HoldArgument::of_take(shared.store.ids, call, operation);
        let work = OperationRun::new(shared, call).noting(sent).holding(hold);
        let mut answer = carry_out(&work, operation).await;
        if let Ok(Answer { whole, items, .. }) = &mut answer
            && call.aborts()
        {
            abort_repeats(operation, whole.as_ref(), items);
        }
        (answer, unreported)
    };
    let cut_off =
        |error| StoreError::Unavailable(format!("the operation was interrupted: {error}"));
    let (answer, unreported) =
        if takes_steps { tokio::spawn(steps).await.map_err(cut_off)? } else { steps.await };
    // If it is dropped before this, since the caller stopped waiting, or after an error, it is
    // recorded.
    if answer.is_ok() {
        unreported.report();
    }
    answer
}

/// Decides and writes an operation by its own scripts.
pub(super) async fn carry_out(
    work: &OperationRun<'_>,
    operation: &Operation,
) -> Result<Answer, LedgerError> {
    match operation {
        Operation::CreateAccounts { users } => takes::create_accounts(work, users).await,
        // Rare operations are on the heap, since the others' future would contain them.
        Operation::DeleteAccount { user } => Box::pin(releases::delete_account(work, user)).await,
        Operation::AddFriends { user, friends, one_way } => {
            takes::add_friends(work, user, friends, *one_way).await
        }
        Operation::RemoveFriends { user, friends, one_way } => {
            releases::remove_friends(work, user, friends, *one_way).await
        }
        Operation::CreateGroup { group, group_type, owner, members, max_members } => {
            let new = takes::NewGroup {
                id: group,
                group_type,
                owner: owner.as_ref(),
                members,
                max_members: *max_members,
                joins: false,
            };
            Box::pin(takes::create_group(work, &new)).await
        }
        Operation::UpdateGroup { group, max_members } => {
            Box::pin(takes::update_group(work, group, *max_members)).await
        }
        Operation::JoinGroup { group, users } => takes::join_group(work, group, users).await,
        Operation::LeaveGroup { group, users } => releases::leave_group(work, group, users).await,
        Operation::DissolveGroup { group } => {
            Box::pin(releases::dissolve_group(work, group, false)).await
        }
    }
}

/// Returns whether an operation may take several steps, which run to the end even if the caller
/// stops waiting.
fn may_take_steps(call: &Call, operation: &Operation) -> bool {
    match operation.kind() {
        // Before a creation, a group of the same id may have to be dissolved.
        OperationKind::DissolveGroup
        | OperationKind::DeleteAccount
        | OperationKind::CreateGroup => true,
        _ => operation.items().len() > takes::subjects_max(call),
    }
}
