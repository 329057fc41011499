//! What waits for the store: whom it is about, and how much of the budget it takes.

use std::collections::{BTreeMap, HashMap};

use super::plan::{facts, subjects};
use crate::domain::decision::Subject;
use crate::domain::id::AppId;
use crate::domain::policy::Budget;
use crate::journal::{Entry, Numbered};
use crate::ledger::Operation;

/// Entries in order, and what they come to.
#[derive(Default)]
pub(super) struct Pending {
    entries: BTreeMap<u64, Entry>,
    /// Of entries that are here, or are being written down.
    subjects: HashMap<(AppId, Subject), Share>,
    /// Facts taken, by app.
    apps: HashMap<AppId, usize>,
}

/// What one subject has to do with it.
#[derive(Default)]
struct Share {
    /// Entries that are about it.
    entries: usize,
    /// Facts that they take in its name.
    taken: usize,
}

impl Pending {
    /// Whether something about one of the operation's subjects waits.
    pub(super) fn holds(&self, app: &AppId, operation: &Operation) -> bool {
        let mut keys = subjects(operation).into_iter().map(|subject| (app.clone(), subject));
        keys.any(|key| self.subjects.contains_key(&key))
    }

    /// Takes the operation's place and budget, if there is enough of that.
    pub(super) fn reserve(&mut self, budget: &Budget, app: &AppId, operation: &Operation) -> bool {
        let costs = Costs::of(operation);
        let fits = |(subject, more): (&Subject, &usize)| {
            let max = match subject {
                Subject::User(_) => budget.per_user_max,
                Subject::Group(_) => budget.per_group_max,
                Subject::App => budget.per_app_max,
            };
            let there = self.subjects.get(&(app.clone(), subject.clone()));
            there.map_or(0, |share| share.taken) + more <= max
        };
        let of_app = self.apps.get(app).copied().unwrap_or(0) + costs.facts;
        if of_app > budget.per_app_max || !costs.by_subject.iter().all(fits) {
            return false;
        }
        self.enter(app, operation);
        true
    }

    /// Takes the operation's place, whatever budget is left.
    pub(super) fn enter(&mut self, app: &AppId, operation: &Operation) {
        let costs = Costs::of(operation);
        if costs.facts > 0 {
            *self.apps.entry(app.clone()).or_default() += costs.facts;
        }
        for subject in distinct(operation) {
            let taken = costs.by_subject.get(&subject).copied().unwrap_or(0);
            let share = self.subjects.entry((app.clone(), subject)).or_default();
            share.entries += 1;
            share.taken += taken;
        }
    }

    /// Gives place and budget back.
    pub(super) fn leave(&mut self, app: &AppId, operation: &Operation) {
        let costs = Costs::of(operation);
        if let Some(taken) = self.apps.get_mut(app) {
            *taken = taken.saturating_sub(costs.facts);
            if *taken == 0 {
                self.apps.remove(app);
            }
        }
        for subject in distinct(operation) {
            let taken = costs.by_subject.get(&subject).copied().unwrap_or(0);
            let key = (app.clone(), subject);
            if let Some(share) = self.subjects.get_mut(&key) {
                share.entries -= 1;
                share.taken = share.taken.saturating_sub(taken);
                if share.entries == 0 {
                    self.subjects.remove(&key);
                }
            }
        }
    }

    /// An entry whose place was taken is on disk.
    pub(super) fn insert(&mut self, number: u64, entry: Entry) {
        self.entries.insert(number, entry);
    }

    /// The oldest entries, at most so many.
    pub(super) fn oldest(&self, most: usize) -> Vec<Numbered> {
        self.entries.iter().take(most).map(|(number, entry)| (*number, entry.clone())).collect()
    }

    /// An entry is in the store and no longer on disk.
    pub(super) fn remove(&mut self, number: u64) {
        if let Some(Entry { app, operation, .. }) = self.entries.remove(&number) {
            self.leave(&app, &operation);
        }
    }

