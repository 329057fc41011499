//! The keys of the store: a versioned codec, checked byte by byte.
//!
//! `q1{APP/PART}KIND...`: `q1` is the version of the layout, APP the app's fingerprint in 16
//! hexadecimal digits, PART one of `accounts`, `friends` and `groups`. The part in braces is the
//! hash tag: all keys of one operation are in one slot. Fingerprints within sets are signed decimal
//! integers, so that Redis stores them as integer sets; within keys they are hexadecimal.

use crate::domain::id::{AppId, GroupId, UserId};
use crate::store::Fingerprints;

pub use crate::domain::limits::{PARTS, Part};

/// The key of the store's identity: its format and its fingerprint key.
pub const IDENTITY: &[u8] = b"imquota:identity";
/// The patterns that a user's ACL rules need behind `~`: for the identity, and for everything else.
pub const IDENTITY_PATTERN: &str = "imquota:identity";
pub const FACTS_PATTERN: &str = "q1{*";
/// All app documents; one hash, since the directory is small and seldom read.
pub const DOCUMENTS: &[u8] = b"q1{directory}documents";
/// The ids of all apps, in order.
pub const INDEX: &[u8] = b"q1{directory}index";
/// The entries of the audit log, the oldest first.
pub const AUDIT: &[u8] = b"q1{directory}audit";
/// Events by number.
pub const EVENTS: &[u8] = b"q1{events}log";
/// The end of the log of events, cursors that move with it, and leases.
pub const CURSORS: &[u8] = b"q1{events}cursors";
/// The events that are kept, and the gaps between them.
pub const EVENT_INDEX: &[u8] = b"q1{events}index";

/// Final statements by app and month.
pub const STATEMENTS: &[u8] = b"q1{directory}statements";

/// The records of the catalogs that were in force, by number, and the last number.
pub const CATALOGS: &[u8] = b"q1{directory}catalogs";
/// The group types of which groups may exist, in any app.
pub const GROUP_TYPES: &[u8] = b"q1{directory}types";
/// The unregistered apps, and their number.
pub const UNKNOWN_APPS: &[u8] = b"q1{directory}unknown";
/// The field, among an app's groups by type, of how many of them are held; no type has this name.
pub const HELD_GROUPS: &str = "@held";
/// The pattern of the keys of all apps' groups by type.
pub const ANY_GROUPS_BY_TYPE: &[u8] = b"q1{*/groups}types";

/// Bits of a fingerprint that select the bucket of an account: 4096 buckets keep ten million
/// accounts in sets of 2,500, which Redis stores as integer sets.
const BUCKET_BITS: u32 = 12;
/// The number of account buckets of an app.
pub const BUCKETS: u64 = 1 << BUCKET_BITS;
/// Bits of a fingerprint that select the bucket of a user's logins: 32,768 buckets keep ten million
/// users in hashes of about 300 fields, which Redis stores as packed lists (up to 512 by default).
const LOGIN_BUCKET_BITS: u32 = 15;
/// The number of buckets of logins of an app.
pub const LOGIN_BUCKETS: u64 = 1 << LOGIN_BUCKET_BITS;
/// Hexadecimal digits of a cell within a key.
const CELL_DIGITS: usize = 16;
/// Bytes of the longest key: `q1{APP/accounts}kCELL`.
const KEY_BYTES: usize = 46;

/// The form of a user or group in keys and sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell(u64);

impl Cell {
    /// The cell of a fingerprint.
    pub fn new(fingerprint: u64) -> Self {
        Self(fingerprint)
    }

    /// Returns the fingerprint.
    pub fn fingerprint(self) -> u64 {
        self.0
    }

    /// Formats an element of an integer set.
    pub fn element(self) -> Vec<u8> {
        self.0.cast_signed().to_string().into_bytes()
    }

    /// Parses an element of an integer set.
    pub fn from_element(element: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(element).ok()?;
        text.parse().ok().map(|signed: i64| Self(signed.cast_unsigned()))
    }
}

/// The keys of one app.
#[derive(Clone)]
pub struct Keys {
    ids: Fingerprints,
    app: u64,
}

impl Keys {
    /// The keys of an app.
    pub fn new(ids: Fingerprints, app: &AppId) -> Self {
        Self { ids, app: ids.app(app) }
    }

    /// The keys of the app with that fingerprint.
    pub fn of_number(ids: Fingerprints, app: u64) -> Self {
        Self { ids, app }
    }

    /// Returns the app's fingerprint.
    pub fn app(&self) -> u64 {
        self.app
    }

    /// Returns a user's cell.
    pub fn user(&self, user: &UserId) -> Cell {
        Cell(self.ids.user(user))
    }

    /// Returns a group's cell.
    pub fn group(&self, group: &GroupId) -> Cell {
        Cell(self.ids.group(group))
    }

    fn key(&self, part: Part, rest: &str) -> Vec<u8> {
        let part = match part {
            Part::Accounts => "accounts",
            Part::Friends => "friends",
            Part::Groups => "groups",
        };
        let mut key = Vec::with_capacity(KEY_BYTES);
        key.extend(b"q1{");
        key.extend(hexadecimal(self.app));
        key.push(b'/');
        key.extend(part.as_bytes());
        key.push(b'}');
        key.extend(rest.as_bytes());
        key
    }

