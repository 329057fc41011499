//! The subjects of an operation, and its treatment without the store.

use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Subject};
use crate::domain::failure_policy::{FailMode, FailModes};
use crate::domain::id::{AppId, GroupId, Name, UserId};
use crate::domain::limit::{Limit, LimitId};
use crate::ledger::Operation;

/// Treatment of an operation without the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureAction {
    /// It releases, which is always accepted.
    Release,
    /// It takes, and every limit that it takes from fails open.
    Take,
    /// It fails: no decision is made.
    Closed,
}

impl FailureAction {
    /// Returns the treatment that the catalog sets for an operation of an app.
    pub(super) fn of(catalog: &Catalog, app: &AppId, mode: Mode, operation: &Operation) -> Self {
        let stances = *catalog.failure.of(app);
        let needed = match operation {
            Operation::DeleteAccount { .. }
            | Operation::RemoveFriends { .. }
            | Operation::LeaveGroup { .. }
            | Operation::DissolveGroup { .. } => return Self::Release,
            Operation::UpdateGroup { .. } => return Self::Closed,
            Operation::CreateAccounts { .. } => vec![stances.accounts_per_app],
            Operation::AddFriends { .. } => vec![stances.friends_per_user],
            Operation::JoinGroup { .. } => joining(stances).to_vec(),
            Operation::CreateGroup { group_type, owner, members, .. } => {
                let mut needed = vec![stances.groups_per_day];
                if limited(catalog, group_type) {
                    needed.push(stances.groups_per_app);
                }
                if owner.is_some() || !members.is_empty() {
                    needed.extend(joining(stances));
                }
                needed
            }
        };
        // A dry run is decided by the store only.
        let open = mode.writes() && needed.iter().all(|stance| *stance == FailMode::Open);
        if open { Self::Take } else { Self::Closed }
    }
}

fn joining(stances: FailModes) -> [FailMode; 2] {
    [stances.groups_per_user, stances.members_per_group]
}

/// Returns whether the number of groups of a type has a limit, by its own rule or by editions and
/// add-ons.
fn limited(catalog: &Catalog, name: &Name) -> bool {
    let of_type = |id: &LimitId| matches!(id, LimitId::GroupsPerApp(of) if of == name);
    let by_edition = catalog.editions.iter().flat_map(|edition| &edition.limits).map(|(id, _)| id);
    let mut sold = by_edition.chain(catalog.add_ons.iter().map(|add_on| &add_on.limit_id));
    let kind = catalog.group_type(name.as_str());
    kind.is_none_or(|kind| kind.per_app != Limit::Unlimited) || sold.any(of_type)
}

/// A fact that an operation takes or releases, by the counts that contain it.
pub(super) struct Fact<'a> {
    /// The users whose counts change.
    pub(super) users: Vec<&'a UserId>,
    /// The group whose number of members changes.
    pub(super) group: Option<&'a GroupId>,
}

/// Returns the facts that an operation names.
pub(super) fn facts(operation: &Operation) -> Vec<Fact<'_>> {
    let user = |user| Fact { users: vec![user], group: None };
    match operation {
        Operation::CreateAccounts { users } => users.iter().map(user).collect(),
        Operation::DeleteAccount { user: of } => vec![user(of)],
        Operation::AddFriends { user: of, friends, one_way }
        | Operation::RemoveFriends { user: of, friends, one_way } => {
            let both = |friend| Fact { users: vec![of, friend], group: None };
            friends.iter().map(|friend| if *one_way { user(of) } else { both(friend) }).collect()
        }
        Operation::CreateGroup { group, owner, members, .. } => {
            let member = |user| Fact { users: vec![user], group: Some(group) };
            let itself = Fact { users: Vec::new(), group: Some(group) };
            std::iter::once(itself).chain(owner.iter().chain(members).map(member)).collect()
        }
        Operation::JoinGroup { group, users } | Operation::LeaveGroup { group, users } => {
            users.iter().map(|user| Fact { users: vec![user], group: Some(group) }).collect()
        }
        Operation::UpdateGroup { group, .. } | Operation::DissolveGroup { group } => {
            vec![Fact { users: Vec::new(), group: Some(group) }]
        }
    }
}

/// Returns every user and group that an operation names, some of them more than once.
pub fn subjects(operation: &Operation) -> Vec<Subject> {
    let of_fact = |fact: Fact<'_>| {
        let users = fact.users.into_iter().cloned().map(Subject::User);
        users.chain(fact.group.cloned().map(Subject::Group)).collect::<Vec<_>>()
    };
    let mut subjects: Vec<Subject> = facts(operation).into_iter().flat_map(of_fact).collect();
    // A one-way friendship changes only one list, but is still a fact about two users.
    if let Operation::AddFriends { friends, one_way: true, .. }
    | Operation::RemoveFriends { friends, one_way: true, .. } = operation
    {
        subjects.extend(friends.iter().cloned().map(Subject::User));
    }
    subjects
}
