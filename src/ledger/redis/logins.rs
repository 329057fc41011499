//! Logins in Redis, and users by month.
//!
//! Cells that are without months when an app begins to count users by month get them bucket by
//! bucket (`scripts/count_months.lua`): some after each call that records logins, and the rest
//! before figures are read.

use std::collections::HashMap;

use redis::Value;

use super::limits::number;
use super::metering::{bounds, by_day, instant, outcomes};
use super::reply::{Decided, Reply, ViolationNote};
use super::takes::SUBJECTS_MAX;
use super::usage::{HASHES, fields, malformed_reply, part};
use super::verdict;
use super::work::{OperationRun, ScriptCall, flag, refusal};
use crate::domain::calendar::Day;
use crate::domain::checks::violation_of_logins;
use crate::domain::decision::{ItemResult, Outcome, Violation};
use crate::domain::limits::LimitKind;
use crate::domain::metering::Login;
use crate::domain::month::Month;
use crate::domain::schedule::Limits;
use crate::domain::time::Timestamp;
use crate::ledger::metering::Metered;
use crate::ledger::{Call, LedgerError};
use crate::redis::keys::{Keys, LOGIN_BUCKETS, Part};
use crate::redis::reply::integer;
use crate::redis::scripts::ScriptId;

/// Buckets of logins whose cells may get their months in one step.
const BUCKETS_PER_STEP: u64 = 128;
/// Such steps after each call that records logins.
const STEPS_PER_CALL: usize = 2;

/// Counts users who logged in.
pub async fn record(work: &OperationRun<'_>, logins: &[Login]) -> Result<Metered, LedgerError> {
    let mut metered = Metered::of(Timestamp::from_millis(0), Vec::new());
    let by_month = work.call.catalog.counts_month_users();
    if by_month && work.call.mode.writes() {
        work.store.need_format_with_months().await?;
    }
    let mut next = None;
    // A dry run is one step, which sees what it would have counted.
    let at_once = if work.call.mode.writes() { SUBJECTS_MAX } else { logins.len().max(1) };
    for logins in logins.chunks(at_once) {
        let decided = match work.try_step(&step(work, logins, by_month, by_month)).await? {
            Reply::Nothing { why, .. } if why == "months_needed" => {
                work.store.need_format_with_months().await?;
                work.try_step(&step(work, logins, true, by_month)).await?
            }
            reply => reply,
        };
        let decided = match decided {
            Reply::Decided(decided) => decided,
            Reply::Nothing { why, detail, .. } => {
                return Err(refusal(work.call, None, &why, &detail));
            }
        };
        next = next_bucket(&decided);
        metered.append(with_violations(work.call, &decided)?);
    }
    if let Some(next) = next.filter(|next| *next < LOGIN_BUCKETS && work.call.mode.writes()) {
        // The logins are counted, and the next call or reading continues.
        let _ = count_months(work, next, STEPS_PER_CALL).await;
    }
    Ok(metered)
}

fn step(work: &OperationRun<'_>, logins: &[Login], may: bool, must: bool) -> ScriptCall {
    let of_app = work.keys();
    let mut keys = month_keys(of_app).to_vec();
    let mut arguments = bounds();
    arguments.extend([flag(may), flag(must)]);
    arguments.extend(default_limits(work.call));
    for Login { user, at } in logins {
        let cell = of_app.user(user);
        keys.push(of_app.login_bucket(cell));
        arguments.extend(instant(work.call.catalog.zone, *at));
        arguments.push(cell.element());
    }
    ScriptCall {
        script: ScriptId::RecordLogins,
        part: Part::Accounts,
        by_day: true,
        subjects: logins.len(),
        keys,
        arguments,
    }
}

/// The limits on users who log in, in the order of their arguments.
const LIMITS: [LimitKind; 2] = [LimitKind::ActiveUsersPerDay, LimitKind::ActiveUsersPerMonth];

/// Formats the limits of an app without its own.
fn default_limits(call: &Call) -> [Vec<u8>; 2] {
    let limits = call.unknown_app.as_ref().map(|schedule| schedule.at(Timestamp::MAX));
    LIMITS.map(|kind| {
        let bound = limits.map(|limits| kind.bound(&call.catalog, limits, None).limit);
        bound.map_or_else(|| "-".to_owned(), number).into_bytes()
    })
}

