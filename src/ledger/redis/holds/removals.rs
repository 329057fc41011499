//! Lets one call at a time remove the expired facts of a part.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::Mutex;

use crate::domain::id::AppId;
use crate::redis::keys::Part;

/// Number of locks, which the parts of all apps share.
const LOCKS: usize = 64;

/// The locks of the parts.
pub struct Removals {
    hashing: RandomState,
    locks: [Mutex<()>; LOCKS],
}

impl Default for Removals {
    fn default() -> Self {
        Self { hashing: RandomState::new(), locks: [const { Mutex::const_new(()) }; LOCKS] }
    }
}

impl Removals {
    /// Returns the lock of a part: a removal holds it.
    pub fn of(&self, app: &AppId, part: Part) -> &Mutex<()> {
        let hash = self.hashing.hash_one((app, part)) % LOCKS as u64;
        &self.locks[usize::try_from(hash).expect("lower than their number")]
    }
}
