//! Metering in Redis: logins, samples, and figures by day.
//!
//! Logins and samples are in the part of accounts, the number of groups in that of groups;
//! figures are read from both concurrently.

use std::collections::HashMap;

use async_trait::async_trait;
use redis::Value;

use super::reply::{Decided, ItemReply};
use super::takes::SUBJECTS_MAX;
use super::usage::{HASHES, fields, malformed_reply, part};
use super::verdict::at;
use super::work::{OperationRun, ScriptCall};
use super::{Redis, logins};
use crate::domain::calendar::{Day, Zone};
use crate::domain::id::Name;
use crate::domain::metering::{
    AHEAD_MAX, DayFigures, FIGURES_DAYS_KEPT, GroupDay, LATE_DAYS_MAX, Login, MeterOutcome, Sample,
    Sampled, group_peaks,
};
use crate::domain::time::Timestamp;
use crate::ledger::metering::{ClosedMonth, Figures, Meter, Metered};
use crate::ledger::{Call, LedgerError};
use crate::redis::keys::{HELD_GROUPS, Keys, Part};
use crate::redis::reply::{bytes, integer, text};
use crate::redis::scripts::ScriptId;

#[async_trait]
impl Meter for Redis {
    async fn record_logins(&self, call: Call, logins: Vec<Login>) -> Result<Metered, LedgerError> {
        logins::record(&OperationRun::new(&self.shared, &call), &logins).await
    }

    async fn report_samples(
        &self,
        call: Call,
        of: Sampled,
        samples: Vec<Sample>,
    ) -> Result<Metered, LedgerError> {
        let work = OperationRun::new(&self.shared, &call);
        let mut metered = Metered::of(Timestamp::from_millis(0), Vec::new());
        for samples in samples.chunks(SUBJECTS_MAX) {
            let keys = vec![highest(work.keys(), of)];
            let mut arguments = bounds();
            for Sample { name, value, at } in samples {
                arguments.extend(instant(call.catalog.zone, *at));
                arguments.push(name.as_str().as_bytes().to_vec());
                arguments.push(value.to_string().into_bytes());
            }
            let (script, subjects) = (ScriptId::ReportSamples, samples.len());
            let step = ScriptCall {
                script,
                part: Part::Accounts,
                by_day: true,
                subjects,
                keys,
                arguments,
            };
            metered.append(outcomes(&work.step(None, step).await?)?);
        }
        Ok(metered)
    }

    async fn figures(&self, call: &Call, first: Day, last: Day) -> Result<Figures, LedgerError> {
        let work = OperationRun::new(&self.shared, call);
        let keys: &Keys = work.keys();
        let read = async || {
            let logins = logins::hashes_of_logins(keys).to_vec();
            let logins = part(&work, Part::Accounts, HASHES, logins);
            let groups = vec![keys.groups_by_type(), keys.group_totals()];
            let groups = part(&work, Part::Groups, HASHES, groups);
            tokio::try_join!(logins, groups)
        };
        let (mut logins, mut groups) = read().await?;
        if logins::count_rest(&work, logins.more.get(4)).await? {
            (logins, groups) = read().await?;
        }
        let days = days(&logins, &groups, first, last).ok_or_else(malformed_reply)?;
        let month_users = logins::month_users(&logins, first, last).ok_or_else(malformed_reply)?;
        Ok(Figures { read_at: at(&groups), days, month_users })
    }

    async fn close_month(
        &self,
        call: &Call,
        month: ClosedMonth,
    ) -> Result<Option<Figures>, LedgerError> {
        let work = OperationRun::new(&self.shared, call);
        let keys: &Keys = work.keys();
        logins::count_all_months(&work).await?;
        let logins = logins::hashes_of_logins(keys).to_vec();
        let groups = vec![keys.groups_by_type(), keys.group_totals()];
        let logins = close(&work, Part::Accounts, logins, month);
        let groups = close(&work, Part::Groups, groups, month);
        let (logins, groups) = tokio::try_join!(logins, groups)?;
        let is_closed = |decided: &Decided| decided.more.first().and_then(integer) == Some(1);
        if !is_closed(&logins) || !is_closed(&groups) {
            return Ok(None);
        }
        let days = days(&logins, &groups, month.first, month.last).ok_or_else(malformed_reply)?;
        let users =
            logins::month_users(&logins, month.first, month.last).ok_or_else(malformed_reply)?;
        let read_at = at(&logins).max(at(&groups));
        Ok(Some(Figures { read_at, days, month_users: users }))
    }
}

/// Returns the key of the highest samples of a kind.
fn highest(keys: &Keys, of: Sampled) -> Vec<u8> {
    match of {
        Sampled::Bandwidth => keys.bandwidth(),
        Sampled::Gauge => keys.gauges(),
    }
}

