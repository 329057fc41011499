//! How a take is carried out, beside its mode.

use super::decision::Mode;
use super::hold::Hold;
use super::id::GroupId;

/// The options of a take; other operations ignore them. The default has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakeOptions {
    /// True if it is a whole batch, which writes nothing if any subject is denied.
    pub all_or_nothing: bool,
    /// The hold: what is taken ends unless it is confirmed in time. A take that writes nothing
    /// ignores it.
    pub hold: Option<Hold>,
    /// The held group that a creation replaces: it becomes the new group, with its members. If it
    /// does not exist, or the new one does, the creation is a normal one.
    pub replaces: Option<GroupId>,
}

impl TakeOptions {
    /// Returns whether a denial aborts the whole batch in that mode.
    #[must_use]
    pub fn aborts(&self, mode: Mode) -> bool {
        self.all_or_nothing && mode.denies()
    }

    /// Returns whether the store carries it out in one step, however many subjects it has.
    #[must_use]
    pub fn is_one_step(&self) -> bool {
        self.all_or_nothing || self.hold.is_some() || self.replaces.is_some()
    }
}
