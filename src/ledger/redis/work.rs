//! Runs one operation: the script calls that it consists of.
//!
//! A script reads the server's clock and does nothing after the deadline. If this process's
//! estimate of that clock was wrong, the script has written nothing and returns its time, and the
//! call is sent once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::Cmd;
use tokio::sync::MutexGuard;

use super::catalog_args::{Texts, UnknownAs};
use super::holds::{HoldArgument, expired};
use super::reply::{self, Decided, Reply};
use super::shared::Shared;
use super::unanswered::{SentSteps, may_cross};
use super::unknown_apps;
use super::verdict::unreadable;
use crate::domain::billing::{cut_off, first_open_day};
use crate::domain::calendar::Day;
use crate::domain::catalog::{Catalog, UnknownAppBound};
use crate::domain::decision::Mode;
use crate::domain::id::GroupId;
use crate::domain::month::Month;
use crate::domain::time::Timestamp;
use crate::ledger::{Call, LedgerError};
use crate::redis::client::{CallError, CallTimeout, Timed};
use crate::redis::keys::{Cell, Keys, Part};
use crate::redis::scripts::ScriptId;
use crate::redis::store::{MARK_ATTEMPTS_MAX, Store};
use crate::store::StoreError;

/// Most calls of one step until the server's time is right: once too late, once on another day.
const ATTEMPTS_MAX: usize = 3;

/// The index of the days among the script's own arguments, if it has them.
const DAYS_INDEX: usize = 3;

/// One call of a script that begins with `scripts/shared/begin.lua`.
pub struct ScriptCall {
    /// The script.
    pub script: ScriptId,
    /// The part of the app whose limits apply.
    pub part: Part,
    /// True if the script counts by day; its fourth own argument is then filled in.
    pub by_day: bool,
    /// Number of users and groups that the call is about, beside the one that it is called for.
    pub subjects: usize,
    /// The script's own keys. Keys that every script has, or that many share, are added: the limits
    /// in front; at the end, as needed, the number of groups by day, the crossed thresholds, the
    /// tracked changes, the last closed day, then the part's holds with their expiries, the counter
    /// of writes and the mark.
    pub keys: Vec<Vec<u8>>,
    /// The script's own arguments. Added are mode, deadline and default limits in front, and the
    /// generation and this process's clock at the end.
    pub arguments: Vec<Vec<u8>>,
}

impl ScriptCall {
    /// A call without keys and arguments of its own, and about no users or groups.
    pub fn new(script: ScriptId, part: Part) -> Self {
        let (keys, arguments) = (Vec::new(), Vec::new());
        Self { script, part, by_day: false, subjects: 0, keys, arguments }
    }

    /// Adds keys.
    pub fn keys(mut self, keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.keys.extend(keys);
        self
    }

    /// Adds arguments.
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// Counts groups by day.
    pub fn by_day(self) -> Self {
        Self { by_day: true, ..self }
    }

    /// Adds users or groups that the call is about: the keys and the element of each.
    pub fn on<K: IntoIterator<Item = Vec<u8>>>(
        mut self,
        cells: impl IntoIterator<Item = Cell>,
        keys_of: impl Fn(Cell) -> K,
    ) -> Self {
        for cell in cells {
            self.keys.extend(keys_of(cell));
            self.arguments.push(cell.element());
            self.subjects += 1;
        }
        self
    }
}

/// The run of one operation.
pub struct OperationRun<'a> {
    /// The state that all calls share.
    pub shared: &'a Arc<Shared>,
    /// The store.
    pub store: &'a Store,
    /// The context of the operation.
    pub call: &'a Call,
    /// The catalog arguments of scripts.
    pub catalog_args: Arc<Texts>,
    keys: Keys,
    /// True once a step has succeeded that may have written.
    has_written: AtomicBool,
    /// Records the steps that may cross thresholds.
    sent: Option<&'a SentSteps>,
    /// The hold of a take.
    hold: Option<HoldArgument>,
}

