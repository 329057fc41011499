//! An operation in steps.
//!
//! Up to [`SUBJECTS_MAX`] users or groups are one step under the app's lock. A larger operation is
//! several, each exact by itself, so that no other call of the app waits long; a dry run carries
//! over what the steps before would have taken. A whole batch is one step.
//!
//! The first step of a dissolution removes the group, so that no user can join it any more, and
//! later ones release the members that are left. A creation of the same id releases them first.

use std::vec::IntoIter;

use super::Shared;
use super::app::MemoryRows;
use crate::domain::clock_guard::ClockReading;
use crate::domain::decision::{ItemResult, Mode, Outcome};
use crate::domain::id::{AppId, UserId};
use crate::domain::time::Timestamp;
use crate::ledger::in_process::holds::{SWEPT_MAX, drop_due};
use crate::ledger::in_process::step::{Part, StepError, apply};
use crate::ledger::{Answer, Call, LedgerError, Operation};
use crate::store::fingerprint::{AppKey, GroupKey};

/// The most users or groups of one step: less than a millisecond under the app's lock.
pub const SUBJECTS_MAX: usize = 256;

/// An operation, and what its steps so far have done.
pub struct Steps {
    call: Call,
    app: AppKey,
    /// The operation on the users of the next step.
    operation: Operation,
    /// The users of later steps.
    rest: IntoIter<UserId>,
    part: Part,
    /// The group, and its number after the last step.
    group: Option<(GroupKey, Option<u64>)>,
    answer: Option<Answer>,
}

/// The outcome of one step.
enum Done {
    Decided(Answer),
    /// The group was dissolved since the last step, and perhaps created again.
    Replaced,
    /// The step has released members of an earlier group with the same id, or facts whose holds
    /// have expired, and nothing else.
    Prepared,
}

impl Steps {
    /// Begins an operation.
    pub fn of(shared: &Shared, call: Call, mut operation: Operation) -> Self {
        let is_one_step = operation.kind().takes() && call.take.is_one_step();
        let rest = match operation.items_mut() {
            Some(_) if is_one_step => Vec::new(),
            Some(users) if users.len() > SUBJECTS_MAX => users.split_off(SUBJECTS_MAX),
            _ => Vec::new(),
        };
        let app = shared.ids().app(&call.app);
        let group = operation.group().map(|group| (shared.ids().group(group), None));
        let (rest, part) = (rest.into_iter(), Part::releasing(SUBJECTS_MAX));
        Self { call, app, operation, rest, part, group, answer: None }
    }

    /// Returns the app.
    pub fn app_id(&self) -> &AppId {
        &self.call.app
    }

    /// Returns the answer, once there are no more steps; and that of the steps so far after an
    /// error.
    pub fn into_answer(self) -> Option<Answer> {
        self.answer
    }

    /// Does the next step; returns whether there are more.
    pub fn next(&mut self, shared: &Shared, reading: ClockReading) -> Result<bool, LedgerError> {
        let keeps_figures = reading.closing().is_err();
        let done =
            shared.apps.step(self.app, keeps_figures, |rows| self.step(shared, rows, reading))?;
        match done? {
            Done::Decided(answer) => Ok(self.add(answer)),
            Done::Replaced => self.end_of_replaced().map(|()| false),
            Done::Prepared => Ok(true),
        }
    }

    fn step(
        &mut self,
        shared: &Shared,
        rows: &mut MemoryRows<'_>,
        reading: ClockReading,
    ) -> Result<Done, LedgerError> {
        let reading = rows.in_order(reading);
        let is_first = self.answer.is_none();
        let is_dry_run = self.operation.kind().takes() && self.call.mode == Mode::CheckOnly;
        if let Some((group, number)) = self.group.filter(|_| !is_first && !is_dry_run)
            && rows.group_number(group) != number
        {
            return Ok(Done::Replaced);
        }
        if let (Operation::CreateGroup { .. }, Some((group, _))) = (&self.operation, self.group)
            && is_first
            && rows.release_left_members(group, SUBJECTS_MAX).map_err(StepError::from)?
        {
            return Ok(Done::Prepared);
        }
        if is_first && reading.now <= self.call.deadline {
            let dropped =
                drop_due(rows, &self.call, reading, SWEPT_MAX).map_err(StepError::from)?;
            if dropped == SWEPT_MAX {
                return Ok(Done::Prepared);
            }
        }
        let (operation, part) = (&self.operation, &mut self.part);
        let applied = apply(rows, shared.ids(), &self.call, reading, (operation, part));
        if let Some((group, number)) = &mut self.group {
            *number = rows.group_number(*group);
        }
        Ok(Done::Decided(applied?))
    }

    /// Adds the results of a step; returns whether there are more.
    fn add(&mut self, step: Answer) -> bool {
        let Some(answer) = &mut self.answer else {
            return self.begin(step);
        };
        answer.decided_at = step.decided_at;
        answer.items.extend(step.items);
        answer.members_released += step.members_released;
        answer.group_reclaimed |= step.group_reclaimed;
        answer.limits = step.limits.or(answer.limits.take());
        for warning in step.warnings {
            // Of one count, the step that raised it last has crossed the highest threshold.
            answer.warnings.retain(|earlier| {
                earlier.limit_id != warning.limit_id || earlier.subject != warning.subject
            });
            answer.warnings.push(warning);
        }
        self.prepare()
    }

    /// Adds the results of the first step; returns whether there are more.
    fn begin(&mut self, mut answer: Answer) -> bool {
        if answer.whole.as_ref().is_some_and(ItemResult::denied) {
            let rest = std::mem::take(&mut self.rest);
            answer.items.extend(rest.map(|_| ItemResult::of(Outcome::Denied)));
        }
        self.answer = Some(answer);
        // An operation that has begun is finished.
        self.call.deadline = Timestamp::MAX;
        self.prepare()
    }

    /// Prepares the next step; returns whether there is one.
    fn prepare(&mut self) -> bool {
        if self.rest.len() == 0 {
            return self.part.is_unfinished;
        }
        if let Operation::CreateGroup { owner, .. } = &mut self.operation {
            // The first step has made them a member.
            *owner = None;
        }
        if let Some(users) = self.operation.items_mut() {
            users.clear();
            users.extend(self.rest.by_ref().take(SUBJECTS_MAX));
        }
        true
    }

    /// Ends an operation on a group that was dissolved meanwhile: it leaves a new group alone.
    fn end_of_replaced(&mut self) -> Result<(), LedgerError> {
        let Some(answer) = &mut self.answer else { return Ok(()) };
        match &self.operation {
            // The creation of the later group has released what was left.
            Operation::DissolveGroup { .. } => Ok(()),
            Operation::LeaveGroup { users, .. } => {
                let left = users.len() + self.rest.len();
                let not_held = || ItemResult::of(Outcome::NotHeld);
                answer.items.extend(std::iter::repeat_with(not_held).take(left));
                Ok(())
            }
            operation => match operation.group() {
                Some(group) => Err(LedgerError::GroupReplaced(group.clone())),
                None => Ok(()),
            },
        }
    }
}
