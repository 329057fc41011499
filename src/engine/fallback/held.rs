//! Entries of the journal by the id of their operation: takes with a hold, and confirmations; and
//! what a creation waits for that replaces a held group.
//!
//! A confirmation names no users or groups: the store has them. So it is ordered before every later
//! entry about its part of the app, by a chain of that part which exists while it does.

use std::collections::{BTreeSet, HashMap};

use super::queue::{Ahead, Queue, State};
use super::subject::{BudgetKind, Named};
use crate::domain::id::{AppId, OperationId};
use crate::domain::limits::Part;
use crate::engine::Request;
use crate::journal::{Accepted, Entry};
use crate::ledger::Operation;

/// Numbers of entries by app and operation.
#[derive(Default)]
pub(super) struct HeldIndex(HashMap<(AppId, OperationId), BTreeSet<u64>>);

impl HeldIndex {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, number: u64, app: &AppId, id: Option<&OperationId>) {
        if let Some(id) = id {
            self.0.entry((app.clone(), id.clone())).or_default().insert(number);
        }
    }

    pub(super) fn remove(&mut self, number: u64, app: &AppId, id: Option<&OperationId>) {
        let Some(id) = id else { return };
        let key = (app.clone(), id.clone());
        if let Some(numbers) = self.0.get_mut(&key) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    fn of(&self, app: &AppId, id: &OperationId) -> impl Iterator<Item = u64> {
        self.0.get(&(app.clone(), id.clone())).into_iter().flatten().copied()
    }
}

/// The part that an entry has in a hold.
pub(super) enum HoldRole {
    /// None.
    Without,
    /// It takes with a hold of that id.
    Take(OperationId),
    /// It confirms the holds of that id.
    Confirmation(OperationId),
}

impl HoldRole {
    pub(super) fn of(accepted: &Accepted) -> Self {
        match accepted {
            Accepted::Operation(_) => Self::Without,
            Accepted::Held(_, id) => Self::Take(id.clone()),
            Accepted::Confirmation(id, _) => Self::Confirmation(id.clone()),
        }
    }

    pub(super) fn id(&self) -> Option<&OperationId> {
        match self {
            Self::Without => None,
            Self::Take(id) | Self::Confirmation(id) => Some(id),
        }
    }
}

/// Takes with a hold that a release has found in the journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Released {
    /// Entries that the store has never seen: they are removed.
    pub(super) cancelled: Vec<(u64, Operation)>,
    /// Operations that may be in the store, and are permanent there.
    pub(super) begun: Vec<Operation>,
}

impl Queue {
    /// Returns what an entry names: users and groups, and for the order with confirmations its
    /// parts of the app.
    pub(super) fn named(&self, app: &AppId, accepted: &Accepted) -> Vec<Named> {
        match accepted {
            Accepted::Operation(operation) | Accepted::Held(operation, _) => {
                self.named_by(app, operation)
            }
            Accepted::Confirmation(_, part) => vec![self.part(app, *part)],
        }
    }

    /// Returns the entries about the users and groups of a request, the group that it replaces
    /// too: its creation may be among them.
    pub(super) fn ahead_of(&self, request: &Request) -> Ahead {
        let Request { app, operation, take, .. } = request;
        match (self.ahead(app, operation), &take.replaces) {
            (Ahead::Nothing, Some(group)) => {
                self.ahead(app, &Operation::DissolveGroup { group: group.clone() })
            }
            (ahead, _) => ahead,
        }
    }

    /// Returns what an operation names.
    pub(super) fn named_by(&self, app: &AppId, operation: &Operation) -> Vec<Named> {
        let mut named = self.hasher.of(app, operation);
        let parts = operation.kind().parts().iter().map(|part| self.part(app, *part));
        named.extend(parts.filter(|part| self.chains.contains_key(&part.id)));
        named
    }

    fn part(&self, app: &AppId, part: Part) -> Named {
        Named { id: self.hasher.of_part(app, part), kind: BudgetKind::Group, taken: 0 }
    }

    /// Returns the part of an entry that repeats no other; `None` if there is none.
    pub(super) fn new_part(&self, entry: Entry) -> Option<Entry> {
        let Entry { app, mode, at, accepted } = entry;
        let accepted = match accepted {
            Accepted::Operation(operation) => {
                Accepted::Operation(self.without_repeats(&app, mode, operation, None)?)
            }
            Accepted::Held(operation, id) => {
                Accepted::Held(self.without_repeats(&app, mode, operation, Some(&id))?, id)
            }
            confirmation @ Accepted::Confirmation(..) => confirmation,
        };
        Some(Entry { app, mode, at, accepted })
    }

    /// Returns the takes with a hold of that id in a part of the app that are not in the store yet.
    pub(super) fn held(&self, app: &AppId, id: &OperationId, part: Part) -> Vec<Operation> {
        let held = self.index.of(app, id).filter_map(|number| self.held_by(number, part));
        held.map(|(operation, _)| operation).collect()
    }

    /// Returns the last confirmation of that id in a part of the app.
    pub(super) fn confirmation(&self, app: &AppId, id: &OperationId, part: Part) -> Option<u64> {
        let is_of_part = |number: &u64| {
            self.entries.get(number).is_some_and(|it| {
                matches!(it.hold, HoldRole::Confirmation(_)) && it.lane.1 == Some(part)
            })
        };
        self.index.of(app, id).filter(is_of_part).last()
    }

    /// Marks the takes with a hold of that id which the store has never seen as being removed, and
    /// returns all takes of that id.
    pub(super) fn release(&mut self, app: &AppId, id: &OperationId, part: Part) -> Released {
        let mut released = Released::default();
        for number in self.index.of(app, id).collect::<Vec<_>>() {
            let Some((operation, may_be_stored)) = self.held_by(number, part) else { continue };
            if may_be_stored {
                released.begun.push(operation);
            } else {
                if let Some(waiting) = self.entries.get_mut(&number) {
                    waiting.state = State::Writing;
                    waiting.is_listed = false;
                }
                released.cancelled.push((number, operation));
            }
        }
        released
    }

    /// Returns the operation of an entry that takes with a hold in that part, and whether the store
    /// may have it.
    fn held_by(&self, number: u64, part: Part) -> Option<(Operation, bool)> {
        let waiting = self.entries.get(&number)?;
        if !matches!(waiting.hold, HoldRole::Take(_)) || waiting.lane.1 != Some(part) {
            return None;
        }
        let entry = waiting.encoded.decode().ok()?;
        let may_be_stored = waiting.may_be_stored || waiting.state != State::Queued;
        Some((entry.accepted.operation()?.clone(), may_be_stored))
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
