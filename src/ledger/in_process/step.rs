//! One operation on the rows of its app: deadline, limits, decision, writes.

use std::sync::Arc;

use redb::StorageError;

use super::facts::{Changes, Facts};
use super::rows::{GroupRow, Rows};
use super::tracking::ChangedFact;
use super::{accounts, friends, groups, holds, members, thresholds, tracking, unknown_apps};
use crate::domain::calendar::Day;
use crate::domain::clock_guard::ClockReading;
use crate::domain::decision::{ItemResult, Outcome, Reason, Subject, Violation, abort_if_denied};
use crate::domain::group_type::GroupType;
use crate::domain::id::{GroupId, Name};
use crate::domain::limits::Part as AppPart;
use crate::domain::month::Month;
use crate::domain::schedule::{Limits, Schedule};
use crate::domain::time::Timestamp;
use crate::domain::usage::Counts;
use crate::ledger::{Answer, Call, LedgerError, Operation, OperationKind, Reading, abort_repeats};
use crate::store::StoreError;
use crate::store::fingerprint::Fingerprints;

/// The reason why an operation was not done: the store failed, or no decision can be made.
#[derive(Debug)]
pub enum StepError {
    /// Fails the whole transaction.
    Storage(StorageError),
    /// Fails this operation, which has written nothing.
    Ledger(LedgerError),
}

impl From<StorageError> for StepError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<LedgerError> for StepError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Ledger(error.into())
    }
}

/// Separates errors that fail the transaction from results of the operation.
pub fn answer<T>(result: Result<T, StepError>) -> Result<Result<T, LedgerError>, StorageError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(StepError::Ledger(error)) => Ok(Err(error)),
        Err(StepError::Storage(error)) => Err(error),
    }
}

/// The context in which an operation decides.
pub struct Step<'u, R> {
    /// The facts of the app.
    pub facts: Facts<'u, R>,
    /// Makes fingerprints.
    pub ids: &'u Fingerprints,
    /// The limits of this instant.
    pub limits: &'u Limits,
    /// Group types and daily limits, and the mode.
    pub call: &'u Call,
    /// The day of this instant.
    pub today: Day,
    /// The kind of the operation.
    pub kind: OperationKind,
    /// The highest number of facts that a dissolution or a deletion releases.
    pub releases_max: usize,
}

/// The part of an operation that is done in one step.
#[derive(Debug)]
pub struct Part {
    /// The highest number of facts that a dissolution or a deletion releases.
    pub releases_max: usize,
    /// True if it left facts to be released by a further step.
    pub is_unfinished: bool,
    /// The changes that a dry run would have made so far.
    pub assumed: Changes,
}

impl Part {
    /// The whole operation.
    pub fn whole() -> Self {
        Self::releasing(usize::MAX)
    }

    /// A part that releases at most that many facts.
    pub fn releasing(releases_max: usize) -> Self {
        Self { releases_max, is_unfinished: false, assumed: Changes::default() }
    }
}

/// The results of an operation.
#[derive(Debug, Default)]
pub struct Results {
    /// The result for the operation as a whole.
    pub whole: Option<ItemResult<Violation>>,
    /// The result for each user.
    pub items: Vec<ItemResult<Violation>>,
    /// The number of members that a dissolution released.
    pub members_released: u64,
    /// True if the group was removed.
    pub group_reclaimed: bool,
    /// True if there are more facts to be released than the step may release.
    pub is_unfinished: bool,
    /// True if the owner of a group that existed became a member.
    pub adds_owner: bool,
}

impl Results {
    /// Aborts a whole batch if any of it is denied; returns whether it is aborted.
    fn abort_if_denied(&mut self, operation: &Operation) -> bool {
        let is_aborted = abort_if_denied(self.whole.iter_mut().chain(&mut self.items));
        if let Some(whole) = self.whole.as_mut().filter(|_| is_aborted && self.adds_owner) {
            whole.outcome = Outcome::Aborted;
        }
        abort_repeats(operation, self.whole.as_ref(), &mut self.items);
        is_aborted
    }
}

impl<R: Rows> Step<'_, R> {
    /// Returns the result of taking a fact that is not held; `violations` are the violations.
    pub fn judge(&self, violations: Vec<Violation>) -> ItemResult<Violation> {
        if self.limits.stopped() {
            return ItemResult::on_taking(
                self.call.mode,
                vec![Violation::of_stopped_service(&self.limits.edition)],
            );
        }
        ItemResult::on_taking(self.call.mode, violations)
    }

    /// Returns the rules of a group's type.
    pub fn group_type(&self, group: &GroupId, group_type: &Name) -> Result<GroupType, LedgerError> {
        let known = self.call.catalog.group_type(group_type.as_str());
        known.cloned().ok_or_else(|| LedgerError::GroupTypeUnknown {
            group: group.clone(),
            group_type: group_type.clone(),
        })
    }

    /// Returns the group, which must exist.
    pub fn existing(&self, group: &GroupId) -> Result<GroupRow, StepError> {
        let row = self.facts.group(self.ids.group(group))?;
        Ok(row.ok_or_else(|| LedgerError::GroupNotFound(group.clone()))?)
    }
}

