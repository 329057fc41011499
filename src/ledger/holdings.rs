//! The usage of all users and groups of an app, in pages.
//!
//! Users and groups are fingerprints, since a store has no other id for them. Live traffic
//! continues meanwhile: each count is exact for the moment when its page was read, and pages are
//! read one after another. A subject that holds something throughout is returned at least once, and
//! may be returned twice.
//!
//! If a failover happens in the middle, Redis may skip some subjects, as `SCAN` does; nothing that
//! has to be exact relies on this.

use super::reconcile::PageToken;
use crate::domain::id::Name;

/// The set of subjects whose usage is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageScope {
    /// Users with at least one friend in their list.
    UsersWithFriends,
    /// Users with at least one membership that counts towards their groups.
    UsersInGroups,
    /// Groups; one that is being dissolved is not included.
    Groups,
}

/// The usage of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectUsage {
    /// The user's or the group's fingerprint.
    pub key: u64,
    /// Its usage.
    pub held: UsageCount,
}

/// An amount in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageCount {
    /// The number of friends in the user's list.
    Friends(u64),
    /// The number of groups that count towards the user.
    Groups(u64),
    /// The members of a group.
    Members {
        /// The group's type.
        group_type: Name,
        /// The number of members; 0 if they are not tracked.
        members: u64,
        /// The group's own limit.
        max_members: Option<u32>,
    },
}

/// A page of usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// One entry for each subject.
    pub each: Vec<SubjectUsage>,
    /// The start of the next page; `None`: this is the last one.
    pub next: Option<PageToken>,
}
