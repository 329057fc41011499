//! Reads usage. A user's friends and groups, and an app's accounts and groups, are in different
//! parts: they are read concurrently, each exact by itself.

use std::collections::HashMap;
use std::sync::Arc;

use redis::Value;

use super::reply::{Decided, Reply};
use super::verdict::{at, unreadable};
use super::work::{OperationRun, ScriptCall, refusal};
use crate::domain::calendar::Day;
use crate::domain::decision::Subject;
use crate::domain::id::{GroupId, Name};
use crate::domain::month::Month;
use crate::domain::usage::Counts;
use crate::ledger::{Call, LedgerError, Reading, schedule_codec};
use crate::redis::keys::{Cell, Part};
use crate::redis::reply::{array, bytes, integer, text};
use crate::redis::scripts::ScriptId;

/// The mode of `scripts/read.lua` for lists of fields and values.
pub const HASHES: &str = "hashes";

/// Reads the usage of a subject.
pub async fn read(work: &OperationRun<'_>, subject: &Subject) -> Result<Reading, LedgerError> {
    let keys = work.keys();
    match subject {
        Subject::User(user) => {
            let cell = keys.user(user);
            let me = cell.element();
            let friend = [[&me[..], b" "].concat(), Vec::new()];
            let friends = set(work, Part::Friends, keys.friends(cell), friend);
            let membership = [b"m".to_vec(), [b" ", &me[..]].concat()];
            let groups = set(work, Part::Groups, keys.counted_groups(cell), membership);
            let (friends, groups) = tokio::try_join!(friends, groups)?;
            let counts = Counts::User { friends: count(&friends, 1)?, groups: count(&groups, 1)? };
            let held = Counts::User { friends: count(&friends, 2)?, groups: count(&groups, 2)? };
            reading(work.call, &groups, counts, held)
        }
        Subject::App => {
            let of_accounts = [keys.accounts(), keys.logins_by_day(), keys.users_by_month()];
            let accounts = step(Part::Accounts, "number", of_accounts.into());
            let accounts = work.step(None, accounts.arguments(active_fields(work)));
            let groups = vec![keys.groups_by_type(), keys.groups_by_day()];
            let groups = groups_of_app(work, groups);
            let (accounts, groups) = tokio::try_join!(accounts, groups)?;
            let (counts, held) = app_counts(work.call, &accounts, &groups)?;
            reading(work.call, &groups, counts, held)
        }
        Subject::Group(group) => {
            let cell = keys.group(group);
            let keys = vec![keys.group_record(cell), keys.members(cell)];
            let step = step(Part::Groups, "group", keys).arguments([work.types(), cell.element()]);
            let decided = work.step(Some(group), step).await?;
            let [counts, held] = [3, 4].map(|index| group_counts(group, &decided, index));
            reading(work.call, &decided, counts?, held?)
        }
    }
}

fn step(part: Part, mode: &str, keys: Vec<Vec<u8>>) -> ScriptCall {
    let arguments = vec![mode.as_bytes().to_vec()];
    ScriptCall { script: ScriptId::Read, part, by_day: false, subjects: 1, keys, arguments }
}

/// Reads the groups of an app by type and by day.
async fn groups_of_app(
    work: &OperationRun<'_>,
    hashes: Vec<Vec<u8>>,
) -> Result<Decided, LedgerError> {
    let mut groups: Vec<Cell> = Vec::new();
    loop {
        let read = step(Part::Groups, "groups", hashes.clone());
        let read = read.arguments([work.types()]);
        let read = read.on(groups.iter().copied(), |group| work.keys().of_group(group));
        match work.try_step(&read).await? {
            Reply::Decided(decided) => return Ok(decided),
            // Groups that may be reclaimed with members who have expired are looked at too.
            Reply::Nothing { why, detail, .. } if why == "groups_due" => {
                let named = detail.split(';').map(|it| Cell::from_element(it.as_bytes()));
                let named: Option<Vec<Cell>> = named.collect();
                groups.extend(named.ok_or_else(malformed_reply)?);
            }
            Reply::Nothing { why, detail, .. } => {
                return Err(refusal(work.call, None, &why, &detail));
            }
        }
    }
}

/// Reads the size of a set, whose facts are its elements between these words.
async fn set(
    work: &OperationRun<'_>,
    part: Part,
    key: Vec<u8>,
    fact: [Vec<u8>; 2],
) -> Result<Decided, LedgerError> {
    work.step(None, step(part, "set", vec![key]).arguments(fact)).await
}

/// Reads from one part of the app.
pub async fn part(
    work: &OperationRun<'_>,
    part: Part,
    mode: &str,
    keys: Vec<Vec<u8>>,
) -> Result<Decided, LedgerError> {
    work.step(None, step(part, mode, keys)).await
}

/// The error for a malformed reply.
pub fn malformed_reply() -> LedgerError {
    unreadable("malformed counts")
}

fn reading(
    call: &Call,
    decided: &Decided,
    counts: Counts,
    held: Counts,
) -> Result<Reading, LedgerError> {
    let stored = decided.more.first().cloned().and_then(bytes).ok_or_else(malformed_reply)?;
    let schedule =
        if stored.is_empty() {
            call.unknown_app.clone().ok_or_else(|| LedgerError::UnknownApp(call.app.clone()))?
        } else {
            let decoded = schedule_codec::decode_schedule(&stored);
            Arc::new(decoded.map_err(|reason| {
                unreadable(&format!("limits of app \"{}\": {reason}", call.app))
            })?)
        };
    Ok(Reading { read_at: at(decided), counts, held, schedule })
}

