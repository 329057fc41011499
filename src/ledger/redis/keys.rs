//! The keys: a versioned codec, checked byte by byte.
//!
//! `q1{APP/PART}KIND...`: `q1` is the version of the layout, APP the app's fingerprint in 16
//! hexadecimal digits, PART one of `accounts`, `friends` and `groups`. What stands in braces is
//! the hash tag: everything that one operation touches lies in one slot. Fingerprints within sets
//! are signed decimal integers, so that Redis keeps them as integer sets; within keys they are
//! hexadecimal.

use crate::domain::id::{AppId, GroupId, UserId};
use crate::ledger::Operation;
use crate::ledger::fingerprint::Fingerprints;

/// The key of the store's identity: its format and its fingerprint key.
pub const IDENTITY: &[u8] = b"imquota:identity";
/// What a user's rules need behind `~` for the identity, and for everything else.
pub const IDENTITY_PATTERN: &str = "imquota:identity";
pub const FACTS_PATTERN: &str = "q1{*";
/// All app documents; one hash, since the directory is small and seldom asked.
pub const DOCUMENTS: &[u8] = b"q1{directory}documents";
/// The ids of all apps, in order.
pub const INDEX: &[u8] = b"q1{directory}index";
/// The audit log's entries, the first one first.
pub const AUDIT: &[u8] = b"q1{directory}audit";
/// Events by number.
pub const EVENTS: &[u8] = b"q1{events}log";
/// How far the log of events goes, cursors that move with it, and leases.
pub const CURSORS: &[u8] = b"q1{events}cursors";
/// Which events are kept, and what was dropped between them.
pub const EVENT_INDEX: &[u8] = b"q1{events}index";

/// Final statements by app and month.
pub const STATEMENTS: &[u8] = b"q1{directory}statements";

/// Records of the catalogs that were in force, by number, and the last number.
pub const CATALOGS: &[u8] = b"q1{directory}catalogs";
/// The group types of which there may be groups, in any app.
pub const GROUP_TYPES: &[u8] = b"q1{directory}types";
/// Unregistered apps, and how many they are.
pub const UNKNOWN_APPS: &[u8] = b"q1{directory}unknown";
/// What the keys of all apps' groups by type look like.
pub const ANY_GROUPS_BY_TYPE: &[u8] = b"q1{*/groups}types";

/// Bits of a fingerprint that choose the bucket of an account: 4096 buckets keep ten million
/// accounts in sets of 2,500, which Redis holds as integer sets.
const BUCKET_BITS: u32 = 12;
/// How many buckets of accounts an app has.
pub const BUCKETS: u64 = 1 << BUCKET_BITS;
/// Bits of a fingerprint that choose the bucket of a user's logins: 32,768 buckets keep ten million
/// users in hashes of about 300 fields, which Redis holds as packed lists (up to 512 by default).
const LOGIN_BUCKET_BITS: u32 = 15;
/// Hexadecimal digits of a cell within a key.
const CELL_DIGITS: usize = 16;
/// Bytes of the longest key: `q1{APP/accounts}kCELL`.
const KEY_BYTES: usize = 46;

/// One of the three parts of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Accounts.
    Accounts,
    /// Friends.
    Friends,
    /// Groups and memberships.
    Groups,
}

/// The parts of an app, each of which has the limits of the app.
pub const PARTS: [Part; 3] = [Part::Accounts, Part::Friends, Part::Groups];

/// The parts of its app that an operation is about.
pub fn parts_of(operation: &Operation) -> &'static [Part] {
    match operation {
        Operation::CreateAccounts { .. } => &[Part::Accounts],
        Operation::AddFriends { .. } | Operation::RemoveFriends { .. } => &[Part::Friends],
        Operation::DeleteAccount { .. } => &PARTS,
        Operation::CreateGroup { .. }
        | Operation::UpdateGroup { .. }
        | Operation::JoinGroup { .. }
        | Operation::LeaveGroup { .. }
        | Operation::DissolveGroup { .. } => &[Part::Groups],
    }
}

/// A user or group as it stands in keys and sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell(u64);

impl Cell {
    /// Of that fingerprint.
    pub fn new(fingerprint: u64) -> Self {
        Self(fingerprint)
    }

    /// Its fingerprint.
    pub fn fingerprint(self) -> u64 {
        self.0
    }

    /// As an element of an integer set.
    pub fn element(self) -> Vec<u8> {
        self.0.cast_signed().to_string().into_bytes()
    }

    /// From an element of an integer set.
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
    /// Of that app.
    pub fn new(ids: Fingerprints, app: &AppId) -> Self {
        Self { ids, app: ids.app(app) }
    }

    /// A user's cell.
    pub fn user(&self, user: &UserId) -> Cell {
        Cell(self.ids.user(user))
    }

    /// A group's cell.
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

