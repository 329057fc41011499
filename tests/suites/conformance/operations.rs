//! Operations by short names.

use imquota::domain::id::UserId;
use imquota::ledger::Operation;

use crate::support::{group, user};

fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().copied().map(user).collect()
}

/// `prefix0` to `prefix(count - 1)`.
pub fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// Names as borrowed text.
pub fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

pub fn accounts(names: &[&str]) -> Operation {
    Operation::CreateAccounts { users: users(names) }
}

pub fn delete(name: &str) -> Operation {
    Operation::DeleteAccount { user: user(name) }
}

pub fn befriend(name: &str, friends: &[&str]) -> Operation {
    Operation::AddFriends { user: user(name), friends: users(friends), one_way: false }
}

pub fn follow(name: &str, friends: &[&str]) -> Operation {
    Operation::AddFriends { user: user(name), friends: users(friends), one_way: true }
}

pub fn unfriend(name: &str, friends: &[&str]) -> Operation {
    Operation::RemoveFriends { user: user(name), friends: users(friends), one_way: false }
}

pub fn unfollow(name: &str, friends: &[&str]) -> Operation {
    Operation::RemoveFriends { user: user(name), friends: users(friends), one_way: true }
}

/// A creation of a group; the owner `""` means none.
pub fn create(id: &str, group_type: &str, owner: &str, members: &[&str]) -> Operation {
    create_capped(id, group_type, owner, members, None)
}

pub fn create_capped(
    id: &str,
    group_type: &str,
    owner: &str,
    members: &[&str],
    max_members: Option<u32>,
) -> Operation {
    Operation::CreateGroup {
        group: group(id),
        group_type: group_type.into(),
        owner: (!owner.is_empty()).then(|| user(owner)),
        members: users(members),
        max_members,
    }
}

pub fn update(id: &str, max_members: Option<u32>) -> Operation {
    Operation::UpdateGroup { group: group(id), max_members }
}

pub fn join(id: &str, names: &[&str]) -> Operation {
    Operation::JoinGroup { group: group(id), users: users(names) }
}

pub fn leave(id: &str, names: &[&str]) -> Operation {
    Operation::LeaveGroup { group: group(id), users: users(names) }
}

pub fn dissolve(id: &str) -> Operation {
    Operation::DissolveGroup { group: group(id) }
}