fn with_violations(call: &Call, decided: &Decided) -> Result<Metered, LedgerError> {
    let mut metered = outcomes(decided)?;
    metered.limits = verdict::limits(call, decided)?;
    let Some(limits) = &metered.limits else { return Ok(metered) };
    for (index, said) in decided.said.iter().enumerate().filter(|(_, it)| !it.notes.is_empty()) {
        let of_note = |note: &ViolationNote| violation(call, limits, *note);
        let violations: Option<_> = said.notes.iter().map(of_note).collect();
        let violations = ItemResult::new(Outcome::Denied, violations.ok_or_else(malformed_reply)?);
        metered.violations.push((index, violations.violations));
    }
    Ok(metered)
}

fn violation(call: &Call, limits: &Limits, note: ViolationNote) -> Option<Violation> {
    let kind = note.over.limit;
    let bound = kind.bound(&call.catalog, limits, None);
    violation_of_logins(kind, note.used, &bound)
}

/// Returns the keys that scripts on cells of logins have in front.
fn month_keys(keys: &Keys) -> [Vec<u8>; 3] {
    [keys.logins_by_day(), keys.users_by_month(), keys.month_counting()]
}

/// Returns the hashes of which the figures of logins and bandwidth consist.
pub fn hashes_of_logins(keys: &Keys) -> [Vec<u8>; 5] {
    [
        keys.logins_by_day(),
        keys.bandwidth(),
        keys.users_by_month(),
        keys.month_counting(),
        keys.gauges(),
    ]
}

/// Returns the next bucket that may have cells without months, if the app counts users by month.
fn next_bucket(decided: &Decided) -> Option<u64> {
    u64::try_from(integer(decided.more.first()?)?).ok()
}

/// Gives the cells of buckets from `next` on their months, in that many steps at most.
async fn count_months(
    work: &OperationRun<'_>,
    mut next: u64,
    steps: usize,
) -> Result<(), LedgerError> {
    for _ in 0..steps {
        let buckets = next..(next + BUCKETS_PER_STEP).min(LOGIN_BUCKETS);
        let mut arguments = bounds();
        arguments.push(next.to_string().into_bytes());
        let keys = work.keys();
        let step = ScriptCall {
            script: ScriptId::CountMonths,
            part: Part::Accounts,
            by_day: true,
            subjects: 1,
            keys: month_keys(keys)
                .into_iter()
                .chain(buckets.map(|bucket| keys.login_bucket_number(bucket)))
                .collect(),
            arguments,
        };
        match next_bucket(&work.step(None, step).await?) {
            Some(after) if after < LOGIN_BUCKETS => next = after,
            _ => break,
        }
    }
    Ok(())
}

/// Gives all cells of logins their months, if the app counts users by month.
pub async fn count_all_months(work: &OperationRun<'_>) -> Result<(), LedgerError> {
    let counting = part(work, Part::Accounts, HASHES, vec![work.keys().month_counting()]).await?;
    count_rest(work, counting.more.get(1)).await.map(drop)
}

/// Gives the cells that are left their months, by the counting of users by month as it was read;
/// returns whether there were any.
pub async fn count_rest(
    work: &OperationRun<'_>,
    counting: Option<&Value>,
) -> Result<bool, LedgerError> {
    let next = counting.and_then(month_counting).map(|(_, next)| next);
    let Some(next) = next.filter(|next| *next < LOGIN_BUCKETS) else { return Ok(false) };
    // Each step passes a bucket, or finds that another sidecar has.
    count_months(work, next, usize::MAX).await?;
    Ok(true)
}

/// Parses the counting of users by month: the day since when, and the next bucket.
fn month_counting(hash: &Value) -> Option<(i32, u64)> {
    let fields: HashMap<String, Value> = fields(hash)?.into_iter().collect();
    let number = |name: &str| fields.get(name).and_then(integer);
    Some((i32::try_from(number("since")?).ok()?, u64::try_from(number("next")?).ok()?))
}

/// Returns the users by month, for the months of some days that are counted and have any.
pub fn month_users(logins: &Decided, first: Day, last: Day) -> Option<Vec<(Month, u64)>> {
    let Some((since, _)) = month_counting(logins.more.get(4)?) else { return Some(Vec::new()) };
    let by_first = by_day(logins.more.get(3)?, integer)?;
    let (first, last) = (Month::of(first.max(Day::from_number(since))), Month::of(last));
    let users = |(number, users): (i32, i64)| {
        let month = Month::of(Day::from_number(number));
        Some((month, u64::try_from(users).ok()?)).filter(|_| (first..=last).contains(&month))
    };
    let mut all: Vec<(Month, u64)> = by_first.into_iter().filter_map(users).collect();
    all.sort_unstable();
    Some(all)
}
