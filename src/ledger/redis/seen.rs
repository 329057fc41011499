//! The marks that a process, or the state that it keeps, has seen in the store.
//!
//! One that was seen and is missing later is a loss; one that was never seen may still have to be
//! written: the store is new, or its data are of a version before, or its server was away.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::client::SLOTS;

const BITS: usize = 64;
const WORDS: usize = SLOTS as usize / BITS;
/// Hexadecimal digits of a word in the text of a set.
const DIGITS: usize = BITS / 4;
/// The text of the set of all.
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
    /// Whether every mark was written once.
    pub fn is_all(&self) -> bool {
        self.all.load(Ordering::Relaxed)
    }

    /// Every mark was written.
    pub fn insert_all(&self) {
        self.all.store(true, Ordering::Relaxed);
    }

    /// Nothing was seen of another generation.
    pub fn clear(&self) {
        self.all.store(false, Ordering::Relaxed);
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// The mark of a slot was seen.
    pub fn insert(&self, slot: u16) {
        let (word, bit) = place(slot);
        if let Some(word) = self.words.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether the mark of a slot was seen.
    pub fn contains(&self, slot: u16) -> bool {
        let (word, bit) = place(slot);
        self.is_all()
            || self.words.get(word).is_some_and(|it| it.load(Ordering::Relaxed) & bit != 0)
    }

    /// As the state file has it.
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

    /// From the state file; `None` where it is malformed.
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

fn place(slot: u16) -> (usize, u64) {
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
