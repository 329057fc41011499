//! Validation of ids, names and numbers of an export; errors begin with the field's name.
//!
//! Ids are checked by the widest rules of any catalog; the sidecar checks those of its own.

use std::collections::HashMap;

use crate::domain::id::{GroupId, NAME_MAX_BYTES, UserId};
use crate::engine::admin::reconcile::LIST_MAX;

/// Checks a user's id.
pub fn user(field: &str, id: &str) -> Result<(), String> {
    UserId::try_from(id).map(drop).map_err(|why| format!("{field} {why}"))
}

/// Checks a group's id.
pub fn group(field: &str, id: &str) -> Result<(), String> {
    GroupId::try_from(id).map(drop).map_err(|why| format!("{field} {why}"))
}

/// Checks a group's type by the rules of catalogs. The sidecar checks that the catalog in force has
/// it.
pub fn group_type(name: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_MAX_BYTES).collect();
    Err(format!("type must be 1-{NAME_MAX_BYTES} of A-Z a-z 0-9 . _ -, not {shown:?}"))
}

/// Checks a friend in the list of a user.
pub fn friend(field: &str, id: &str, of: &str) -> Result<(), String> {
    user(field, id)?;
    if id == of {
        return Err(format!("{field} must not be the user {of:?} themselves"));
    }
    Ok(())
}

/// Checks the length of a list.
pub fn list(owner: &str, what: &str, length: usize) -> Result<(), String> {
    if length > LIST_MAX {
        return Err(format!("{owner} has more than {LIST_MAX} {what}s"));
    }
    Ok(())
}

/// Returns the indexes of the first repeated id of a list: the first occurrence, and the second.
pub fn find_duplicate(ids: &[String]) -> Option<(usize, usize)> {
    let mut seen = HashMap::with_capacity(ids.len());
    ids.iter()
        .enumerate()
        .find_map(|(at, id)| seen.insert(id.as_str(), at).map(|first| (first, at)))
}
