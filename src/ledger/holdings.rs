//! What all users and groups of an app hold, page by page.
//!
//! Users and groups are fingerprints, since a store knows them by nothing else. Live traffic goes
//! on meanwhile: each count is exact for the moment when its page was read, and pages are read one
//! after another. Who holds something all the time comes at least once, and may come twice.
//!
//! Where another server takes over in the middle, Redis may leave some out, as `SCAN` does; what
//! has to be exact is not built on this.

use super::reconcile::Place;
use crate::domain::id::Name;

/// Who is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holders {
    /// Users who have somebody in their list.
    UsersWithFriends,
    /// Users who pay for a group.
    UsersInGroups,
    /// Groups; one that is being dissolved is none any more.
    Groups,
}

/// What one of them holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The user's or the group's fingerprint.
    pub key: u64,
    /// How much.
    pub held: Held,
}

/// How much is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// So many friends are in the user's list.
    Friends(u64),
    /// The user pays for so many groups.
    Groups(u64),
    /// A group has members.
    Members {
        /// The group's type.
        group_type: Name,
        /// How many; 0 where they are not tracked.
        members: u64,
        /// The group's own limit.
        max_members: Option<u32>,
    },
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// What each holds.
    pub each: Vec<Holding>,
    /// Where the next ones are; `None`: there are no more.
    pub next: Option<Place>,
}
