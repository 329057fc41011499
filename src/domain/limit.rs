//! Limits: their values and sources. The limits themselves are in [`super::limits`].

use std::fmt;

use super::id::{GroupId, Name, RequestId};

pub use super::limits::LimitId;

/// Value of a limit. Ordered: unlimited is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// At most this number.
    Finite(u64),
    /// Any number.
    Unlimited,
}

impl Limit {
    /// Returns whether one more may be held beside `used`.
    #[must_use]
    pub fn admits_one_more(self, used: u64) -> bool {
        match self {
            Self::Finite(limit) => used < limit,
            Self::Unlimited => true,
        }
    }

    /// The number, or `None` for unlimited.
    #[must_use]
    pub fn finite(self) -> Option<u64> {
        match self {
            Self::Finite(limit) => Some(limit),
            Self::Unlimited => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite(limit) => write!(f, "{limit}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// Greatest finite limit: far above the limits that any IM sells, and far from any overflow.
pub const LIMIT_MAX: u64 = 1_000_000_000;

/// Source of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// An edition.
    Edition(Name),
    /// An add-on.
    AddOn(Name),
    /// The group type's own rule.
    GroupType(Name),
    /// The group's own `max_members`.
    Group(GroupId),
    /// The rule over all groups of an app.
    App,
    /// A limit that was agreed for the app, by the request that granted it.
    Agreed(RequestId),
}

/// Value of a limit and its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The number that may be held.
    pub limit: Limit,
    /// The source of the limit.
    pub source: Source,
}

impl Bound {
    /// Returns the lower of two bounds; the first one if they are equal.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        if other.limit < self.limit { other } else { self }
    }
}