    /// The limits of the app, as they lie with that part.
    pub fn limits(&self, part: Part) -> Vec<u8> {
        self.key(part, "limits")
    }

    /// What was asked for or given back in that part while changes are tracked.
    pub fn tracked(&self, part: Part) -> Vec<u8> {
        self.key(part, "tracked")
    }

    /// The highest threshold that was warned of, by the count.
    pub fn warned(&self, part: Part) -> Vec<u8> {
        self.key(part, "warned")
    }

    /// How many steps have changed facts of that part.
    pub fn writes(&self, part: Part) -> Vec<u8> {
        self.key(part, "writes")
    }

    /// The last day of that part's figures that was closed.
    pub fn closed(&self, part: Part) -> Vec<u8> {
        self.key(part, "closed")
    }

    /// Since when and until when changes of that part are tracked.
    pub fn tracking(&self, part: Part) -> Vec<u8> {
        self.key(part, "tracking")
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> Vec<u8> {
        self.key(Part::Accounts, "count")
    }

    /// The set of accounts that the user's is in.
    pub fn account_bucket(&self, user: Cell) -> Vec<u8> {
        self.bucket(user.0 >> (u64::BITS - BUCKET_BITS))
    }

    /// The set of accounts of that number, below [`BUCKETS`].
    pub fn bucket(&self, number: u64) -> Vec<u8> {
        self.key(Part::Accounts, &format!("a{number:03x}"))
    }

    /// What the keys of all users' lists of friends look like.
    pub fn any_friends(&self) -> Vec<u8> {
        self.key(Part::Friends, "f*")
    }

    /// What the keys of all users' counted groups look like.
    pub fn any_counted_groups(&self) -> Vec<u8> {
        self.key(Part::Groups, "u*")
    }

    /// What the keys of all groups' records look like.
    pub fn any_group_record(&self) -> Vec<u8> {
        self.key(Part::Groups, "g*")
    }

    /// Whose key it is that ends with a cell.
    pub fn cell_of(key: &[u8]) -> Option<Cell> {
        let digits = key.get(key.len().checked_sub(CELL_DIGITS)?..)?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(Cell)
    }

    /// The hash of logins that the user's is in.
    pub fn login_bucket(&self, user: Cell) -> Vec<u8> {
        let bucket = user.0 >> (u64::BITS - LOGIN_BUCKET_BITS);
        self.key(Part::Accounts, &format!("l{bucket:04x}"))
    }

    /// Users who logged in, by day.
    pub fn logins_by_day(&self) -> Vec<u8> {
        self.key(Part::Accounts, "logins")
    }

    /// The highest bandwidth, by day and region.
    pub fn bandwidth(&self) -> Vec<u8> {
        self.key(Part::Accounts, "bandwidth")
    }

    /// The number of groups by day.
    pub fn group_totals(&self) -> Vec<u8> {
        self.key(Part::Groups, "totals")
    }

    /// The friends in the user's list.
    pub fn friends(&self, user: Cell) -> Vec<u8> {
        self.key_of(Part::Friends, "f", user)
    }

    /// Who has the user in his list and is not in the user's.
    pub fn fans(&self, user: Cell) -> Vec<u8> {
        self.key_of(Part::Friends, "r", user)
    }

    /// The groups that count for the user.
    pub fn counted_groups(&self, user: Cell) -> Vec<u8> {
        self.key_of(Part::Groups, "u", user)
    }

    /// The groups that do not count for the user.
    pub fn other_groups(&self, user: Cell) -> Vec<u8> {
        self.key_of(Part::Groups, "n", user)
    }

    /// The group's record.
    pub fn group_record(&self, group: Cell) -> Vec<u8> {
        self.key_of(Part::Groups, "g", group)
    }

    /// The group's members.
    pub fn members(&self, group: Cell) -> Vec<u8> {
        self.key_of(Part::Groups, "m", group)
    }

    /// Groups by type.
    pub fn groups_by_type(&self) -> Vec<u8> {
        self.key(Part::Groups, "types")
    }

    /// Net-new groups by day and type.
    pub fn groups_by_day(&self) -> Vec<u8> {
        self.key(Part::Groups, "days")
    }
}

/// As many digits as a fingerprint can have, without the machinery of formatting: every call has
/// half a dozen of them.
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
    fn keys_stay_what_they_are() {
        let app = AppId::try_from("alice").expect("an id");
        let keys = Keys::new(Fingerprints::new(*b"0123456789abcdef"), &app);
        let user = keys.user(&UserId::try_from("alice").expect("an id"));
        let group = keys.group(&GroupId::try_from("alice").expect("an id"));
        // A fact is found by its key: a change needs a new version of the layout.
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
            (keys.bandwidth(), "q1{f8f93d5e4673d663/accounts}bandwidth"),
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
