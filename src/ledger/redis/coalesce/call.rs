//! A call in flight: of one operation by its own script, or of several by a coalesced one.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::operation::{OneStep, script_of};
use super::pace::Answered;
use super::queues::{PartKey, Queued};
use crate::clock::Stopwatch;
use crate::ledger::redis::catalog_args::UnknownAs;
use crate::ledger::redis::reply::{Decided, ItemReply, Reply};
use crate::ledger::redis::shared::Shared;
use crate::ledger::redis::takes::malformed_reply;
use crate::ledger::redis::work::{OperationRun, ScriptCall};
use crate::ledger::{Call, LedgerError};
use crate::redis::keys::{Keys, Part};
use crate::redis::reply::{array, bytes};
use crate::store::StoreError;

/// The result of an operation that waited.
pub enum WaitResult {
    /// A coalesced call has decided it.
    Decided(Decided),
    /// Nothing was done: its own script has to decide it. The call in flight, if it counts as one.
    OwnScript(Option<InFlight>),
    /// The call failed.
    Failed(LedgerError),
}

/// An operation that waits.
pub struct Waiting {
    /// The operation.
    pub operation: OneStep,
    /// Its context.
    pub call: Call,
    /// How much the deadlines of operations in one call may differ, so that the call can end before
    /// each of them.
    pub reserve: Duration,
    /// The caller that waits.
    pub result: oneshot::Sender<WaitResult>,
}

impl Queued for Waiting {
    fn is_abandoned(&self) -> bool {
        self.result.is_closed()
    }

    fn goes_with(&self, first: &Self) -> bool {
        let same_limits = match (&self.call.unknown_app, &first.call.unknown_app) {
            (Some(its), Some(of_first)) => Arc::ptr_eq(its, of_first),
            (its, of_first) => its.is_none() && of_first.is_none(),
        };
        same_limits
            && Arc::ptr_eq(&self.call.catalog, &first.call.catalog)
            && self.call.fail_fast == first.call.fail_fast
            && self.call.deadline - first.call.deadline <= first.reserve
            && first.call.deadline - self.call.deadline <= first.reserve
    }
}

/// A call in flight. When it ends, the operations that wait for it are sent.
pub struct InFlight {
    shared: Arc<Shared>,
    queue: PartKey,
    since: Stopwatch,
    operations: usize,
    is_answered: bool,
}

impl InFlight {
    /// A call that is sent now.
    pub fn new(shared: &Arc<Shared>, queue: PartKey, operations: usize) -> Self {
        let since = Stopwatch::start();
        Self { shared: shared.clone(), queue, since, operations, is_answered: false }
    }

    /// Ends the call, which the server has answered.
    pub fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let answered = self.is_answered.then(|| {
            let Shared { store, .. } = &*self.shared;
            let key = Keys::of_number(store.ids, self.queue.app).limits(self.queue.part);
            let idle = store.client.idle_response(&key).unwrap_or(Duration::MAX);
            Answered { took: self.since.elapsed(), operations: self.operations, idle }
        });
        self.shared.coalescing.leave(self.queue, answered);
        send_next(&self.shared, self.queue);
    }
}

/// Sends the calls of a part for which there is room.
pub fn send_next(shared: &Arc<Shared>, queue: PartKey) {
    while let Some(mut batch) = shared.coalescing.next(queue) {
        let in_flight = InFlight::new(shared, queue, batch.len());
        if batch.len() == 1 && !shared.coalescing.is_always_queued() {
            // If the caller has gone meanwhile, the call in flight is dropped and ends.
            let alone =
                batch.pop().map(|alone| alone.result.send(WaitResult::OwnScript(Some(in_flight))));
            drop(alone);
        } else if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(decide(in_flight, batch));
        }
        // Without a runtime, the process is ending: the callers get an error.
    }
}

