//! The connection to the store together with its clock: one call of one script.
//!
//! A script reads the server's clock and does nothing after the deadline. Our clock may differ
//! from the server's, so the deadline is given in the server's time, by what its latest answers
//! said. Where that turns out wrong (the server's clock was set, or another server took over),
//! the script has written nothing and says what time it is, and the call is made once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redis::Value;

use super::client::{CallError, Client};
use super::keys::{Keys, Part};
use super::limits::line;
use super::reply::{self, Decided, Reply};
use super::scripts::ScriptId;
use super::verdict::unreadable;
use crate::clock::Clock;
use crate::domain::calendar::Zone;
use crate::domain::decision::Mode;
use crate::domain::group_type::GroupType;
use crate::domain::id::GroupId;
use crate::domain::time::Timestamp;
use crate::ledger::fingerprint::Fingerprints;
use crate::ledger::{Call, LedgerError};

/// Most calls of one operation to find out the server's time: once too late, once another day.
const ATTEMPTS_MAX: usize = 3;

/// Longest time for a call that has no caller who waits.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Where in the script's own arguments the days stand, where it has some.
const DAYS_INDEX: usize = 3;

/// What scripts are called through.
pub struct Store {
    /// The connections.
    pub client: Client,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Makes fingerprints.
    pub ids: Fingerprints,
    /// The server's clock less ours, in milliseconds; at most so much.
    ahead_ms: AtomicI64,
}

/// One call of a script that begins with `scripts/shared/begin.lua`.
pub struct Step {
    /// The script.
    pub script: ScriptId,
    /// The part of the app whose limits it goes by.
    pub part: Part,
    /// Whether it counts groups by day; its fourth own argument is then filled in.
    pub by_day: bool,
    /// Its keys, without that of the limits.
    pub keys: Vec<Vec<u8>>,
    /// Its arguments, without mode, deadline and default limits.
    pub arguments: Vec<Vec<u8>>,
}

impl Store {
    /// A store whose clock said `server_now` a moment ago.
    pub fn new(client: Client, clock: Arc<dyn Clock>, ids: Fingerprints, server_now: i64) -> Self {
        let ahead_ms = AtomicI64::new(server_now - clock.now().as_millis());
        Self { client, clock, ids, ahead_ms }
    }

    /// The keys of the call's app.
    pub fn keys(&self, call: &Call) -> Keys {
        Keys::new(self.ids, &call.app)
    }

    /// Calls a script; `group` is the one that it is about.
    pub async fn step(
        &self,
        call: &Call,
        group: Option<&GroupId>,
        step: Step,
    ) -> Result<Decided, LedgerError> {
        match self.try_step(call, &step).await? {
            Reply::Decided(decided) => Ok(decided),
            Reply::Nothing { why, detail, .. } => Err(refusal(call, group, &why, &detail)),
        }
    }

    /// Calls a script with the app's limits, a deadline and the days.
    pub async fn try_step(&self, call: &Call, step: &Step) -> Result<Reply, LedgerError> {
        let Step { script, part, by_day, keys: own_keys, arguments } = step;
        let mut keys = vec![self.keys(call).limits(*part)];
        keys.extend(own_keys.iter().cloned());
        let default = call.unknown_app.as_ref().map(|limits| line(*part, limits));
        let mut all = vec![mode(call.mode), Vec::new(), default.unwrap_or_default().into_bytes()];
        all.extend(arguments.iter().cloned());
        for _ in 0..ATTEMPTS_MAX {
            let within = call.deadline - self.clock.now();
            if within.is_zero() {
                return Err(LedgerError::DeadlinePassed);
            }
            let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
            let deadline = call.deadline.as_millis().saturating_add(ahead_ms);
            all[1] = deadline.to_string().into_bytes();
            if *by_day {
                let now = self.clock.now().as_millis() + ahead_ms;
                all[3 + DAYS_INDEX] = days(call.catalog.zone, Timestamp::from_millis(now));
            }
            let reply = self.call(*script, &keys, &all, within).await?;
            match &reply {
                Reply::Nothing { now, why, .. } if why == "late" || why == "other_day" => {
                    self.ahead_ms.store(now - self.clock.now().as_millis(), Ordering::Relaxed);
                }
                Reply::Nothing { now, .. } | Reply::Decided(Decided { now, .. }) => {
                    self.learn(*now);
                    return Ok(reply);
                }
            }
        }
        Err(LedgerError::DeadlinePassed)
    }