/// Decides an operation and writes the admitted changes.
pub fn apply(
    rows: &mut impl Rows,
    ids: &Fingerprints,
    call: &Call,
    reading: ClockReading,
    (operation, part): (&Operation, &mut Part),
) -> Result<Answer, StepError> {
    let now = reading.now;
    let takes = operation.kind().takes();
    if takes {
        unknown_apps::count_app(rows, call, now)?;
    }
    let schedule = begin(rows, call, now)?;
    let limits = schedule.at(now);
    holds::drop_due(rows, call, reading, usize::MAX)?;
    let tracking = tracking::current(rows, now)?;
    let today = day_of(rows, call, operation, now)?;
    let mut facts = Facts::with(rows, std::mem::take(&mut part.assumed));
    holds::begin(&mut facts, ids, call, operation, (reading, today))?;
    let (kind, releases_max) = (operation.kind(), part.releases_max);
    let mut step = Step { facts, ids, limits, call, today, kind, releases_max };
    let mut results = decide(&mut step, operation)?;
    part.is_unfinished = results.is_unfinished;
    if takes && call.mode.denies() {
        check_time_is_certain(reading, &schedule, &results)?;
    }
    let is_aborted = takes && call.aborts() && results.abort_if_denied(operation);
    if is_aborted {
        step.facts.discard();
    }
    holds::finish(&mut step.facts, call)?;
    let most = call.catalog.unknown_apps.facts_per_app_max;
    let is_bounded = takes && call.is_bounded();
    if let Some(bound) = step.facts.count_facts(is_bounded.then_some(most))? {
        return Err(LedgerError::UnknownAppsFull { app: call.app.clone(), bound, most }.into());
    }
    let mut warnings = Vec::new();
    // The mode applies only to operations that take.
    if !is_aborted && (!takes || call.mode.writes()) {
        let mut traces = match tracking {
            Some(_) if tracks(&step, operation)? => {
                tracking::traces(ids, operation, &results, step.facts.removed_groups())
            }
            _ => Vec::new(),
        };
        // A group that became permanent with a member.
        traces.extend(step.facts.settled().map(ChangedFact::Of));
        warnings = thresholds::warnings(&mut step, operation)?;
        thresholds::clear_groups(&mut step.facts)?;
        if let Operation::DeleteAccount { user } = operation {
            thresholds::clear_user(&mut step, user)?;
        }
        step.facts.write()?;
        if let Some(tracking) = tracking {
            tracking::record(rows, tracking, traces)?;
        }
    } else {
        part.assumed = step.facts.into_changes();
    }
    let breached = |result: &ItemResult<Violation>| !result.violations.is_empty();
    let any_breach = results.whole.iter().chain(&results.items).any(breached);
    Ok(Answer {
        decided_at: now,
        whole: results.whole,
        items: results.items,
        members_released: results.members_released,
        group_reclaimed: results.group_reclaimed,
        limits: any_breach.then(|| limits.clone()),
        warnings,
    })
}

/// Returns the day of an operation: if it may count a group, one whose figures are not closed.
fn day_of(
    rows: &impl Rows,
    call: &Call,
    operation: &Operation,
    now: Timestamp,
) -> Result<Day, StorageError> {
    match operation.kind().part() {
        Some(AppPart::Accounts | AppPart::Friends) => Ok(call.catalog.zone.day_of(now)),
        _ => holds::open_day(rows, call, now),
    }
}

/// Returns the first day whose figures are not closed.
pub fn first_day_not_closed(rows: &impl Rows) -> Result<Day, StorageError> {
    let closed = rows.closed()?.map(Day::number);
    Ok(Day::from_number(closed.map_or(i32::MIN, |closed| closed.saturating_add(1))))
}

fn decide(step: &mut Step<'_, impl Rows>, operation: &Operation) -> Result<Results, StepError> {
    match operation {
        Operation::CreateAccounts { users } => accounts::create(step, users),
        Operation::DeleteAccount { user } => accounts::delete(step, user),
        Operation::AddFriends { user, friends, one_way } => {
            friends::add(step, user, friends, *one_way)
        }
        Operation::RemoveFriends { user, friends, one_way } => {
            friends::remove(step, user, friends, *one_way)
        }
        Operation::CreateGroup { group, group_type, owner, members, max_members } => {
            let new = groups::New {
                id: group,
                group_type,
                owner: owner.as_ref(),
                members,
                max_members: *max_members,
            };
            groups::create(step, &new)
        }
        Operation::UpdateGroup { group, max_members } => groups::update(step, group, *max_members),
        Operation::DissolveGroup { group } => groups::dissolve(step, group),
        Operation::JoinGroup { group, users } => members::join(step, group, users),
        Operation::LeaveGroup { group, users } => members::leave(step, group, users),
    }
}

