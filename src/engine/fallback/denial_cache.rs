//! The denial cache: recent denials, by which operations are denied while the store is unavailable.
//!
//! Subjects are kept in the order of their latest denial. A full cache evicts the subject whose
//! latest denial is the oldest. Recording a denial takes constant time, however many subjects were
//! denied before: it evicts one subject and removes a fixed number of expired ones at most.
//!
//! The cache is one linked map under one lock and not a sharded map, since the order of eviction
//! is one over all apps. Without denials no lock is taken.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hashlink::LinkedHashMap;
use parking_lot::{Mutex, MutexGuard};

use super::failure_action::subjects;
use crate::clock::Stopwatch;
use crate::domain::decision::{ItemResult, Outcome, Reason, Subject, Violation};
use crate::domain::id::AppId;
use crate::domain::limit::LimitId;
use crate::domain::operation::{Counted, Effect, Whose};
use crate::engine::Decision;
use crate::ledger::{Operation, OperationKind};

/// Time for which a denial is kept: that of an outage that needs no operator.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Most subjects in the cache: about 5 MB.
const SUBJECTS_MAX: usize = 10_000;
/// Most expired subjects that are removed when a denial is recorded: more than the one that is
/// added, so that the cache shrinks after a burst of denials.
const EXPIRED_REMOVED_MAX: usize = 2;

/// Recent denials by subject.
pub(super) struct DenialCache {
    started: Stopwatch,
    /// Number of subjects in `denials`, to be read without its lock.
    subjects: AtomicUsize,
    denials: Mutex<Denials>,
}

impl Default for DenialCache {
    fn default() -> Self {
        let denials = Mutex::new(Denials::new(SUBJECTS_MAX));
        Self { started: Stopwatch::start(), subjects: AtomicUsize::new(0), denials }
    }
}

impl DenialCache {
    /// Records the denials of a decision of the store, and removes those of subjects that it
    /// changed. Of a whole batch that is aborted, only what denies without its other subjects.
    pub(super) fn record(&self, app: &AppId, operation: &Operation, decision: &Decision) {
        let any = |outcome| decision.results().any(|result| result.outcome == outcome);
        let changed = self.subjects.load(Ordering::Relaxed) > 0 && any(Outcome::Applied);
        if !changed && !any(Outcome::Denied) {
            return;
        }
        let aborted = limits_of_aborted(operation, decision);
        let counts_aborted = |it: &Violation| {
            !aborted.is_empty() && aborted.contains(&(it.subject.clone(), it.limit_id.clone()))
        };
        let now = self.started.elapsed();
        let mut denials = self.denials();
        if changed {
            denials.remove_changed(app, operation);
        }
        for result in decision.results().filter(|result| result.outcome == Outcome::Denied) {
            let violations = result.violations.iter().map(|denial| &denial.violation);
            for violation in violations.filter(|violation| !counts_aborted(violation)) {
                denials.record(app, violation, now);
            }
        }
        self.subjects.store(denials.len(), Ordering::Relaxed);
    }

    /// Removes everything: the store was replaced.
    pub(super) fn clear(&self) {
        self.denials().clear();
        self.subjects.store(0, Ordering::Relaxed);
    }

    /// Records that a subject is over a limit by an operation that was replayed from the journal.
    pub(super) fn record_over_limit(&self, app: &AppId, violation: &Violation) {
        let now = self.started.elapsed();
        let mut denials = self.denials();
        denials.record(app, violation, now);
        self.subjects.store(denials.len(), Ordering::Relaxed);
    }

    /// Returns the recent denials of these limits of these subjects, as violations for these
    /// reasons.
    pub(super) fn violations(
        &self,
        app: &AppId,
        limits: &[(Subject, LimitId, Reason)],
    ) -> Vec<Violation> {
        if self.subjects.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let now = self.started.elapsed();
        let denials = self.denials();
        let found = limits.iter().filter_map(|(subject, limit_id, reason)| {
            let violation = denials.get(&(app.clone(), subject.clone()), limit_id, now)?;
            Some(Violation { reason: *reason, ..violation.clone() })
        });
        found.collect()
    }

    fn denials(&self) -> MutexGuard<'_, Denials> {
        self.denials.lock()
    }
}

/// A subject of an app.
type Key = (AppId, Subject);

/// A denial and when it was recorded.
struct Denial {
    violation: Violation,
    at: Duration,
}

impl Denial {
    fn is_recent(&self, now: Duration) -> bool {
        now.saturating_sub(self.at) < KEPT_FOR
    }
}

