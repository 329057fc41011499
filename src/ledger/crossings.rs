//! Thresholds of limits that were crossed by operations whose answer did not reach the caller.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::ledger::Answer;

/// Most operations in the queue, whose warnings are published one after another: as many events
/// wait for the log.
const QUEUE_MAX: usize = 10_000;

/// What one operation crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossings {
    /// The app.
    pub app: AppId,
    /// When it was done, about.
    pub at: Timestamp,
    /// The thresholds.
    pub warnings: Vec<Warning>,
}

/// Crossings that nobody has published.
#[derive(Default)]
pub struct CrossingQueue {
    waiting: Mutex<VecDeque<Crossings>>,
    added: Notify,
}

impl CrossingQueue {
    /// Adds what an operation crossed; beyond 10,000 operations it is dropped.
    pub fn add(&self, crossings: Crossings) {
        let mut waiting = self.waiting();
        if waiting.len() < QUEUE_MAX {
            waiting.push_back(crossings);
        }
        drop(waiting);
        self.added.notify_one();
    }

    /// Waits for the next one.
    pub async fn next(&self) -> Crossings {
        loop {
            let next = self.waiting().pop_front();
            if let Some(next) = next {
                return next;
            }
            self.added.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Crossings>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer on its way to the caller. What it crossed is queued where it is dropped before.
pub struct UnreportedAnswer {
    answer: Option<Answer>,
    app: AppId,
    queue: Arc<CrossingQueue>,
}

impl UnreportedAnswer {
    /// An answer about that app.
    pub fn new(answer: Answer, app: AppId, queue: Arc<CrossingQueue>) -> Self {
        Self { answer: Some(answer), app, queue }
    }

    /// The answer, which is with the caller now.
    #[must_use]
    pub fn into_answer(mut self) -> Option<Answer> {
        self.answer.take()
    }
}

impl Drop for UnreportedAnswer {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        if !answer.warnings.is_empty() {
            let Answer { decided_at: at, warnings, .. } = answer;
            self.queue.add(Crossings { app: self.app.clone(), at, warnings });
        }
    }
}
