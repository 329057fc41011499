//! The tables on disk, and the version of the format.
//!
//! Apps, users and groups are fingerprints ([`crate::store::fingerprint`]). Counts are stored
//! beside the facts that they count and are written in the same transaction.

use redb::{
    ReadTransaction, ReadableTable, StorageError, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::snapshot::copy_table;
use super::store_clock::ClockTable;
use crate::domain::metering::Sampled;
use crate::store::fingerprint::{AppKey, GroupKey, KEY_BYTES, UserKey};

/// The version of all tables below in a new store.
pub const FORMAT: u32 = 1;
/// The version once any app counts users by month: cells of `logins` may then have months, which
/// versions that read only format 1 do not understand. A store with any other one is refused.
const FORMAT_WITH_MONTHS: u32 = 2;

const FORMAT_KEY: &str = "format";
const FINGERPRINT_KEY: &str = "fingerprint_key";

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const DOCUMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("documents");
const SCHEDULES: TableDefinition<AppKey, (u64, &[u8])> = TableDefinition::new("schedules");
const ACCOUNTS: TableDefinition<(AppKey, UserKey), ()> = TableDefinition::new("accounts");
const EDGES: TableDefinition<(AppKey, UserKey, UserKey), u8> = TableDefinition::new("edges");
const USERS: TableDefinition<(AppKey, UserKey), (u64, u64)> = TableDefinition::new("users");
const GROUPS: TableDefinition<(AppKey, GroupKey), (&str, u64, u32)> =
    TableDefinition::new("groups");
const MEMBERS: TableDefinition<(AppKey, GroupKey, UserKey), bool> = TableDefinition::new("members");
const MEMBERSHIPS: TableDefinition<(AppKey, UserKey, GroupKey), bool> =
    TableDefinition::new("memberships");
pub(crate) const COUNTERS: TableDefinition<(AppKey, &str), u64> = TableDefinition::new("counters");
const NET_NEW: TableDefinition<(AppKey, i32, &str), i64> = TableDefinition::new("net_new");
const GROUP_DAYS: TableDefinition<(AppKey, i32), (u64, u64, u64, i64)> =
    TableDefinition::new("group_days");
const LOGINS: TableDefinition<(AppKey, UserKey), u64> = TableDefinition::new("logins");
const LOGIN_DAYS: TableDefinition<(AppKey, i32), u64> = TableDefinition::new("login_days");
const LOGIN_MONTHS: TableDefinition<(AppKey, i32), u64> = TableDefinition::new("login_months");
const MONTH_COUNTING: TableDefinition<AppKey, (i32, Option<UserKey>)> =
    TableDefinition::new("month_counting");
const BANDWIDTH: TableDefinition<(AppKey, i32, &str), u64> = TableDefinition::new("bandwidth");
const GAUGES: TableDefinition<(AppKey, i32, &str), u64> = TableDefinition::new("gauges");
const CLOSED: TableDefinition<AppKey, i32> = TableDefinition::new("closed_days");
const WARNED: TableDefinition<(AppKey, &str), u64> = TableDefinition::new("warned");
const TRACKING: TableDefinition<AppKey, (i64, i64, u64)> = TableDefinition::new("tracking");
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
const EVENT_INDEX: TableDefinition<EventIndexKey, &str> = TableDefinition::new("event_index");
const CURSORS: TableDefinition<&str, &str> = TableDefinition::new("event_cursors");
const LEASES: TableDefinition<&str, LeaseRow> = TableDefinition::new("event_leases");
const TRACKED: TableDefinition<TrackedKey, ()> = TableDefinition::new("tracked");
/// Milliseconds at which each unknown app was last seen in use.
const UNKNOWN_APPS: TableDefinition<AppKey, i64> = TableDefinition::new("unknown_apps");
const HOLDS: TableDefinition<(AppKey, u8, &str), &[u8]> = TableDefinition::new("holds");
const HOLD_ENDS: TableDefinition<(AppKey, i64, u8, &str), ()> = TableDefinition::new("hold_ends");
const PROVISIONAL: TableDefinition<ProvisionalKey, (i64, i32, &[u8])> =
    TableDefinition::new("provisional");
const DUE: TableDefinition<DueKey, ()> = TableDefinition::new("due");
const NOTES: TableDefinition<NoteKey, NoteRow> = TableDefinition::new("callback_notes");
const NOTE_ENDS: TableDefinition<(AppKey, i64, u8, &str), ()> =
    TableDefinition::new("callback_note_ends");
const NOTE_COUNTS: TableDefinition<AppKey, u64> = TableDefinition::new("callback_note_counts");
const CLOCK: TableDefinition<&str, &[u8]> = TableDefinition::new("clock");

/// An app, the start of the tracking, a kind of trace, and its subjects.
type TrackedKey = (AppKey, i64, u8, u64, u64);

/// The highest sample of an app, by day and name.
type SampleTable<'txn> = Table<'txn, (AppKey, i32, &'static str), u64>;

/// An app, a kind of fact, and its subjects.
type ProvisionalKey = (AppKey, u8, u64, u64);

/// An app, the milliseconds at which a fact expires, its kind, and its subjects.
type DueKey = (AppKey, i64, u8, u64, u64);

/// The kind of an index row of events, an app, and a number.
pub type EventIndexKey<'a> = (u8, &'a str, u64);

/// An app, the kind of a note, and its name.
pub type NoteKey<'a> = (AppKey, u8, &'a str);

