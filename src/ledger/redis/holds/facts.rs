//! The facts that a take takes, in the order of the states of its hold, and their names in scripts.

use crate::domain::id::UserId;
use crate::ledger::Operation;
use crate::redis::keys::{Cell, Keys, Part};

/// The result that a fact belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultOf {
    /// That of the operation as a whole.
    Whole,
    /// That of an item.
    Item(usize),
    /// None: the group that is joined.
    Nothing,
}

/// A fact of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldFact {
    /// Its name in scripts: see `scripts/shared/holds.lua`.
    pub name: String,
    /// The result that it belongs to.
    pub result: ResultOf,
}

/// Returns the letter of a take's kind in the names of holds; `None` for other operations.
pub fn letter(operation: &Operation) -> Option<char> {
    match operation {
        Operation::CreateAccounts { .. } => Some('A'),
        Operation::AddFriends { .. } => Some('F'),
        Operation::CreateGroup { .. } => Some('C'),
        Operation::JoinGroup { .. } => Some('J'),
        _ => None,
    }
}

/// Returns the letters of the kinds of takes in a part.
pub fn letters(part: Part) -> &'static [char] {
    match part {
        Part::Accounts => &['A'],
        Part::Friends => &['F'],
        Part::Groups => &['C', 'J'],
    }
}

/// Returns the facts of a take, in the order of the states of its hold.
pub fn facts(keys: &Keys, operation: &Operation) -> Vec<HoldFact> {
    let user = |user: &UserId| element(keys.user(user));
    let item = |(index, name): (usize, String)| HoldFact { name, result: ResultOf::Item(index) };
    let members = |group: &str, users: &[UserId]| -> Vec<HoldFact> {
        let names = users.iter().map(|member| format!("m{group} {}", user(member)));
        names.enumerate().map(item).collect()
    };
    match operation {
        Operation::CreateAccounts { users } => {
            users.iter().map(user).enumerate().map(item).collect()
        }
        Operation::AddFriends { user: me, friends, .. } => {
            let sides = |(index, friend): (usize, &UserId)| {
                let (me, friend) = (user(me), user(friend));
                [format!("{me} {friend}"), format!("{friend} {me}")].map(|name| item((index, name)))
            };
            friends.iter().enumerate().flat_map(sides).collect()
        }
        Operation::CreateGroup { group, owner, members: users, .. } => {
            let group = element(keys.group(group));
            let whole = |name| HoldFact { name, result: ResultOf::Whole };
            let owner = owner.iter().map(|owner| whole(format!("m{group} {}", user(owner))));
            let mut facts = vec![whole(format!("z{group}"))];
            facts.extend(owner);
            facts.extend(members(&group, users));
            facts
        }
        Operation::JoinGroup { group, users } => {
            let group = element(keys.group(group));
            let mut facts = vec![HoldFact { name: format!("z{group}"), result: ResultOf::Nothing }];
            facts.extend(members(&group, users));
            facts
        }
        _ => Vec::new(),
    }
}

/// Returns the keys that the removal of a fact needs; `None` if its name is malformed.
pub fn keys_of(keys: &Keys, part: Part, name: &str) -> Option<Vec<Vec<u8>>> {
    let cell = |word: &str| Cell::from_element(word.as_bytes());
    match part {
        Part::Accounts => Some(vec![keys.account_bucket(cell(name)?)]),
        Part::Friends => {
            let (user, friend) = name.split_once(' ')?;
            Some([cell(user)?, cell(friend)?].into_iter().flat_map(|it| keys.lists(it)).collect())
        }
        Part::Groups => {
            let (group, user) = match name.strip_prefix('m') {
                Some(member) => member.split_once(' ')?,
                // A group has no user: its own cell stands for one.
                None => (name.strip_prefix('z')?, name.strip_prefix('z')?),
            };
            let (group, user) = (cell(group)?, cell(user)?);
            Some(keys.of_group(group).into_iter().chain(keys.memberships(user)).collect())
        }
    }
}

fn element(cell: Cell) -> String {
    cell.fingerprint().cast_signed().to_string()
}
