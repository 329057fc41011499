//! The order of a stream's operations: one starts once those before it about the same subjects have
//! ended.
//!
//! A user is a subject of one operation at a time, and so are a group that is created, replaced,
//! changed or dissolved, and the id of an operation with a hold: its confirmation or release starts
//! once the takes before it with that id have ended, and those before it that replace a group. What
//! these hold is not in the request, so the end of a hold is not ordered with other operations
//! about the same users and groups. Joins and leaves of several users are about their group at the
//! same time: which of them gets the last place is not determined by their order.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::pb;
use super::pb::apply_request::Operation;
use super::pb::subject::Kind;

/// A user or group of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    key: u64,
    /// True if other operations may be about it at the same time.
    is_shared: bool,
}

/// The subjects of the operations of a stream that have not ended.
#[derive(Default)]
pub struct Order {
    hasher: RandomState,
    subjects: HashMap<u64, Holders>,
    /// For each operation that waits: how many of its subjects it waits for.
    waiting: HashMap<u64, usize>,
}

/// The operations about one subject.
#[derive(Default)]
struct Holders {
    /// The number of operations that hold it: several only if it is shared.
    holding: usize,
    is_shared: bool,
    /// Those that wait for it, in order.
    queue: VecDeque<(u64, bool)>,
}

impl Holders {
    fn admits(&self, is_shared: bool) -> bool {
        self.holding == 0 || (self.is_shared && is_shared)
    }

    fn hold(&mut self, is_shared: bool) {
        self.holding += 1;
        self.is_shared = is_shared;
    }
}

impl Order {
    /// Returns the subjects of a request, each once; two that are hashed alike count as one.
    pub fn subjects(&self, request: &pb::ApplyRequest) -> Vec<Subject> {
        let mut found = Vec::new();
        let Some(operation) = &request.operation else { return found };
        let app = app_of(operation);
        let mut add = |kind: u8, id: &str, is_shared| {
            found.push(Subject { key: self.hasher.hash_one((app, kind, id)), is_shared });
        };
        let mut user = |id: &String| add(b'u', id, false);
        match operation {
            Operation::CreateAccounts(it) => it.user_ids.iter().for_each(user),
            Operation::DeleteAccounts(it) => it.user_ids.iter().for_each(user),
            Operation::AddFriends(it) => it.friend_ids.iter().chain([&it.user_id]).for_each(user),
            Operation::RemoveFriends(it) => {
                it.friend_ids.iter().chain([&it.user_id]).for_each(user);
            }
            Operation::RecordLogins(it) => it.logins.iter().map(|it| &it.user_id).for_each(user),
            Operation::CreateGroup(it) => {
                it.member_ids.iter().chain(&it.owner_id).for_each(&mut user);
                add(b'g', &it.group_id, false);
                if !it.replaces_group_id.is_empty() {
                    add(b'g', &it.replaces_group_id, false);
                    add(b'r', "", false);
                }
            }
            Operation::JoinGroup(it) => {
                it.user_ids.iter().for_each(&mut user);
                add(b'g', &it.group_id, true);
            }
            Operation::LeaveGroup(it) => {
                it.user_ids.iter().for_each(&mut user);
                add(b'g', &it.group_id, true);
            }
            Operation::UpdateGroup(it) => add(b'g', &it.group_id, false),
            Operation::DissolveGroup(it) => add(b'g', &it.group_id, false),
            Operation::ConfirmHold(_) | Operation::ReleaseHold(_) => add(b'r', "", true),
            Operation::GetUsage(it) => match it.subject.as_ref().and_then(|it| it.kind.as_ref()) {
                Some(Kind::UserId(id)) => add(b'u', id, true),
                Some(Kind::GroupId(id)) => add(b'g', id, true),
                Some(Kind::App(_)) | None => {}
            },
        }
        if let Some(id) = operation_id(operation) {
            add(b'o', id, false);
        }
        if found.len() > 2 {
            found.sort_unstable_by_key(|it| (it.key, it.is_shared));
        }
        found.dedup_by_key(|it| it.key);
        found
    }

    /// Adds an operation behind those before it. Returns whether it may start now.
    pub fn enter(&mut self, operation: u64, subjects: &[Subject]) -> bool {
        let mut waits = 0;
        for Subject { key, is_shared } in subjects {
            let holders = self.subjects.entry(*key).or_default();
            if holders.queue.is_empty() && holders.admits(*is_shared) {
                holders.hold(*is_shared);
            } else {
                holders.queue.push_back((operation, *is_shared));
                waits += 1;
            }
        }
        if waits > 0 {
            self.waiting.insert(operation, waits);
        }
        waits == 0
    }

    /// Removes an operation, which has ended or gives up waiting; adds those that may start now to
    /// `ready`.
    pub fn leave(&mut self, operation: u64, subjects: &[Subject], ready: &mut VecDeque<u64>) {
        let is_waiting = self.waiting.remove(&operation).is_some();
        for Subject { key, .. } in subjects {
            let Some(holders) = self.subjects.get_mut(key) else { continue };
            let is_own = |waiting: &(u64, bool)| waiting.0 == operation;
            match is_waiting.then(|| holders.queue.iter().position(is_own)).flatten() {
                Some(at) => drop(holders.queue.remove(at)),
                None => holders.holding -= 1,
            }
            while let Some((next, is_shared)) = holders.queue.front().copied()
                && holders.admits(is_shared)
            {
                holders.queue.pop_front();
                holders.hold(is_shared);
                if let Some(waits) = self.waiting.get_mut(&next) {
                    *waits -= 1;
                    if *waits == 0 {
                        self.waiting.remove(&next);
                        ready.push_back(next);
                    }
                }
            }
            if holders.holding == 0 {
                self.subjects.remove(key);
            }
        }
    }
}

/// Returns the id of an operation with a hold, or of one whose hold is ended.
fn operation_id(operation: &Operation) -> Option<&str> {
    let id = match operation {
        Operation::CreateAccounts(it) => &it.operation_id,
        Operation::AddFriends(it) => &it.operation_id,
        Operation::CreateGroup(it) => &it.operation_id,
        Operation::JoinGroup(it) => &it.operation_id,
        Operation::ConfirmHold(it) => &it.operation_id,
        Operation::ReleaseHold(it) => &it.operation_id,
        _ => return None,
    };
    (!id.is_empty()).then_some(id.as_str())
}

fn app_of(operation: &Operation) -> &str {
    match operation {
        Operation::CreateAccounts(it) => &it.app_id,
        Operation::DeleteAccounts(it) => &it.app_id,
        Operation::AddFriends(it) => &it.app_id,
        Operation::RemoveFriends(it) => &it.app_id,
        Operation::CreateGroup(it) => &it.app_id,
        Operation::UpdateGroup(it) => &it.app_id,
        Operation::JoinGroup(it) => &it.app_id,
        Operation::LeaveGroup(it) => &it.app_id,
        Operation::DissolveGroup(it) => &it.app_id,
        Operation::GetUsage(it) => &it.app_id,
        Operation::RecordLogins(it) => &it.app_id,
        Operation::ConfirmHold(it) => &it.app_id,
        Operation::ReleaseHold(it) => &it.app_id,
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
