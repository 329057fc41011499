//! Takes in steps: the users of an operation in chunks of [`SUBJECTS_MAX`], each the call of a
//! script, and what the steps so far have taken.

use std::collections::HashSet;
use std::ops::Range;

use redis::Value;

use super::reply::Decided;
use super::takes::{SUBJECTS_MAX, malformed_reply, subjects_max};
use super::verdict::{ReplyContext, empty, extend, limits, warnings};
use super::work::OperationRun;
use crate::domain::decision::{ItemResult, Mode, Outcome, Violation};
use crate::domain::id::UserId;
use crate::ledger::{Answer, Call, LedgerError};
use crate::redis::keys::{Cell, Keys};
use crate::redis::reply::integer;

/// The state of a dry run: what the batch would have taken so far, since nothing is written.
#[derive(Default)]
pub struct DryRun<'a> {
    /// True if nothing is written.
    pub on: bool,
    /// True if members are not tracked, so that a second take of one user is no idempotent retry.
    pub untracked: bool,
    held: HashSet<&'a UserId>,
    /// The number of facts taken.
    pub taken: usize,
}

impl<'a> DryRun<'a> {
    pub fn new(mode: Mode) -> Self {
        Self { on: mode == Mode::CheckOnly, ..Self::default() }
    }

    /// Returns the users without a result from an earlier step.
    pub fn unknown(&self, users: &[&'a UserId]) -> Vec<&'a UserId> {
        users.iter().copied().filter(|user| !self.held.contains(user)).collect()
    }

    /// Records what a step would have taken.
    pub fn remember(&mut self, users: &[&'a UserId], results: &[ItemResult<Violation>]) {
        if !self.on || self.untracked {
            return;
        }
        for (user, result) in users.iter().zip(results) {
            if !result.refused() && self.held.insert(user) {
                self.taken += usize::from(result.outcome == Outcome::Applied);
            }
        }
    }

    /// Replaces the number taken by that of a script, where not every applied item takes one.
    pub fn correct(&mut self, taken: Option<&Value>) {
        if let Some(taken) = taken.and_then(integer).and_then(|taken| usize::try_from(taken).ok()) {
            self.taken = taken;
        }
    }

    /// Records a step, and inserts the results of earlier steps at their positions.
    pub fn merge(
        &mut self,
        users: &[&'a UserId],
        results: Vec<ItemResult<Violation>>,
    ) -> Vec<ItemResult<Violation>> {
        let mut results = results.into_iter();
        let mut next = |user: &&'a UserId| {
            if self.held.contains(user) {
                return ItemResult::of(Outcome::AlreadyHeld);
            }
            results.next().unwrap_or_else(|| ItemResult::of(Outcome::Denied))
        };
        let merged: Vec<ItemResult<Violation>> = users.iter().map(&mut next).collect();
        self.remember(users, &merged);
        merged
    }
}

impl Keys {
    /// Returns the keys of a user's friends, and of those who have the user in their lists.
    pub fn lists(&self, user: Cell) -> [Vec<u8>; 2] {
        [self.friends(user), self.fans(user)]
    }

    /// Returns the keys of a user's groups: those that count for the user, and the others.
    pub fn memberships(&self, user: Cell) -> [Vec<u8>; 2] {
        [self.counted_groups(user), self.other_groups(user)]
    }

    /// Returns the keys of a group's record and members.
    pub fn of_group(&self, group: Cell) -> [Vec<u8>; 2] {
        [self.group_record(group), self.members(group)]
    }
}

/// The users of a take in chunks, with the results of the steps so far.
pub struct Chunked<'a> {
    /// The results so far.
    pub answer: Answer,
    /// The facts that the steps so far would have taken.
    pub dry_run: DryRun<'a>,
    users: Vec<&'a UserId>,
    /// The most users of a step.
    step_max: usize,
    /// The users of the step that was returned last.
    current: Range<usize>,
}

/// Begins a take of these users.
pub fn chunked<'a>(call: &Call, users: &'a [UserId]) -> Chunked<'a> {
    let chunked = Chunked::after(empty(), DryRun::new(call.mode), users);
    Chunked { step_max: subjects_max(call), ..chunked }
}

impl<'a> Chunked<'a> {
    /// Continues a take after its first step.
    pub fn after(answer: Answer, dry_run: DryRun<'a>, users: &'a [UserId]) -> Self {
        let users = users.iter().collect();
        Self { answer, dry_run, users, step_max: SUBJECTS_MAX, current: 0..0 }
    }

    /// Returns the users of the next step; `None` if there are no more. A dry run skips those who
    /// have a result already.
    pub fn next_step(&mut self) -> Option<Vec<&'a UserId>> {
        loop {
            let start = self.current.end;
            self.current = start..self.users.len().min(start + self.step_max);
            if self.current.is_empty() {
                return None;
            }
            let users = &self.users[self.current.clone()];
            let unknown = self.dry_run.unknown(users);
            if !unknown.is_empty() {
                return Some(unknown);
            }
            self.answer.items.extend(self.dry_run.merge(users, Vec::new()));
        }
    }

    /// Adds the item results of that step.
    pub fn add(
        &mut self,
        work: &OperationRun<'_>,
        context: &ReplyContext<'_>,
        decided: &Decided,
    ) -> Result<(), LedgerError> {
        let limits = limits(work.call, decided)?;
        let users = &self.users[self.current.clone()];
        let unknown = self.dry_run.unknown(users);
        let items = context.results(&decided.said, &unknown, limits.as_ref());
        let group = context.group.as_ref().map(|group| group.id);
        let named: Vec<&UserId> = unknown.iter().copied().chain(context.actor).collect();
        self.answer.warnings.extend(warnings(work.keys(), decided, &named, group));
        let items = self.dry_run.merge(users, items.ok_or_else(malformed_reply)?);
        extend(&mut self.answer, decided, limits, items);
        Ok(())
    }
}
