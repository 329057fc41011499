//! The journal as operators see it: waiting and blocked entries, and the actions on them.

use tracing::{info, warn};

use super::Fallback;
use super::listing::{JournalItem, JournalState};
use crate::engine::Engine;
use crate::journal::JournalError;

/// Most blocked entries that are listed one by one.
const NAMED_MAX: usize = 10;

/// Condition of the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalCondition {
    /// True if there is a journal.
    pub is_kept: bool,
    /// The number of entries that wait for the store.
    pub entries: usize,
    /// Fill level in percent; releases are accepted up to 110.
    pub fill_percent: usize,
    /// Number of blocked entries.
    pub blocked: usize,
    /// The oldest of them, with the number of entries behind each.
    pub oldest_blocked: Vec<(JournalItem, usize)>,
    /// The number of the oldest entry that only waits for its turn; `None` if there is none.
    pub oldest_due: Option<u64>,
}

impl Engine {
    /// Returns the condition of the journal.
    #[must_use]
    pub fn journal_condition(&self) -> JournalCondition {
        let Some(fallback) = &self.fallback else { return JournalCondition::default() };
        let queue = fallback.queue();
        let named = queue.blocked(NAMED_MAX).into_iter();
        JournalCondition {
            is_kept: true,
            entries: queue.len(),
            fill_percent: queue.fill_percent(),
            blocked: queue.blocked_len(),
            oldest_blocked: named
                .filter_map(|(number, behind)| Some((queue.item(number)?, behind)))
                .collect(),
            oldest_due: queue
                .oldest_due(|app, accepted| self.ledger.is_absent(app, accepted.parts())),
        }
    }
}

impl JournalCondition {
    /// Returns the listed blocked entries, each with a description of its problem.
    pub fn blocked_descriptions(&self) -> impl Iterator<Item = (u64, String)> {
        self.oldest_blocked.iter().map(|(item, behind)| {
            let JournalItem { number, entry, state } = item;
            let why = if let JournalState::Blocked(why) = state { why.as_str() } else { "" };
            let (operation, app) = (entry.accepted.name(), &entry.app);
            let words = format!(
                "blocked: {operation} of app \"{app}\": {why}; {behind} entries wait behind it"
            );
            (*number, words)
        })
    }
}

impl Fallback {
    /// Returns at most `limit` entries of the journal after the one with that number; all, or only
    /// the blocked ones.
    pub(in crate::engine) fn list(
        &self,
        after: u64,
        limit: usize,
        only_blocked: bool,
    ) -> Vec<JournalItem> {
        self.queue().page(after, limit, only_blocked)
    }

    /// Returns the entry with that number.
    pub(in crate::engine) fn item(&self, number: u64) -> Option<JournalItem> {
        self.queue().item(number)
    }

    /// Retries a blocked entry, and everything behind it after it; returns `false` if the entry is
    /// not blocked.
    pub(in crate::engine) fn retry(&self, number: u64) -> bool {
        let is_retried = self.queue().retry(number);
        if is_retried {
            info!(entry = number, "journal entry retried");
            self.report_blocked();
            self.changed.notify_one();
        }
        is_retried
    }

    /// Removes a blocked entry, so that those behind it proceed; returns `false` if the entry is no
    /// longer blocked. Its share of the budget is freed.
    pub(in crate::engine) async fn drop_entry(&self, number: u64) -> Result<bool, JournalError> {
        // The journal does not change to another generation meanwhile.
        let _one_at_a_time = self.following.lock().await;
        let item = self.item(number);
        if !item.is_some_and(|item| matches!(item.state, JournalState::Blocked(_))) {
            return Ok(false);
        }
        self.journal.remove(vec![number]).await.inspect_err(|error| self.report(error))?;
        self.queue().remove(&[number]);
        warn!(entry = number, "journal entry dropped by an operator");
        self.report_blocked();
        self.metrics.condition.journal(self.journal.len());
        self.changed.notify_one();
        Ok(true)
    }

    /// Deletes entries that were set aside, up to that number, and returns how many.
    pub(in crate::engine) async fn delete_set_aside(
        &self,
        through: u64,
    ) -> Result<usize, JournalError> {
        let deleted = self.journal.delete_set_aside(through).await;
        deleted.inspect_err(|error| self.report(error))
    }

    /// Sets the metric of blocked entries.
    pub(super) fn report_blocked(&self) {
        self.metrics.condition.journal_blocked(self.queue().blocked_len());
    }
}
