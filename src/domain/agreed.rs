//! Agreed limits: the numbers of a contract with one app, each for one limit and for a time.
//!
//! While it is valid, an agreed limit stands instead of what the edition and add-ons set under the
//! same id, whether it raises or lowers that; of several the one granted last counts. The catalog's
//! rules and a group's own limit still cap it. It is a purchase like any other, on every edition,
//! without grace: no change of the edition ends it. While the service is stopped it has no effect.

use super::calendar::{Day, LastDay, Zone};
use super::catalog::{AddOn, Catalog};
use super::id::{InvalidId, Name};
use super::id_rules::IdCharset;
use super::limit::{Bound, LIMIT_MAX, Limit, LimitId};
use super::limits::{LimitKind, Sale};
use super::purchase::Period;
use super::text::quoted_names;
use super::time::Timestamp;
use super::timeline::AgreedRun;

/// Longest note, in bytes: room for the number of a contract and a sentence.
pub const NOTE_MAX_BYTES: usize = 200;
/// Most agreed limits of an app that are valid or will be: each may change the schedule twice, and
/// a decision reads the whole schedule.
pub const AGREED_MAX: usize = 64;
/// Most days from a grant to its last valid day: ten years.
pub const AGREED_DAYS_MAX: u32 = 3_653;

/// An agreed limit, as its purchase stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedLimit {
    /// The limit.
    pub limit_id: LimitId,
    /// The agreed value.
    pub limit: Limit,
    /// The last valid day in the catalog's zone; `None`: the months of the purchase count.
    pub last_day: Option<Day>,
    /// A note for people, such as the number of the contract.
    pub note: String,
}

/// An unchecked order of an agreed limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedOrder {
    /// The id of the limit.
    pub limit_id: String,
    /// The value.
    pub limit: Limit,
    /// The last valid day, if the order has no months.
    pub last_day: Option<Day>,
    /// The note.
    pub note: String,
}

/// Checks a note: text that can be printed on one line.
pub fn check_note(note: &str) -> Result<(), InvalidId> {
    if note.is_empty() {
        return Err(InvalidId::Empty);
    }
    if note.len() > NOTE_MAX_BYTES {
        return Err(InvalidId::TooLong { max: NOTE_MAX_BYTES, bytes: note.len() });
    }
    IdCharset::Utf8.check(note)
}

/// Reason why an agreed limit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgreedRefusal {
    /// No edition can have such a limit.
    #[error(
        "no edition can have a limit \"{id}\"; there are {}",
        quoted_names(.known.iter().map(String::as_str))
    )]
    UnknownLimit {
        /// The id requested.
        id: String,
        /// Every id that can be agreed.
        known: Vec<String>,
    },
    /// The number is useless or beyond reason: without an account, or a member in a group, nothing
    /// would work.
    #[error("must be {least}-{LIMIT_MAX}, or unlimited, for {limit_id}, not {limit}")]
    ValueOutOfRange {
        /// The limit.
        limit_id: LimitId,
        /// The least useful number.
        least: u64,
        /// The number requested.
        limit: Limit,
    },
    /// The last valid day is before the grant, or too far away.
    #[error("must be {first} to {last}, not {day}")]
    LastDayOutOfRange {
        /// The day requested.
        day: Day,
        /// The day of the grant.
        first: Day,
        /// The latest possible day.
        last: Day,
    },
    /// The app has as many agreed limits as it may have at the same time.
    #[error(
        "the app has {AGREED_MAX} agreed limits whose time has not ended, which is the most; \
         refund one first"
    )]
    TooMany,
}

impl AgreedLimit {
    /// Checks an order at an instant.
    pub(super) fn of_order(
        catalog: &Catalog,
        runs: &[AgreedRun],
        order: &AgreedOrder,
        at: Timestamp,
    ) -> Result<Self, AgreedRefusal> {
        let AgreedOrder { limit_id, limit, last_day, note } = order;
        let mut ids = sellable(catalog);
        let Some(limit_id) = ids.find(|id| id.to_string() == *limit_id) else {
            let known = sellable(catalog).map(|id| id.to_string()).collect();
            return Err(AgreedRefusal::UnknownLimit { id: limit_id.clone(), known });
        };
        let least = match limit_id.kind().row().sale {
            Sale::ByName { least, .. } => least,
            Sale::Never | Sale::Allowance => 0,
        };
        if limit.finite().is_some_and(|number| !(least..=LIMIT_MAX).contains(&number)) {
            return Err(AgreedRefusal::ValueOutOfRange { limit_id, least, limit: *limit });
        }
        if let Some(day) = *last_day {
            let first = catalog.zone.day_of(at);
            let last = first.plus_days(AGREED_DAYS_MAX);
            if !(first..=last).contains(&day) {
                return Err(AgreedRefusal::LastDayOutOfRange { day, first, last });
            }
        }
        if runs.iter().filter(|run| at < run.in_force.until).count() >= AGREED_MAX {
            return Err(AgreedRefusal::TooMany);
        }
        Ok(Self { limit_id, limit: *limit, last_day: *last_day, note: note.clone() })
    }

    /// Returns the period of a grant at an instant: through the last day, or for calendar months.
    pub(super) fn valid(
        &self,
        zone: Zone,
        at: Timestamp,
        months: u32,
        last_day: LastDay,
    ) -> Period {
        let end = match self.last_day {
            Some(day) => day.plus_days(1),
            None => zone.day_of(at).end_after_months(months, last_day),
        };
        Period { from: at, until: zone.start_of(end) }
    }
}

/// Returns every limit that can be agreed: those that an edition of the catalog can have.
fn sellable(catalog: &Catalog) -> impl Iterator<Item = LimitId> {
    let is_untracked =
        |name: &Name| catalog.group_type(name.as_str()).is_some_and(|it| !it.members_tracked);
    let ids = LimitKind::sold_ids(catalog.group_types.iter().map(|it| &it.name));
    ids.filter(move |id| !id.counts_members_of(is_untracked))
}

/// Returns the agreed limit that stands instead of an add-on's value at an instant, and the end of
/// its time.
pub(super) fn instead_of<'a>(
    runs: &'a [AgreedRun],
    add_on: &AddOn,
    at: Timestamp,
) -> Option<(&'a Bound, Timestamp)> {
    let mut runs = runs.iter();
    let run = runs.rfind(|run| run.limit_id == add_on.limit_id && run.in_force.contains(at))?;
    Some((&run.bound, run.in_force.until))
}
