//! The last entry of a log that this process has seen: of the audit log, and of the log of events.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::counts::Lost;

/// The last entry of a log that was seen.
#[derive(Default)]
pub struct Tail(Mutex<State>);

#[derive(Debug, Default, Clone)]
struct State {
    seen: Seen,
    /// How often the log went on after a loss. A reply to a call that was sent before says nothing.
    healed: u64,
    /// Whether the loss that there is was returned.
    returned: bool,
    /// The last entry that says that entries were lost; `None`: it was not looked for.
    last_loss: Option<u64>,
}

/// An entry of a log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its number; 0: none was seen.
    pub number: u64,
    /// Its hash; empty where it is not known, or entries have none.
    pub hash: String,
}

/// What was known of a log before a call was sent.
pub struct Before {
    /// The last entry.
    pub seen: Seen,
    healed: u64,
}

impl Tail {
    /// What is known. To be taken before a call is sent.
    pub fn before(&self) -> Before {
        let state = self.state();
        Before { seen: state.seen.clone(), healed: state.healed }
    }

    /// Compares with the last entry as a call returned it. A loss is returned once.
    pub fn check(&self, before: &Before, number: u64, hash: &str) -> Option<Lost> {
        let mut state = self.state();
        let seen = &before.seen;
        let is_other =
            number == seen.number && ![seen.hash.as_str(), hash].contains(&"") && seen.hash != hash;
        if state.healed != before.healed || (number >= seen.number && !is_other) {
            return None;
        }
        let found = number.min(seen.number.saturating_sub(1));
        let known = state.seen.number;
        (!std::mem::replace(&mut state.returned, true)).then_some(Lost { found, known })
    }

    /// Takes in an entry that the log has, unless a later one was seen: none is lost before it.
    pub fn raise(&self, before: &Before, number: u64, hash: &str) {
        let mut state = self.state();
        let seen = &state.seen;
        let is_later = number > seen.number || (number == seen.number && seen.hash.is_empty());
        if state.healed == before.healed && is_later {
            state.seen = Seen { number, hash: hash.to_owned() };
            state.returned = false;
        }
    }

    /// Takes in that the log once had an entry of that number.
    pub fn had(&self, number: u64) {
        let mut state = self.state();
        if number > state.seen.number {
            state.seen = Seen { number, hash: String::new() };
        }
    }

    /// The log goes on after a loss and ends with that entry; `loss` says that entries were lost.
    pub fn heal(&self, number: u64, hash: &str, loss: Option<u64>) {
        let mut state = self.state();
        let (seen, healed) = (Seen { number, hash: hash.to_owned() }, state.healed + 1);
        *state = State { seen, healed, returned: false, last_loss: loss };
    }

    /// The last entry that says that entries were lost; `None`: it was not looked for.
    pub fn last_loss(&self) -> Option<u64> {
        self.state().last_loss
    }

    /// Takes in the last entry that says that entries were lost; 0: there is none.
    pub fn lost_last(&self, loss: Option<u64>) {
        self.state().last_loss = loss;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_log_and_another_entry_are_losses_once_and_healing_ends_them() {
        let tail = Tail::default();
        tail.raise(&tail.before(), 7, "h7");
        for (number, hash, lost) in [
            (7, "h7", None),
            (9, "h9", None),
            (7, "", None),
            (7, "x7", Some(Lost { found: 6, known: 7 })),
            (4, "h4", None),
        ] {
            assert_eq!(tail.check(&tail.before(), number, hash), lost, "{number} {hash}");
        }
        let under_way = tail.before();
        tail.heal(5, "x5", Some(5));
        assert_eq!(tail.check(&under_way, 4, "h4"), None);
        assert_eq!(tail.check(&tail.before(), 5, "x5"), None);
        let shorter = tail.check(&tail.before(), 0, "");
        assert_eq!(shorter, Some(Lost { found: 0, known: 5 }));
        assert_eq!(tail.last_loss(), Some(5));
    }

    #[test]
    fn an_entry_that_was_told_of_elsewhere_is_known_by_its_number() {
        let tail = Tail::default();
        tail.had(9);
        assert_eq!(tail.check(&tail.before(), 9, "h9"), None);
        assert_eq!(tail.check(&tail.before(), 8, "h8"), Some(Lost { found: 8, known: 9 }));
    }
}