    /// Forgets every entry; what is being written down keeps its place.
    pub(super) fn clear(&mut self) {
        for (_, Entry { app, operation, .. }) in std::mem::take(&mut self.entries) {
            self.leave(&app, &operation);
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn distinct(operation: &Operation) -> Vec<Subject> {
    let mut distinct = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for subject in subjects(operation) {
        if seen.insert(subject.clone()) {
            distinct.push(subject);
        }
    }
    distinct
}

/// What an operation takes; one that gives back takes nothing.
#[derive(Default)]
struct Costs {
    facts: usize,
    by_subject: HashMap<Subject, usize>,
}

impl Costs {
    fn of(operation: &Operation) -> Self {
        let takes = matches!(
            operation,
            Operation::CreateAccounts { .. }
                | Operation::AddFriends { .. }
                | Operation::CreateGroup { .. }
                | Operation::JoinGroup { .. }
        );
        let mut costs = Self::default();
        if !takes {
            return costs;
        }
        // An account stands in the app's count alone.
        let of_users = !matches!(operation, Operation::CreateAccounts { .. });
        for fact in facts(operation) {
            costs.facts += 1;
            for user in fact.users.into_iter().filter(|_| of_users) {
                *costs.by_subject.entry(Subject::User(user.clone())).or_default() += 1;
            }
            if let Some(group) = fact.group {
                *costs.by_subject.entry(Subject::Group(group.clone())).or_default() += 1;
            }
        }
        costs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{GroupId, UserId};

    const BUDGET: Budget = Budget { per_user_max: 2, per_group_max: 3, per_app_max: 5 };

    fn app() -> AppId {
        AppId::try_from("demo").expect("an id")
    }

    fn users(ids: &[&str]) -> Vec<UserId> {
        ids.iter().map(|id| UserId::try_from(*id).expect("an id")).collect()
    }

    fn join(group: &str, ids: &[&str]) -> Operation {
        let group = GroupId::try_from(group).expect("an id");
        Operation::JoinGroup { group, users: users(ids) }
    }

    fn befriend(user: &str, friends: &[&str], one_way: bool) -> Operation {
        let user = users(&[user]).remove(0);
        Operation::AddFriends { user, friends: users(friends), one_way }
    }

    #[test]
    fn each_user_group_and_app_has_its_budget_and_a_whole_operation_fits_or_not() {
        for (taken, more, fits) in [
            (vec![], join("g", &["a", "b", "c"]), true),
            (vec![], join("g", &["a", "b", "c", "d"]), false),
            (vec![join("g", &["a", "b", "c"])], join("g", &["d"]), false),
            (vec![join("g", &["a"]), join("h", &["a"])], join("i", &["a"]), false),
            (vec![join("g", &["a"]), join("h", &["a"])], join("i", &["b"]), true),
            (vec![join("g", &["a", "b", "c"])], befriend("d", &["e", "f"], false), true),
            (vec![join("g", &["a", "b", "c"]), join("h", &["d", "e"])], join("i", &["f"]), false),
            (vec![befriend("a", &["b"], false)], befriend("c", &["b"], false), true),
            (vec![befriend("a", &["b", "c"], false)], befriend("d", &["a"], false), false),
            (vec![befriend("a", &["b", "c"], false)], befriend("d", &["a"], true), true),
        ] {
            let mut pending = Pending::default();
            for operation in &taken {
                assert!(pending.reserve(&BUDGET, &app(), operation), "{operation:?}");
            }
            assert_eq!(pending.reserve(&BUDGET, &app(), &more), fits, "{taken:?}, {more:?}");
        }
    }

    #[test]
    fn what_is_given_back_takes_no_budget_and_still_its_place() {
        let mut pending = Pending::default();
        let left = Operation::LeaveGroup {
            group: GroupId::try_from("g").expect("an id"),
            users: users(&["a", "b", "c", "d"]),
        };
        pending.enter(&app(), &left);
        assert!(pending.holds(&app(), &join("h", &["a"])), "the user's");
        assert!(pending.holds(&app(), &join("g", &["z"])), "the group's");
        assert!(!pending.holds(&app(), &join("h", &["z"])));
        assert!(!pending.holds(&AppId::try_from("other").expect("an id"), &join("g", &["a"])));
        assert!(pending.reserve(&BUDGET, &app(), &join("g", &["a"])));
    }

    #[test]
    fn everything_is_given_back_with_the_entry() {
        let mut pending = Pending::default();
        for round in 0..3 {
            let operation = join("g", &["a", "b", "c"]);
            assert!(pending.reserve(&BUDGET, &app(), &operation), "{round}");
            let entry = Entry {
                app: app(),
                mode: crate::domain::decision::Mode::Enforce,
                at: crate::domain::time::Timestamp::from_millis(1),
                operation,
            };
            pending.insert(round, entry);
            assert!(!pending.is_empty());
            pending.remove(round);
            assert!(pending.is_empty() && pending.apps.is_empty() && pending.subjects.is_empty());
        }
    }
}
