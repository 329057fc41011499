//! Ids of apps, users and groups, and names of catalog entries.
//!
//! An id is validated once, at the edge, and is infallible inside. The catalog sets the rules of
//! user and group ids ([`super::id_rules`]); the conversions here accept what any catalog may
//! allow. App ids are narrower, since they become part of store keys.
//!
//! An id is cheap to clone: up to 23 bytes are in place, and longer ones are shared.

use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use super::id_rules::IdRules;

/// Longest app id, in bytes: room for any cloud's numeric id and for a readable name.
pub const APP_ID_MAX_BYTES: usize = 64;
/// Longest request id of an administrative change, in bytes: room for a UUID with a prefix.
pub const REQUEST_ID_MAX_BYTES: usize = 64;
/// Longest id of an operation with a hold, in bytes: room for a UUID with a prefix.
pub const OPERATION_ID_MAX_BYTES: usize = 64;
/// Longest name of a catalog entry, in bytes: names are metric labels and columns of tables.
pub const NAME_MAX_BYTES: usize = 64;
/// Prefix reserved for group ids that the IM allocated itself.
pub const IM_GROUP_ID_PREFIX: &str = "@TGS#";

/// Reason why a string is not a valid id. Its text says what would be valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The string is empty.
    #[error("must not be empty")]
    Empty,
    /// Too many bytes.
    #[error("must be at most {max} bytes long, not {bytes}")]
    TooLong {
        /// The bound.
        max: usize,
        /// The number of bytes given.
        bytes: usize,
    },
    /// A byte that the id may not contain.
    #[error("must consist of {allowed}, but byte {offset} is 0x{byte:02x}")]
    BadByte {
        /// The allowed bytes, in words.
        allowed: &'static str,
        /// The position, from 0.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// A character that no user or group id may contain.
    #[error(
        "must not contain control characters, line or paragraph separators, or bidirectional \
         overrides, but byte {offset} begins U+{:04X}",
        u32::from(*.letter)
    )]
    BadCharacter {
        /// The position of its first byte, from 0.
        offset: usize,
        /// The character.
        letter: char,
    },
    /// A group id of a caller that has the IM's own prefix.
    #[error("must not start with \"@TGS#\" unless group_id_allocated_by_im is set")]
    ReservedPrefix,
}

fn check(
    text: &str,
    max: usize,
    allowed: &'static str,
    is_allowed: impl Fn(u8) -> bool,
) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > max {
        return Err(InvalidId::TooLong { max, bytes: text.len() });
    }
    check_bytes(text, allowed, is_allowed)
}

fn check_bytes(
    text: &str,
    allowed: &'static str,
    is_allowed: impl Fn(u8) -> bool,
) -> Result<(), InvalidId> {
    match text.bytes().position(|byte| !is_allowed(byte)) {
        Some(offset) => Err(InvalidId::BadByte { allowed, offset, byte: text.as_bytes()[offset] }),
        None => Ok(()),
    }
}

fn printable(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte)
}

const PRINTABLE: &str = "printable ASCII (0x20-0x7e)";

/// Checks that a text is printable ASCII.
pub(super) fn printable_ascii(text: &str) -> Result<(), InvalidId> {
    check_bytes(text, PRINTABLE, printable)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $checked:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SmolStr);

        impl $name {
            /// Returns the id as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::try_from(text.as_str())
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;

            fn try_from(text: &str) -> Result<Self, InvalidId> {
                $checked(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An app: 1-64 bytes of `A-Z a-z 0-9 . _ -`.
    AppId,
    |text| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        check(text, APP_ID_MAX_BYTES, "A-Z, a-z, 0-9, '.', '_' and '-'", is_allowed)?;
        Ok(Self(SmolStr::new(text)))
    }
);
id!(
    /// A user of an app. The conversion accepts the ids that any catalog may allow.
    UserId,
    |text| IdRules::WIDEST.user(text)
);
id!(
    /// A group of an app. The conversion accepts the ids that any catalog may allow.
    GroupId,
    |text| IdRules::WIDEST.group(text)
);
id!(
    /// The idempotency key of an administrative change: 1-64 bytes of printable ASCII.
    RequestId,
    |text| {
        check(text, REQUEST_ID_MAX_BYTES, PRINTABLE, printable)?;
        Ok(Self(SmolStr::new(text)))
    }
);

impl UserId {
    /// Creates an id from a text that was validated.
    pub(super) fn of_valid(text: &str) -> Self {
        Self(SmolStr::new(text))
    }
}

id!(
    /// The id of an operation that takes with a hold: 1-64 bytes of printable ASCII.
    OperationId,
    |text| {
        check(text, OPERATION_ID_MAX_BYTES, PRINTABLE, printable)?;
        Ok(Self(SmolStr::new(text)))
    }
);

impl GroupId {
    /// Creates an id from a text that was validated.
    pub(super) fn of_valid(text: &str) -> Self {
        Self(SmolStr::new(text))
    }
}

/// The name of a catalog entry: an edition, an add-on or a group type. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_ids_cannot_break_out_of_a_key() {
        assert!(AppId::try_from("1400000000").is_ok());
        assert!(AppId::try_from("my-app_1.cn").is_ok());
        for bad in ["", "a/b", "a}b", "{a", "a b", "a:b", "é"] {
            assert!(AppId::try_from(bad).is_err(), "{bad:?}");
        }
    }
}