/// Closes a month in one part of the app.
async fn close(
    work: &OperationRun<'_>,
    part: Part,
    hashes: Vec<Vec<u8>>,
    month: ClosedMonth,
) -> Result<Decided, LedgerError> {
    let keys = std::iter::once(work.keys().closed(part)).chain(hashes).collect();
    let numbers = [month.cut_off.as_millis(), month.last.number().into()];
    let arguments = numbers.map(|number| number.to_string().into_bytes()).into();
    let step = ScriptCall {
        script: ScriptId::CloseMonth,
        part,
        by_day: false,
        subjects: 1,
        keys,
        arguments,
    };
    work.step(None, step).await
}

/// Returns the first arguments of a metering script: how late, how far ahead, how long kept, and a
/// place for the days.
pub(super) fn bounds() -> Vec<Vec<u8>> {
    let numbers = [LATE_DAYS_MAX.into(), AHEAD_MAX.as_millis(), FIGURES_DAYS_KEPT.into()];
    let mut arguments: Vec<_> = numbers.map(|number| number.to_string().into_bytes()).into();
    arguments.push(Vec::new());
    arguments
}

/// Formats a day and an instant for scripts.
pub(super) fn instant(zone: Zone, at: Option<Timestamp>) -> [Vec<u8>; 2] {
    at.map_or_else(Default::default, |at| {
        let day = zone.day_of(at).number();
        [day.to_string().into_bytes(), at.as_millis().to_string().into_bytes()]
    })
}

/// Returns the outcomes of a step, without violations.
pub(super) fn outcomes(decided: &Decided) -> Result<Metered, LedgerError> {
    let outcome = |said: &ItemReply| match said.letter {
        b'A' | b'S' => Some(MeterOutcome::Counted),
        b'H' => Some(MeterOutcome::AlreadyCounted),
        b'O' => Some(MeterOutcome::TooLate),
        b'F' => Some(MeterOutcome::InFuture),
        b'D' => Some(MeterOutcome::Denied),
        _ => None,
    };
    let outcomes: Option<_> = decided.said.iter().map(outcome).collect();
    Ok(Metered::of(at(decided), outcomes.ok_or_else(malformed_reply)?))
}

/// Returns the figures of each day; `None` if the replies are malformed.
fn days(logins: &Decided, groups: &Decided, first: Day, last: Day) -> Option<Vec<DayFigures>> {
    // The first value is the schedule, or whether the month is closed.
    let dau = by_day(logins.more.get(1)?, integer)?;
    let mut bandwidth = by_day_and_name(logins.more.get(2)?)?;
    let mut gauges = by_day_and_name(logins.more.get(5)?)?;
    let by_type = fields(groups.more.get(1)?)?;
    // Those that are held are in no figure.
    let number = |(name, count): &(String, Value)| {
        Some(if name == HELD_GROUPS { -integer(count)? } else { integer(count)? })
    };
    let now = by_type.iter().map(number).sum::<Option<i64>>()?;
    let totals = by_day(groups.more.get(2)?, total)?;
    let net_new: HashMap<i32, i64> = totals.iter().map(|(day, it)| (*day, it.net_new)).collect();
    let mut changed: Vec<(Day, GroupDay)> =
        totals.into_iter().map(|(day, total)| (Day::from_number(day), total)).collect();
    changed.sort_unstable_by_key(|(day, _)| *day);
    let peaks = group_peaks(&changed, u64::try_from(now).ok()?, first, last);
    let figures = |(groups_peak, number): (u64, i32)| DayFigures {
        day: Day::from_number(number),
        dau: dau.get(&number).and_then(|dau| u64::try_from(*dau).ok()).unwrap_or(0),
        groups_peak,
        groups_net_new: net_new.get(&number).copied().unwrap_or(0),
        bandwidth: bandwidth.remove(&number).unwrap_or_default(),
        gauges: gauges.remove(&number).unwrap_or_default(),
    };
    Some(peaks.into_iter().zip(first.number()..).map(figures).collect())
}

/// Parses a hash by day.
pub(super) fn by_day<T>(
    hash: &Value,
    read: impl Fn(&Value) -> Option<T>,
) -> Option<HashMap<i32, T>> {
    let day = |(field, value): (String, Value)| Some((field.parse().ok()?, read(&value)?));
    fields(hash)?.into_iter().map(day).collect()
}

/// Parses samples by day, ordered by name within each.
fn by_day_and_name(hash: &Value) -> Option<HashMap<i32, Vec<(Name, u64)>>> {
    let mut days: HashMap<i32, Vec<(Name, u64)>> = HashMap::new();
    for (field, value) in fields(hash)? {
        let (day, name) = field.split_once('/')?;
        let value = u64::try_from(integer(&value)?).ok()?;
        days.entry(day.parse().ok()?).or_default().push((name.into(), value));
    }
    for names in days.values_mut() {
        names.sort_unstable();
    }
    Some(days)
}

/// Parses the number of groups on a day, such as `5 9 7 2`.
fn total(value: &Value) -> Option<GroupDay> {
    let text = text(bytes(value.clone())?)?;
    let (numbers, net_new) = text.rsplit_once(' ')?;
    let mut numbers = numbers.split(' ').map(|number| number.parse().ok());
    let (start, peak, end) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some(GroupDay { start, peak, end, net_new: net_new.parse().ok()? })
}
