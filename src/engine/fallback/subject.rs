//! Users and groups in the journal's queue, and the facts that an operation takes from each.

use std::collections::HashMap;
use std::hash::Hash;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::failure_action::subjects;
use crate::domain::decision::Subject;
use crate::domain::failure_policy::Budget;
use crate::domain::id::AppId;
use crate::domain::limits::{Part, Relation};
use crate::domain::operation::Effect;
use crate::ledger::Operation;

/// Bytes of the key of a [`SubjectHasher`].
const KEY_BYTES: usize = 16;

/// A user or group of an app as a hash of 16 bytes: two collide by chance once in 2^64 pairs, and
/// are then kept in one order, which is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SubjectId(u64, u64);

/// Computes the hashes, with a key of this process, so that no caller can choose two that collide.
pub(super) struct SubjectHasher([u8; KEY_BYTES]);

impl SubjectHasher {
    pub(super) fn new() -> Self {
        let mut key = [0; KEY_BYTES];
        // Without randomness collisions can be chosen, which only costs an attacker's own app its
        // order.
        let _ = getrandom::fill(&mut key);
        Self(key)
    }

    /// Returns the hash of a user or group.
    pub(super) fn id(&self, app: &AppId, subject: &Subject) -> SubjectId {
        self.hash((app, subject))
    }

    /// Returns the hash of a part of an app.
    pub(super) fn of_part(&self, app: &AppId, part: Part) -> SubjectId {
        self.hash((app, "part", part))
    }

    fn hash(&self, of: impl Hash) -> SubjectId {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        of.hash(&mut hasher);
        let hash = hasher.finish128();
        SubjectId(hash.h1, hash.h2)
    }

    /// Returns every user and group that an operation names, once, with the number of facts that it
    /// takes for each.
    pub(super) fn of(&self, app: &AppId, operation: &Operation) -> Vec<Named> {
        let costs = costs(operation);
        let mut named: Vec<Named> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for subject in subjects(operation) {
            let id = self.id(app, &subject);
            if seen.insert(id) {
                let taken = costs.get(&subject).copied().unwrap_or(0);
                let kind = match subject {
                    Subject::User(_) => BudgetKind::User,
                    _ => BudgetKind::Group,
                };
                named.push(Named { id, kind, taken });
            }
        }
        named
    }
}

/// Kind of a subject in the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BudgetKind {
    User,
    Group,
}

impl BudgetKind {
    /// Returns the most facts of one such subject.
    pub(super) fn max(self, budget: &Budget) -> usize {
        match self {
            Self::User => budget.per_user_max,
            Self::Group => budget.per_group_max,
        }
    }
}

/// A user or group that an operation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) id: SubjectId,
    pub(super) kind: BudgetKind,
    /// Facts that the operation takes for the subject.
    pub(super) taken: u32,
}

/// Returns the number of facts that an operation takes; a release takes none.
pub(super) fn facts_taken(operation: &Operation) -> usize {
    if operation.kind().takes() { operation.effects().len() } else { 0 }
}

/// Returns the number of facts that an operation takes, by subject.
fn costs(operation: &Operation) -> HashMap<Subject, u32> {
    let mut costs = HashMap::new();
    if !operation.kind().takes() {
        return costs;
    }
    // An account is only in the app's count.
    let in_counts = |effect: &Effect<'_>| effect.relation != Relation::Accounts;
    let effects = operation.effects().into_iter().filter(in_counts);
    for subject in effects.flat_map(Effect::changed) {
        *costs.entry(subject).or_default() += 1;
    }
    costs
}
