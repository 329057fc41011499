//! Holds: what a take with a hold takes counts at once, and ends unless it is confirmed in time.

use std::fmt;

use super::id::{InvalidId, OperationId};

/// The hold that a take asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The id of the operation, by which it is confirmed or released.
    pub id: OperationId,
    /// The seconds after which it ends unless it is confirmed.
    pub seconds: u32,
}

/// Rules of holds, from the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldRules {
    /// The longest hold, in seconds.
    pub seconds_max: u32,
    /// The hours for which the record of a hold is kept after its end.
    pub kept_hours: u32,
    /// Most facts in the records of an app's holds, in each part of the store.
    pub facts_max: u64,
}

impl Default for HoldRules {
    /// Rules of a catalog without the section.
    fn default() -> Self {
        Self { seconds_max: 3600, kept_hours: 24, facts_max: 1_000_000 }
    }
}

/// How a hold is ended by a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldEnd {
    /// What it holds becomes permanent.
    Confirm,
    /// What it holds is released.
    Release,
}

impl HoldEnd {
    /// Returns the name in messages and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confirm => "confirm_hold",
            Self::Release => "release_hold",
        }
    }
}

/// Outcome for one subject of a hold that a caller ended. Of a subject with several facts, such as
/// the two sides of a friendship, it is the last one in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldOutcome {
    /// Something else had ended the hold: a leave, a removal, a deletion, a dissolution, a repair;
    /// for a release also a permanent take. Nothing was done.
    EndedOtherwise,
    /// It was held, or was permanent already, and is permanent.
    Confirmed,
    /// The hold had expired; it was taken anew, and is permanent.
    Retaken,
    /// It was released.
    Released,
    /// The hold had expired, and a limit denies the new take.
    Denied,
}

impl fmt::Display for Hold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "operation \"{}\" for {} s", self.id, self.seconds)
    }
}

impl Hold {
    /// Creates a hold from its id and its time.
    pub fn new(id: &str, seconds: u32) -> Result<Self, InvalidId> {
        Ok(Self { id: OperationId::try_from(id)?, seconds })
    }
}
