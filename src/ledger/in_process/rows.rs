//! The rows of one app, which a decision reads and writes: the part of a store that differs between
//! a file and memory.
//!
//! A row that is missing reads as its default, and writing the default removes the row. Counts are
//! rows of their own beside the facts that they count, and the decision writes both.

use std::sync::Arc;

use redb::StorageError;

use super::hold_record::{HoldKey, Provisional, Record};
use super::unknown_apps::Part;
use crate::domain::calendar::Day;
use crate::domain::id::Name;
use crate::domain::login_days::Activity;
use crate::domain::metering::{GroupDay, Sampled};
use crate::domain::schedule::Schedule;
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::Fact;
use crate::store::fingerprint::{GroupKey, UserKey};

/// The result of reading or writing rows. An error means that the file failed; memory has none.
pub type Result<T> = std::result::Result<T, StorageError>;

/// The usage of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct User {
    /// Friends in the user's list.
    pub friends: u64,
    /// Groups that count towards the user.
    pub groups: u64,
}

/// A group that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Its type.
    pub group_type: Name,
    /// Its number of members.
    pub members: u64,
    /// Its own limit.
    pub max_members: Option<u32>,
}

/// A count of the app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Accounts.
    Accounts,
    /// Groups of a type.
    Groups(Name),
    /// Facts in a part of an app that is not registered.
    Facts(Part),
    /// Facts in the records of holds in a part.
    HoldFacts(Part),
    /// Provisional facts.
    Held(Held),
}

/// A number of provisional facts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// Accounts.
    Accounts,
    /// Groups of all types.
    AllGroups,
    /// Groups of a type.
    Groups(Name),
    /// Groups of a type that were taken on a day.
    GroupsOn(Day, Name),
    /// Friends in a user's list.
    Friends(UserKey),
    /// Groups that count towards a user.
    GroupsOf(UserKey),
    /// Members of a group.
    Members(GroupKey),
}

/// A count whose crossed thresholds are recorded: the letter of its limit, and its subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThresholdKey {
    /// The letter.
    pub letter: char,
    /// The subject.
    pub of: ThresholdOf,
}

/// The subject of such a count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThresholdOf {
    /// The app.
    App,
    /// The app's groups of a type.
    Type(Name),
    /// A user or a group.
    Subject(u64),
}

/// The tracking of changes: its start, its end, and the number of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackingRow {
    /// The first instant.
    pub since: Timestamp,
    /// The instant after the last one.
    pub until: Timestamp,
    /// The number of changes.
    pub changes: u64,
}

/// The counting of users by month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthCounting {
    /// The day on which it began.
    pub since: Day,
    /// The first user whose cell may be without months; `None`: all have them.
    pub next: Option<UserKey>,
}

/// A tracked change: its kind, and two fingerprints.
pub type ChangeKey = (u8, u64, u64);

/// The rows of holds of one app.
pub trait HoldRows {
    /// Returns the holds of a fact; `None`: it has none.
    fn provisional(&self, fact: Fact) -> Result<Option<Provisional>>;
    /// Writes or removes the holds of a fact.
    fn put_provisional(&mut self, fact: Fact, row: Option<&Provisional>) -> Result<()>;
    /// Returns the first facts whose holds have expired, in order of their expiry; members before
    /// their group.
    fn due(&self, now: Timestamp, max: usize) -> Result<Vec<Fact>>;

    /// Returns the record of a hold.
    fn hold(&self, key: &HoldKey) -> Result<Option<Record>>;
    /// Writes or removes the record of a hold.
    fn put_hold(&mut self, key: &HoldKey, record: Option<&Record>) -> Result<()>;
    /// Returns the first records that are no longer kept.
    fn ended_holds(&self, now: Timestamp, max: usize) -> Result<Vec<HoldKey>>;
}

/// The rows of one app.
pub trait Rows: HoldRows {
    /// Returns whether the account exists.
    fn has_account(&self, user: UserKey) -> Result<bool>;
    /// Writes or removes an account.
    fn put_account(&mut self, user: UserKey, exists: bool) -> Result<()>;
    /// Returns the first accounts from `from` on.
    fn accounts(&self, from: UserKey, max: usize) -> Result<Vec<UserKey>>;

