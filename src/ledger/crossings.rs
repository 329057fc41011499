//! Thresholds crossed by operations whose result did not reach the caller.

use std::sync::Arc;

use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::ledger::Answer;
use crate::store::backlog::Backlog;

/// The thresholds that one operation crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossings {
    /// The app.
    pub app: AppId,
    /// The approximate time of the operation.
    pub at: Timestamp,
    /// The thresholds.
    pub warnings: Vec<Warning>,
}

/// A result on its way to the caller. If it is dropped before it arrives, its crossed thresholds
/// are queued.
pub struct UnreportedAnswer {
    answer: Option<Answer>,
    app: AppId,
    queue: Arc<Backlog<Crossings>>,
}

impl UnreportedAnswer {
    /// Wraps a result about that app.
    pub fn new(answer: Answer, app: AppId, queue: Arc<Backlog<Crossings>>) -> Self {
        Self { answer: Some(answer), app, queue }
    }

    /// Returns the result, which the caller has now.
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
