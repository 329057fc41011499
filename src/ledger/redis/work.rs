//! One operation under way: the calls of scripts that it takes.
//!
//! A script reads the server's clock and does nothing after the deadline. Where our estimate of
//! that clock turns out wrong, the script has written nothing and says what time it is, and the
//! call is made once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::Cmd;

use super::client::{CallError, Patience, Timed};
use super::keys::{Keys, Part};
use super::reply::{self, Decided, Reply};
use super::scripts::ScriptId;
use super::store::{MARK_ATTEMPTS_MAX, Store};
use super::texts::{Texts, UnknownAs};
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

/// Most calls of one step to find out the server's time: once too late, once another day.
const ATTEMPTS_MAX: usize = 3;

/// Where in the script's own arguments the days stand, where it has some.
const DAYS_INDEX: usize = 3;

/// One call of a script that begins with `scripts/shared/begin.lua`.
pub struct Step {
    /// The script.
    pub script: ScriptId,
    /// The part of the app whose limits it goes by.
    pub part: Part,
    /// Whether it counts by day; its fourth own argument is then filled in.
    pub by_day: bool,
    /// Users and groups that it is about, beside the one that it is called for.
    pub subjects: usize,
    /// Its keys, without those that every script has or many share: the limits, which come first,
    /// and at the end, where they are needed, the number of groups by day, the thresholds that were
    /// warned of, what is tracked, and the last day that was closed, then the counter of writes
    /// and the mark.
    pub keys: Vec<Vec<u8>>,
    /// Its arguments, without mode, deadline and default limits, and without the generation and
    /// this process's clock, which come last.
    pub arguments: Vec<Vec<u8>>,
}

/// An operation and where it is carried out.
pub struct Work<'a> {
    /// Where.
    pub store: &'a Store,
    /// What it is carried out under.
    pub call: &'a Call,
    /// What scripts are told of the catalog.
    pub texts: Arc<Texts>,
    keys: Keys,
    /// Whether a step has been decided that may have written.
    begun: AtomicBool,
    /// Where steps are noted that may cross thresholds.
    sent: Option<&'a SentSteps>,
}

impl<'a> Work<'a> {
    /// An operation of which nothing is done yet.
    pub fn new(store: &'a Store, call: &'a Call) -> Self {
        let (texts, keys) = (store.texts(call), Keys::new(store.ids, &call.app));
        Self { store, call, texts, keys, begun: AtomicBool::new(false), sent: None }
    }

    /// The same, whose steps are noted there until they are known to have crossed no threshold.
    pub fn noting(self, sent: &'a SentSteps) -> Self {
        Self { sent: Some(sent), ..self }
    }

    /// The keys of the app.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The catalog's group types, as scripts read them.
    pub fn types(&self) -> Vec<u8> {
        self.texts.types.clone()
    }

    /// Calls a script; `group` is the one that it is about.
    pub async fn step(&self, group: Option<&GroupId>, step: Step) -> Result<Decided, LedgerError> {
        match self.try_step(&step).await? {
            Reply::Decided(decided) => Ok(decided),
            Reply::Nothing { why, detail, .. } => Err(refusal(self.call, group, &why, &detail)),
        }
    }

    /// Calls a script with the app's limits, a deadline and the days.
    pub async fn try_step(&self, step: &Step) -> Result<Reply, LedgerError> {
        let app = unknown_apps::standing(self.store, self.call, step.script);
        let mut reply = self.timed_step(step, app).await;
        if let Ok(Reply::Nothing { why, .. }) = &reply
            && why == "uncounted"
        {
            reply = match unknown_apps::enter(self.store, self.call).await {
                Ok(()) => self.timed_step(step, UnknownAs::Counted).await,
                Err(refused) => Err(refused),
            };
        }
        // Once a step is done, no error of a later one may say that nothing was.
        let begun = self.begun.load(Ordering::Relaxed);
        let reply = reply.map_err(|error| if begun { error.of_unfinished() } else { error })?;
        if matches!(reply, Reply::Decided(_)) && self.call.mode != Mode::CheckOnly {
            self.begun.store(true, Ordering::Relaxed);
        }
        Ok(reply)
    }