impl<'a> OperationRun<'a> {
    /// A run that has done nothing yet.
    pub fn new(shared: &'a Arc<Shared>, call: &'a Call) -> Self {
        let store = &*shared.store;
        let (catalog_args, keys) = (shared.catalog_args(call), Keys::new(store.ids, &call.app));
        Self {
            shared,
            store,
            call,
            catalog_args,
            keys,
            has_written: AtomicBool::new(false),
            sent: None,
            hold: None,
        }
    }

    /// Records steps in `sent` until they are certain to have crossed no threshold.
    pub fn noting(self, sent: &'a SentSteps) -> Self {
        Self { sent: Some(sent), ..self }
    }

    /// Takes with a hold.
    pub fn holding(self, hold: Option<HoldArgument>) -> Self {
        Self { hold, ..self }
    }

    /// Returns the keys of the app.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns the catalog's group types in the form that scripts read.
    pub fn types(&self) -> Vec<u8> {
        self.catalog_args.types.clone()
    }

    /// Calls a script and maps a refusal to an error; `group` is the group that it is about.
    pub async fn step(
        &self,
        group: Option<&GroupId>,
        step: ScriptCall,
    ) -> Result<Decided, LedgerError> {
        match self.try_step(&step).await? {
            Reply::Decided(decided) => Ok(decided),
            Reply::Nothing { why, detail, .. } => Err(refusal(self.call, group, &why, &detail)),
        }
    }

    /// Calls a script with the app's limits, a deadline and the days.
    pub async fn try_step(&self, step: &ScriptCall) -> Result<Reply, LedgerError> {
        let app = unknown_apps::standing(self.shared, self.call, step.script);
        let mut reply = self.call_without_expired(step, app).await;
        if let Ok(Reply::Nothing { why, .. }) = &reply
            && why == "uncounted"
        {
            reply = match unknown_apps::enter(self.shared, self.call).await {
                Ok(()) => self.call_without_expired(step, UnknownAs::Counted).await,
                Err(refused) => Err(refused),
            };
        }
        // Once a step has succeeded, no error of a later one may mean that nothing was done.
        let has_written = self.has_written.load(Ordering::Relaxed);
        let reply =
            reply.map_err(|error| if has_written { error.of_unfinished() } else { error })?;
        if matches!(reply, Reply::Decided(_)) && self.call.mode != Mode::CheckOnly {
            self.has_written.store(true, Ordering::Relaxed);
        }
        Ok(reply)
    }

    /// Calls a script, again once facts that have expired are removed: by this call, or by another
    /// one of this process that has begun to.
    pub async fn call_without_expired(
        &self,
        step: &ScriptCall,
        app: UnknownAs,
    ) -> Result<Reply, LedgerError> {
        let mut removal = None;
        loop {
            match self.call_with_clock_retry(step, app).await? {
                Reply::Nothing { why, detail, .. } if why == "due" => {
                    // On the heap: few operations need it.
                    let removed = Box::pin(self.remove_expired(step.part, &detail, &mut removal));
                    removed.await?;
                }
                reply => return Ok(reply),
            }
        }
    }

    /// Removes facts that a script lists as expired, or waits until another call has removed those
    /// of that part, within the caller's time.
    async fn remove_expired(
        &self,
        part: Part,
        listed: &str,
        removal: &mut Option<MutexGuard<'a, ()>>,
    ) -> Result<(), LedgerError> {
        if removal.is_none() {
            let of_part = self.shared.removals.of(&self.call.app, part);
            let Ok(begun) = of_part.try_lock() else {
                let left = self.call.deadline - self.store.clock.now();
                let waited = tokio::time::timeout(left, of_part.lock()).await;
                return waited.map(drop).map_err(|_| StoreError::DeadlinePassed.into());
            };
            *removal = Some(begun);
        }
        expired::remove(self, part, listed).await.map(drop)
    }