/// The milliseconds at which a note expires, and its value.
type NoteRow<'a> = (i64, &'a [u8]);

/// The position of a lease, its holder, and its expiry in milliseconds.
type LeaseRow<'a> = (Option<u64>, &'a str, i64);

/// All tables, open in one transaction.
pub struct Tables<'txn> {
    /// The store's format and fingerprint key.
    meta: Table<'txn, &'static str, &'static [u8]>,
    /// Directory documents by key.
    pub documents: Table<'txn, &'static str, &'static [u8]>,
    /// Revision and encoded schedule of each app.
    pub schedules: Table<'txn, AppKey, (u64, &'static [u8])>,
    /// Accounts that exist.
    pub accounts: Table<'txn, (AppKey, UserKey), ()>,
    /// Friendships seen from the first user: bit 0, they have the second in their list; bit 1, the
    /// second has them. Each is stored twice, once from either side.
    pub friendships: Table<'txn, (AppKey, UserKey, UserKey), u8>,
    /// Friends in the user's list, and groups that count towards the user. Missing: none of either.
    pub users: Table<'txn, (AppKey, UserKey), (u64, u64)>,
    /// Type, members, and own limit (0: none) of each group.
    pub groups: Table<'txn, (AppKey, GroupKey), (&'static str, u64, u32)>,
    /// Members by group: whether the membership counts towards the user's groups.
    pub members: Table<'txn, (AppKey, GroupKey, UserKey), bool>,
    /// Memberships by user, with the values of `members`.
    pub memberships: Table<'txn, (AppKey, UserKey, GroupKey), bool>,
    /// Counts of the app: `accounts`, and `groups/TYPE`.
    pub counters: Table<'txn, (AppKey, &'static str), u64>,
    /// Groups created minus groups dissolved, by day and type.
    pub net_new: Table<'txn, (AppKey, i32, &'static str), i64>,
    /// Groups of all types over a day on which their number changed: at its start, the peak, the
    /// latest, and net new.
    pub group_days: Table<'txn, (AppKey, i32), (u64, u64, u64, i64)>,
    /// The recent days on which each user logged in (see [`crate::domain::login_days`]).
    pub logins: Table<'txn, (AppKey, UserKey), u64>,
    /// The number of users who logged in, by day.
    pub login_days: Table<'txn, (AppKey, i32), u64>,
    /// The number of users who logged in, by the first day of a month.
    pub login_months: Table<'txn, (AppKey, i32), u64>,
    /// The day since which users are counted by month, and the first user whose cell may be without
    /// months.
    pub month_counting: Table<'txn, AppKey, (i32, Option<UserKey>)>,
    /// The highest bandwidth in kilobits a second, by day and region.
    pub bandwidth: SampleTable<'txn>,
    /// The highest value of each gauge, by day and name.
    pub gauges: SampleTable<'txn>,
    /// The last day of each app whose figures are closed.
    pub closed: Table<'txn, AppKey, i32>,
    /// Events that are kept, by number.
    pub events: Table<'txn, u64, &'static [u8]>,
    /// Indexes of the kept events by the bounds that apply to them, and the gaps where events were
    /// dropped.
    pub event_index: Table<'txn, EventIndexKey<'static>, &'static str>,
    /// Cursors that move in the same transaction as events are appended.
    pub cursors: Table<'txn, &'static str, &'static str>,
    /// Leases by name.
    pub leases: Table<'txn, &'static str, LeaseRow<'static>>,
    /// The highest threshold recorded as crossed, by count; missing: none.
    pub thresholds: Table<'txn, (AppKey, &'static str), u64>,
    /// The start and end of tracking of changes, in milliseconds, and the number of changes.
    pub tracking: Table<'txn, AppKey, (i64, i64, u64)>,
    /// Tracked changes.
    pub tracked: Table<'txn, TrackedKey, ()>,
    /// Unregistered apps, and the instant when each was last seen in use, in milliseconds.
    pub unknown_apps: Table<'txn, AppKey, i64>,
    /// Records of holds, by the kind and the id of their operation.
    pub holds: Table<'txn, (AppKey, u8, &'static str), &'static [u8]>,
    /// Records of holds, by the milliseconds until which they are kept.
    pub hold_ends: Table<'txn, (AppKey, i64, u8, &'static str), ()>,
    /// Provisional facts: the milliseconds at which each expires, the day of the take, and its
    /// holds.
    pub provisional: Table<'txn, ProvisionalKey, (i64, i32, &'static [u8])>,
    /// Provisional facts in order of their expiry.
    pub due: Table<'txn, DueKey, ()>,
    /// Notes of callbacks.
    pub notes: Table<'txn, NoteKey<'static>, NoteRow<'static>>,
    /// Notes of callbacks, by the milliseconds at which they expire.
    pub note_ends: Table<'txn, (AppKey, i64, u8, &'static str), ()>,
    /// The number of an app's notes.
    pub note_counts: Table<'txn, AppKey, u64>,
    /// Records of the store's clock.
    pub clock: ClockTable<'txn>,
    /// True if figures that are too old are kept for now, since the time cannot be trusted yet.
    pub keeps_figures: bool,
}

