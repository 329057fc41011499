//! What an operation is about, and what may become of it without the store.

use crate::domain::catalog::Catalog;
use crate::domain::decision::{Mode, Subject};
use crate::domain::id::{AppId, GroupId, Name, UserId};
use crate::domain::limit::{Limit, LimitId};
use crate::domain::policy::{Stance, Stances};
use crate::ledger::Operation;

/// What may become of an operation without the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// It gives back, which is always accepted.
    Release,
    /// It takes, and every limit that it takes from is open.
    Take,
    /// No decision is made.
    Closed,
}

impl Plan {
    /// What the catalog says of an operation of that app.
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
        // What only asks is asked of the store alone.
        let open = mode.writes() && needed.iter().all(|stance| *stance == Stance::Open);
        if open { Self::Take } else { Self::Closed }
    }
}

fn joining(stances: Stances) -> [Stance; 2] {
    [stances.groups_per_user, stances.members_per_group]
}

/// Whether the number of groups of a type has a limit, by its own rule or by what is sold.
fn limited(catalog: &Catalog, name: &Name) -> bool {
    let of_type = |id: &LimitId| matches!(id, LimitId::GroupsPerApp(of) if of == name);
    let by_edition = catalog.editions.iter().flat_map(|edition| &edition.limits).map(|(id, _)| id);
    let mut sold = by_edition.chain(catalog.add_ons.iter().map(|add_on| &add_on.limit_id));
    let kind = catalog.group_type(name.as_str());
    kind.is_none_or(|kind| kind.per_app != Limit::Unlimited) || sold.any(of_type)
}

/// A fact that an operation takes or gives back, as the counts that it stands in.
pub(super) struct Fact<'a> {
    /// Whose counts grow.
    pub(super) users: Vec<&'a UserId>,
    /// Whose members grow.
    pub(super) group: Option<&'a GroupId>,
}

/// The facts that an operation is about, as far as it names them.
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

/// Everybody whom an operation is about, some of them more than once.
pub fn subjects(operation: &Operation) -> Vec<Subject> {
    let of_fact = |fact: Fact<'_>| {
        let users = fact.users.into_iter().cloned().map(Subject::User);
        users.chain(fact.group.cloned().map(Subject::Group)).collect::<Vec<_>>()
    };
    let mut subjects: Vec<Subject> = facts(operation).into_iter().flat_map(of_fact).collect();
    // A list that grows one way only is still that of one fact about two users.
    if let Operation::AddFriends { friends, one_way: true, .. }
    | Operation::RemoveFriends { friends, one_way: true, .. } = operation
    {
        subjects.extend(friends.iter().cloned().map(Subject::User));
    }
    subjects
}
