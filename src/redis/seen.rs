//! The marks that a process has observed in the store, now or according to its saved state.
//!
//! An observed mark that is missing later is a loss. A mark that was never observed may still have
//! to be written: the store is new, or was written by an earlier version, or the server was
//! unavailable.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::client::SLOTS;

const BITS: usize = 64;
const WORDS: usize = SLOTS as usize / BITS;
/// Hexadecimal digits of a word in the text of a set.
const DIGITS: usize = BITS / 4;
/// The text of the set of all slots.
const ALL: &str = "all";

/// A set of slots.
pub struct Seen {
    all: AtomicBool,
    words: Vec<AtomicU64>,
}

impl Default for Seen {
    fn default() -> Self {
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { all: AtomicBool::new(false), words }
    }
}

impl Seen {
    /// Returns whether every mark has been written.
    pub fn is_all(&self) -> bool {
        self.all.load(Ordering::Relaxed)
    }

    /// Records that every mark has been written.
    pub fn insert_all(&self) {
        self.all.store(true, Ordering::Relaxed);
    }

    /// Clears the set, for another generation.
    pub fn clear(&self) {
        self.all.store(false, Ordering::Relaxed);
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Records the mark of a slot.
    pub fn insert(&self, slot: u16) {
        let (word, bit) = word_and_bit(slot);
        if let Some(word) = self.words.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Returns whether the mark of a slot was observed.
    pub fn contains(&self, slot: u16) -> bool {
        let (word, bit) = word_and_bit(slot);
        self.is_all()
            || self.words.get(word).is_some_and(|it| it.load(Ordering::Relaxed) & bit != 0)
    }

    /// Formats the set for the state file.
    pub fn to_text(&self) -> String {
        if self.is_all() {
            return ALL.to_owned();
        }
        self.words.iter().fold(String::new(), |mut text, word| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{:016x}", word.load(Ordering::Relaxed));
            text
        })
    }

    /// Parses the text of the state file; `None` if it is malformed.
    pub fn from_text(text: &str) -> Option<Self> {
        let seen = Self::default();
        if text == ALL {
            seen.insert_all();
            return Some(seen);
        }
        if text.len() != WORDS * DIGITS || !text.is_ascii() {
            return None;
        }
        for (index, word) in seen.words.iter().enumerate() {
            let digits = &text[index * DIGITS..(index + 1) * DIGITS];
            word.store(u64::from_str_radix(digits, 16).ok()?, Ordering::Relaxed);
        }
        Some(seen)
    }
}

fn word_and_bit(slot: u16) -> (usize, u64) {
    let slot = usize::from(slot);
    (slot / BITS, 1 << (slot % BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_slots_is_read_as_it_was_written() {
        let seen = Seen::default();
        for slot in [0, 63, 64, 5460, 16_383] {
            assert!(!seen.contains(slot));
            seen.insert(slot);
        }
        let read = Seen::from_text(&seen.to_text()).expect("well-formed");
        let held = (0..SLOTS).filter(|slot| read.contains(*slot)).collect::<Vec<_>>();
        assert_eq!(held, [0, 63, 64, 5460, 16_383]);
        read.insert_all();
        assert!(read.contains(1) && Seen::from_text(&read.to_text()).expect("all").is_all());
        read.clear();
        assert!(!read.contains(0));
        for bad in ["", "ALL", "0", &"g".repeat(WORDS * DIGITS)] {
            assert!(Seen::from_text(bad).is_none(), "{bad:?}");
        }
    }
}
