//! Acknowledged writes that a store has lost.

use crate::domain::event::StorePart;
use crate::domain::id::AppId;

/// Lost writes of one part: those after `found`, up to `known`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostWrites {
    /// The part.
    pub part: StorePart,
    /// The app; `None` if the part does not belong to one app.
    pub app: Option<AppId>,
    /// The number up to which the part counts now.
    pub found: u64,
    /// The highest number seen before.
    pub known: u64,
}