    fn key_of(&self, part: Part, kind: &str, cell: Cell) -> Vec<u8> {
        let mut key = self.key(part, kind);
        key.extend(hexadecimal(cell.0));
        key
    }

    /// Returns the key of the limits of the app, stored beside the facts of that part.
    pub fn limits(&self, part: Part) -> Vec<u8> {
        self.key(part, "limits")
    }

    /// Returns the key of the changes of that part while they are tracked.
    pub fn tracked(&self, part: Part) -> Vec<u8> {
        self.key(part, "tracked")
    }

    /// Returns the key of the highest threshold that was reported, by count.
    pub fn warned(&self, part: Part) -> Vec<u8> {
        self.key(part, "warned")
    }

    /// Returns the key of the number of steps that have changed facts of that part.
    pub fn writes(&self, part: Part) -> Vec<u8> {
        self.key(part, "writes")
    }

    /// Returns the key of the holds of that part (see `scripts/shared/holds.lua`).
    pub fn holds(&self, part: Part) -> Vec<u8> {
        self.key(part, "holds")
    }

    /// Returns the key of the facts of that part that are held, by their expiry.
    pub fn expiry(&self, part: Part) -> Vec<u8> {
        self.key(part, "expiry")
    }

    /// Returns the key of the last closed day of that part's figures.
    pub fn closed(&self, part: Part) -> Vec<u8> {
        self.key(part, "closed")
    }

    /// Returns the key of the period in which changes of that part are tracked.
    pub fn tracking(&self, part: Part) -> Vec<u8> {
        self.key(part, "tracking")
    }

    /// Returns the key of the number of accounts.
    pub fn accounts(&self) -> Vec<u8> {
        self.key(Part::Accounts, "count")
    }

    /// Returns the key of the set of accounts that holds the user's.
    pub fn account_bucket(&self, user: Cell) -> Vec<u8> {
        self.bucket(user.0 >> (u64::BITS - BUCKET_BITS))
    }

    /// Returns the key of the set of accounts with that number, below [`BUCKETS`].
    pub fn bucket(&self, number: u64) -> Vec<u8> {
        self.key(Part::Accounts, &format!("a{number:03x}"))
    }

    /// Returns the pattern of the keys of all users' friend lists.
    pub fn any_friends(&self) -> Vec<u8> {
        self.key(Part::Friends, "f*")
    }

    /// Returns the pattern of the keys of all users' counted groups.
    pub fn any_counted_groups(&self) -> Vec<u8> {
        self.key(Part::Groups, "u*")
    }

    /// Returns the pattern of the keys of all groups' records.
    pub fn any_group_record(&self) -> Vec<u8> {
        self.key(Part::Groups, "g*")
    }

    /// Parses the cell at the end of a key.
    pub fn cell_of(key: &[u8]) -> Option<Cell> {
        let digits = key.get(key.len().checked_sub(CELL_DIGITS)?..)?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(Cell)
    }

    /// Returns the key of the hash of logins that holds the user's.
    pub fn login_bucket(&self, user: Cell) -> Vec<u8> {
        self.login_bucket_number(user.0 >> (u64::BITS - LOGIN_BUCKET_BITS))
    }

    /// Returns the key of the number of users who logged in, by day.
    pub fn logins_by_day(&self) -> Vec<u8> {
        self.key(Part::Accounts, "logins")
    }

    /// Returns the key of the number of users who logged in, by month.
    pub fn users_by_month(&self) -> Vec<u8> {
        self.key(Part::Accounts, "months")
    }

    /// Returns the key of the counting of users by month: since when, and how far.
    pub fn month_counting(&self) -> Vec<u8> {
        self.key(Part::Accounts, "counting")
    }

    /// Returns the key of the hash of logins with that number, below [`LOGIN_BUCKETS`].
    pub fn login_bucket_number(&self, bucket: u64) -> Vec<u8> {
        self.key(Part::Accounts, &format!("l{bucket:04x}"))
    }

    /// Returns the key of the highest bandwidth, by day and region.
    pub fn bandwidth(&self) -> Vec<u8> {
        self.key(Part::Accounts, "bandwidth")
    }

    /// Returns the key of the highest value of each gauge, by day and name.
    pub fn gauges(&self) -> Vec<u8> {
        self.key(Part::Accounts, "gauges")
    }

    /// Returns the key of the number of groups by day.
    pub fn group_totals(&self) -> Vec<u8> {
        self.key(Part::Groups, "totals")
    }

    /// Returns the key of the friends in the user's list.
    pub fn friends(&self, user: Cell) -> Vec<u8> {
        self.key_of(Part::Friends, "f", user)
    }

    /// Returns the key of the users who have the user in their list and are not in the user's.
    pub fn fans(&self, user: Cell) -> Vec<u8> {
        self.key_of(Part::Friends, "r", user)
    }

