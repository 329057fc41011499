//! Holds: their confirmation and release by callers, and the removal of expired ones in the
//! background.
//!
//! The parts of an app are independent: an end of a hold is one step in each, and a part in which
//! it fails is finished by a repetition. [`super::fallback`] accepts it while the store is
//! unavailable.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Decision, Degradation, Denial, Engine, complete};
use crate::domain::catalog::Catalog;
use crate::domain::decision::{ItemResult, Mode, Outcome, Subject};
use crate::domain::event::{Event, EventKind, RETAKEN_USERS_MAX, Retaken};
use crate::domain::hold::{Hold, HoldEnd, HoldOutcome};
use crate::domain::id::{AppId, OperationId};
use crate::domain::limits::Part;
use crate::domain::time::Timestamp;
use crate::domain::warning::Warning;
use crate::ledger::holds::{self, Ending};
use crate::ledger::{Call, LedgerError, Operation};
use crate::telemetry::trace;

mod dues;

pub(super) use dues::HoldDues;

/// Timeout of one call that removes what has expired.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(2);

/// Request to end the holds of the operations with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndRequest {
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
    /// Instant after which the response is useless.
    pub deadline: Timestamp,
}

/// The holds that a caller has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedHolds {
    /// The store's clock when it decided.
    pub decided_at: Timestamp,
    /// The holds: of accounts, then of friends, then of groups.
    pub holds: Vec<EndedHold>,
    /// Reason why the decision is not exact, if it is not.
    pub degradation: Option<Degradation>,
}

/// A hold that a caller has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedHold {
    /// The operation that took with the hold.
    pub operation: Operation,
    /// When the hold expired; `None`: it had not.
    pub expired_at: Option<Timestamp>,
    /// The result for the group that the operation created, with its owner.
    pub whole: Option<HoldResult>,
    /// The result for each user of the operation, in its order; `None` if the hold does not have
    /// them.
    pub items: Vec<Option<HoldResult>>,
    /// Thresholds that were crossed by what was taken anew.
    pub warnings: Vec<Warning>,
}

/// The result for one subject of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldResult {
    /// The outcome.
    pub outcome: HoldOutcome,
    /// The limits that deny a new take.
    pub denials: Vec<Denial>,
}

/// The end of the holds in one part of an app; `None` as degradation is the store's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartEnd {
    pub decided_at: Timestamp,
    pub holds: Vec<EndedHold>,
    pub degradation: Option<Degradation>,
}

impl EndedHolds {
    /// Returns the results of all subjects.
    pub fn results(&self) -> impl Iterator<Item = &HoldResult> {
        self.holds.iter().flat_map(EndedHold::results)
    }

    /// Returns the denials of all subjects.
    #[must_use]
    pub fn denials(&self) -> Vec<&Denial> {
        self.results().flat_map(|result| &result.denials).collect()
    }

    /// Returns whether everything was denied.
    #[must_use]
    pub fn denied(&self) -> bool {
        let mut results = self.results().peekable();
        results.peek().is_some() && results.all(|it| it.outcome == HoldOutcome::Denied)
    }
}

impl EndedHold {
    fn new(catalog: &Catalog, ended: holds::EndedHold) -> Self {
        let limits = ended.limits.as_ref();
        let result = |holds::HoldResult { outcome, violations }| {
            let item = ItemResult { outcome: Outcome::Denied, violations };
            HoldResult { outcome, denials: complete(catalog, limits, item).violations }
        };
        Self {
            operation: ended.operation,
            expired_at: ended.expired_at,
            whole: ended.whole.map(result),
            items: ended.items.into_iter().map(|item| item.map(result)).collect(),
            warnings: ended.warnings,
        }
    }

    /// Returns a hold of which every subject has that outcome.
    pub(super) fn of_all(operation: Operation, outcome: HoldOutcome) -> Self {
        let result = || HoldResult { outcome, denials: Vec::new() };
        Self {
            whole: operation.kind().has_whole().then(result),
            items: operation.items().iter().map(|_| Some(result())).collect(),
            operation,
            expired_at: None,
            warnings: Vec::new(),
        }
    }

    /// Returns all results, that of the group first.
    pub fn results(&self) -> impl Iterator<Item = &HoldResult> {
        self.whole.iter().chain(self.items.iter().flatten())
    }

