//! Ids of apps, users and groups, and names of catalog entries.
//!
//! An id is validated once, at the edge, and is infallible inside. User and group ids are 1-32 and
//! 1-48 bytes of printable ASCII; app ids are narrower, since they become part of store keys.
//!
//! An id is cheap to clone: up to 23 bytes are in place, and longer ones are shared.

use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

/// Longest app id, in bytes: room for any cloud's numeric id and for a readable name.
pub const APP_ID_MAX_BYTES: usize = 64;
/// Longest user id, in bytes (pricing rules, section 3).
pub const USER_ID_MAX_BYTES: usize = 32;
/// Longest group id, in bytes (pricing rules, section 3).
pub const GROUP_ID_MAX_BYTES: usize = 48;
/// Longest request id of an administrative change, in bytes: room for a UUID with a prefix.
pub const REQUEST_ID_MAX_BYTES: usize = 64;
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
    match text.bytes().position(|byte| !is_allowed(byte)) {
        Some(offset) => Err(InvalidId::BadByte { allowed, offset, byte: text.as_bytes()[offset] }),
        None => Ok(()),
    }
}

fn printable(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte)
}

const PRINTABLE: &str = "printable ASCII (0x20-0x7e)";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $allowed:expr, $is_allowed:expr) => {
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
                check(text, $max, $allowed, $is_allowed)?;
                Ok(Self(SmolStr::new(text)))
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
    APP_ID_MAX_BYTES,
    "A-Z, a-z, 0-9, '.', '_' and '-'",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
);
id!(
    /// A user of an app: 1-32 bytes of printable ASCII.
    UserId,
    USER_ID_MAX_BYTES,
    PRINTABLE,
    printable
);
id!(
    /// A group of an app: 1-48 bytes of printable ASCII.
    GroupId,
    GROUP_ID_MAX_BYTES,
    PRINTABLE,
    printable
);
id!(
    /// The idempotency key of an administrative change: 1-64 bytes of printable ASCII.
    RequestId,
    REQUEST_ID_MAX_BYTES,
    PRINTABLE,
    printable
);

impl GroupId {
    /// Validates a group id chosen by the caller, which must not have the IM's prefix.
    pub fn of_caller(text: &str) -> Result<Self, InvalidId> {
        let id = Self::try_from(text)?;
        if id.0.starts_with(IM_GROUP_ID_PREFIX) {
            return Err(InvalidId::ReservedPrefix);
        }
        Ok(id)
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
    fn user_ids_are_1_to_32_bytes_of_printable_ascii() {
        let longest = "u".repeat(32);
        for good in ["u", " ", "~", "a b", "{app}", longest.as_str()] {
            assert_eq!(UserId::try_from(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for (bad, reason) in [
            (String::new(), "must not be empty"),
            ("u".repeat(33), "must be at most 32 bytes long, not 33"),
            ("a\nb".into(), "but byte 1 is 0x0a"),
            ("\u{7f}".into(), "but byte 0 is 0x7f"),
            ("用户".into(), "but byte 0 is 0xe7"),
        ] {
            let error = UserId::try_from(bad.clone()).expect_err(&bad).to_string();
            assert!(error.contains(reason), "{bad:?}: {error}");
        }
    }

    #[test]
    fn group_ids_are_1_to_48_bytes_and_keep_the_ims_prefix_for_the_im() {
        assert!(GroupId::of_caller(&"g".repeat(48)).is_ok());
        assert!(GroupId::of_caller(&"g".repeat(49)).is_err());
        assert_eq!(GroupId::of_caller("@TGS#1ABC"), Err(InvalidId::ReservedPrefix));
        assert!(GroupId::try_from("@TGS#1ABC").is_ok());
    }

    #[test]
    fn app_ids_cannot_break_out_of_a_key() {
        assert!(AppId::try_from("1400000000").is_ok());
        assert!(AppId::try_from("my-app_1.cn").is_ok());
        for bad in ["", "a/b", "a}b", "{a", "a b", "a:b", "é"] {
            assert!(AppId::try_from(bad).is_err(), "{bad:?}");
        }
    }
}
