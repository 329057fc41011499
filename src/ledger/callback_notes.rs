//! What a callback of an IM leaves for later callbacks, in the store, so that any sidecar reads it.
//!
//! Two kinds: texts in queues, first in, first out; and instants by name, which only rise. Each
//! expires by the store's own clock and is then as if it had never been there. Notes are no facts:
//! no decision depends on them, and a backup leaves them out.

use std::time::Duration;

use async_trait::async_trait;

use super::LedgerError;
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// Most notes of an app at a time: queues that are not empty, and instants.
pub const NOTES_MAX: usize = 200_000;
/// Most texts in a queue.
pub const TEXTS_MAX: usize = 1_000;
/// Most names in one call.
pub const NAMES_MAX: usize = 1_000;
/// Longest name, in bytes.
pub const NAME_MAX_BYTES: usize = 1_024;
/// Longest text, in bytes.
pub const TEXT_MAX_BYTES: usize = 4_096;

/// The notes of all apps.
///
/// Each call is one atomic step, and fails once `deadline` has passed: whether it was done is then
/// unknown. One that would exceed [`NOTES_MAX`] or [`TEXTS_MAX`] writes nothing and returns
/// [`StoreError::Refused`]. More than [`NAMES_MAX`] names, a
/// longer name or a longer text are a mistake of the caller, and refused in the same way.
#[async_trait]
pub trait CallbackNotes: Send + Sync {
    /// Appends a text to a queue, for as long as `lasting`.
    async fn push(
        &self,
        app: &AppId,
        queue: &str,
        text: &str,
        lasting: Duration,
        deadline: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Removes and returns the oldest text of a queue; `None` if it has none.
    async fn pop(
        &self,
        app: &AppId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError>;

    /// Returns the oldest text of a queue, which stays there; `None` if it has none.
    async fn peek(
        &self,
        app: &AppId,
        queue: &str,
        deadline: Timestamp,
    ) -> Result<Option<String>, LedgerError>;

    /// Sets each named instant to `instant`, for as long as `lasting`, unless it is later already.
    async fn raise_instants(
        &self,
        app: &AppId,
        names: &[String],
        instant: Timestamp,
        lasting: Duration,
        deadline: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Returns each named instant; `None` where there is none.
    async fn instants(
        &self,
        app: &AppId,
        names: &[String],
        deadline: Timestamp,
    ) -> Result<Vec<Option<Timestamp>>, LedgerError>;
}

/// What every store checks before it writes.
pub(crate) fn check<'a>(
    names: impl IntoIterator<Item = &'a str>,
    text: &str,
) -> Result<(), StoreError> {
    let refuse = |what: &str, most: usize| {
        Err(StoreError::Refused(format!("a note of a callback has {what}, at most {most}")))
    };
    if text.len() > TEXT_MAX_BYTES {
        return refuse("too long a text in bytes", TEXT_MAX_BYTES);
    }
    for (index, name) in names.into_iter().enumerate() {
        if index >= NAMES_MAX {
            return refuse("too many names", NAMES_MAX);
        }
        if name.len() > NAME_MAX_BYTES {
            return refuse("too long a name in bytes", NAME_MAX_BYTES);
        }
    }
    Ok(())
}

/// The error of an app with too many notes, or of a queue with too many texts.
pub(crate) fn full(app: &AppId) -> StoreError {
    StoreError::Refused(format!(
        "the notes of callbacks of app \"{app}\" have reached their bound: {NOTES_MAX}, and \
         {TEXTS_MAX} texts of one name"
    ))
}