    async fn timed_step(&self, step: &Step, app: UnknownAs) -> Result<Reply, LedgerError> {
        let Step { script, part, by_day, subjects, keys: own_keys, .. } = step;
        let (store, call) = (self.store, self.call);
        let counts_groups = *by_day && *part == Part::Groups;
        let first = self.keys.limits(*part);
        let last = [
            counts_groups.then(|| self.keys.group_totals()),
            (counts_groups || script.warns()).then(|| self.keys.warned(*part)),
            Some(self.keys.tracked(*part)),
            by_day.then(|| self.keys.closed(*part)),
            Some(self.keys.writes(*part)),
            Some(store.marks.beside(&first)),
        ];
        let all = std::iter::once(&first).chain(own_keys).chain(last.iter().flatten());
        let keys: Vec<&[u8]> = all.map(Vec::as_slice).collect();
        let (mut attempts, mut met) = (0, 0);
        while attempts < ATTEMPTS_MAX {
            store.standing.check(*script)?;
            let generation = store.generation();
            let sent_at = store.clock.now();
            let within = call.deadline - sent_at;
            if within.is_zero() {
                return Err(LedgerError::DeadlinePassed);
            }
            let words = |offset_ms: i64, command: &mut Cmd| {
                self.add_words(step, app, offset_ms, sent_at, command);
                command.arg(generation.as_slice()).arg(sent_at.as_millis());
            };
            let patience = Patience { within, hurried: call.hurried };
            let before = store.known.counts.before(&call.app, *part);
            let noted = self.sent.filter(|_| may_cross(*script, call.mode));
            noted.inspect(|noted| noted.add(sent_at));
            let timed = Timed { words: &words, clock: &*store.clock };
            let called =
                store.client.call_timed(*script as usize, &keys, timed, *subjects, patience);
            let called = called.await;
            if called.as_ref().is_err_and(CallError::did_nothing) {
                noted.inspect(|noted| noted.remove_last());
            }
            let (value, clock) = match called {
                Ok(called) => called,
                Err(error) if met < MARK_ATTEMPTS_MAX => {
                    store.examine(&generation, &first, error).await?;
                    met += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let reply = reply::read(value);
            let reply = reply.ok_or_else(|| unreadable(&format!("{script:?}: unknown answer")))?;
            let crossed = matches!(&reply, Reply::Decided(decided) if !decided.risen.is_empty());
            noted.filter(|_| !crossed).inspect(|noted| noted.remove_last());
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
        Err(LedgerError::DeadlinePassed)
    }

    /// Adds a step's arguments, for a server whose clock is that far ahead of ours.
    fn add_words(
        &self,
        step: &Step,
        app: UnknownAs,
        offset_ms: i64,
        sent_at: Timestamp,
        command: &mut Cmd,
    ) {
        let call = self.call;
        // What the server's clock says when ours says so.
        let server_time =
            |at: Timestamp| Timestamp::from_millis(at.as_millis().saturating_add(offset_ms));
        command.arg(mode(call)).arg(server_time(call.deadline).as_millis());
        command.arg(self.texts.default_line(step.part, app));
        let days = step.by_day.then(|| days(&call.catalog, server_time(sent_at), sent_at));
        for (index, argument) in step.arguments.iter().enumerate() {
            let days = days.as_deref().filter(|_| index == DAYS_INDEX);
            command.arg(days.unwrap_or(argument));
        }
    }
}

/// Yes or no, as scripts read it.
pub fn flag(on: bool) -> Vec<u8> {
    vec![b'0' + u8::from(on)]
}

/// The mode, as scripts read it.
fn mode(call: &Call) -> &'static [u8] {
    match call.mode {
        Mode::Enforce => b"E",
        Mode::CheckOnly => b"C",
        Mode::Shadow => b"S",
        Mode::Force => b"F",
    }
}

/// Yesterday, today and tomorrow, each with its first instant, and the end of tomorrow: the
/// script takes the one that its clock is in. Then the first day that is open to what comes late,
/// the instant at which another one is, and that one; and today by this process's clock. See
/// `scripts/shared/days.lua`.
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

/// What it means that a script did nothing.
pub fn refusal(call: &Call, group: Option<&GroupId>, why: &str, detail: &str) -> LedgerError {
    let senseless = || unreadable(&format!("a script answered \"{why}\""));
    if why == "unknown_app" {
        return LedgerError::UnknownApp(call.app.clone());
    }
    if why == "facts_full" {
        let most = call.catalog.unknown_apps.facts_per_app_max;
        let (app, bound) = (call.app.clone(), UnknownAppBound::Facts);
        return LedgerError::UnknownAppsFull { app, bound, most };
    }
    let Some(group) = group.cloned() else { return senseless() };
    match why {
        "group_not_found" => LedgerError::GroupNotFound(group),
        "group_replaced" => LedgerError::GroupReplaced(group),
        "type_differs" => LedgerError::GroupTypeDiffers { group, existing: detail.into() },
        "type_unknown" => LedgerError::GroupTypeUnknown { group, group_type: detail.into() },
        "not_tracked" => LedgerError::MembersNotTracked { group, group_type: detail.into() },
        _ => senseless(),
    }
}