/// Denials by subject, with a bound on the subjects. Instants are durations since a fixed one.
struct Denials {
    subjects_max: usize,
    /// The subject with the oldest latest denial first; of each, one denial a limit, the latest
    /// last.
    by_subject: LinkedHashMap<Key, Vec<Denial>>,
}

impl Denials {
    fn new(subjects_max: usize) -> Self {
        Self { subjects_max, by_subject: LinkedHashMap::new() }
    }

    fn len(&self) -> usize {
        self.by_subject.len()
    }

    fn clear(&mut self) {
        self.by_subject.clear();
    }

    fn get(&self, key: &Key, limit_id: &LimitId, now: Duration) -> Option<&Violation> {
        let of_limit = |denial: &&Denial| denial.violation.limit_id == *limit_id;
        let denial = self.by_subject.get(key)?.iter().find(of_limit)?;
        denial.is_recent(now).then_some(&denial.violation)
    }

    fn record(&mut self, app: &AppId, violation: &Violation, now: Duration) {
        self.remove_expired(now);
        let key = (app.clone(), violation.subject.clone());
        let existing = self.by_subject.remove(&key);
        let mut denials = existing.unwrap_or_else(|| Vec::with_capacity(1));
        denials.retain(|denial| denial.violation.limit_id != violation.limit_id);
        denials.push(Denial { violation: violation.clone(), at: now });
        // Inserted as the last.
        self.by_subject.insert(key, denials);
        if self.by_subject.len() > self.subjects_max {
            self.by_subject.pop_front();
        }
    }

    fn remove_expired(&mut self, now: Duration) {
        for _ in 0..EXPIRED_REMOVED_MAX {
            let oldest = self.by_subject.front().and_then(|(_, denials)| denials.last());
            if oldest.is_none_or(|latest| latest.is_recent(now)) {
                return;
            }
            self.by_subject.pop_front();
        }
    }

    /// Removes the denials of subjects that an operation changed: the next take may not be denied.
    fn remove_changed(&mut self, app: &AppId, operation: &Operation) {
        for subject in subjects(operation) {
            self.by_subject.remove(&(app.clone(), subject));
        }
        let of_app = (app.clone(), Subject::App);
        if let Some(denials) = self.by_subject.get_mut(&of_app) {
            // A service that carried out an operation has not stopped.
            denials.retain(|denial| !counts_in(operation, &denial.violation.limit_id));
            if denials.is_empty() {
                self.by_subject.remove(&of_app);
            }
        }
    }
}

/// Returns whether an operation changes the app's count against that limit.
fn counts_in(operation: &Operation, limit: &LimitId) -> bool {
    let kind = operation.kind();
    match limit.kind().row().relation {
        Some(relation) => kind.relations().contains(&relation),
        None => !matches!(kind, OperationKind::RemoveFriends | OperationKind::UpdateGroup),
    }
}

/// Returns the limits that a take of these facts is checked against, with subject and reason.
pub(super) fn limits_of<'a>(
    operation: &'a Operation,
    effects: impl Iterator<Item = &'a Effect<'a>> + 'a,
) -> Vec<(Subject, LimitId, Reason)> {
    let kind = operation.kind();
    // A group that is created has no denials of its own.
    let is_new = |counted: &Counted<'_>| {
        kind == OperationKind::CreateGroup && matches!(counted.whose, Whose::Group(_))
    };
    let limit = |counted: Counted<'_>| {
        let (limit, reason) = counted.violated(kind, operation.group_type())?;
        Some((counted.whose.subject(), limit, reason))
    };
    let counted = effects.flat_map(|effect| effect.counts()).filter(move |it| !is_new(it));
    let service = (Subject::App, LimitId::Service, Reason::ServiceStopped);
    std::iter::once(service).chain(counted.filter_map(limit)).collect()
}

/// Returns the limits that the aborted subjects of a whole batch count against. A denial by one of
/// them may be due to these subjects alone, which hold nothing.
fn limits_of_aborted(operation: &Operation, decision: &Decision) -> HashSet<(Subject, LimitId)> {
    let is_aborted = |result: Option<&ItemResult<_>>| {
        result.is_some_and(|result| result.outcome == Outcome::Aborted)
    };
    if !decision.results().any(|result| is_aborted(Some(result))) {
        return HashSet::new();
    }
    let aborted = operation.effects().into_iter().filter(|effect| match effect.item {
        Some(index) => is_aborted(decision.items.get(index)),
        None => is_aborted(decision.whole.as_ref()),
    });
    let limit = |counted: Counted<'_>| {
        Some((counted.whose.subject(), counted.limit.id(operation.group_type())?))
    };
    aborted.flat_map(Effect::counts).filter_map(limit).collect()
}

#[cfg(test)]
#[path = "denial_cache_tests.rs"]
mod tests;
