//! Reads the section `failure`: the failure policy.

use std::collections::BTreeMap;

use crate::diagnostics::toml::{Table, Value};
use crate::domain::failure_policy::{Budget, FailMode, FailModes, FailurePolicy};
use crate::domain::id::AppId;

/// Greatest budget: the capacity of one sidecar's journal.
const BUDGET_MAX: i64 = 100_000;
/// Most apps with a policy of their own.
const APPS_MAX: usize = 10_000;

/// Reads the section `failure`.
pub(super) fn failure(table: &Table<'_>) -> Option<FailurePolicy> {
    let modes = modes(table, None);
    let budget = |key| table.required(key).and_then(|value| value.integer(0..=BUDGET_MAX));
    let (per_user_max, per_group_max) = (budget("per_user_max"), budget("per_group_max"));
    let per_app_max = budget("per_app_max");
    let apps = match (table.optional("apps"), modes) {
        (None, _) => Some(BTreeMap::new()),
        (Some(value), Some(modes)) => apps(&value, modes),
        // Without valid defaults, the values that apps leave out are not available.
        (Some(_), None) => None,
    };
    Some(FailurePolicy {
        modes: modes?,
        apps: apps?,
        budget: Budget {
            per_user_max: per_user_max?,
            per_group_max: per_group_max?,
            per_app_max: per_app_max?,
        },
    })
}

fn apps(value: &Value<'_>, of_all: FailModes) -> Option<BTreeMap<AppId, FailModes>> {
    let mut apps = BTreeMap::new();
    let mut whole = true;
    for table in value.tables(1..=APPS_MAX)? {
        let app = table.required("app_id").and_then(|value| app(&value, &apps));
        let modes = modes(&table, Some(of_all));
        table.finish();
        match (app, modes) {
            (Some(app), Some(modes)) => {
                apps.insert(app, modes);
            }
            _ => whole = false,
        }
    }
    whole.then_some(apps)
}

fn app(value: &Value<'_>, others: &BTreeMap<AppId, FailModes>) -> Option<AppId> {
    let id = value.as_str().and_then(|text| AppId::try_from(text).ok());
    let id = value.or_wrong(id, "an app's id: 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")?;
    if others.contains_key(&id) {
        value.problem(format!("\"{id}\" is the app_id of an entry above"));
        return None;
    }
    Some(id)
}

/// Reads fail modes; those that are left out are as in `defaults`, or required if that is `None`.
fn modes(table: &Table<'_>, defaults: Option<FailModes>) -> Option<FailModes> {
    let one = |key: &str, default: Option<FailMode>| match default {
        None => table.required(key).and_then(|value| fail_mode(&value)),
        Some(default) => table.optional(key).map_or(Some(default), |value| fail_mode(&value)),
    };
    let mut is_whole = true;
    let modes = FailModes::new(|kind| {
        let mode = one(kind.row().name, defaults.map(|of| of.of(kind)));
        is_whole &= mode.is_some();
        mode.unwrap_or(FailMode::Closed)
    });
    is_whole.then_some(modes)
}

fn fail_mode(value: &Value<'_>) -> Option<FailMode> {
    let fail_mode = match value.as_str() {
        Some("closed") => Some(FailMode::Closed),
        Some("open") => Some(FailMode::Open),
        _ => None,
    };
    value.or_wrong(fail_mode, "\"closed\" or \"open\"")
}