impl<'txn> Tables<'txn> {
    /// Opens all tables, creating those that are missing.
    pub fn open(txn: &'txn WriteTransaction) -> Result<Self, TableError> {
        Ok(Self {
            meta: txn.open_table(META)?,
            documents: txn.open_table(DOCUMENTS)?,
            schedules: txn.open_table(SCHEDULES)?,
            accounts: txn.open_table(ACCOUNTS)?,
            friendships: txn.open_table(EDGES)?,
            users: txn.open_table(USERS)?,
            groups: txn.open_table(GROUPS)?,
            members: txn.open_table(MEMBERS)?,
            memberships: txn.open_table(MEMBERSHIPS)?,
            counters: txn.open_table(COUNTERS)?,
            net_new: txn.open_table(NET_NEW)?,
            group_days: txn.open_table(GROUP_DAYS)?,
            logins: txn.open_table(LOGINS)?,
            login_days: txn.open_table(LOGIN_DAYS)?,
            login_months: txn.open_table(LOGIN_MONTHS)?,
            month_counting: txn.open_table(MONTH_COUNTING)?,
            bandwidth: txn.open_table(BANDWIDTH)?,
            gauges: txn.open_table(GAUGES)?,
            closed: txn.open_table(CLOSED)?,
            events: txn.open_table(EVENTS)?,
            event_index: txn.open_table(EVENT_INDEX)?,
            cursors: txn.open_table(CURSORS)?,
            leases: txn.open_table(LEASES)?,
            thresholds: txn.open_table(WARNED)?,
            tracking: txn.open_table(TRACKING)?,
            tracked: txn.open_table(TRACKED)?,
            unknown_apps: txn.open_table(UNKNOWN_APPS)?,
            holds: txn.open_table(HOLDS)?,
            hold_ends: txn.open_table(HOLD_ENDS)?,
            provisional: txn.open_table(PROVISIONAL)?,
            due: txn.open_table(DUE)?,
            notes: txn.open_table(NOTES)?,
            note_ends: txn.open_table(NOTE_ENDS)?,
            note_counts: txn.open_table(NOTE_COUNTS)?,
            clock: open_clock(txn)?,
            keeps_figures: false,
        })
    }

