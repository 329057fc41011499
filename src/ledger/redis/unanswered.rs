//! Takes whose reply did not reach the caller, and the thresholds of limits that they crossed.
//!
//! A script marks a threshold in the step that crosses it, so that it is reported once. If the
//! reply is lost, a retry finds everything held and the threshold marked. So a step that is sent is
//! recorded with its [`SentSteps`] instant until the caller has its warnings. Steps whose warnings
//! never get there are compared with the latest crossing of each count, which has the instant of
//! the step that made it (`scripts/shared/warn.lua`), once no attempt can be carried out any more.
//!
//! A threshold is reported twice if two steps about one count were sent in the same millisecond,
//! one of them crossed it and had its reply, or was another process's, and the other one's reply
//! was lost. It is not reported if the process ends before the comparison, or if the same count
//! crossed a threshold once more before that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::warn;

use super::reply;
use super::shared::Shared;
use super::takes::SUBJECTS_MAX;
use super::verdict::{unreadable, warnings_of};
use crate::domain::decision::Mode;
use crate::domain::id::{AppId, GroupId, UserId};
use crate::domain::operation::{Counted, Whose};
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::ledger::crossings::Crossings;
use crate::ledger::{Call, LedgerError, Operation};
use crate::redis::keys::{Cell, Keys, Part};
use crate::redis::reply::{array, bytes, text};
use crate::redis::scripts::ScriptId;
use crate::redis::store::UNWATCHED_CALL_TIMEOUT;
use crate::store::StoreError;

/// Most counts of all recorded operations together, about 100 bytes each.
const COUNTS_MAX: usize = 100_000;
/// Most crossings that are remembered: operations that may find the same one are close together.
const FOUND_MAX: usize = 256;
/// Time from the deadline of an operation to its comparison: more than the error of the estimate of
/// the server's clock.
const COMPARE_AFTER: Duration = Duration::from_secs(1);
/// Pause after a comparison that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The instants at which steps were sent whose warnings the caller does not have.
#[derive(Default)]
pub struct SentSteps(Mutex<Vec<Timestamp>>);

impl SentSteps {
    /// Records a step that is about to be sent.
    pub fn add(&self, at: Timestamp) {
        self.lock().push(at);
    }

    /// Removes the step that was added last: it crossed no threshold.
    pub fn remove_last(&self) {
        self.lock().pop();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Timestamp>> {
        self.0.lock()
    }
}

/// An operation until the caller has its result. If it is dropped before that, it is recorded.
pub struct Unreported {
    /// The state that all calls share.
    pub shared: Arc<Shared>,
    /// The context of the operation.
    pub call: Call,
    /// The operation.
    pub operation: Operation,
    /// Its steps.
    pub sent: SentSteps,
}

impl Unreported {
    /// An operation that has sent no step.
    pub fn new(shared: Arc<Shared>, call: Call, operation: Operation) -> Self {
        Self { shared, call, operation, sent: SentSteps::default() }
    }

    /// Discards the steps, since the caller has the warnings.
    pub fn report(self) {
        self.sent.lock().clear();
    }
}

impl Drop for Unreported {
    fn drop(&mut self) {
        let sent = std::mem::take(&mut *self.sent.lock());
        if sent.is_empty() {
            return;
        }
        let keys = Keys::new(self.shared.store.ids, &self.call.app);
        let Some((part, counts)) = counts(&keys, &self.operation) else { return };
        self.shared.unanswered.add(Unanswered {
            app: self.call.app.clone(),
            operation: self.operation.clone(),
            part,
            counts,
            sent,
            due: self.call.deadline + COMPARE_AFTER,
        });
    }
}

/// Returns whether a step of that script may cross a threshold.
pub fn may_cross(script: ScriptId, mode: Mode) -> bool {
    mode.writes() && script.takes()
}

/// An operation whose reply did not reach the caller.
struct Unanswered {
    app: AppId,
    operation: Operation,
    part: Part,
    /// The names of all counts that it may have raised.
    counts: Vec<String>,
    sent: Vec<Timestamp>,
    /// The instant from which no attempt can be carried out.
    due: Timestamp,
}

/// The operations whose replies did not reach their callers, the oldest first.
#[derive(Default)]
pub struct UnansweredQueue {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Default)]
struct Waiting {
    operations: VecDeque<Arc<Unanswered>>,
    /// The number of counts of all operations together.
    counts: usize,
    /// True if operations were dropped since the queue was last empty.
    is_overfull: bool,
    /// The latest crossings that were found.
    found: VecDeque<(AppId, String)>,
}

impl UnansweredQueue {
    fn add(&self, unanswered: Unanswered) {
        let mut waiting = self.lock();
        let counts = waiting.counts + unanswered.counts.len();
        if counts > COUNTS_MAX {
            if !std::mem::replace(&mut waiting.is_overfull, true) {
                let app = &unanswered.app;
                warn!(%app, "crossed thresholds not checked: too many calls without a reply");
            }
            return;
        }
        waiting.counts = counts;
        waiting.operations.push_back(Arc::new(unanswered));
        drop(waiting);
        self.added.notify_one();
    }

