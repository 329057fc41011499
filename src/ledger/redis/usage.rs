//! Reads usage. A user's friends and groups, and an app's accounts and groups, are in different
//! parts: they are read concurrently, each exact by itself.

use std::collections::HashMap;
use std::sync::Arc;

use redis::Value;

use super::reply::Decided;
use super::verdict::{at, unreadable};
use super::work::{OperationRun, ScriptCall};
use crate::domain::decision::Subject;
use crate::domain::id::GroupId;
use crate::domain::usage::Counts;
use crate::ledger::{Call, LedgerError, Reading, schedule_codec};
use crate::redis::keys::Part;
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
            let friends = part(work, Part::Friends, "set", vec![keys.friends(cell)]);
            let groups = part(work, Part::Groups, "set", vec![keys.counted_groups(cell)]);
            let (friends, groups) = tokio::try_join!(friends, groups)?;
            let counts = Counts::User { friends: count(&friends, 1)?, groups: count(&groups, 1)? };
            reading(work.call, &groups, counts)
        }
        Subject::App => {
            let accounts = part(work, Part::Accounts, "number", vec![keys.accounts()]);
            let groups = vec![keys.groups_by_type(), keys.groups_by_day()];
            let groups = part(work, Part::Groups, HASHES, groups);
            let (accounts, groups) = tokio::try_join!(accounts, groups)?;
            let counts = app_counts(work.call, count(&accounts, 1)?, &groups)?;
            reading(work.call, &groups, counts)
        }
        Subject::Group(group) => {
            let cell = keys.group(group);
            let keys = vec![keys.group_record(cell), keys.members(cell)];
            let step = step(Part::Groups, "group", keys);
            let decided = work.step(Some(group), step).await?;
            let counts = group_counts(group, &decided)?;
            reading(work.call, &decided, counts)
        }
    }
}

fn step(part: Part, mode: &str, keys: Vec<Vec<u8>>) -> ScriptCall {
    let arguments = vec![mode.as_bytes().to_vec()];
    ScriptCall { script: ScriptId::Read, part, by_day: false, subjects: 1, keys, arguments }
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

fn reading(call: &Call, decided: &Decided, counts: Counts) -> Result<Reading, LedgerError> {
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
    Ok(Reading { read_at: at(decided), counts, schedule })
}

fn count(decided: &Decided, index: usize) -> Result<u64, LedgerError> {
    let number = decided.more.get(index).and_then(integer);
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(malformed_reply)
}

fn group_counts(group: &GroupId, decided: &Decided) -> Result<Counts, LedgerError> {
    let word = |index: usize| decided.more.get(index).cloned().and_then(bytes).and_then(text);
    let (Some(name), Some(own)) = (word(1), word(2)) else { return Err(malformed_reply()) };
    Ok(Counts::Group {
        group: group.clone(),
        group_type: name.as_str().into(),
        members: count(decided, 3)?,
        max_members: own.parse().ok(),
    })
}

fn app_counts(call: &Call, accounts: u64, decided: &Decided) -> Result<Counts, LedgerError> {
    let today = call.catalog.zone.day_of(at(decided)).number();
    let by_type = numbers(decided.more.get(1)).ok_or_else(malformed_reply)?;
    let by_day = numbers(decided.more.get(2)).ok_or_else(malformed_reply)?;
    let number = |of: &HashMap<String, i64>, field: &str| of.get(field).copied().unwrap_or(0);
    let kinds = || call.catalog.group_types.iter().map(|kind| kind.name.clone());
    let groups = kinds().map(|name| {
        let count = number(&by_type, name.as_str());
        (name, u64::try_from(count).unwrap_or(0))
    });
    let net_new = kinds().map(|name| {
        let net = number(&by_day, &format!("{today}/{name}"));
        (name, net)
    });
    Ok(Counts::App {
        accounts,
        groups: groups.collect(),
        net_new_today: net_new.collect(),
        net_new_today_of_all_types: number(&by_day, &today.to_string()),
    })
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
