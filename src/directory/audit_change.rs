//! The JSON texts of audit entries that are read again, as types.
//!
//! The hash of an entry covers its texts, so an entry keeps them as they were written. Those from
//! which events or the results of repeated requests follow are written and parsed by this file
//! alone; fields are declared in the order of their names, in which they are stored.
//! [`AuditChange`] is the part of an entry from which an event is made.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::LostEnd;
use crate::domain::audit::{Action, Event};
use crate::domain::month::Month;
use crate::ledger::reconcile::Outcome;

/// Content of an entry from which an event is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditChange {
    /// The app was registered.
    AppCreated,
    /// An edition, add-on or agreed limit was sold; the app's record has the purchase.
    Purchased,
    /// A purchase was refunded; the app's record has the refund.
    Refunded,
    /// Purchases were exchanged for another; the app's record has the refunds and the purchase.
    Exchanged,
    /// The retention of messages was set.
    RetentionSet {
        /// Number of days.
        days: u32,
    },
    /// The final statement of a month was issued.
    StatementIssued {
        /// The month.
        month: Month,
        /// Its total.
        total_fen: i64,
    },
    /// A comparison that repairs came to its end.
    Repaired {
        /// Number of differences, less those that live traffic had changed meanwhile.
        differences: u64,
    },
    /// The audit log has lost its end, or a record its last revisions.
    FactsLost(LostEnd),
}

impl AuditChange {
    /// Decodes an entry's content; `None` if no event is made of it, or if it is unreadable, so
    /// that later entries are not held up.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        match Action::named(&event.action)? {
            Action::CreateApp => Some(Self::AppCreated),
            Action::PurchaseEdition
            | Action::RenewEdition
            | Action::GrantAddOn
            | Action::GrantLimit => Some(Self::Purchased),
            Action::RefundPurchase => Some(Self::Refunded),
            Action::ChangeEdition | Action::ExchangeAddOn => Some(Self::Exchanged),
            Action::SetMessageRetention => {
                let RetentionRequest { days, .. } = parse(&event.request)?;
                Some(Self::RetentionSet { days })
            }
            Action::IssueStatement => {
                let StatementRequest { month } = parse(&event.request)?;
                let StatementResult { total_fen, .. } = parse(&event.after)?;
                Some(Self::StatementIssued { month: month.parse().ok()?, total_fen })
            }
            Action::Reconcile => {
                let ReconcileRequest { mode, .. } = parse(&event.request)?;
                let ReconcileResult { differences, state, .. } = parse(&event.after)?;
                let is_end = state == ReconcileState::Finished;
                // An import is not compared with facts that should exist already.
                (is_end && mode == ReconcileMode::Apply)
                    .then(|| Self::Repaired { differences: found(&differences) })
            }
            Action::FactsLost => LostEnd::of(event).map(Self::FactsLost),
            Action::UpdateApp
            | Action::TrackChanges
            | Action::ActivateCatalog
            | Action::AcceptStore
            | Action::RetryJournalEntry
            | Action::DropJournalEntry
            | Action::DeleteSetAsideOperations
            | Action::AcceptClock
            | Action::CreateBackup => None,
        }
    }

    /// Returns whether the change is one of the app's sales.
    #[must_use]
    pub fn is_sale(self) -> bool {
        matches!(self, Self::Purchased | Self::Refunded | Self::Exchanged)
    }
}

/// Formats content for an entry.
#[must_use]
pub fn to_text(content: &impl Serialize) -> String {
    serde_json::to_string(content).expect("structs of texts and numbers can always be written")
}

/// Parses the text of an entry; `None` if it has another form.
#[must_use]
pub fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// Request of [`Action::SetMessageRetention`].
#[derive(Debug, Serialize, Deserialize)]
pub struct RetentionRequest {
    /// Number of days.
    pub days: u32,
    /// The earlier instant from which it counts, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<String>,
}

/// Request of [`Action::IssueStatement`].
#[derive(Debug, Serialize, Deserialize)]
pub struct StatementRequest {
    /// The month, as `2019-08`.
    pub month: String,
}

