//! The replies of scripts as values. See `scripts/shared/verdicts.lua` for their shape.

use redis::Value;

use crate::domain::limits::LimitKind;
use crate::redis::reply::{bytes, integer, text};

/// A count behind an item result, and the limit that it reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViolationNote {
    /// The limit.
    pub over: LimitTag,
    /// The count.
    pub used: u64,
}

/// The limit that a letter stands for, and whether the count is that of the user at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitTag {
    /// The limit.
    pub limit: LimitKind,
    /// True if the count is the peer's.
    pub is_peer: bool,
}

/// One item's letter, with its notes if it has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemReply {
    /// The letter as the script returned it.
    pub letter: u8,
    /// The violated limits.
    pub notes: Vec<ViolationNote>,
}

/// The reply of a script.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The script decided.
    Decided(Decided),
    /// The script wrote nothing, for a reason and with a detail if there is one.
    Nothing {
        /// The server's clock, in milliseconds since the epoch.
        now: i64,
        /// The reason, in one word.
        why: String,
        /// The detail, such as the type that a group has.
        detail: String,
    },
}

/// The decision of a script.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The server's clock, in milliseconds since the epoch.
    pub now: i64,
    /// The part's counter of writes after the decision.
    pub writes: u64,
    /// One entry per item.
    pub said: Vec<ItemReply>,
    /// The segment of limits by which it was decided; empty if no limit was reached, or if the app
    /// has no limits of its own.
    pub segment: Vec<u8>,
    /// Counts that crossed a threshold.
    pub risen: Vec<ThresholdCrossed>,
    /// Further values of the script.
    pub more: Vec<Value>,
}

/// A count that crossed a threshold, from `scripts/shared/warn.lua`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdCrossed {
    /// The limit.
    pub over: LimitKind,
    /// The subject: a cell's element, or a group type.
    pub of: String,
    /// The count.
    pub used: u64,
    /// The limit's number.
    pub limit: u64,
    /// The threshold.
    pub percent: u64,
}

/// Parses a reply; `None` if it has another shape.
pub fn read(value: Value) -> Option<Reply> {
    let Value::Array(parts) = value else { return None };
    let mut parts = parts.into_iter();
    let now = integer(&parts.next()?)?;
    let first = parts.next()?;
    let writes = match first {
        Value::Int(writes) => Some(u64::try_from(writes).ok()?),
        _ => None,
    };
    let first = bytes(if writes.is_some() { parts.next()? } else { first })?;
    let Some(second) = parts.next() else {
        return Some(Reply::Nothing { now, why: text(first)?, detail: String::new() });
    };
    let second = bytes(second)?;
    let Some(writes) = writes else {
        return Some(Reply::Nothing { now, why: text(first)?, detail: text(second)? });
    };
    let notes = text(bytes(parts.next()?)?)?;
    let (notes, warnings) = notes.split_once('|').unwrap_or((&notes, ""));
    let said = items(&first, notes)?;
    let risen = warnings.split_ascii_whitespace().map(risen).collect::<Option<_>>()?;
    Some(Reply::Decided(Decided {
        now,
        writes,
        said,
        segment: second,
        risen,
        more: parts.collect(),
    }))
}

/// Parses letters with their notes: one word of notes for each letter that has some.
fn items(letters: &[u8], notes: &str) -> Option<Vec<ItemReply>> {
    let mut words = notes.split_ascii_whitespace();
    let mut items = Vec::with_capacity(letters.len());
    for &letter in letters {
        let has_notes = matches!(letter, b'D' | b'S' | b'G' | b'Q');
        let notes = if has_notes { word(words.next()?)? } else { Vec::new() };
        items.push(ItemReply { letter, notes });
    }
    words.next().is_none().then_some(items)
}

/// Parses a word of notes, such as `u50m20`.
fn word(word: &str) -> Option<Vec<ViolationNote>> {
    let mut notes = Vec::new();
    let mut rest = word;
    while let Some(letter) = rest.chars().next() {
        let digits = rest.get(1..)?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        notes.push(ViolationNote { over: over(letter)?, used: digits[..end].parse().ok()? });
        rest = &digits[end..];
    }
    Some(notes)
}

/// Parses a crossed threshold, such as `u-12,140,200,70`.
#[must_use]
pub fn risen(word: &str) -> Option<ThresholdCrossed> {
    let mut parts = word.split(',');
    let what = parts.next()?;
    let over = LimitKind::by_letter(what.chars().next()?)?;
    let mut number = || parts.next()?.parse().ok();
    let (used, limit, percent) = (number()?, number()?, number()?);
    Some(ThresholdCrossed { over, of: what[1..].to_owned(), used, limit, percent })
}

/// Returns the limit that a letter stands for in the table of limits.
fn over(letter: char) -> Option<LimitTag> {
    if let Some(limit) = LimitKind::by_letter(letter) {
        return Some(LimitTag { limit, is_peer: false });
    }
    let is_of_peer = |kind: &&LimitKind| kind.row().peer.is_some_and(|(its, _)| its == letter);
    let limit = *LimitKind::ALL.iter().find(is_of_peer)?;
    Some(LimitTag { limit, is_peer: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn replies_are_parsed_item_by_item() {
        let notes = bulk("u50m20 s0|u-12,140,200,70 gRoom,5,5,100");
        let parts =
            vec![Value::Int(7), Value::Int(9), bulk("AHDS"), bulk("{}"), notes, Value::Int(3)];
        let Some(Reply::Decided(decided)) = read(Value::Array(parts)) else { panic!("decided") };
        assert_eq!(decided.writes, 9);
        let letters: Vec<u8> = decided.said.iter().map(|said| said.letter).collect();
        assert_eq!(letters, b"AHDS");
        let note = |limit, used| ViolationNote { over: LimitTag { limit, is_peer: false }, used };
        assert_eq!(
            decided.said[2].notes,
            [note(LimitKind::GroupsPerUser, 50), note(LimitKind::MembersPerGroup, 20)]
        );
        assert_eq!(decided.said[3].notes, [note(LimitKind::Service, 0)]);
        let risen = |over, of: &str, used, limit, percent| {
            let of = of.to_owned();
            ThresholdCrossed { over, of, used, limit, percent }
        };
        let warned = [
            risen(LimitKind::GroupsPerUser, "-12", 140, 200, 70),
            risen(LimitKind::GroupsPerApp, "Room", 5, 5, 100),
        ];
        assert_eq!(decided.risen, warned);
        assert_eq!(decided.more, [Value::Int(3)]);
    }

    #[test]
    fn replies_of_another_shape_are_none() {
        for parts in [
            vec![],
            vec![bulk("x"), bulk("late")],
            vec![Value::Int(1), Value::Int(-2), bulk("A"), bulk(""), bulk("")],
            vec![Value::Int(1), Value::Int(2), bulk("A"), bulk("")],
            vec![Value::Int(1), Value::Int(2), bulk("D"), bulk(""), bulk("")],
            vec![Value::Int(1), Value::Int(2), bulk("A"), bulk(""), bulk("u5")],
            vec![Value::Int(1), Value::Int(2), bulk("D"), bulk(""), bulk("z5")],
            vec![Value::Int(1), Value::Int(2), bulk("D"), bulk(""), bulk("u")],
            vec![Value::Int(1), Value::Int(2), bulk("A"), bulk(""), bulk("|u1,2,3")],
            vec![Value::Int(1), Value::Int(2), bulk("A"), bulk(""), bulk("|z1,2,3,70")],
        ] {
            assert_eq!(read(Value::Array(parts.clone())), None, "{parts:?}");
        }
    }
}