    /// Returns the key of the groups that count for the user.
    pub fn counted_groups(&self, user: Cell) -> Vec<u8> {
        self.key_of(Part::Groups, "u", user)
    }

    /// Returns the key of the groups that do not count for the user.
    pub fn other_groups(&self, user: Cell) -> Vec<u8> {
        self.key_of(Part::Groups, "n", user)
    }

    /// Returns the key of the group's record.
    pub fn group_record(&self, group: Cell) -> Vec<u8> {
        self.key_of(Part::Groups, "g", group)
    }

    /// Returns the key of the group's members.
    pub fn members(&self, group: Cell) -> Vec<u8> {
        self.key_of(Part::Groups, "m", group)
    }

    /// Returns the key of the number of groups by type.
    pub fn groups_by_type(&self) -> Vec<u8> {
        self.key(Part::Groups, "types")
    }

    /// Returns the key of the notes of callbacks, by name.
    pub fn notes(&self) -> Vec<u8> {
        self.key(Part::Groups, "notes")
    }

    /// Returns the key of the names of notes, by their expiry.
    pub fn note_ends(&self) -> Vec<u8> {
        self.key(Part::Groups, "noteends")
    }

    /// Returns the key of the number of net-new groups by day and type.
    pub fn groups_by_day(&self) -> Vec<u8> {
        self.key(Part::Groups, "days")
    }
}

/// Formats all digits of a fingerprint without the formatting machinery: every call has half a
/// dozen of them.
fn hexadecimal(number: u64) -> [u8; CELL_DIGITS] {
    let mut digits = [0; CELL_DIGITS];
    for (digit, place) in digits.iter_mut().zip((0..u64::BITS).step_by(4).rev()) {
        let value = (number >> place) & 0xf;
        *digit = b"0123456789abcdef"[usize::try_from(value).expect("below 16")];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stable() {
        let app = AppId::try_from("alice").expect("an id");
        let keys = Keys::new(Fingerprints::new(*b"0123456789abcdef"), &app);
        let user = keys.user(&UserId::try_from("alice").expect("an id"));
        let group = keys.group(&GroupId::try_from("alice").expect("an id"));
        // Facts are found by their keys: a change needs a new version of the layout.
        for (key, golden) in [
            (keys.limits(Part::Accounts), "q1{f8f93d5e4673d663/accounts}limits"),
            (keys.limits(Part::Friends), "q1{f8f93d5e4673d663/friends}limits"),
            (keys.limits(Part::Groups), "q1{f8f93d5e4673d663/groups}limits"),
            (keys.accounts(), "q1{f8f93d5e4673d663/accounts}count"),
            (keys.account_bucket(user), "q1{f8f93d5e4673d663/accounts}adf8"),
            (keys.friends(user), "q1{f8f93d5e4673d663/friends}fdf8ec8a98b365807"),
            (keys.fans(user), "q1{f8f93d5e4673d663/friends}rdf8ec8a98b365807"),
            (keys.counted_groups(user), "q1{f8f93d5e4673d663/groups}udf8ec8a98b365807"),
            (keys.other_groups(user), "q1{f8f93d5e4673d663/groups}ndf8ec8a98b365807"),
            (keys.group_record(group), "q1{f8f93d5e4673d663/groups}g919a4e5b9311e83d"),
            (keys.members(group), "q1{f8f93d5e4673d663/groups}m919a4e5b9311e83d"),
            (keys.groups_by_type(), "q1{f8f93d5e4673d663/groups}types"),
            (keys.groups_by_day(), "q1{f8f93d5e4673d663/groups}days"),
            (keys.login_bucket(user), "q1{f8f93d5e4673d663/accounts}l6fc7"),
            (keys.logins_by_day(), "q1{f8f93d5e4673d663/accounts}logins"),
            (keys.users_by_month(), "q1{f8f93d5e4673d663/accounts}months"),
            (keys.month_counting(), "q1{f8f93d5e4673d663/accounts}counting"),
            (keys.bandwidth(), "q1{f8f93d5e4673d663/accounts}bandwidth"),
            (keys.gauges(), "q1{f8f93d5e4673d663/accounts}gauges"),
            (keys.group_totals(), "q1{f8f93d5e4673d663/groups}totals"),
            (keys.tracked(Part::Friends), "q1{f8f93d5e4673d663/friends}tracked"),
            (keys.warned(Part::Accounts), "q1{f8f93d5e4673d663/accounts}warned"),
            (keys.tracking(Part::Groups), "q1{f8f93d5e4673d663/groups}tracking"),
            (keys.writes(Part::Groups), "q1{f8f93d5e4673d663/groups}writes"),
            (keys.closed(Part::Groups), "q1{f8f93d5e4673d663/groups}closed"),
        ] {
            assert_eq!(String::from_utf8(key).expect("text"), golden);
        }
        assert_eq!(Keys::cell_of(&keys.fans(user)), Some(user));
        assert_eq!(user.element(), b"-2337710526048086009");
        assert_eq!(Cell::from_element(b"-2337710526048086009"), Some(user));
    }
}