    /// Returns the two bits of a friendship, seen from `user`; 0: none.
    fn edge(&self, user: UserKey, other: UserKey) -> Result<u8>;
    /// Writes these bits.
    fn put_edge(&mut self, user: UserKey, other: UserKey, edge: u8) -> Result<()>;
    /// Returns the first friendships of a user.
    fn edges(&self, user: UserKey, max: usize) -> Result<Vec<(UserKey, u8)>>;
    /// Returns whether there is any friendship.
    fn has_edges(&self) -> Result<bool>;

    /// Returns the usage of a user.
    fn user(&self, user: UserKey) -> Result<User>;
    /// Writes the usage of a user.
    fn put_user(&mut self, user: UserKey, row: User) -> Result<()>;
    /// Returns the first users with usage from `from` on.
    fn users(&self, from: UserKey, max: usize) -> Result<Vec<(UserKey, User)>>;

    /// Returns a group, if it exists.
    fn group(&self, group: GroupKey) -> Result<Option<GroupRow>>;
    /// Writes or removes a group.
    fn put_group(&mut self, group: GroupKey, row: Option<&GroupRow>) -> Result<()>;
    /// Returns the first groups from `from` on.
    fn groups(&self, from: GroupKey, max: usize) -> Result<Vec<(GroupKey, GroupRow)>>;

    /// Returns whether the membership counts towards the user; `None`: there is none.
    fn membership(&self, user: UserKey, group: GroupKey) -> Result<Option<bool>>;
    /// Writes or removes memberships, which are in order of their users.
    fn put_memberships(&mut self, rows: Vec<Membership>) -> Result<()>;
    /// Returns the first members of a group, and whether each membership counts.
    fn members(&self, group: GroupKey, max: usize) -> Result<Vec<(UserKey, bool)>>;
    /// Returns the first groups of a user, and whether each membership counts.
    fn groups_of(&self, user: UserKey, max: usize) -> Result<Vec<(GroupKey, bool)>>;

    /// Returns a count; `None`: it was not written, or is 0.
    fn counter(&self, counter: &Counter) -> Result<Option<u64>>;
    /// Writes a count.
    fn put_counter(&mut self, counter: &Counter, count: u64) -> Result<()>;
    /// Returns the number of groups of each type that has any.
    fn groups_by_type(&self) -> Result<Vec<(Name, u64)>>;

    /// Returns the groups of a type created minus those dissolved, on a day.
    fn net_new(&self, day: Day, group_type: &Name) -> Result<Option<i64>>;
    /// Writes this number.
    fn put_net_new(&mut self, day: Day, group_type: &Name, net: i64) -> Result<()>;
    /// Returns these numbers of a day.
    fn net_new_on(&self, day: Day) -> Result<Vec<(Name, i64)>>;
    /// Removes these numbers of all days before.
    fn remove_net_new_before(&mut self, day: Day) -> Result<()>;

    /// Returns the number of groups over a day.
    fn group_day(&self, day: Day) -> Result<Option<GroupDay>>;
    /// Writes the number of groups over a day.
    fn put_group_day(&mut self, day: Day, row: GroupDay) -> Result<()>;
    /// Returns all days on which the number of groups changed, in order.
    fn group_days(&self) -> Result<Vec<(Day, GroupDay)>>;
    /// Removes all days before.
    fn remove_group_days_before(&mut self, day: Day) -> Result<()>;

    /// Returns the recent days on which a user logged in.
    fn login(&self, user: UserKey) -> Result<Option<Activity>>;
    /// Writes or removes these days.
    fn put_login(&mut self, user: UserKey, days: Option<Activity>) -> Result<()>;
    /// Returns the first users who logged in from `from` on.
    fn logins(&self, from: UserKey, max: usize) -> Result<Vec<(UserKey, Activity)>>;
    /// Returns the number of users who logged in on a day.
    fn logins_on(&self, day: Day) -> Result<u64>;
    /// Writes this number, which is not 0.
    fn put_logins_on(&mut self, day: Day, users: u64) -> Result<()>;
    /// Removes these numbers of all days before.
    fn remove_logins_before(&mut self, day: Day) -> Result<()>;