fn count(decided: &Decided, index: usize) -> Result<u64, LedgerError> {
    let number = decided.more.get(index).and_then(integer);
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(malformed_reply)
}

/// Returns the counts of a group; `members` is the index of the number of members.
fn group_counts(group: &GroupId, decided: &Decided, members: usize) -> Result<Counts, LedgerError> {
    let word = |index: usize| decided.more.get(index).cloned().and_then(bytes).and_then(text);
    let (Some(name), Some(own)) = (word(1), word(2)) else { return Err(malformed_reply()) };
    Ok(Counts::Group {
        group: group.clone(),
        group_type: name.as_str().into(),
        members: count(decided, members)?,
        max_members: own.parse().ok(),
    })
}

/// Returns the counts of an app, and those of them that are held.
fn app_counts(
    call: &Call,
    accounts: &Decided,
    groups: &Decided,
) -> Result<(Counts, Counts), LedgerError> {
    let today = call.catalog.zone.day_of(at(groups)).number();
    let by_type = numbers(groups.more.get(1)).ok_or_else(malformed_reply)?;
    let by_day = numbers(groups.more.get(2)).ok_or_else(malformed_reply)?;
    let holds = holds(groups.more.get(3)).ok_or_else(malformed_reply)?;
    let [on_days, in_months] = [3, 4].map(|index| numbers(accounts.more.get(index)));
    let (on_days, in_months) = on_days.zip(in_months).ok_or_else(malformed_reply)?;
    let month = Month::of(Day::from_number(today)).first_day().number();
    let number = |of: &HashMap<String, i64>, field: &str| of.get(field).copied().unwrap_or(0);
    let names = || call.catalog.group_types.iter().map(|kind| kind.name.clone());
    // The number of groups whose hold has one of those states, of a type or of all, of today or of
    // any day.
    let of = |states: &[char], name: Option<&Name>, is_today: bool| {
        let is_it = |hold: &&GroupHold| {
            states.contains(&hold.state)
                && name.is_none_or(|name| hold.group_type == name.as_str())
                && (!is_today || hold.day == today || hold.state == RECLAIMED)
        };
        i64::try_from(holds.iter().filter(is_it).count()).unwrap_or(i64::MAX)
    };
    let whole = |count: i64| u64::try_from(count).unwrap_or(0);
    let counts = Counts::App {
        accounts: count(accounts, 1)?,
        groups: names()
            .map(|name| {
                let count = number(&by_type, name.as_str()) - of(GONE, Some(&name), false);
                (name, whole(count))
            })
            .collect(),
        net_new_today: names()
            .map(|name| {
                let net = number(&by_day, &format!("{today}/{name}"));
                let expired = of(GONE, Some(&name), true);
                (name, net - expired)
            })
            .collect(),
        net_new_today_of_all_types: number(&by_day, &today.to_string()) - of(GONE, None, true),
        active_today: whole(number(&on_days, &today.to_string())),
        active_this_month: whole(number(&in_months, &month.to_string())),
    };
    let held = Counts::App {
        accounts: count(accounts, 2)?,
        groups: names()
            .map(|name| (name.clone(), whole(of(&[HELD], Some(&name), false))))
            .collect(),
        net_new_today: names().map(|it| (it.clone(), of(&[HELD], Some(&it), true))).collect(),
        net_new_today_of_all_types: of(&[HELD], None, true),
        active_today: 0,
        active_this_month: 0,
    };
    Ok((counts, held))
}

/// Returns the days and the months around now by this process's clock, as fields of the hashes of
/// logins: yesterday to tomorrow, and the months of last month to next month.
fn active_fields(work: &OperationRun<'_>) -> Vec<Vec<u8>> {
    let today = work.call.catalog.zone.day_of(work.store.clock.now());
    let days = [-1, 0, 1].map(|days| today.number().saturating_add(days));
    let month = Month::of(today);
    let months = [month.previous(), month, month.next()].map(|it| it.first_day().number());
    days.into_iter().chain(months).map(|number| number.to_string().into_bytes()).collect()
}

/// A group that ends unless it is confirmed.
const HELD: char = 'h';
/// A permanent group that is reclaimed with members who have expired.
const RECLAIMED: char = 'r';
/// The states of groups that do not count: expired, and reclaimed.
const GONE: &[char] = &['e', RECLAIMED];

/// A group that is held, or is gone with what has expired.
struct GroupHold {
    state: char,
    /// The day of the take of a held group.
    day: i32,
    group_type: String,
}

/// Parses words such as `e20515/Public`.
fn holds(value: Option<&Value>) -> Option<Vec<GroupHold>> {
    let hold = |word: Value| {
        let word = text(bytes(word)?)?;
        let (day, group_type) = word.get(1..)?.split_once('/')?;
        let state = word.chars().next()?;
        Some(GroupHold { state, day: day.parse().ok()?, group_type: group_type.to_owned() })
    };
    array(value?.clone())?.into_iter().map(hold).collect()
}

/// Parses a hash of numbers.
fn numbers(value: Option<&Value>) -> Option<HashMap<String, i64>> {
    let pair = |(field, value)| Some((field, integer(&value)?));
    fields(value?)?.into_iter().map(pair).collect()
}

/// Returns the fields of a hash with their values.
pub fn fields(value: &Value) -> Option<Vec<(String, Value)>> {
    let flat = array(value.clone())?;
    let pair = |pair: &[Value]| Some((text(bytes(pair[0].clone())?)?, pair[1].clone()));
    flat.chunks_exact(2).map(pair).collect()
}