/// Result of [`Action::IssueStatement`].
#[derive(Debug, Serialize, Deserialize)]
pub struct StatementResult {
    /// SHA-256 of the statement.
    #[serde(default)]
    pub hash: String,
    /// Its total.
    pub total_fen: i64,
}

/// Request of [`Action::Reconcile`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ReconcileRequest {
    /// The app.
    #[serde(default)]
    pub app_id: String,
    /// Instant of the export, as RFC 3339.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Treatment of differences.
    pub mode: ReconcileMode,
    /// Sections of the export.
    #[serde(default)]
    pub sections: Vec<String>,
}

/// Treatment of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileMode {
    /// They are reported.
    Compare,
    /// Missing facts are added.
    Import,
    /// Missing facts are added, and others removed.
    Apply,
}

/// Result of [`Action::Reconcile`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ReconcileResult {
    /// Number of differences by kind.
    pub differences: BTreeMap<DifferenceKey, u64>,
    /// Facts whose differences are unknown, since the outcome of their repair is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts_unknown: Option<u64>,
    /// State of the comparison.
    pub state: ReconcileState,
}

/// State of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileState {
    /// Before the first repair.
    Begun,
    /// After the last repair.
    Finished,
    /// Interrupted.
    #[serde(rename = "cut off")]
    CutOff,
}

/// Kind of a difference, stored as `account missing here, repaired`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferenceKey {
    /// The fact and the side on which it is missing or differs.
    pub mismatch: String,
    /// Outcome of the repair.
    pub outcome: Outcome,
}

impl Ord for DifferenceKey {
    /// Compares the stored texts.
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.mismatch, self.outcome.name()).cmp(&(&other.mismatch, other.outcome.name()))
    }
}

impl PartialOrd for DifferenceKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DifferenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.mismatch, self.outcome.name())
    }
}

impl Serialize for DifferenceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DifferenceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let outcomes = [Outcome::Found, Outcome::Repaired, Outcome::LeftAlone];
        let key = text.rsplit_once(", ").and_then(|(mismatch, name)| {
            let outcome = outcomes.into_iter().find(|outcome| outcome.name() == name)?;
            Some(Self { mismatch: mismatch.to_owned(), outcome })
        });
        key.ok_or_else(|| D::Error::custom(format!("unknown kind of a difference: {text:?}")))
    }
}

/// Returns the number of differences, less those that live traffic had changed meanwhile.
fn found(differences: &BTreeMap<DifferenceKey, u64>) -> u64 {
    let found = differences.iter().filter(|(key, _)| key.outcome != Outcome::LeftAlone);
    found.map(|(_, count)| count).sum()
}

/// Result of [`Action::RetryJournalEntry`] and [`Action::DropJournalEntry`].
#[derive(Debug, Serialize, Deserialize)]
pub struct JournalEntryResult {
    /// The entry, in the form of the journal.
    pub entry: Value,
    /// Reason why it was blocked.
    #[serde(default)]
    pub reason: String,
}