    /// Returns the number of users who logged in in the month that begins with a day.
    fn month_users(&self, first: Day) -> Result<u64>;
    /// Writes this number, which is not 0.
    fn put_month_users(&mut self, first: Day, users: u64) -> Result<()>;
    /// Removes these numbers of all months that begin before a day.
    fn remove_month_users_before(&mut self, first: Day) -> Result<()>;
    /// Returns the counting of users by month; `None`: they are not counted.
    fn month_counting(&self) -> Result<Option<MonthCounting>>;
    /// Writes the counting of users by month.
    fn put_month_counting(&mut self, counting: MonthCounting) -> Result<()>;

    /// Returns the highest sample of a day and name.
    fn sample(&self, of: Sampled, day: Day, name: &Name) -> Result<Option<u64>>;
    /// Writes the highest sample of a day and name.
    fn put_sample(&mut self, of: Sampled, day: Day, name: &Name, value: u64) -> Result<()>;
    /// Returns the highest samples of a day, by name.
    fn samples_on(&self, of: Sampled, day: Day) -> Result<Vec<(Name, u64)>>;
    /// Removes the samples of all days before.
    fn remove_samples_before(&mut self, of: Sampled, day: Day) -> Result<()>;
    /// Returns whether there is any figure of logins or samples.
    fn has_figures(&self) -> Result<bool>;

    /// Returns the last day whose figures are closed.
    fn closed(&self) -> Result<Option<Day>>;
    /// Closes the figures up to a day.
    fn put_closed(&mut self, day: Day) -> Result<()>;
    /// Returns whether figures that are too old are kept for now, since the time cannot be trusted
    /// yet.
    fn keeps_figures(&self) -> bool;

    /// Returns the highest threshold recorded as crossed; 0: none.
    fn threshold(&self, of: &ThresholdKey) -> Result<u64>;
    /// Records the highest crossed threshold.
    fn put_threshold(&mut self, of: &ThresholdKey, percent: u64) -> Result<()>;

    /// Returns the last tracking of changes, which may have ended.
    fn tracking(&self) -> Result<Option<TrackingRow>>;
    /// Writes the tracking of changes.
    fn put_tracking(&mut self, row: TrackingRow) -> Result<()>;
    /// Returns whether a change was tracked by the tracking that began then.
    fn is_tracked(&self, since: Timestamp, change: ChangeKey) -> Result<bool>;
    /// Records a change; returns whether it was not recorded before.
    fn put_tracked(&mut self, since: Timestamp, change: ChangeKey) -> Result<bool>;
    /// Removes at most that many changes of trackings that began before.
    fn remove_tracked_before(&mut self, since: Timestamp, max: usize) -> Result<()>;

    /// Returns the limits of the app, or the reason why those stored cannot be read; `None`: the
    /// app is not registered.
    fn schedule(&mut self) -> Result<Option<std::result::Result<Arc<Schedule>, String>>>;
    /// Returns the revision of the limits; `None`: the app is not registered.
    fn schedule_revision(&self) -> Result<Option<u64>>;
    /// Returns whether the stored limits are these.
    fn has_schedule(&self, schedule: &Schedule) -> Result<bool>;
    /// Writes the limits.
    fn put_schedule(&mut self, revision: u64, schedule: &Arc<Schedule>) -> Result<()>;

    /// Returns when the app was last seen in use; `None`: it is not counted as unknown.
    fn unknown_since(&self) -> Result<Option<Timestamp>>;
    /// Counts the app as unknown and seen in use at that instant; returns false if it was not
    /// counted and `most` apps are.
    fn count_unknown(&mut self, now: Timestamp, most: Option<u64>) -> Result<bool>;
    /// Stops counting the app as unknown.
    fn uncount_unknown(&mut self) -> Result<()>;
}

/// A membership to be written: user, group, and whether it counts; `None` removes it.
pub type Membership = (UserKey, GroupKey, Option<bool>);
