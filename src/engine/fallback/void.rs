//! Entries of the journal that cannot be done any more, which are logged as a summary: a group that
//! is gone can have thousands of them.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;

use crate::clock::Stopwatch;
use crate::domain::id::AppId;
use crate::ledger::LedgerError;

/// Longest time from the first entry to the summary, while the replay continues.
const SUMMARY_AFTER: Duration = Duration::from_secs(60);

/// Void entries since the last summary.
#[derive(Default)]
pub(super) struct VoidEntries {
    /// The number of entries, by reason.
    by_reason: BTreeMap<&'static str, u64>,
    first: Option<First>,
}

/// The first of them, as an example.
struct First {
    at: Stopwatch,
    app: AppId,
    entry: u64,
    error: String,
}

impl VoidEntries {
    /// Counts entries of one operation, the first of which has that number.
    pub(super) fn add(&mut self, app: &AppId, entry: Option<&u64>, count: u64, why: &LedgerError) {
        *self.by_reason.entry(why.name()).or_default() += count;
        self.first.get_or_insert_with(|| First {
            at: Stopwatch::start(),
            app: app.clone(),
            entry: entry.copied().unwrap_or_default(),
            error: why.to_string(),
        });
    }

    /// Logs the summary if the first entry has waited for it long enough.
    pub(super) fn log_if_due(&mut self) {
        if self.first.as_ref().is_some_and(|first| first.at.elapsed() >= SUMMARY_AFTER) {
            self.log();
        }
    }

    /// Logs the summary, if there are entries.
    pub(super) fn log(&mut self) {
        let Some(First { app, entry, error, .. }) = self.first.take() else { return };
        let entries: u64 = self.by_reason.values().sum();
        let reasons = self.reasons();
        self.by_reason.clear();
        warn!(entries, reasons, %app, entry, error, "journal entries dropped: void");
    }

    /// Such as `group_not_found 7040, unknown_app 2`.
    fn reasons(&self) -> String {
        let reasons = self.by_reason.iter().map(|(reason, count)| format!("{reason} {count}"));
        reasons.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::GroupId;

    #[test]
    fn entries_are_counted_by_reason_and_the_first_is_the_example() {
        let app = |id: &str| AppId::try_from(id).expect("an id");
        let gone = |id: &str| LedgerError::GroupNotFound(GroupId::try_from(id).expect("an id"));
        let mut void = VoidEntries::default();
        void.log();
        void.add(&app("a"), Some(&7), 3, &gone("g"));
        void.add(&app("b"), Some(&8), 1, &LedgerError::UnknownApp(app("b")));
        void.add(&app("a"), Some(&9), 2, &gone("h"));
        assert_eq!(void.reasons(), "group_not_found 5, unknown_app 1");
        let first = void.first.as_ref().expect("there are some");
        assert_eq!((first.entry, first.app.as_str()), (7, "a"));
        assert!(first.error.contains("\"g\""), "{}", first.error);
        void.log_if_due();
        assert!(void.first.is_some(), "it waits for more");
        void.log();
        assert!(void.first.is_none() && void.by_reason.is_empty());
    }
}