    /// An answer was on its way for some time, so its clock is at least so much ahead of ours.
    /// The estimate falls slowly, should the clocks drift apart.
    fn learn(&self, server_now: i64) {
        let at_least = server_now - self.clock.now().as_millis();
        let known = self.ahead_ms.load(Ordering::Relaxed);
        let better =
            if at_least >= known { at_least } else { known - (known - at_least + 63) / 64 };
        self.ahead_ms.store(better, Ordering::Relaxed);
    }

    async fn call(
        &self,
        script: ScriptId,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
        within: Duration,
    ) -> Result<Reply, LedgerError> {
        let value = self.raw(script, keys, arguments, within).await?;
        reply::read(value).ok_or_else(|| unreadable(&format!("{script:?}: unknown answer")))
    }

    /// Calls any script.
    pub async fn raw(
        &self,
        script: ScriptId,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
        within: Duration,
    ) -> Result<Value, LedgerError> {
        Ok(self.client.call(script as usize, keys, arguments, within).await?)
    }
}

impl From<CallError> for LedgerError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Overloaded => Self::Overloaded,
            CallError::Closing => Self::Closing,
            CallError::Refused(reason) => Self::Unavailable(format!("{reason}; nothing was done")),
            CallError::Lost(reason) => {
                Self::Unavailable(format!("{reason}; whether it was done is unknown"))
            }
        }
    }
}

fn mode(mode: Mode) -> Vec<u8> {
    match mode {
        Mode::Enforce => b"E",
        Mode::CheckOnly => b"C",
        Mode::Shadow => b"S",
        Mode::Force => b"F",
    }
    .to_vec()
}

/// Yesterday, today and tomorrow, each with its first instant, and the end of tomorrow: the
/// script takes the one that its clock is in.
fn days(zone: Zone, now: Timestamp) -> Vec<u8> {
    let today = zone.day_of(now);
    let before = zone.start_of(today).as_millis() - 1;
    let first = zone.day_of(Timestamp::from_millis(before));
    let mut text = first.number().to_string();
    for days in 0..4 {
        text.push(' ');
        text.push_str(&zone.start_of(first.plus_days(days)).as_millis().to_string());
    }
    text.into_bytes()
}

/// What it means that a script did nothing.
pub fn refusal(call: &Call, group: Option<&GroupId>, why: &str, detail: &str) -> LedgerError {
    let senseless = || unreadable(&format!("a script answered \"{why}\""));
    if why == "unknown_app" {
        return LedgerError::UnknownApp(call.app.clone());
    }
    let Some(group) = group.cloned() else { return senseless() };
    match why {
        "group_not_found" => LedgerError::GroupNotFound(group),
        "type_differs" => LedgerError::GroupTypeDiffers { group, existing: detail.into() },
        "type_unknown" => LedgerError::GroupTypeUnknown { group, group_type: detail.into() },
        "not_tracked" => LedgerError::MembersNotTracked { group, group_type: detail.into() },
        _ => senseless(),
    }
}

/// The catalog's group types, as scripts read them.
pub fn types(call: &Call) -> Vec<u8> {
    let mut text = ";".to_owned();
    for kind in &call.catalog.group_types {
        text.push_str(&type_rules(kind));
    }
    text.into_bytes()
}

fn type_rules(kind: &GroupType) -> String {
    let number = super::limits::number;
    format!(
        "{} {} {} {} {} {} {};",
        kind.name,
        number(kind.member_cap),
        u8::from(kind.members_tracked),
        u8::from(kind.counts_towards_user),
        u8::from(kind.reclaim_empty),
        number(kind.per_app),
        number(kind.per_day),
    )
}
