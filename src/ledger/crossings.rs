//! Thresholds of limits that were crossed by operations whose answer did not reach the caller.

use std::sync::Arc;

use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::ledger::Answer;
use crate::ledger::backlog::Backlog;

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

/// An answer on its way to the caller. What it crossed is queued where it is dropped before.
pub struct UnreportedAnswer {
    answer: Option<Answer>,
    app: AppId,
    queue: Arc<Backlog<Crossings>>,
}

impl UnreportedAnswer {
    /// An answer about that app.
    pub fn new(answer: Answer, app: AppId, queue: Arc<Backlog<Crossings>>) -> Self {
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