/// Decides operations in one call, and hands out the results.
async fn decide(in_flight: InFlight, batch: Vec<Waiting>) {
    let (shared, queue) = (in_flight.shared.clone(), in_flight.queue);
    let since = Stopwatch::start();
    let within = batch.first().map(|first| first.call.deadline - shared.store.clock.now());
    let within = within.unwrap_or_default();
    let reply = send(&shared, queue.part, &batch).await;
    // What came meanwhile is sent before the results are handed out.
    if reply.is_ok() {
        in_flight.answered();
    } else {
        drop(in_flight);
    }
    let results: Vec<WaitResult> = match reply {
        Ok(Reply::Decided(decided)) => results(decided, batch.len()).unwrap_or_default(),
        Ok(Reply::Nothing { .. }) => {
            shared.coalescing.set_apart(queue);
            batch.iter().map(|_| WaitResult::OwnScript(None)).collect()
        }
        // Outside of its operations, a coalesced script fails before its first write. A server that
        // has refused the call for most of its time would refuse each operation too.
        Err(LedgerError::Store(StoreError::Refused(_) | StoreError::Failed(_)))
            if 2 * since.elapsed() < within =>
        {
            batch.iter().map(|_| WaitResult::OwnScript(None)).collect()
        }
        Err(error) => batch.iter().map(|_| WaitResult::Failed(error.clone())).collect(),
    };
    let mut results = results.into_iter();
    for waiting in batch {
        let result = results.next().unwrap_or_else(|| WaitResult::Failed(malformed_reply()));
        // A caller who has gone needs no result.
        let _ = waiting.result.send(result);
    }
}

/// Sends the call; its deadline is the last one of its operations.
async fn send(shared: &Arc<Shared>, part: Part, batch: &[Waiting]) -> Result<Reply, LedgerError> {
    let Some(first) = batch.first() else { return Err(malformed_reply()) };
    let deadline = batch.iter().map(|waiting| waiting.call.deadline).max();
    let call = Call { deadline: deadline.unwrap_or(first.call.deadline), ..first.call.clone() };
    let run = OperationRun::new(shared, &call);
    let mut step = ScriptCall::new(script_of(part), part);
    match part {
        Part::Accounts => step.keys.push(run.keys().accounts()),
        Part::Friends => {}
        Part::Groups => step.arguments.push(run.types()),
    }
    for Waiting { operation, call: own, .. } in batch {
        operation.add_keys(run.keys(), &mut step.keys);
        let early_by = call.deadline.as_millis() - own.deadline.as_millis();
        operation.add_arguments(early_by, &mut step.arguments);
    }
    step.subjects = batch.len();
    run.call_without_expired(&step, UnknownAs::Counted).await
}

/// Divides the reply of a call; `None` if it is malformed.
fn results(decided: Decided, operations: usize) -> Option<Vec<WaitResult>> {
    let Decided { now, writes, said, segment, more, .. } = decided;
    if said.len() != operations {
        return None;
    }
    let mut groups = array(more.into_iter().next()?)?.into_iter();
    let result = |said: ItemReply| {
        if said.letter == b'-' {
            return Some(WaitResult::OwnScript(None));
        }
        let is_denied = !said.notes.is_empty();
        let more = if is_denied { group(groups.next())? } else { Vec::new() };
        let segment = if is_denied { segment.clone() } else { Vec::new() };
        let said = vec![said];
        Some(WaitResult::Decided(Decided { now, writes, said, segment, risen: Vec::new(), more }))
    };
    said.into_iter().map(result).collect()
}

/// Returns the type and the own limit of the group of a denial, as its own script returns them;
/// nothing if it has no group.
fn group(record: Option<Value>) -> Option<Vec<Value>> {
    let Some(record) = record else { return Some(Vec::new()) };
    let record = bytes(record)?;
    let space = record.iter().position(|byte| *byte == b' ')?;
    let (own, name) = (record[..space].to_vec(), record[space + 1..].to_vec());
    Some(vec![Value::BulkString(name), Value::BulkString(own)])
}
