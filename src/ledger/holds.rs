//! Holds that a caller ends: what is asked for, and the result.

use crate::domain::decision::Violation;
use crate::domain::hold::{HoldEnd, HoldOutcome};
use crate::domain::id::OperationId;
use crate::domain::limits::Part;
use crate::domain::schedule::Limits;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;

use super::Operation;

/// The end of the holds that operations with an id have in one part of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The id of the operations.
    pub id: OperationId,
    /// The part of the app.
    pub part: Part,
    /// How they end.
    pub end: HoldEnd,
    /// The instant of a confirmation that is carried out later; `None`: now. A hold that had not
    /// expired then is confirmed; what has ended since then by its expiry is taken again.
    pub as_of: Option<Timestamp>,
}

/// A hold that a caller has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedHold {
    /// The operation that took with the hold.
    pub operation: Operation,
    /// The store's clock at the decision.
    pub decided_at: Timestamp,
    /// When the hold expired; `None`: it had not.
    pub expired_at: Option<Timestamp>,
    /// The result for the group that the operation created, with its owner; `None` if it created
    /// none or if the hold has none of them.
    pub whole: Option<HoldResult>,
    /// The result for each user of the operation, in its order; `None` if the hold does not have
    /// them: they were denied, or held permanently before.
    pub items: Vec<Option<HoldResult>>,
    /// The limits used for the decision, if any result has violations.
    pub limits: Option<Limits>,
    /// Thresholds that were crossed by what was taken anew.
    pub warnings: Vec<Warning>,
}

/// The result for one subject of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldResult {
    /// The outcome.
    pub outcome: HoldOutcome,
    /// The limits that deny a new take.
    pub violations: Vec<Violation>,
}

impl HoldResult {
    /// A result without violations.
    #[must_use]
    pub fn of(outcome: HoldOutcome) -> Self {
        Self { outcome, violations: Vec::new() }
    }
}
