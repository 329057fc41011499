//! Requests and responses about holds.

use super::answer::{denial, info_of};
use super::fields::{Fields, Invalid};
use super::pb;
use crate::domain::catalog::Catalog;
use crate::domain::decision::Mode;
use crate::domain::hold::{Hold, HoldEnd, HoldOutcome};
use crate::domain::id::{AppId, OperationId, UserId};
use crate::domain::limits::Part;
use crate::engine::holds::{EndedHold, EndedHolds, HoldResult};
use crate::ledger::{Operation, OperationKind};
use crate::proto::timestamp;

/// A request to end a hold that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedEnd {
    /// The app.
    pub app: AppId,
    /// The id of the operations.
    pub id: OperationId,
    /// The part of the app; `None`: all parts.
    pub part: Option<Part>,
    /// How they end.
    pub end: HoldEnd,
    /// Mode in which expired holds are taken anew.
    pub mode: Mode,
}

/// A request that ends holds.
pub trait CheckEnd {
    /// Checks every field.
    fn check(self) -> Result<CheckedEnd, Invalid>;
}

impl CheckEnd for pb::ConfirmHoldRequest {
    fn check(self) -> Result<CheckedEnd, Invalid> {
        let mut fields = Fields::default();
        let mode = match pb::Mode::try_from(self.mode) {
            Ok(pb::Mode::Unspecified | pb::Mode::Enforce) => Some(Mode::Enforce),
            Ok(pb::Mode::Force) => Some(Mode::Force),
            _ => {
                let number = self.mode;
                fields.wrong("mode", format!("must be ENFORCE (1) or FORCE (4), not {number}"));
                None
            }
        };
        let end = HoldEnd::Confirm;
        checked(fields, self.app_id, self.operation_id, self.relation, end, mode)
    }
}

impl CheckEnd for pb::ReleaseHoldRequest {
    fn check(self) -> Result<CheckedEnd, Invalid> {
        let (fields, end, mode) = (Fields::default(), HoldEnd::Release, Some(Mode::Enforce));
        checked(fields, self.app_id, self.operation_id, self.relation, end, mode)
    }
}

fn checked(
    mut fields: Fields,
    app: String,
    id: String,
    relation: i32,
    end: HoldEnd,
    mode: Option<Mode>,
) -> Result<CheckedEnd, Invalid> {
    let app = fields.app_id(app);
    let id = fields.check("operation_id", OperationId::try_from(id));
    let part = match pb::HoldRelation::try_from(relation) {
        Ok(pb::HoldRelation::Unspecified) => Some(None),
        Ok(pb::HoldRelation::Accounts) => Some(Some(Part::Accounts)),
        Ok(pb::HoldRelation::Friends) => Some(Some(Part::Friends)),
        Ok(pb::HoldRelation::Groups) => Some(Some(Part::Groups)),
        Err(_) => {
            fields.wrong("relation", format!("must be 0-3, not {relation}"));
            None
        }
    };
    let value = (|| Some(CheckedEnd { app: app?, id: id?, part: part?, end, mode: mode? }))();
    fields.finish(value)
}

impl Fields {
    /// Checks the hold of a take: both fields are given, or neither. Returns `None` also if they
    /// are invalid, which is recorded.
    pub fn hold(&mut self, seconds: Option<u32>, id: &str, catalog: &Catalog) -> Option<Hold> {
        let max = catalog.holds.seconds_max;
        let Some(seconds) = seconds else {
            if !id.is_empty() {
                let wanted = format!("must be 1-{max}, as operation_id is given; or give neither");
                self.wrong("hold_seconds", wanted);
            }
            return None;
        };
        if !(1..=max).contains(&seconds) {
            self.wrong("hold_seconds", format!("must be 1-{max}, not {seconds}"));
        }
        if id.is_empty() {
            self.wrong("operation_id", "must be 1-64 bytes long, as hold_seconds is given");
            return None;
        }
        self.check("operation_id", Hold::new(id, seconds))
    }
}

/// The content of both responses.
struct Ended {
    results: Vec<pb::HoldResult>,
    decision: Option<pb::DecisionInfo>,
}

impl From<EndedHolds> for Ended {
    fn from(ended: EndedHolds) -> Self {
        let decision = Some(info_of(ended.decided_at, ended.degradation));
        Self { results: ended.holds.into_iter().flat_map(results).collect(), decision }
    }
}

impl From<EndedHolds> for pb::ConfirmHoldResponse {
    fn from(ended: EndedHolds) -> Self {
        let Ended { results, decision } = ended.into();
        Self { results, decision }
    }
}

impl From<EndedHolds> for pb::ReleaseHoldResponse {
    fn from(ended: EndedHolds) -> Self {
        let Ended { results, decision } = ended.into();
        Self { results, decision }
    }
}

/// Returns a result for each subject that the hold has, the group itself first.
fn results(hold: EndedHold) -> Vec<pb::HoldResult> {
    let EndedHold { operation, expired_at, whole, items, .. } = hold;
    let (user_id, group_id) = (list_owner(&operation), operation.group().map(ToString::to_string));
    let of_operation = pb::HoldResult {
        operation: kind(operation.kind()).into(),
        user_id: user_id.map(ToString::to_string).unwrap_or_default(),
        group_id: group_id.unwrap_or_default(),
        expired_at: expired_at.map(timestamp),
        ..pb::HoldResult::default()
    };
    let with = |result: HoldResult| pb::HoldResult {
        outcome: outcome(result.outcome).into(),
        denials: result.denials.into_iter().map(denial).collect(),
        ..of_operation.clone()
    };
    let items = operation.items().iter().zip(items).filter_map(|(user, result)| {
        let result = with(result?);
        let user = user.to_string();
        Some(match operation.kind() {
            OperationKind::AddFriends => pb::HoldResult { friend_id: user, ..result },
            _ => pb::HoldResult { user_id: user, ..result },
        })
    });
    whole.map(with).into_iter().chain(items).collect()
}

fn list_owner(operation: &Operation) -> Option<&UserId> {
    match operation {
        Operation::AddFriends { user, .. } => Some(user),
        _ => None,
    }
}

fn kind(kind: OperationKind) -> pb::HoldOperation {
    match kind {
        OperationKind::CreateAccounts => pb::HoldOperation::CreateAccounts,
        OperationKind::AddFriends => pb::HoldOperation::AddFriends,
        OperationKind::CreateGroup => pb::HoldOperation::CreateGroup,
        OperationKind::JoinGroup => pb::HoldOperation::JoinGroup,
        // Other operations take nothing.
        _ => pb::HoldOperation::Unspecified,
    }
}

fn outcome(outcome: HoldOutcome) -> pb::HoldOutcome {
    match outcome {
        HoldOutcome::Confirmed => pb::HoldOutcome::Confirmed,
        HoldOutcome::Retaken => pb::HoldOutcome::Retaken,
        HoldOutcome::Denied => pb::HoldOutcome::Denied,
        HoldOutcome::Released => pb::HoldOutcome::Released,
        HoldOutcome::EndedOtherwise => pb::HoldOutcome::EndedOtherwise,
    }
}

#[cfg(test)]
#[path = "holds_tests.rs"]
mod tests;
