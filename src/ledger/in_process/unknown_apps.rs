//! Unregistered apps: for each, the instant at which it was last seen in use, and its number of
//! facts in every part.

use super::facts::Facts;
use super::rows::{Counter, Result, Rows};
use super::step::StepError;
use crate::domain::catalog::UnknownAppBound;
use crate::domain::decision::Mode;
use crate::domain::time::Timestamp;
use crate::ledger::{Call, LedgerError, UNKNOWN_APP_SEEN_FOR};
use crate::store::fingerprint::UserKey;

/// A part of an app's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Accounts.
    Accounts,
    /// Entries in lists of friends.
    Friends,
    /// Groups, and their members.
    Groups,
}

impl Part {
    const ALL: [Self; 3] = [Self::Accounts, Self::Friends, Self::Groups];
}

/// The number of facts that an operation adds to each part, minus those that it releases.
pub type Steps = [i64; Part::ALL.len()];

/// Returns whether the app has limits of its own.
fn is_registered(rows: &impl Rows) -> Result<bool> {
    Ok(rows.schedule_revision()?.is_some())
}

/// Counts the app of a take if it is not registered; returns an error if there is no room for it.
pub fn count_app(
    rows: &mut impl Rows,
    call: &Call,
    now: Timestamp,
) -> std::result::Result<(), StepError> {
    let counts = call.mode != Mode::CheckOnly && !call.is_replayed && call.unknown_app.is_some();
    if !counts || now > call.deadline || is_registered(rows)? {
        return Ok(());
    }
    let is_seen = |since: Timestamp| since <= now && now - since < UNKNOWN_APP_SEEN_FOR;
    if rows.unknown_since()?.is_some_and(is_seen) {
        return Ok(());
    }
    let most = call.catalog.unknown_apps.max;
    let is_counted = rows.count_unknown(now, call.is_bounded().then_some(most))?
        // An app with facts is counted in any case.
        || (has_facts(rows)? && rows.count_unknown(now, None)?);
    if is_counted {
        return Ok(());
    }
    let (app, bound) = (call.app.clone(), UnknownAppBound::Apps);
    Err(LedgerError::UnknownAppsFull { app, bound, most }.into())
}

/// Stops counting the app if it has no facts and was not seen in use since `used_before`. Returns
/// whether it was counted and is not any more.
pub fn review(rows: &mut impl Rows, used_before: Timestamp, now: Timestamp) -> Result<bool> {
    if rows.unknown_since()?.is_none_or(|since| since > used_before) {
        return Ok(false);
    }
    if !is_registered(rows)? && has_facts(rows)? {
        rows.count_unknown(now, None)?;
        return Ok(false);
    }
    rows.uncount_unknown()?;
    Ok(true)
}

/// Returns whether the app has facts, or figures of logins or bandwidth.
fn has_facts(rows: &impl Rows) -> Result<bool> {
    for part in Part::ALL {
        if !is_empty(rows, part)? {
            return Ok(true);
        }
    }
    rows.has_figures()
}

/// Returns whether a part has no facts.
fn is_empty(rows: &impl Rows, part: Part) -> Result<bool> {
    Ok(match part {
        Part::Accounts => rows.accounts(UserKey::MIN, 1)?.is_empty(),
        Part::Friends => !rows.has_edges()?,
        Part::Groups => rows.groups(UserKey::MIN, 1)?.is_empty(),
    })
}

impl<R: Rows> Facts<'_, R> {
    /// Counts a fact that is taken or released.
    pub(super) fn count_fact(&mut self, part: Part, more: bool) {
        self.changes.fact_steps[part as usize] += if more { 1 } else { -1 };
    }

    /// Counts the facts of an app that is not registered. Returns the bound if a part would exceed
    /// `most`; `None` for `most` means that there is no bound. A part with facts written by an
    /// earlier version is not counted.
    pub fn count_facts(&mut self, most: Option<u64>) -> Result<Option<UnknownAppBound>> {
        if is_registered(self.rows)? {
            return Ok(None);
        }
        for part in Part::ALL {
            let step = self.changes.fact_steps[part as usize];
            if step == 0 {
                continue;
            }
            let counter = Counter::Facts(part);
            let counted = self.rows.counter(&counter)?;
            if counted.is_none() && !is_empty(self.rows, part)? {
                continue;
            }
            let count = counted.unwrap_or(0).saturating_add_signed(step);
            if step > 0 && most.is_some_and(|most| count > most) {
                return Ok(Some(UnknownAppBound::Facts));
            }
            self.changes.counters.insert(counter, count);
        }
        Ok(None)
    }
}
