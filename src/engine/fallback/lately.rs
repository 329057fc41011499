//! Who was denied lately: whoever was over a limit a moment ago is over it without the store too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::plan::subjects;
use crate::clock::Stopwatch;
use crate::domain::decision::{Breach, Outcome, Reason, Subject};
use crate::domain::id::{AppId, Name};
use crate::domain::limit::LimitId;
use crate::engine::Decision;
use crate::ledger::Operation;

/// How long a denial is remembered: as long as an outage that nobody has to be called for.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Most subjects that are remembered; beyond them all that is old is forgotten, and if that is not
/// enough, new ones are not remembered.
const SUBJECTS_MAX: usize = 10_000;

/// Denials by whom they were about.
#[derive(Default)]
pub(super) struct Lately {
    subjects: AtomicUsize,
    denied: Mutex<Denied>,
}

type Denied = HashMap<(AppId, Subject), Vec<(Breach, Stopwatch)>>;

impl Lately {
    /// Takes in what the store decided.
    pub(super) fn learn(&self, app: &AppId, operation: &Operation, decision: &Decision) {
        let any = |outcome| decision.rulings().any(|ruling| ruling.outcome == outcome);
        let changed = any(Outcome::Applied) && self.subjects.load(Ordering::Relaxed) > 0;
        if !changed && !any(Outcome::Denied) {
            return;
        }
        let mut denied = self.denied();
        if changed {
            forget(&mut denied, app, operation);
        }
        for ruling in decision.rulings().filter(|ruling| ruling.outcome == Outcome::Denied) {
            for denial in &ruling.denials {
                remember(&mut denied, app, &denial.breach);
            }
        }
        self.subjects.store(denied.len(), Ordering::Relaxed);
    }

    /// Forgets everything: the store was replaced.
    pub(super) fn clear(&self) {
        self.denied().clear();
        self.subjects.store(0, Ordering::Relaxed);
    }

    /// Whoever is over a limit by what was brought to the store from the journal.
    pub(super) fn over(&self, app: &AppId, breach: &Breach) {
        let mut denied = self.denied();
        remember(&mut denied, app, breach);
        self.subjects.store(denied.len(), Ordering::Relaxed);
    }

    /// What was denied lately to one of these, as breaches for these reasons.
    pub(super) fn breaches(
        &self,
        app: &AppId,
        asked: &[(Subject, LimitId, Reason)],
    ) -> Vec<Breach> {
        if self.subjects.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let denied = self.denied();
        let found = asked.iter().filter_map(|(subject, limit_id, reason)| {
            let breaches = denied.get(&(app.clone(), subject.clone()))?;
            let lately = |since: &Stopwatch| since.elapsed() < REMEMBERED_FOR;
            let (breach, _) = breaches
                .iter()
                .find(|(breach, since)| breach.limit_id == *limit_id && lately(since))?;
            Some(Breach { reason: *reason, ..breach.clone() })
        });
        found.collect()
    }

    fn denied(&self) -> MutexGuard<'_, Denied> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(denied: &mut Denied, app: &AppId, breach: &Breach) {
    let key = (app.clone(), breach.subject.clone());
    if denied.len() >= SUBJECTS_MAX && !denied.contains_key(&key) {
        denied.retain(|_, breaches| {
            breaches.retain(|(_, since)| since.elapsed() < REMEMBERED_FOR);
            !breaches.is_empty()
        });
        if denied.len() >= SUBJECTS_MAX {
            return;
        }
    }
    let breaches = denied.entry(key).or_default();
    breaches.retain(|(there, _)| there.limit_id != breach.limit_id);
    breaches.push((breach.clone(), Stopwatch::start()));
}

/// Something was given to these or by them: whether the next is denied is not known.
fn forget(denied: &mut Denied, app: &AppId, operation: &Operation) {
    for subject in subjects(operation) {
        denied.remove(&(app.clone(), subject));
    }
    let of_app = (app.clone(), Subject::App);
    if let Some(breaches) = denied.get_mut(&of_app) {
        // Whatever the app was given, its service runs.
        breaches.retain(|(breach, _)| !counts_in(operation, &breach.limit_id));
        if breaches.is_empty() {
            denied.remove(&of_app);
        }
    }
}

/// Whether a limit of the app is one that the operation has to do with.
fn counts_in(operation: &Operation, limit: &LimitId) -> bool {
    match operation {
        Operation::CreateAccounts { .. } | Operation::DeleteAccount { .. } => true,
        Operation::CreateGroup { .. }
        | Operation::DissolveGroup { .. }
        | Operation::LeaveGroup { .. } => *limit != LimitId::AccountsPerApp,
        Operation::AddFriends { .. } | Operation::JoinGroup { .. } => *limit == LimitId::Service,
        Operation::RemoveFriends { .. } | Operation::UpdateGroup { .. } => false,
    }
}

/// Everything of the app that a creation of a group of that type takes from.
pub(super) fn asked_of_group(kind: &Name) -> Vec<(Subject, LimitId, Reason)> {
    vec![
        service(),
        (Subject::App, LimitId::GroupsPerApp(kind.clone()), Reason::GroupsPerApp),
        (Subject::App, LimitId::GroupsPerAppOfAllTypes, Reason::GroupsAllowance),
        (Subject::App, LimitId::GroupsPerDay, Reason::GroupsPerDay),
        (Subject::App, LimitId::GroupsPerDayOfType(kind.clone()), Reason::GroupsPerDay),
    ]
}

/// That the app's service runs.
pub(super) fn service() -> (Subject, LimitId, Reason) {
    (Subject::App, LimitId::Service, Reason::ServiceStopped)
}
