//! Counts the unregistered apps of the store in a hash beside the directory, in the slot
//! `{directory}`, with the instant at which each was last found to be in use.
//!
//! A take of an app without limits of its own does nothing until this process has seen the app in
//! the hash. That costs an unknown app two more calls at its first take, and a registered one none.
//! An app in the hash is checked again after [`SEEN_FOR`], which is less than the time after which
//! one without facts may be removed: so no app that has takes is removed.

use std::time::Duration;

use dashmap::DashMap;
use redis::Value;

use super::catalog_args::UnknownAs;
use super::shared::Shared;
use super::verdict::unreadable;
use crate::clock::Stopwatch;
use crate::domain::catalog::UnknownAppBound;
use crate::domain::decision::Mode;
use crate::domain::id::AppId;
use crate::ledger::{Call, LedgerError, UNKNOWN_APP_SEEN_FOR as SEEN_FOR};
use crate::redis::client::CallTimeout;
use crate::redis::keys::{Keys, PARTS, Part, UNKNOWN_APPS};
use crate::redis::reply::{array, bytes, integer, text};
use crate::redis::scripts::ScriptId;
use crate::redis::store::{Store, UNWATCHED_CALL_TIMEOUT};
use crate::store::StoreError;

/// Most apps that are remembered: three times as many as a store has by default. Beyond it all are
/// checked again.
const SEEN_MAX: usize = 30_000;

/// The result of checking an app's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Facts,
    /// It has limits of its own.
    Registered,
}

/// Unknown apps that this process has seen in the store's hash.
#[derive(Default)]
pub struct SeenApps(DashMap<AppId, Stopwatch>);

impl SeenApps {
    /// Returns whether the app was seen in the hash recently.
    pub fn has(&self, app: &AppId) -> bool {
        self.0.get(app).is_some_and(|since| since.elapsed() < SEEN_FOR)
    }

    fn add(&self, app: &AppId, since: Stopwatch) {
        if self.0.len() >= SEEN_MAX {
            self.0.clear();
        }
        self.0.insert(app.clone(), since);
    }

    /// Discards all apps, for another generation of the store.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// Enters the app of a take into the hash; an error if there is no room for it.
pub async fn enter(shared: &Shared, call: &Call) -> Result<(), LedgerError> {
    let store = &*shared.store;
    let within = call.deadline - store.clock.now();
    if within.is_zero() {
        return Err(StoreError::DeadlinePassed.into());
    }
    let timeout = CallTimeout::of(within, call.fail_fast);
    let most = call.catalog.unknown_apps.max;
    let entered = async {
        let always = !call.is_bounded();
        if put(shared, &call.app, most, always, timeout).await? {
            return Ok(());
        }
        if check_facts(store, &call.app, timeout).await? == Found::Nothing {
            let (app, bound) = (call.app.clone(), UnknownAppBound::Apps);
            return Err(LedgerError::UnknownAppsFull { app, bound, most });
        }
        put(shared, &call.app, most, true, timeout).await.map(drop)
    };
    // Whatever the outcome of the entry, nothing was done about the operation.
    entered.await.map_err(|error| match error {
        LedgerError::Store(StoreError::Unavailable(why)) => StoreError::Refused(why).into(),
        other => other,
    })
}

/// Writes the app into the hash; `false` if there is no room.
async fn put(
    shared: &Shared,
    app: &AppId,
    most: u64,
    always: bool,
    timeout: CallTimeout,
) -> Result<bool, LedgerError> {
    // Starts before the call, so that the entry is not assumed to exist for longer than it does.
    let since = Stopwatch::start();
    let always: &[u8] = if always { b"1" } else { b"0" };
    let arguments =
        [app.as_str().as_bytes().to_vec(), most.to_string().into_bytes(), always.to_vec()];
    let keys = [UNKNOWN_APPS.to_vec()];
    let script = ScriptId::EnterUnknownApp;
    let answer = shared.store.call_script(script, &keys, &arguments, timeout).await?;
    let is_entered = integer(&answer).ok_or_else(malformed_reply)? == 1;
    if is_entered {
        shared.unknown_apps().add(app, since);
    }
    Ok(is_entered)
}

/// Checks whether an app has facts in any part.
async fn check_facts(
    store: &Store,
    app: &AppId,
    timeout: CallTimeout,
) -> Result<Found, LedgerError> {
    let keys = Keys::new(store.ids, app);
    let mut found = Found::Nothing;
    for part in PARTS {
        let mut own = vec![keys.limits(part), keys.writes(part)];
        if part == Part::Accounts {
            own.extend([keys.logins_by_day(), keys.bandwidth(), keys.gauges()]);
        }
        let answer = store.call_script(ScriptId::HasFacts, &own, &[], timeout).await?;
        match integer(&answer).ok_or_else(malformed_reply)? {
            0 => {}
            1 => found = Found::Facts,
            _ => return Ok(Found::Registered),
        }
    }
    Ok(found)
}

/// Removes apps from the hash that have no facts, and were not found to be in use for `empty_for`.
pub async fn review(store: &Store, empty_for: Duration) -> Result<u64, LedgerError> {
    let keys = [UNKNOWN_APPS.to_vec()];
    let empty_ms = empty_for.as_millis().to_string().into_bytes();
    let arguments = std::slice::from_ref(&empty_ms);
    let listed = store
        .call_script(ScriptId::ListUnknownApps, &keys, arguments, UNWATCHED_CALL_TIMEOUT)
        .await?;
    let mut removed = 0;
    let words: Option<Vec<String>> = array(listed).and_then(catalog_args);
    for pair in words.ok_or_else(malformed_reply)?.chunks_exact(2) {
        let Ok(app) = AppId::try_from(pair[0].as_str()) else { continue };
        let is_used =
            check_facts(store, &app, UNWATCHED_CALL_TIMEOUT.into()).await? == Found::Facts;
        let used: &[u8] = if is_used { b"1" } else { b"0" };
        let arguments = [pair[0].clone().into_bytes(), pair[1].clone().into_bytes(), used.to_vec()];
        let answer = store
            .call_script(ScriptId::SettleUnknownApp, &keys, &arguments, UNWATCHED_CALL_TIMEOUT)
            .await?;
        removed += u64::from(integer(&answer) == Some(1));
    }
    Ok(removed)
}

fn catalog_args(values: Vec<Value>) -> Option<Vec<String>> {
    values.into_iter().map(|value| text(bytes(value)?)).collect()
}

fn malformed_reply() -> LedgerError {
    unreadable("malformed reply about unknown apps")
}

/// Returns the state of an unregistered app for a call: a take has to wait until the app was seen
/// in the hash.
pub fn standing(shared: &Shared, call: &Call, script: ScriptId) -> UnknownAs {
    let takes = script.takes() && call.mode != Mode::CheckOnly;
    if call.is_replayed {
        UnknownAs::Answered
    } else if takes && call.unknown_app.is_some() && !shared.unknown_apps().has(&call.app) {
        UnknownAs::Uncounted
    } else {
        UnknownAs::Counted
    }
}
