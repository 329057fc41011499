//! Decides operations of several callers in one call of a script, which costs the server less than
//! a call for each.
//!
//! The operations are takes in mode `ENFORCE` and releases, each of one user ([`OneStep`]). While
//! few calls of a part of an app are in flight (`pace`), an operation is sent by its own script at
//! once. Otherwise it waits (`queues`), and when a call has been answered, all that wait are
//! decided by the next call (`call`), in the order in which they came. While many come, two calls
//! are in flight, each with half of them, so that the server and this process work at the same
//! time; and what comes in one burst goes together. Nothing waits for a timer.
//!
//! A coalesced script decides each operation by itself, with its own deadline, and sees what those
//! before it have written. It leaves an operation that needs more than it has: one that crosses a
//! threshold, reclaims a group, meets damaged data or is late. Such an operation is then decided
//! by its own script, as are all operations of a call that the server refuses as a whole (out of
//! memory, a slot that is moving): nothing was done by it. If the reply of a call is lost, the
//! outcome of each of its operations is unknown.
//!
//! Operations of one part are sent in order, but one that is left to its own script may be decided
//! after a later one. So [`Ledger::keeps_order`](crate::ledger::Ledger::keeps_order) is false: a
//! stream sends an operation once those before it about the same subjects are answered.

mod answer;
mod call;
mod operation;
mod pace;
mod queues;

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

pub use self::call::{InFlight, Waiting};
use self::call::{WaitResult, send_next};
use self::operation::OneStep;
use self::queues::Entered;
pub use self::queues::Queues;
use super::shared::Shared;
use crate::domain::decision::Mode;
use crate::ledger::{Answer, Call, LedgerError, Operation};
use crate::redis::keys::Keys;
use crate::store::{Overload, StoreError};

/// The part of an operation's time by which the deadlines of operations in one call may differ: as
/// much as the client keeps for returning a refusal.
const RESERVED_PART: u32 = 8;

/// How an operation is decided.
pub enum Decision {
    /// It was decided together with others.
    Together(Answer),
    /// Its own scripts have to decide it. The call in flight, if it counts as one.
    OwnScript(Option<InFlight>),
}

/// Decides an operation together with others that wait, if it can be.
pub async fn decide(
    shared: &Arc<Shared>,
    call: &Call,
    operation: &Operation,
) -> Result<Decision, LedgerError> {
    if call.mode != Mode::Enforce || call.is_replayed || call.take.hold.is_some() {
        return Ok(Decision::OwnScript(None));
    }
    let keys = Keys::new(shared.store.ids, &call.app);
    let Some(one_step) = OneStep::of(&keys, operation) else {
        return Ok(Decision::OwnScript(None));
    };
    match turn(shared, call, &keys, one_step).await? {
        WaitResult::Decided(decided) => {
            answer::answer(call, operation, &decided).map(Decision::Together)
        }
        WaitResult::OwnScript(in_flight) => Ok(Decision::OwnScript(in_flight)),
        WaitResult::Failed(error) => Err(error),
    }
}

/// Waits for the operation's turn, or for its result.
async fn turn(
    shared: &Arc<Shared>,
    call: &Call,
    keys: &Keys,
    operation: OneStep,
) -> Result<WaitResult, LedgerError> {
    let within = call.deadline - shared.store.clock.now();
    if within.is_zero() {
        return Err(StoreError::DeadlinePassed.into());
    }
    let queue = operation.queue(keys);
    let mut result = None;
    let entered = shared.coalescing.enter(queue, || {
        let (sender, receiver) = oneshot::channel();
        result = Some(receiver);
        Waiting { operation, call: call.clone(), reserve: within / RESERVED_PART, result: sender }
    });
    let number = match entered.map_err(StoreError::Overloaded)? {
        Entered::InFlight => {
            return Ok(WaitResult::OwnScript(Some(InFlight::new(shared, queue, 1))));
        }
        Entered::Apart => return Ok(WaitResult::OwnScript(None)),
        Entered::Waits { number, sends_next } => {
            if sends_next {
                let shared = shared.clone();
                tokio::spawn(async move {
                    // What has arrived with this operation goes with it.
                    yield_now().await;
                    send_next(&shared, queue);
                });
            }
            number
        }
    };
    let given_up = || StoreError::Unavailable("the call was given up".to_owned());
    let result = result.ok_or_else(given_up)?;
    match timeout(within, result).await {
        Ok(result) => Ok(result.map_err(|_| given_up())?),
        Err(_) if shared.coalescing.withdraw(queue, number) => {
            Err(StoreError::Overloaded(Overload::Late).into())
        }
        Err(_) => Err(StoreError::Unavailable("no reply in time".to_owned()).into()),
    }
}
