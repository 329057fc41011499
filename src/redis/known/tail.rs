//! The last entry of a log that this process has observed: of the audit log, and of the log of
//! events.

use parking_lot::{Mutex, MutexGuard};

use super::counts::Lost;

/// The last observed entry of a log.
#[derive(Default)]
pub struct Tail(Mutex<State>);

#[derive(Debug, Default, Clone)]
struct State {
    seen: Seen,
    /// The number of losses after which the log continued. A reply to a call that was sent before
    /// one has no meaning.
    healed: u64,
    /// True once the current loss has been returned.
    returned: bool,
    /// The last entry that records a loss of entries; `None` if it has not been searched for.
    last_loss: Option<u64>,
}

/// An entry of a log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its number; 0 if none was observed.
    pub number: u64,
    /// Its hash; empty if it is not available, or entries have none.
    pub hash: String,
}

/// The observation of a log before a call was sent.
pub struct Before {
    /// The last entry.
    pub seen: Seen,
    healed: u64,
}

impl Tail {
    /// Returns the observation, for a call that is about to be sent.
    pub fn before(&self) -> Before {
        let state = self.state();
        Before { seen: state.seen.clone(), healed: state.healed }
    }

    /// Compares with the last entry that a call returned. Each loss is returned once.
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

    /// Records an entry that the log has, unless a later one was observed: no entry before it is
    /// lost.
    pub fn raise(&self, before: &Before, number: u64, hash: &str) {
        let mut state = self.state();
        let seen = &state.seen;
        let is_later = number > seen.number || (number == seen.number && seen.hash.is_empty());
        if state.healed == before.healed && is_later {
            state.seen = Seen { number, hash: hash.to_owned() };
            state.returned = false;
        }
    }

    /// Records that the log once had an entry of that number.
    pub fn had(&self, number: u64) {
        let mut state = self.state();
        if number > state.seen.number {
            state.seen = Seen { number, hash: String::new() };
        }
    }

    /// Continues after a loss, with a log that ends with that entry; `loss` is the entry that
    /// records it.
    pub fn heal(&self, number: u64, hash: &str, loss: Option<u64>) {
        let mut state = self.state();
        let (seen, healed) = (Seen { number, hash: hash.to_owned() }, state.healed + 1);
        *state = State { seen, healed, returned: false, last_loss: loss };
    }

    /// Returns the last entry that records a loss of entries; `None` if it has not been searched
    /// for.
    pub fn last_loss(&self) -> Option<u64> {
        self.state().last_loss
    }

    /// Sets the last entry that records a loss of entries; 0 if there is none.
    pub fn lost_last(&self, loss: Option<u64>) {
        self.state().last_loss = loss;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_log_and_another_entry_are_reported_once_until_healed() {
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
        let in_flight = tail.before();
        tail.heal(5, "x5", Some(5));
        assert_eq!(tail.check(&in_flight, 4, "h4"), None);
        assert_eq!(tail.check(&tail.before(), 5, "x5"), None);
        let shorter = tail.check(&tail.before(), 0, "");
        assert_eq!(shorter, Some(Lost { found: 0, known: 5 }));
        assert_eq!(tail.last_loss(), Some(5));
    }

    #[test]
    fn an_entry_that_was_reported_elsewhere_is_compared_by_its_number() {
        let tail = Tail::default();
        tail.had(9);
        assert_eq!(tail.check(&tail.before(), 9, "h9"), None);
        assert_eq!(tail.check(&tail.before(), 8, "h8"), Some(Lost { found: 8, known: 9 }));
    }
}
