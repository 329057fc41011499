//! Steps of one operation on a group, which must all be about the same group.
//!
//! A group's id may be used again: between two steps others may dissolve the group and create
//! another one. So the first of several steps returns the group's generation (see
//! `scripts/shared/generation.lua`), and each later step compares it. Where the group was dissolved
//! before a later step, and perhaps created anew, the answer is:
//!
//! | operation | answer |
//! |---|---|
//! | `CreateGroup`, `JoinGroup` | [`LedgerError::GroupReplaced`] |
//! | `LeaveGroup` | `NOT_HELD` for the users of the later steps |
//! | `DissolveGroup` | `APPLIED`, or `NOT_HELD` where another dissolution is applied |
//!
//! What a creation or join had added was released by the dissolution, and no user is added to the
//! later group; users who did not leave any more left with the dissolution, and no user is taken
//! out of the later group.
//!
//! Of several dissolutions of one group the one that began last is `APPLIED`, once, and the others
//! are `NOT_HELD` when the group is gone: they compare claims, which lie in the record of a group
//! that is being dissolved (see `scripts/dissolve_group.lua`).
//!
//! Sidecars of the version before write neither, and take a generation away with the group, so that
//! later steps here notice every dissolution and creation of theirs. A join of theirs that fills a
//! group past 65 % of its limit may take it away too; an operation under way is then
//! `GroupReplaced` although the group is the same. Their own steps compare nothing, as before, and
//! a dissolution of theirs is `APPLIED` beside another one.
//!
//! Scans, deletions of accounts and comparisons need no generation: each of their steps is about
//! what it finds. The embedded store needs none either: an operation there is one transaction.
//! A repetition is an operation of its own, also that of an entry of the journal: it goes by the
//! group that has the id when it begins. What was admitted while the store was away names no
//! generation: none was read, and one from before would not show which group the caller meant.
//!
//! [`LedgerError::GroupReplaced`]: crate::ledger::LedgerError::GroupReplaced

use redis::Value;

use super::reply::{bytes, text};
use crate::domain::decision::Mode;

/// Which step of an operation on a group is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The only one, or one that writes nothing.
    Only,
    /// The first of several.
    First,
    /// A later one, on the group of that generation.
    Later(String),
}

impl Position {
    /// The beginning of an operation; `is_last`: of one step.
    pub fn first(mode: Mode, is_last: bool) -> Self {
        if is_last || mode == Mode::CheckOnly { Self::Only } else { Self::First }
    }

    /// As scripts read it, with the number of members that steps before would have taken.
    pub fn argument(&self, taken: usize) -> Vec<u8> {
        match self {
            Self::Only => taken.to_string(),
            Self::First => format!("{taken} +"),
            Self::Later(generation) => format!("{taken} {generation}"),
        }
        .into_bytes()
    }

    /// Takes in the generation that the first step returned; `None`: it is malformed.
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
        // Later answers change nothing.
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