    /// Returns the table of samples of a kind.
    pub fn samples(&self, of: Sampled) -> &SampleTable<'txn> {
        match of {
            Sampled::Bandwidth => &self.bandwidth,
            Sampled::Gauge => &self.gauges,
        }
    }

    /// Returns the table of samples of a kind, to be written.
    pub fn samples_mut(&mut self, of: Sampled) -> &mut SampleTable<'txn> {
        match of {
            Sampled::Bandwidth => &mut self.bandwidth,
            Sampled::Gauge => &mut self.gauges,
        }
    }

    /// Gives the store the format in which cells of logins may have months, so that no earlier
    /// version opens it; returns whether it had another one.
    pub fn need_format_with_months(&mut self) -> Result<bool, StorageError> {
        let format = FORMAT_WITH_MONTHS.to_le_bytes();
        if bytes(&self.meta, FORMAT_KEY)? == Some(format) {
            return Ok(false);
        }
        self.meta.insert(FORMAT_KEY, format.as_slice())?;
        Ok(true)
    }
}

/// Opens the records of the store's clock.
pub fn open_clock(txn: &WriteTransaction) -> Result<ClockTable<'_>, TableError> {
    txn.open_table(CLOCK)
}

/// Copies every table but those of notes, which expire within minutes.
pub fn copy_all(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), redb::Error> {
    copy_table(from, to, META)?;
    copy_table(from, to, DOCUMENTS)?;
    copy_table(from, to, SCHEDULES)?;
    copy_table(from, to, ACCOUNTS)?;
    copy_table(from, to, EDGES)?;
    copy_table(from, to, USERS)?;
    copy_table(from, to, GROUPS)?;
    copy_table(from, to, MEMBERS)?;
    copy_table(from, to, MEMBERSHIPS)?;
    copy_table(from, to, COUNTERS)?;
    copy_table(from, to, NET_NEW)?;
    copy_table(from, to, GROUP_DAYS)?;
    copy_table(from, to, LOGINS)?;
    copy_table(from, to, LOGIN_DAYS)?;
    copy_table(from, to, LOGIN_MONTHS)?;
    copy_table(from, to, MONTH_COUNTING)?;
    copy_table(from, to, BANDWIDTH)?;
    copy_table(from, to, GAUGES)?;
    copy_table(from, to, CLOSED)?;
    copy_table(from, to, WARNED)?;
    copy_table(from, to, TRACKING)?;
    copy_table(from, to, EVENTS)?;
    copy_table(from, to, EVENT_INDEX)?;
    copy_table(from, to, CURSORS)?;
    copy_table(from, to, LEASES)?;
    copy_table(from, to, TRACKED)?;
    copy_table(from, to, UNKNOWN_APPS)?;
    copy_table(from, to, HOLDS)?;
    copy_table(from, to, HOLD_ENDS)?;
    copy_table(from, to, PROVISIONAL)?;
    copy_table(from, to, DUE)?;
    copy_table(from, to, CLOCK)?;
    Ok(())
}

/// The identity of a store, as stored in it.
pub enum Identity {
    /// The store has this format, and this fingerprint key.
    Known([u8; KEY_BYTES]),
    /// The store is new and now has the key that was passed.
    New,
    /// The store was written by another version of the product, or by another program.
    Foreign(String),
}

/// Reads the identity of a store, and writes it if the store is new: that is, empty.
pub fn identify(txn: &WriteTransaction, new_key: &[u8; KEY_BYTES]) -> Result<Identity, TableError> {
    let is_empty = txn.list_tables()?.next().is_none();
    let mut meta = txn.open_table(META)?;
    if is_empty {
        meta.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
        meta.insert(FINGERPRINT_KEY, new_key.as_slice())?;
        return Ok(Identity::New);
    }
    let Some(format) = bytes(&meta, FORMAT_KEY)?.map(u32::from_le_bytes) else {
        return Ok(Identity::Foreign("it has no readable format number".to_owned()));
    };
    if ![FORMAT, FORMAT_WITH_MONTHS].contains(&format) {
        return Ok(Identity::Foreign(format!(
            "it has format {format}, and this version reads formats {FORMAT} and \
             {FORMAT_WITH_MONTHS}"
        )));
    }
    Ok(match bytes(&meta, FINGERPRINT_KEY)? {
        Some(key) => Identity::Known(key),
        None => Identity::Foreign("it has no fingerprint key".to_owned()),
    })
}

fn bytes<const N: usize>(
    meta: &Table<'_, &'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<[u8; N]>, StorageError> {
    Ok(meta.get(key)?.and_then(|value| value.value().try_into().ok()))
}
