//! The keys of the marks that carry the store's generation.
//!
//! Every script checks the mark of its own slot before it reads or writes anything else, so that
//! the first call that is affected by a loss of facts detects it. A single server has one mark. A
//! cluster has one in each slot: `q1{NUMBER}mark`, where NUMBER is the lowest one whose decimal
//! text lies in that slot.

use std::sync::Arc;

use super::client::{SLOTS, slot};

/// The number in the mark of a single server.
const SINGLE: u32 = 0;

/// The keys of the marks of one store.
#[derive(Debug, Clone)]
pub struct Marks {
    /// In a cluster: for each slot, the number whose decimal text lies in it.
    numbers: Option<Arc<[u32]>>,
}

impl Marks {
    /// The marks of a cluster, or of a single server.
    pub fn new(is_cluster: bool) -> Self {
        Self { numbers: is_cluster.then(numbers) }
    }

    /// Returns the key of the mark that scripts with a key in `slot` check.
    pub fn key(&self, slot: u16) -> Vec<u8> {
        let number = self.numbers.as_ref().and_then(|numbers| numbers.get(usize::from(slot)));
        mark(*number.unwrap_or(&SINGLE))
    }

    /// Returns the key of the mark for scripts with that key.
    pub fn beside(&self, key: &[u8]) -> Vec<u8> {
        if self.numbers.is_none() { mark(SINGLE) } else { self.key(slot(key)) }
    }

    /// Returns the slot of the mark for scripts with that key; 0 for a single server.
    pub fn slot_beside(&self, key: &[u8]) -> u16 {
        if self.numbers.is_none() { 0 } else { slot(key) }
    }

    /// Returns every slot that has a mark of its own; only 0 for a single server.
    pub fn slots(&self) -> std::ops::Range<u16> {
        if self.numbers.is_none() { 0..1 } else { 0..SLOTS }
    }
}

fn mark(number: u32) -> Vec<u8> {
    format!("q1{{{number}}}mark").into_bytes()
}

/// Returns, for each slot, the lowest number whose decimal text lies in it.
fn numbers() -> Arc<[u32]> {
    let mut numbers = vec![None; usize::from(SLOTS)];
    let mut missing = numbers.len();
    for number in 0_u32.. {
        let entry = &mut numbers[usize::from(slot(number.to_string().as_bytes()))];
        if entry.is_none() {
            *entry = Some(number);
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    numbers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_a_mark_of_its_own() {
        let marks = Marks::new(true);
        for number in 0..SLOTS {
            assert_eq!(slot(&marks.key(number)), number);
        }
        // Marks are found by their keys: these must not change.
        for (number, golden) in
            [(0, "q1{3560}mark"), (1, "q1{22179}mark"), (16383, "q1{39296}mark")]
        {
            assert_eq!(String::from_utf8(marks.key(number)).expect("text"), golden);
        }
    }

    #[test]
    fn a_single_server_has_one_mark() {
        let marks = Marks::new(false);
        assert_eq!((marks.slots(), marks.slot_beside(b"q1{other}key")), (0..1, 0));
        assert_eq!(marks.beside(b"q1{other}key"), b"q1{0}mark");
    }
}