/// Refuses takes whose result depends on the time while that is uncertain: those denied by a
/// stopped service, and those admitted by limits that do not apply at the machine's time of day.
fn check_time_is_certain(
    reading: ClockReading,
    schedule: &Schedule,
    results: &Results,
) -> Result<(), LedgerError> {
    let Some(other) = reading.other() else { return Ok(()) };
    let differ = schedule.at(reading.now) != schedule.at(other);
    let is_uncertain = |result: &ItemResult<Violation>| match result.outcome {
        Outcome::Applied | Outcome::Aborted => differ,
        Outcome::Denied => result.violations.iter().any(|it| it.reason == Reason::ServiceStopped),
        Outcome::Repeated | Outcome::AlreadyHeld | Outcome::NotHeld => false,
    };
    let any_uncertain = results.whole.iter().chain(&results.items).any(is_uncertain);
    if any_uncertain { Ok(reading.metering()?) } else { Ok(()) }
}

/// Returns whether the operation changes facts: untracked members are not facts.
fn tracks(step: &Step<'_, impl Rows>, operation: &Operation) -> Result<bool, StepError> {
    let (Operation::JoinGroup { group, .. } | Operation::LeaveGroup { group, .. }) = operation
    else {
        return Ok(true);
    };
    let row = step.facts.group(step.ids.group(group))?;
    let kind = row.and_then(|row| step.call.catalog.group_type(row.group_type.as_str()));
    Ok(kind.is_none_or(|kind| kind.members_tracked))
}

/// Returns the counts of a subject.
pub fn read(
    rows: &mut impl Rows,
    ids: &Fingerprints,
    call: &Call,
    reading: ClockReading,
    subject: &Subject,
) -> Result<Reading, StepError> {
    let now = reading.now;
    let schedule = begin(rows, call, now)?;
    let facts = holds::view(rows, call, reading)?;
    let counts = match subject {
        Subject::App => app_counts(&facts, call, now)?,
        Subject::User(user) => {
            let row = facts.user(ids.user(user))?;
            Counts::User { friends: row.friends, groups: row.groups }
        }
        Subject::Group(group) => {
            let row = facts.group(ids.group(group))?;
            let row = row.ok_or_else(|| LedgerError::GroupNotFound(group.clone()))?;
            Counts::Group {
                group: group.clone(),
                group_type: row.group_type,
                members: row.members,
                max_members: row.max_members,
            }
        }
    };
    let today = call.catalog.zone.day_of(now);
    let held = holds::held_counts(&facts, ids, (subject, today), &counts)?;
    Ok(Reading { read_at: now, counts, held, schedule })
}

fn app_counts(
    facts: &Facts<'_, impl Rows>,
    call: &Call,
    now: Timestamp,
) -> Result<Counts, StorageError> {
    let today = call.catalog.zone.day_of(now);
    let mut groups = Vec::new();
    let mut net_new_today = Vec::new();
    for kind in &call.catalog.group_types {
        groups.push((kind.name.clone(), facts.groups_of_type(&kind.name)?));
        net_new_today.push((kind.name.clone(), facts.net_new(today, &kind.name)?));
    }
    let month = Month::of(today).first_day();
    Ok(Counts::App {
        accounts: facts.accounts()?,
        groups,
        net_new_today,
        net_new_today_of_all_types: facts.net_new_of_all_types(today)?,
        active_today: facts.logins_on(today)?,
        active_this_month: facts.month_users(month)?,
    })
}

/// Checks the deadline and returns the limits of the app.
pub fn begin(
    rows: &mut impl Rows,
    call: &Call,
    now: Timestamp,
) -> Result<Arc<Schedule>, StepError> {
    if now > call.deadline {
        return Err(StoreError::DeadlinePassed.into());
    }
    match rows.schedule()? {
        Some(Ok(schedule)) => Ok(schedule),
        Some(Err(reason)) => {
            let reason = format!("limits of app \"{}\": {reason}", call.app);
            Err(StoreError::Unavailable(reason).into())
        }
        None => {
            Ok(call.unknown_app.clone().ok_or_else(|| LedgerError::UnknownApp(call.app.clone()))?)
        }
    }
}

/// Sets the limits of an app, unless it has these or later ones.
pub fn put_schedule(
    rows: &mut impl Rows,
    revision: u64,
    schedule: &Arc<Schedule>,
) -> Result<(), StorageError> {
    let is_current = match rows.schedule_revision()? {
        Some(stored) if stored == revision => rows.has_schedule(schedule)?,
        Some(stored) => stored > revision,
        None => false,
    };
    if !is_current {
        rows.put_schedule(revision, schedule)?;
        rows.uncount_unknown()?;
    }
    Ok(())
}