    /// Calls a script, again if this process's estimate of the server's clock was wrong.
    pub async fn call_with_clock_retry(
        &self,
        step: &ScriptCall,
        app: UnknownAs,
    ) -> Result<Reply, LedgerError> {
        let ScriptCall { script, part, by_day, subjects, keys: own_keys, .. } = step;
        let (store, call) = (self.store, self.call);
        let first = self.keys.limits(*part);
        let last = self.last_keys(*script, *part, *by_day, store.marks.beside(&first));
        let all = std::iter::once(&first).chain(own_keys).chain(last.iter().flatten());
        let keys: Vec<&[u8]> = all.map(Vec::as_slice).collect();
        let (mut attempts, mut marks_examined) = (0, 0);
        while attempts < ATTEMPTS_MAX {
            store.standing.check(*script)?;
            let (generation, sent_at) = (store.generation(), store.clock.now());
            let within = call.deadline - sent_at;
            if within.is_zero() {
                return Err(StoreError::DeadlinePassed.into());
            }
            let words = |offset_ms: i64, command: &mut Cmd| {
                self.add_arguments(step, app, offset_ms, sent_at, command);
                command.arg(generation.as_slice()).arg(sent_at.as_millis());
            };
            let timeout = timeout(call, within, *script);
            let before = store.known.counts.before(&call.app, *part);
            let recorded = self.sent.filter(|_| may_cross(*script, call.mode));
            let recorded = recorded.inspect(|recorded| recorded.add(sent_at));
            let (client, timed) = (&store.client, Timed { words: &words, clock: &*store.clock });
            let called =
                client.call_timed(*script as usize, &keys, timed, *subjects, timeout).await;
            if called.as_ref().is_err_and(CallError::did_nothing) {
                recorded.inspect(|recorded| recorded.remove_last());
            }
            let (value, clock) = match called {
                Ok(called) => called,
                Err(error) if marks_examined < MARK_ATTEMPTS_MAX => {
                    store.examine(&generation, &first, error).await?;
                    marks_examined += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let malformed = || unreadable(&format!("{script:?}: malformed reply"));
            let reply = reply::read(value).ok_or_else(malformed)?;
            let crossed = matches!(&reply, Reply::Decided(decided) if !decided.risen.is_empty());
            recorded.filter(|_| !crossed).inspect(|recorded| recorded.remove_last());
            attempts += 1;
            store.saw_mark(&first);
            if let Reply::Decided(Decided { writes, .. }) = &reply {
                store.known.wrote(&before, &call.app, *part, *writes);
            }
            match &reply {
                Reply::Nothing { now, why, .. } if why == "late" || why == "other_day" => {
                    clock.reset(*now, store.clock.now());
                }
                Reply::Nothing { now, .. } | Reply::Decided(Decided { now, .. }) => {
                    clock.observe(*now, sent_at, store.clock.now());
                    return Ok(reply);
                }
            }
        }
        Err(LedgerError::Store(StoreError::DeadlinePassed))
    }

    /// Returns the keys at the end of a call, as [`ScriptCall::keys`] lists them.
    fn last_keys(
        &self,
        script: ScriptId,
        part: Part,
        by_day: bool,
        mark: Vec<u8>,
    ) -> [Option<Vec<u8>>; 8] {
        let counts_groups = by_day && part == Part::Groups;
        [
            counts_groups.then(|| self.keys.group_totals()),
            (counts_groups || script.warns()).then(|| self.keys.warned(part)),
            Some(self.keys.tracked(part)),
            by_day.then(|| self.keys.closed(part)),
            Some(self.keys.holds(part)),
            Some(self.keys.expiry(part)),
            Some(self.keys.writes(part)),
            Some(mark),
        ]
    }

    /// Adds a step's arguments, for a server whose clock is ahead of this process's by `offset_ms`.
    fn add_arguments(
        &self,
        step: &ScriptCall,
        app: UnknownAs,
        offset_ms: i64,
        sent_at: Timestamp,
        command: &mut Cmd,
    ) {
        let call = self.call;
        // The server's clock at an instant of this process's clock.
        let server_time =
            |at: Timestamp| Timestamp::from_millis(at.as_millis().saturating_add(offset_ms));
        let hold = self.hold.as_ref().filter(|_| step.script.may_hold());
        let behind = hold.map_or(&[][..], |hold| &hold.behind_mode);
        let mode = [mode(call, step.script), behind].concat();
        command.arg(mode).arg(server_time(call.deadline).as_millis());
        command.arg(self.catalog_args.default_line(step.part, app));
        let days = step.by_day.then(|| days(&call.catalog, server_time(sent_at), sent_at));
        for (index, argument) in step.arguments.iter().enumerate() {
            let days = days.as_deref().filter(|_| index == DAYS_INDEX);
            command.arg(days.unwrap_or(argument));
        }
        if let Some(operation) = hold.and_then(|hold| hold.operation.as_ref()) {
            command.arg(operation.as_slice());
        }
    }
}

fn timeout(call: &Call, within: Duration, script: ScriptId) -> CallTimeout {
    CallTimeout { is_divisible: script.is_coalesced(), ..CallTimeout::of(within, call.fail_fast) }
}

/// Formats a flag for scripts.
pub fn flag(on: bool) -> Vec<u8> {
    vec![b'0' + u8::from(on)]
}

/// Formats the mode for a script.
fn mode(call: &Call, script: ScriptId) -> &'static [u8] {
    // A coalesced call decides batches of one subject, which are whole by themselves.
    let aborts = call.aborts() && script.takes() && !script.is_coalesced();
    match call.mode {
        Mode::Enforce if aborts => b"e",
        Mode::CheckOnly if aborts => b"c",
        Mode::Enforce => b"E",
        Mode::CheckOnly => b"C",
        Mode::Shadow => b"S",
        Mode::Force => b"F",
    }
}

/// Formats the days for a script: yesterday, today and tomorrow, each with its first instant, and
/// the end of tomorrow, of which the script selects the one of its clock. Then the first day that
/// is open to late reports, the instant at which another day becomes the first, and that day; and
/// today by this process's clock. See `scripts/shared/days.lua`.
fn days(catalog: &Catalog, now: Timestamp, local_now: Timestamp) -> Vec<u8> {
    let zone = catalog.zone;
    let today = zone.day_of(now);
    let before = zone.start_of(today).as_millis() - 1;
    let first = zone.day_of(Timestamp::from_millis(before));
    let mut text = first.number().to_string();
    for days in 0..4 {
        text.push(' ');
        text.push_str(&zone.start_of(first.plus_days(days)).as_millis().to_string());
    }
    let open = first_open_day(catalog, zone.start_of(first));
    // No two months are closed within three days.
    let end = zone.start_of(first.plus_days(3));
    let next_open = first_open_day(catalog, end);
    let cut_off = cut_off(catalog, Month::of(Day::from_number(next_open.number() - 1)));
    let numbers = [open.number().into(), cut_off.as_millis(), next_open.number().into()];
    for number in numbers.into_iter().chain([zone.day_of(local_now).number().into()]) {
        text.push(' ');
        text.push_str(&number.to_string());
    }
    text.into_bytes()
}

/// Maps the reason for which a script refused a hold to an error.
fn hold_refusal(call: &Call, why: &str) -> Option<LedgerError> {
    match why {
        "hold_differs" | "hold_changed" => {
            call.take.hold.as_ref().map(|hold| LedgerError::HoldDiffers(hold.id.clone()))
        }
        "holds_full" => {
            let (app, most) = (call.app.clone(), call.catalog.holds.facts_max);
            Some(LedgerError::HoldsFull { app, most })
        }
        _ => None,
    }
}

/// Maps the reason for which a script did nothing to an error.
pub fn refusal(call: &Call, group: Option<&GroupId>, why: &str, detail: &str) -> LedgerError {
    let malformed = || unreadable(&format!("a script answered \"{why}\""));
    if why == "unknown_app" {
        return LedgerError::UnknownApp(call.app.clone());
    }
    if why == "facts_full" {
        let most = call.catalog.unknown_apps.facts_per_app_max;
        let (app, bound) = (call.app.clone(), UnknownAppBound::Facts);
        return LedgerError::UnknownAppsFull { app, bound, most };
    }
    if let Some(refusal) = hold_refusal(call, why) {
        return refusal;
    }
    let Some(group) = group.cloned() else { return malformed() };
    match why {
        "group_not_found" => LedgerError::GroupNotFound(group),
        "group_replaced" => LedgerError::GroupReplaced(group),
        "type_differs" => LedgerError::GroupTypeDiffers { group, existing: detail.into() },
        "type_unknown" => LedgerError::GroupTypeUnknown { group, group_type: detail.into() },
        "not_tracked" => LedgerError::MembersNotTracked { group, group_type: detail.into() },
        _ => malformed(),
    }
}
