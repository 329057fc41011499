//! The position of a step among the steps of one operation on a group, which must all be about the
//! same group.
//!
//! A group's id may be reused: between two steps other operations may dissolve the group and create
//! another one. So the first of several steps returns the group's generation (see
//! `scripts/shared/generation.lua`), and each later step compares it. If the group was dissolved
//! before a later step, and perhaps created again, the result is:
//!
//! | operation | result |
//! |---|---|
//! | `CreateGroup`, `JoinGroup` | [`LedgerError::GroupReplaced`] |
//! | `LeaveGroup` | `NOT_HELD` for the users of the later steps |
//! | `DissolveGroup` | `APPLIED`, or `NOT_HELD` if another dissolve is applied |
//!
//! The dissolve has released what a creation or join had added, and no user is added to the later
//! group; users who were still to leave have left with the dissolve, and no user is removed from
//! the later group.
//!
//! Of several dissolves of one group the one that began last is `APPLIED`, once, and the others are
//! `NOT_HELD` when the group is gone: they compare claims, which are stored in the record of a
//! group that is being dissolved (see `scripts/dissolve_group.lua`).
//!
//! Sidecars of the previous version write neither, and delete a generation together with the group,
//! so that later steps here detect every dissolve and creation of theirs. A join of theirs that
//! fills a group past 65 % of its limit may delete it too; an operation in flight is then
//! `GroupReplaced` although the group is the same. Their own steps compare nothing, as before, and
//! a dissolve of theirs is `APPLIED` beside another one.
//!
//! Scans, deletions of accounts and comparisons need no generation: each of their steps is about
//! what it finds. The embedded store needs none either: an operation there is one transaction. A
//! retry is an operation of its own, also that of an entry of the journal: it applies to the group
//! that has the id when it begins. What was admitted while the store was unavailable has no
//! generation: none was read, and an earlier one would not show which group the caller meant.
//!
//! [`LedgerError::GroupReplaced`]: crate::ledger::LedgerError::GroupReplaced

use redis::Value;

use crate::domain::decision::Mode;
use crate::redis::reply::{bytes, text};

/// The position of the next step of an operation on a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The only step, or a step that writes nothing.
    Only,
    /// The first of several steps.
    First,
    /// A later step, on the group of that generation.
    Later(String),
}

impl Position {
    /// The position of the first step; `is_last`: it is the only one.
    pub fn first(mode: Mode, is_last: bool) -> Self {
        if is_last || mode == Mode::CheckOnly { Self::Only } else { Self::First }
    }

    /// Formats the position for scripts, with the number of members that steps before would have
    /// taken.
    pub fn argument(&self, taken: usize) -> Vec<u8> {
        match self {
            Self::Only => taken.to_string(),
            Self::First => format!("{taken} +"),
            Self::Later(generation) => format!("{taken} {generation}"),
        }
        .into_bytes()
    }

    /// Moves to the next step with the generation that the first one returned; `None` if it is
    /// malformed.
    pub fn advance(&mut self, generation: Option<&Value>) -> Option<()> {
        if *self == Self::First {
            let generation = text(bytes(generation?.clone())?)?;
            *self = Self::Later(Some(generation).filter(|text| !text.is_empty())?);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_steps_carry_the_generation_of_the_first() {
        let mut position = Position::first(Mode::Enforce, false);
        assert_eq!(position.argument(0), b"0 +");
        let generation = Value::BulkString(b"1795910599769000012".to_vec());
        assert_eq!(position.advance(Some(&generation)), Some(()));
        assert_eq!(position.argument(0), b"0 1795910599769000012");
        // Later replies change nothing.
        assert_eq!(position.advance(Some(&Value::BulkString(b"none".to_vec()))), Some(()));
        assert_eq!(position.argument(0), b"0 1795910599769000012");
        for malformed in [None, Some(Value::Int(1)), Some(Value::Nil)] {
            assert_eq!(Position::First.advance(malformed.as_ref()), None);
        }
    }

    #[test]
    fn steps_that_write_nothing_and_only_steps_carry_none() {
        for (mode, is_last) in [(Mode::CheckOnly, false), (Mode::Enforce, true)] {
            let mut position = Position::first(mode, is_last);
            assert_eq!(position.argument(7), b"7");
            assert_eq!(position.advance(None), Some(()));
            assert_eq!(position.argument(8), b"8");
        }
    }
}