    /// Returns the event of what was taken anew, if anything was.
    fn retaken(&self, id: &OperationId) -> Option<Retaken> {
        let is_retaken = |it: &HoldResult| it.outcome == HoldOutcome::Retaken;
        let count = self.results().filter(|it| is_retaken(it)).count();
        let items = self.operation.items().iter().zip(&self.items);
        let users = items.filter(|(_, it)| it.as_ref().is_some_and(is_retaken));
        (count > 0).then(|| Retaken {
            operation_id: id.to_string(),
            operation: self.operation.name().to_owned(),
            subject: main_subject(&self.operation),
            users: users.take(RETAKEN_USERS_MAX).map(|(user, _)| user.to_string()).collect(),
            count: u64::try_from(count).unwrap_or(u64::MAX),
        })
    }

    /// Returns the decision that was made about what had expired, for events and counts of denials.
    fn decision(&self, decided_at: Timestamp) -> Decision {
        let decided = |result: &HoldResult| match result.outcome {
            HoldOutcome::Denied => Some((Outcome::Denied, result.denials.clone())),
            HoldOutcome::Retaken => Some((Outcome::Applied, Vec::new())),
            _ => None,
        };
        let items = self.results().filter_map(decided);
        Decision {
            decided_at,
            whole: None,
            items: items.map(|(outcome, violations)| ItemResult { outcome, violations }).collect(),
            members_released: 0,
            group_reclaimed: false,
            warnings: self.warnings.clone(),
            degradation: None,
        }
    }
}

/// Returns the group, or the user whose list has the friends, or the app.
fn main_subject(operation: &Operation) -> Subject {
    match (operation.group(), operation) {
        (Some(group), _) => Subject::Group(group.clone()),
        (None, Operation::AddFriends { user, .. }) => Subject::User(user.clone()),
        (None, _) => Subject::App,
    }
}

impl Engine {
    /// Ends the holds of the operations with an id, in each part of the app in one step.
    pub async fn end_hold(&self, request: EndRequest) -> Result<EndedHolds, LedgerError> {
        let measure = self.metrics.measure(request.end.name(), request.mode);
        let ended = {
            let _in_flight = self.metrics.condition.in_work();
            self.end_in_parts(&request).await
        };
        match &ended {
            Ok(ended) => {
                for result in ended.results() {
                    self.metrics.hold_ended(request.end, result.outcome);
                }
                measure.decided([]);
            }
            Err(error) => measure.failed(error.name()),
        }
        ended
    }

    async fn end_in_parts(&self, request: &EndRequest) -> Result<EndedHolds, LedgerError> {
        let parts = Part::or_all(request.part).iter();
        let ends = join_all(parts.map(|part| self.end_in(request, *part))).await;
        for end in ends.iter().flatten() {
            self.record_ended(&request.app, &request.id, request.mode, end);
        }
        combined(&request.id, ends)
    }

    async fn end_in(&self, request: &EndRequest, part: Part) -> Result<PartEnd, LedgerError> {
        match &self.fallback {
            Some(fallback) => fallback.end_hold(self, request, part).await,
            None => self.ask_to_end(request, part, None).await,
        }
    }

    /// Calls the ledger to end the holds in one part. `as_of` is the instant of a confirmation that
    /// was accepted earlier.
    pub(super) async fn ask_to_end(
        &self,
        request: &EndRequest,
        part: Part,
        as_of: Option<Timestamp>,
    ) -> Result<PartEnd, LedgerError> {
        let EndRequest { app, id, end, mode, deadline, .. } = request;
        let span = trace::of_store("end_hold", app);
        let (call, catalog) = self.call(app.clone(), *mode, *deadline);
        let call = Call { fail_fast: true, is_replayed: as_of.is_some(), ..call };
        let ending = Ending { id: id.clone(), part, end: *end, as_of };
        let work = self.ledger.end_hold(call, ending);
        let ended = self.measured_in(span, "end_hold", work).await?;
        let decided_at = ended.first().map_or_else(|| self.clock.now(), |it| it.decided_at);
        let holds = ended.into_iter().map(|it| EndedHold::new(&catalog, it)).collect();
        Ok(PartEnd { decided_at, holds, degradation: None })
    }

