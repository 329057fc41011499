//! Reads the IM codes of a catalog: those of reasons, of batches, of reasons for group types, and
//! the sets that apps can choose.

use super::decode::Names;
use crate::diagnostics::toml::{Table, Value};
use crate::domain::id::Name;
use crate::domain::im_code::{IM_NAME_MAX_BYTES, ImCode, ImCodeOfType, ImCodeSet, ImCodes};
use crate::domain::limits::{ImCodeKey, REASONS, Reason};

/// The greatest number of a code.
const NUMBER_MAX: i64 = 999_999;
/// Most sets of a catalog.
const SETS_MAX: usize = 32;
/// The reasons whose denials name the group's type, with their keys.
const OF_TYPE: [(&str, Reason); 4] = [
    ("groups_per_app", Reason::GroupsPerApp),
    ("groups_per_day", Reason::GroupsPerDay),
    ("members_per_group", Reason::MembersPerGroup),
    ("members_at_creation", Reason::MembersAtCreation),
];

/// Reads the codes of reasons and batches.
pub(super) fn im_codes(table: &Table<'_>) -> Option<ImCodes> {
    // Every code is read before the first missing one returns, so that all are reported.
    let mut read: Vec<(&str, Option<ImCode>)> = Vec::new();
    for row in &REASONS {
        let (key, is_required) = match row.im_code {
            ImCodeKey::Of(key) | ImCodeKey::OfTypeOr(key) => (key, true),
            ImCodeKey::OfOr(key, _) => (key, table.optional(key).is_some()),
        };
        if is_required && !read.iter().any(|(before, _)| *before == key) {
            read.push((key, required_code(table, key)));
        }
    }
    let [batch_of_accounts, batch_of_members] =
        ["batch_of_accounts", "batch_of_members"].map(|key| required_code(table, key));
    let found = |key: &str| read.iter().find(|(of, _)| *of == key).map(|(_, code)| code.clone());
    let mut by_reason = <[ImCode; REASONS.len()]>::default();
    for (code, row) in by_reason.iter_mut().zip(&REASONS) {
        *code = match row.im_code {
            ImCodeKey::Of(key) | ImCodeKey::OfTypeOr(key) => found(key)??,
            ImCodeKey::OfOr(key, other) => found(key).or_else(|| found(other))??,
        };
    }
    Some(ImCodes {
        by_reason,
        by_type: Vec::new(),
        sets: Vec::new(),
        batch_of_accounts: batch_of_accounts?,
        batch_of_members: batch_of_members?,
    })
}

/// Reads the optional section `im_codes` of a group type.
pub(super) fn of_type(group_type: &Table<'_>) -> Option<Vec<ImCodeOfType>> {
    let Some(section) = group_type.optional("im_codes") else { return Some(Vec::new()) };
    let table = section.table()?;
    let name = group_type.optional("name").and_then(|value| value.as_str()).map(Name::from);
    let read: Vec<_> = OF_TYPE
        .iter()
        .filter_map(|(key, reason)| Some((table.optional(key)?, *reason)))
        .map(|(value, reason)| {
            Some(ImCodeOfType { group_type: name.clone()?, reason, code: code(&value)? })
        })
        .collect();
    table.finish();
    read.into_iter().collect()
}

/// Reads the optional sets that apps can choose: codes by the labels of their reasons.
pub(super) fn sets(root: &Table<'_>) -> Option<Vec<ImCodeSet>> {
    let Some(value) = root.optional("im_code_sets") else { return Some(Vec::new()) };
    let tables = value.tables(1..=SETS_MAX)?;
    let names = Names::of(&tables, "name");
    let read: Vec<_> = tables.into_iter().map(codes_of_set).collect();
    let read = read.into_iter().collect::<Option<Vec<_>>>()?;
    let sets = names.known.into_iter().zip(read);
    names.complete.then(|| sets.map(|(name, codes)| ImCodeSet { name, codes }).collect())
}

fn codes_of_set(set: Table<'_>) -> Option<Vec<(Reason, ImCode)>> {
    // Problems of the name were reported with the names of all sets.
    let (_, section) = (set.optional("name"), set.required("codes"));
    set.finish();
    let section = section?;
    let table = section.table()?;
    let read: Vec<_> = Reason::ALL
        .into_iter()
        .filter_map(|reason| Some((reason, code(&table.optional(reason.row().label)?))))
        .collect();
    table.finish();
    if read.is_empty() {
        section.problem("must have the code of a reason");
    }
    read.into_iter().map(|(reason, code)| Some((reason, code?))).collect()
}

/// Reads a number that must be there.
pub(super) fn required_number(table: &Table<'_>, key: &str) -> Option<i32> {
    table.required(key).and_then(|value| number(&value))
}

fn required_code(table: &Table<'_>, key: &str) -> Option<ImCode> {
    table.required(key).and_then(|value| code(&value))
}

/// Reads a number, or a table with a number, a name, or both.
fn code(value: &Value<'_>) -> Option<ImCode> {
    let Some(table) = value.as_table() else { return number(value).map(ImCode::from) };
    let (number_value, name_value) = (table.optional("number"), table.optional("name"));
    if number_value.is_none() && name_value.is_none() {
        value.problem("must have a \"number\", a \"name\", or both");
    }
    let number = number_value.as_ref().map(number);
    let name = name_value.as_ref().map(name);
    table.finish();
    match (number, name) {
        (None, None) | (Some(None), _) | (_, Some(None)) => None,
        (number, name) => {
            Some(ImCode { number: number.flatten().unwrap_or(0), name: name.flatten() })
        }
    }
}

fn number(value: &Value<'_>) -> Option<i32> {
    value.integer(1..=NUMBER_MAX)
}

fn name(value: &Value<'_>) -> Option<Name> {
    let text = value.string()?;
    let is_valid = (1..=IM_NAME_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:/-".contains(&byte));
    let found = is_valid.then(|| Name::from(text));
    value.or_wrong(found, "1-64 letters, digits or any of \"_.:/-\"")
}
