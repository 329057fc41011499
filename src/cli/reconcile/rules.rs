//! What the ids, names and numbers of an export have to be, in words that follow a field's name.

use std::collections::HashMap;

use crate::domain::id::{GroupId, NAME_MAX_BYTES, UserId};
use crate::engine::admin::reconcile::LIST_MAX;

/// A user's id.
pub fn user(field: &str, id: &str) -> Result<(), String> {
    UserId::try_from(id).map(drop).map_err(|why| format!("{field} {why}"))
}

/// A group's id.
pub fn group(field: &str, id: &str) -> Result<(), String> {
    GroupId::try_from(id).map(drop).map_err(|why| format!("{field} {why}"))
}

/// A group's type, as any catalog may name one. Whether the one in force does is the sidecar's to
/// know.
pub fn group_type(name: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_MAX_BYTES).collect();
    Err(format!("type must be 1-{NAME_MAX_BYTES} of A-Z a-z 0-9 . _ -, not {shown:?}"))
}

/// A friend in the list of that user.
pub fn friend(field: &str, id: &str, of: &str) -> Result<(), String> {
    user(field, id)?;
    if id == of {
        return Err(format!("{field} must be another user, not {of:?} himself"));
    }
    Ok(())
}

/// How many a list has.
pub fn list(owner: &str, what: &str, length: usize) -> Result<(), String> {
    if length > LIST_MAX {
        return Err(format!("{owner} has more than {LIST_MAX} {what}s"));
    }
    Ok(())
}

/// An id that stands twice in a list: where it stands first, and where again.
pub fn twice(ids: &[String]) -> Option<(usize, usize)> {
    let mut seen = HashMap::with_capacity(ids.len());
    ids.iter()
        .enumerate()
        .find_map(|(at, id)| seen.insert(id.as_str(), at).map(|first| (first, at)))
}
