//! The unregistered apps of the store: for each, the instant at which it was last seen in use, and
//! its number of facts in every part.

use redb::{ReadableTable, ReadableTableMetadata as _, StorageError};

use super::facts::{Facts, Result};
use super::step::StepError;
use crate::domain::catalog::UnknownAppBound;
use crate::domain::decision::Mode;
use crate::domain::time::Timestamp;
use crate::ledger::{Call, LedgerError, UNKNOWN_APP_SEEN_FOR};
use crate::redb::tables::Tables;
use crate::redb::writer::Unit;
use crate::store::fingerprint::{AppKey, Fingerprints, GroupKey, UserKey};

/// The number of apps that are checked in one transaction.
pub(super) const REVIEWED_MAX: usize = 500;

/// A part of an app's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Accounts.
    Accounts,
    /// Entries in lists of friends.
    Friends,
    /// Groups, and their members.
    Groups,
}

impl Part {
    const ALL: [Self; 3] = [Self::Accounts, Self::Friends, Self::Groups];

    /// Returns the name of its counter.
    fn counter(self) -> &'static str {
        match self {
            Self::Accounts => "facts/accounts",
            Self::Friends => "facts/friends",
            Self::Groups => "facts/groups",
        }
    }
}

/// The number of facts that an operation adds to each part, minus those that it releases.
pub(super) type Steps = [i64; Part::ALL.len()];

/// Returns whether the app has limits of its own.
pub(super) fn is_registered(tables: &Tables<'_>, app: AppKey) -> Result<bool> {
    Ok(tables.schedules.get(app)?.is_some())
}

/// Counts the app of a take if it is not registered; returns an error if there is no room for it.
pub(super) fn count_app(
    unit: &mut Unit<'_, '_>,
    ids: &Fingerprints,
    call: &Call,
    now: Timestamp,
) -> std::result::Result<(), StepError> {
    let app = ids.app(&call.app);
    let counts = call.mode != Mode::CheckOnly && !call.is_replayed && call.unknown_app.is_some();
    if !counts || now > call.deadline || is_registered(unit.tables, app)? {
        return Ok(());
    }
    let since = unit.tables.unknown_apps.get(app)?.map(|since| since.value());
    match since.map(Timestamp::from_millis) {
        Some(since) if since <= now && now - since < UNKNOWN_APP_SEEN_FOR => return Ok(()),
        Some(_) => {}
        None => {
            let most = call.catalog.unknown_apps.max;
            let is_full = unit.tables.unknown_apps.len()? >= most;
            if is_full && call.is_bounded() && !has_facts(unit.tables, app)? {
                let (app, bound) = (call.app.clone(), UnknownAppBound::Apps);
                return Err(LedgerError::UnknownAppsFull { app, bound, most }.into());
            }
        }
    }
    unit.tables.unknown_apps.insert(app, now.as_millis())?;
    unit.wrote = true;
    Ok(())
}

/// Stops counting apps, from the app `from` on, that have no facts and were not seen in use since
/// `used_before`. Returns the number of apps removed, and the app to continue with.
pub(super) fn review(
    unit: &mut Unit<'_, '_>,
    from: AppKey,
    used_before: Timestamp,
    now: Timestamp,
) -> Result<(u64, Option<AppKey>)> {
    let rows = unit.tables.unknown_apps.range(from..)?.take(REVIEWED_MAX + 1);
    let rows: std::result::Result<Vec<_>, StorageError> =
        rows.map(|row| row.map(|(app, since)| (app.value(), since.value()))).collect();
    let mut rows = rows?;
    let next = (rows.len() > REVIEWED_MAX).then(|| rows.pop()).flatten().map(|(app, _)| app);
    let mut removed = 0;
    for (app, since) in rows {
        if since > used_before.as_millis() {
            continue;
        }
        if !is_registered(unit.tables, app)? && has_facts(unit.tables, app)? {
            unit.tables.unknown_apps.insert(app, now.as_millis())?;
        } else {
            unit.tables.unknown_apps.remove(app)?;
            removed += 1;
        }
        unit.wrote = true;
    }
    Ok((removed, next))
}

/// Returns whether the app has facts, or figures of logins or bandwidth.
fn has_facts(tables: &Tables<'_>, app: AppKey) -> Result<bool> {
    for part in Part::ALL {
        if !is_empty(tables, app, part)? {
            return Ok(true);
        }
    }
    let days = (app, i32::MIN)..=(app, i32::MAX);
    if tables.login_days.range(days)?.next().is_some() {
        return Ok(true);
    }
    let mut rows = tables.bandwidth.range((app, i32::MIN, "")..)?;
    Ok(rows.next().transpose()?.is_some_and(|(key, _)| key.value().0 == app))
}

/// Returns whether a part has no facts.
fn is_empty(tables: &Tables<'_>, app: AppKey, part: Part) -> Result<bool> {
    Ok(match part {
        Part::Accounts => {
            let all = (app, UserKey::MIN)..=(app, UserKey::MAX);
            tables.accounts.range(all)?.next().is_none()
        }
        Part::Friends => {
            let all = (app, UserKey::MIN, UserKey::MIN)..=(app, UserKey::MAX, UserKey::MAX);
            tables.friendships.range(all)?.next().is_none()
        }
        Part::Groups => {
            let all = (app, GroupKey::MIN)..=(app, GroupKey::MAX);
            tables.groups.range(all)?.next().is_none()
        }
    })
}

impl Facts<'_, '_> {
    /// Counts a fact that is taken or released.
    pub(super) fn count_fact(&mut self, part: Part, more: bool) {
        self.fact_steps[part as usize] += if more { 1 } else { -1 };
    }

    /// Counts the facts of an app that is not registered. Returns the bound if a part would exceed
    /// `most`; `None` for `most` means that there is no bound. A part with facts written by an
    /// earlier version is not counted.
    pub(super) fn count_facts(&mut self, most: Option<u64>) -> Result<Option<UnknownAppBound>> {
        if is_registered(self.tables, self.app)? {
            return Ok(None);
        }
        for part in Part::ALL {
            let step = self.fact_steps[part as usize];
            if step == 0 {
                continue;
            }
            let counted = self.tables.counters.get((self.app, part.counter()))?;
            let counted = counted.map(|count| count.value());
            if counted.is_none() && !is_empty(self.tables, self.app, part)? {
                continue;
            }
            let count = counted.unwrap_or(0).saturating_add_signed(step);
            if step > 0 && most.is_some_and(|most| count > most) {
                return Ok(Some(UnknownAppBound::Facts));
            }
            self.counters.insert(part.counter().to_owned(), count);
        }
        Ok(None)
    }
}