    /// Carries out a confirmation in one part that was accepted without the store at `as_of`.
    pub(super) async fn replay_confirmation(
        &self,
        request: &EndRequest,
        part: Part,
        as_of: Timestamp,
    ) -> Result<(), LedgerError> {
        let end = self.ask_to_end(request, part, Some(as_of)).await?;
        self.record_ended(&request.app, &request.id, request.mode, &end);
        for result in end.holds.iter().flat_map(EndedHold::results) {
            self.metrics.hold_ended(request.end, result.outcome);
        }
        Ok(())
    }

    /// Records the events of what was taken anew, or denied.
    pub(super) fn record_ended(&self, app: &AppId, id: &OperationId, mode: Mode, end: &PartEnd) {
        let at = self.plausible(end.decided_at);
        for hold in &end.holds {
            let decision = hold.decision(end.decided_at);
            if decision.has_reports() {
                self.event_buffer.record(app, mode, at, &decision);
                self.top.record(end.decided_at, app, mode, &decision);
            }
            if let Some(retaken) = hold.retaken(id) {
                let what = EventKind::HoldRetaken(retaken);
                self.event_buffer.record_event(Event { at, app: Some(app.clone()), what });
            }
        }
    }

    /// Notes the expiry of a hold that this sidecar has taken, so that it is swept then.
    pub(super) fn note_hold(&self, app: &AppId, hold: &Hold, decision: &Decision) {
        let holds = |result: &ItemResult<Denial>| {
            matches!(result.outcome, Outcome::Applied | Outcome::AlreadyHeld)
        };
        if decision.degradation.is_none() && decision.results().any(holds) {
            let expires = self.clock.now() + Duration::from_secs(hold.seconds.into());
            self.holds.add(app, expires);
        }
    }

    /// Removes and returns the apps of which holds have expired that this sidecar has taken.
    #[must_use]
    pub fn apps_with_expired_holds(&self) -> Vec<AppId> {
        self.holds.take_due(self.clock.now())
    }

    /// Returns the apps in which this sidecar has taken with holds.
    #[must_use]
    pub fn apps_with_holds(&self) -> Vec<AppId> {
        self.holds.apps()
    }

    /// Has the app among those with expired holds again, after a while: it could not be swept.
    pub fn sweep_later(&self, app: &AppId, after: Duration) {
        self.holds.add(app, self.clock.now() + after);
    }

    /// Removes expired holds of an app, at most a few thousand facts, and returns their number.
    pub async fn sweep_holds(&self, app: &AppId) -> Result<u64, LedgerError> {
        let (call, _) = self.call(app.clone(), Mode::Enforce, self.clock.now() + SWEEP_TIMEOUT);
        let call = Call { fail_fast: true, is_replayed: true, ..call };
        let swept = self.measured("sweep_holds", app, self.ledger.sweep_holds(call)).await?;
        self.metrics.holds_swept(swept);
        Ok(swept)
    }
}

/// Combines the ends in all parts. There is no hold only if no part has a record; if a part failed
/// and another has ended holds, a repetition has to finish the rest. A release of what the journal
/// had is whole, though: a repetition would not find it, and what other parts hold in an absent
/// store ends by itself.
fn combined(
    id: &OperationId,
    ends: Vec<Result<PartEnd, LedgerError>>,
) -> Result<EndedHolds, LedgerError> {
    let (mut decided_at, mut degradation) = (None, None);
    let (mut found, mut failed) = (Vec::new(), None::<LedgerError>);
    for end in ends {
        match end {
            Ok(end) => {
                decided_at = decided_at.max(Some(end.decided_at));
                degradation = degradation.or(end.degradation);
                found.extend(end.holds);
            }
            Err(error) => match &failed {
                // The most uncertain error stands.
                Some(first) if error.did_nothing() || !first.did_nothing() => {}
                _ => failed = Some(error),
            },
        }
    }
    if degradation == Some(Degradation::Released) {
        failed = failed.filter(|error| !(error.is_absence() && error.did_nothing()));
    }
    let is_begun = degradation.is_some() || !found.is_empty();
    match (failed, decided_at) {
        (Some(error), _) if is_begun => Err(error.of_unfinished()),
        (Some(error), _) => Err(error),
        (None, Some(decided_at)) if is_begun => {
            Ok(EndedHolds { decided_at, holds: found, degradation })
        }
        (None, _) => Err(LedgerError::HoldNotFound(id.clone())),
    }
}

#[cfg(test)]
mod tests;