    /// Returns whether a crossing was not found before, by another operation that was sent in the
    /// same millisecond; remembers it.
    fn is_first(&self, app: &AppId, crossing: &str) -> bool {
        let found = &mut self.lock().found;
        if found.iter().any(|(of, other)| of == app && other == crossing) {
            return false;
        }
        if found.len() == FOUND_MAX {
            found.pop_front();
        }
        found.push_back((app.clone(), crossing.to_owned()));
        true
    }

    fn first(&self) -> Option<Arc<Unanswered>> {
        self.lock().operations.front().cloned()
    }

    /// Removes the first operation, or moves it behind all others.
    fn remove_first(&self, is_compared: bool) {
        let mut waiting = self.lock();
        let Some(first) = waiting.operations.pop_front() else { return };
        if is_compared {
            waiting.counts -= first.counts.len();
        } else {
            waiting.operations.push_back(first);
        }
        waiting.is_overfull &= !waiting.operations.is_empty();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }
}

/// Waits for the next operation that crossed thresholds without a reply. For one task, which may
/// stop waiting at any time.
pub async fn next(shared: &Shared) -> Crossings {
    let queue = &shared.unanswered;
    loop {
        let Some(first) = queue.first() else {
            queue.added.notified().await;
            continue;
        };
        sleep(first.due - shared.store.clock.now()).await;
        match compare(shared, &first).await {
            Ok(crossings) => {
                queue.remove_first(true);
                if let Some(crossings) = crossings {
                    return crossings;
                }
            }
            Err(LedgerError::Store(StoreError::Failed(error))) => {
                let app = &first.app;
                warn!(%app, error, "crossed thresholds not checked: the store cannot read them");
                queue.remove_first(true);
            }
            Err(_) => {
                queue.remove_first(false);
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// Returns the thresholds that the steps of an operation crossed.
async fn compare(
    shared: &Shared,
    unanswered: &Unanswered,
) -> Result<Option<Crossings>, LedgerError> {
    let store = &*shared.store;
    let Unanswered { app, operation, part, counts, sent, .. } = unanswered;
    let keys = Keys::new(store.ids, app);
    let mut at = None;
    let mut warnings: Vec<Warning> = Vec::new();
    for counts in counts.chunks(SUBJECTS_MAX) {
        let names: Vec<Vec<u8>> = counts.iter().map(|name| name.clone().into_bytes()).collect();
        let own_keys = [keys.warned(*part)];
        let value = store
            .call_script(ScriptId::ReadCrossings, &own_keys, &names, UNWATCHED_CALL_TIMEOUT)
            .await?;
        let crossings = array(value).filter(|crossings| crossings.len() == counts.len());
        let crossings = crossings.ok_or_else(|| unreadable("crossings of thresholds"))?;
        let mut risen = Vec::new();
        for (name, crossing) in counts.iter().zip(crossings) {
            let crossing = bytes(crossing).and_then(text).unwrap_or_default();
            let Some((sent_at, rest)) = crossing.split_once(',') else { continue };
            let own = sent.iter().find(|sent| sent.as_millis().to_string() == sent_at);
            if let Some(own) = own
                && let Some(one) = reply::risen(&format!("{name},{rest}"))
                && shared.unanswered.is_first(app, &format!("{name},{crossing}"))
            {
                at = at.max(Some(*own));
                risen.push(one);
            }
        }
        let (users, group) = subjects(operation);
        warnings.extend(warnings_of(&keys, &risen, &users, group));
    }
    let app = app.clone();
    Ok(at.filter(|_| !warnings.is_empty()).map(|at| Crossings { app, at, warnings }))
}

/// Returns the users and the group of a take.
fn subjects(operation: &Operation) -> (Vec<&UserId>, Option<&GroupId>) {
    let effects = operation.effects();
    let users = effects.iter().flat_map(|effect| effect.user.into_iter().chain(effect.peer));
    (users.collect(), effects.first().and_then(|effect| effect.group))
}

/// Returns the names of all counts that a take may raise, in the form of the scripts, and their
/// part.
fn counts(keys: &Keys, operation: &Operation) -> Option<(Part, Vec<String>)> {
    let element = |cell: Cell| String::from_utf8(cell.element()).unwrap_or_default();
    let name = |counted: Counted<'_>| {
        let subject = match counted.whose {
            Whose::App if counted.limit.is_by_type() => operation.group_type()?.to_string(),
            Whose::App => String::new(),
            Whose::User(user) => element(keys.user(user)),
            Whose::Group(group) => element(keys.group(group)),
        };
        Some(format!("{}{subject}", counted.limit.row().letter?))
    };
    let names: Vec<_> = operation.raised().into_iter().filter_map(name).collect();
    operation.kind().part().filter(|_| !names.is_empty()).map(|part| (part, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossing_is_found_once_and_few_are_remembered() {
        let queue = UnansweredQueue::default();
        let [demo, other] = ["demo", "other"].map(|id| AppId::try_from(id).expect("an id"));
        assert!(queue.is_first(&demo, "u1,7,14,20,70") && queue.is_first(&other, "u1,7,14,20,70"));
        assert!(!queue.is_first(&demo, "u1,7,14,20,70") && queue.is_first(&demo, "u1,8,18,20,90"));
        for number in 0..FOUND_MAX {
            assert!(queue.is_first(&demo, &number.to_string()));
        }
        assert!(queue.is_first(&demo, "u1,7,14,20,70"), "the oldest is no longer remembered");
        assert_eq!(queue.lock().found.len(), FOUND_MAX);
    }
}
