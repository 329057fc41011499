//! Writes that a store acknowledged and lost.

use crate::domain::event::StorePart;
use crate::domain::id::AppId;

/// Writes of one part that are gone: those after `found`, up to `known`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWrites {
    /// The part.
    pub part: StorePart,
    /// The app; `None`: the part is not an app's.
    pub app: Option<AppId>,
    /// The number that the part counts up to now.
    pub found: u64,
    /// The highest number that was seen before.
    pub known: u64,
}
