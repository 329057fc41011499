//! The hold of a take as an argument of its script.

use super::facts::letter;
use crate::ledger::{Call, Operation, operation_codec};
use crate::redis::keys::Part;
use crate::store::Fingerprints;

/// What a script gets about the hold of a take: see `scripts/shared/take_hold.lua`.
#[derive(Debug, Clone)]
pub struct HoldArgument {
    /// What follows the mode.
    pub behind_mode: Vec<u8>,
    /// The operation, if its hold is new.
    pub operation: Option<Vec<u8>>,
}

impl HoldArgument {
    /// Returns the argument for a take; `None` if it has no hold, or writes nothing.
    pub fn of_take(ids: Fingerprints, call: &Call, operation: &Operation) -> Option<Self> {
        let hold = call.take.hold.as_ref().filter(|_| call.mode.writes())?;
        let name = name(letter(operation)?, hold.id.as_str());
        let operation = operation_codec::encode(operation);
        let digest = ids.digest(&operation);
        let (seconds, most, kept) = (hold.seconds, call.catalog.holds.facts_max, kept_ms(call));
        let behind_mode = format!("T {seconds} {digest:016x} {most} {kept} {name}").into_bytes();
        Some(Self { behind_mode, operation: Some(operation) })
    }

    /// Returns the argument for facts that are taken anew. `indexes`: those of the facts of the
    /// take in the hold, or 0.
    pub fn of_retake(
        call: &Call,
        name: &str,
        (number, states): (&str, &str),
        indexes: &[usize],
    ) -> Self {
        let indexes: Vec<String> = indexes.iter().map(usize::to_string).collect();
        let (indexes, kept) = (indexes.join(","), kept_ms(call));
        let behind_mode = format!("R {number} {states} {indexes} {kept} {name}").into_bytes();
        Self { behind_mode, operation: None }
    }
}

/// Returns the name of a hold in scripts.
pub fn name(letter: char, id: &str) -> String {
    format!("{letter}{id}")
}

/// Returns the milliseconds for which the record of a hold is kept after its end.
pub fn kept_ms(call: &Call) -> u64 {
    u64::from(call.catalog.holds.kept_hours) * 60 * 60 * 1000
}

/// Returns the rules of the types for scripts about groups, and nothing for others.
pub fn types_of(part: Part, types: Vec<u8>) -> Vec<u8> {
    if part == Part::Groups { types } else { Vec::new() }
}