/// Result of [`Action::DeleteSetAsideOperations`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SetAsideResult {
    /// Number of deleted operations by app.
    #[serde(default)]
    pub apps: BTreeMap<String, u64>,
    /// Number of the first deleted operation.
    #[serde(default)]
    pub first: Option<u64>,
    /// Number of the last deleted operation.
    #[serde(default)]
    pub last: u64,
    /// Number of deleted operations.
    pub operations: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::Actor;
    use crate::domain::time::Timestamp;

    fn change_of(action: &str, request: &str, after: &str) -> Option<AuditChange> {
        AuditChange::of(&Event {
            at: Timestamp::from_millis(1),
            actor: Actor { name: "ops".into(), from: "here".into() },
            action: action.into(),
            request: request.into(),
            app: None,
            request_id: "r1".into(),
            before: String::new(),
            after: after.into(),
        })
    }

    /// Texts as version 0.1.0 stored them.
    const FINISHED: &str = r#"{"differences":{"account missing here, repaired":2,"friend missing there, found":1,"group of another type, found":4,"member missing here, left alone":9,"member missing here, repaired":1},"facts_unknown":3,"state":"finished"}"#;
    const APPLY: &str = r#"{"app_id":"demo","as_of":"2019-08-09T00:00:00+08:00","mode":"apply","sections":["accounts","groups"]}"#;
    const COMPARE: &str =
        r#"{"app_id":"demo","as_of":null,"mode":"compare","sections":["friends"]}"#;
    const RETENTION: &str = r#"{"days":30,"effective_at":"2019-08-09T00:00:00+08:00"}"#;
    const MONTH: &str = r#"{"month":"2019-08"}"#;
    const STATEMENT: &str = r#"{"hash":"ab","total_fen":199900}"#;
    const LOST: &str = r#"{"found":90,"known":97}"#;
    const DROPPED: &str = r#"{"entry":{"app":"demo","v":1},"reason":"WRONGTYPE"}"#;
    const DELETED: &str = r#"{"apps":{"demo":2},"first":3,"last":5,"operations":2}"#;

    #[test]
    fn stored_entries_have_their_changes() {
        let month = "2019-08".parse().expect("a month");
        let cut_off = FINISHED.replace("finished", "cut off");
        let begun = r#"{"differences":{},"state":"begun"}"#;
        for (action, request, after, expected) in [
            ("CreateApp", "{}", "{}", Some(AuditChange::AppCreated)),
            ("PurchaseEdition", "{}", "{}", Some(AuditChange::Purchased)),
            ("RenewEdition", "{}", "{}", Some(AuditChange::Purchased)),
            ("GrantAddOn", "{}", "{}", Some(AuditChange::Purchased)),
            ("GrantLimit", "{}", "{}", Some(AuditChange::Purchased)),
            ("RefundPurchase", "{}", "{}", Some(AuditChange::Refunded)),
            ("ChangeEdition", "{}", "{}", Some(AuditChange::Exchanged)),
            ("ExchangeAddOn", "{}", "{}", Some(AuditChange::Exchanged)),
            ("SetMessageRetention", RETENTION, "{}", Some(AuditChange::RetentionSet { days: 30 })),
            (
                "SetMessageRetention",
                r#"{"days":7}"#,
                "{}",
                Some(AuditChange::RetentionSet { days: 7 }),
            ),
            (
                "IssueStatement",
                MONTH,
                STATEMENT,
                Some(AuditChange::StatementIssued { month, total_fen: 199_900 }),
            ),
            ("Reconcile", APPLY, FINISHED, Some(AuditChange::Repaired { differences: 8 })),
            ("Reconcile", APPLY, begun, None),
            ("Reconcile", APPLY, &cut_off, None),
            ("Reconcile", COMPARE, FINISHED, None),
            ("Reconcile", &APPLY.replace("apply", "import"), FINISHED, None),
            ("FactsLost", LOST, "", Some(AuditChange::FactsLost(LostEnd { found: 90, known: 97 }))),
            ("TrackChanges", "{}", "{}", None),
            ("OfALaterVersion", "{}", "{}", None),
            // Unreadable entries are skipped, so that later ones are published.
            ("SetMessageRetention", "{}", "{}", None),
            ("IssueStatement", "nonsense", STATEMENT, None),
            ("IssueStatement", r#"{"month":"August"}"#, STATEMENT, None),
            ("FactsLost", "{}", "", None),
        ] {
            assert_eq!(change_of(action, request, after), expected, "{action} {request} {after}");
        }
    }

    fn is_written_as_it_was<T: Serialize + DeserializeOwned>(golden: &str) {
        let content: T = parse(golden).expect(golden);
        assert_eq!(to_text(&content), golden);
    }

    #[test]
    fn texts_are_stored_as_the_golden_bytes() {
        is_written_as_it_was::<ReconcileResult>(FINISHED);
        is_written_as_it_was::<ReconcileRequest>(APPLY);
        is_written_as_it_was::<ReconcileRequest>(COMPARE);
        is_written_as_it_was::<RetentionRequest>(RETENTION);
        is_written_as_it_was::<StatementRequest>(MONTH);
        is_written_as_it_was::<StatementResult>(STATEMENT);
        is_written_as_it_was::<LostEnd>(LOST);
        is_written_as_it_was::<JournalEntryResult>(DROPPED);
        is_written_as_it_was::<SetAsideResult>(DELETED);
    }
}
