//! Rules of user and group ids: their lengths and characters, as a catalog sets them.
//!
//! A take is validated by the rules of the catalog in force. Releases, reads and whatever was
//! stored before are validated by [`IdRules::WIDEST`] alone, so that a catalog with narrower rules
//! leaves no fact that cannot be released.

use super::id::{GroupId, IM_GROUP_ID_PREFIX, InvalidId, UserId, printable_ascii};

/// Longest user or group id of any catalog, in bytes.
pub const ID_MAX_BYTES: usize = 255;
/// Longest user id, in bytes, unless a catalog sets another bound (pricing rules, section 3).
pub const USER_ID_MAX_BYTES: usize = 32;
/// Longest group id, in bytes, unless a catalog sets another bound (pricing rules, section 3).
pub const GROUP_ID_MAX_BYTES: usize = 48;

/// Most bytes of the ids of one call, so that they fit into a request.
const BATCH_MAX_BYTES: usize = 1_000_000;
/// Bytes of an id in a request beside its text: a tag and a length.
const ID_OVERHEAD_BYTES: usize = 3;

/// Characters of user and group ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdCharset {
    /// Printable ASCII, 0x20-0x7e.
    Ascii,
    /// Every character, assigned or not, but those that could break a line or change the direction
    /// of the text around them: controls, line and paragraph separators, bidirectional overrides.
    Utf8,
}

impl IdCharset {
    /// Returns the name in catalogs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Utf8 => "utf8",
        }
    }

    /// Checks that a text has no other characters.
    pub(super) fn check(self, text: &str) -> Result<(), InvalidId> {
        // Nearly every id is printable ASCII, which both sets contain.
        let Err(bad_byte) = printable_ascii(text) else { return Ok(()) };
        match self {
            Self::Ascii => Err(bad_byte),
            Self::Utf8 => match text.char_indices().find(|(_, letter)| !is_harmless(*letter)) {
                Some((offset, letter)) => Err(InvalidId::BadCharacter { offset, letter }),
                None => Ok(()),
            },
        }
    }
}

/// Returns whether a character neither controls a terminal nor ends a line nor changes the
/// direction of the text after it. Marks of direction, which names in Hebrew and Arabic may have,
/// and joiners of Emoji are harmless.
fn is_harmless(letter: char) -> bool {
    let is_separator = matches!(letter, '\u{2028}' | '\u{2029}');
    // Embeddings, overrides and isolates.
    let is_override = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !is_separator && !is_override
}

/// Rules of user and group ids. Ids are compared by bytes, without normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRules {
    /// Longest user id, in bytes; at most [`ID_MAX_BYTES`].
    pub user_max_bytes: usize,
    /// Longest group id, in bytes; at most [`ID_MAX_BYTES`].
    pub group_max_bytes: usize,
    /// Allowed characters.
    pub charset: IdCharset,
}

impl Default for IdRules {
    /// Returns the rules of a catalog without the section: those of the published rules.
    fn default() -> Self {
        Self {
            user_max_bytes: USER_ID_MAX_BYTES,
            group_max_bytes: GROUP_ID_MAX_BYTES,
            charset: IdCharset::Ascii,
        }
    }
}

impl IdRules {
    /// The widest rules that a catalog can have.
    pub const WIDEST: Self = Self {
        user_max_bytes: ID_MAX_BYTES,
        group_max_bytes: ID_MAX_BYTES,
        charset: IdCharset::Utf8,
    };

    /// Validates a user id.
    pub fn user(&self, text: &str) -> Result<UserId, InvalidId> {
        self.check(text, self.user_max_bytes)?;
        Ok(UserId::of_valid(text))
    }

    /// Validates a group id.
    pub fn group(&self, text: &str) -> Result<GroupId, InvalidId> {
        self.check(text, self.group_max_bytes)?;
        Ok(GroupId::of_valid(text))
    }

    /// Validates a group id chosen by the caller, which must not have the IM's prefix.
    pub fn group_of_caller(&self, text: &str) -> Result<GroupId, InvalidId> {
        let id = self.group(text)?;
        if text.starts_with(IM_GROUP_ID_PREFIX) {
            return Err(InvalidId::ReservedPrefix);
        }
        Ok(id)
    }

    /// Returns the highest number of user ids of which a request holds the longest.
    #[must_use]
    pub fn batch_max(&self) -> usize {
        BATCH_MAX_BYTES / (self.user_max_bytes + ID_OVERHEAD_BYTES)
    }

    fn check(&self, text: &str, max: usize) -> Result<(), InvalidId> {
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        if text.len() > max {
            return Err(InvalidId::TooLong { max, bytes: text.len() });
        }
        self.charset.check(text)
    }
}

#[cfg(test)]
#[path = "id_rules_tests.rs"]
mod tests;
