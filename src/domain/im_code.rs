//! Codes that IM clients already have for denials and for batches that are too large (pricing
//! rules, section 4).

use super::catalog::Catalog;
use super::id::Name;
use super::limits::{ImCodeKey, Reason};

/// Most bytes of the name of a code.
pub const IM_NAME_MAX_BYTES: usize = 64;

/// Code of an error for IM clients: a number, a name, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImCode {
    /// The number; 0: none.
    pub number: i32,
    /// The name, at most [`IM_NAME_MAX_BYTES`] long.
    pub name: Option<Name>,
}

/// Codes of denials for the apps that chose this set, in place of those of all apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImCodeSet {
    /// Its name.
    pub name: Name,
    /// The codes of reasons that it has.
    pub codes: Vec<(Reason, ImCode)>,
}

/// Codes of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImCodes {
    /// The code of each reason, in their order.
    pub by_reason: [ImCode; Reason::ALL.len()],
    /// Codes for groups of certain types, in place of those of their reasons.
    pub by_type: Vec<ImCodeOfType>,
    /// Sets that an app can choose, which come before all of these.
    pub sets: Vec<ImCodeSet>,
    /// Too many accounts in one call.
    pub batch_of_accounts: ImCode,
    /// Too many group members in one call.
    pub batch_of_members: ImCode,
}

/// The code of a reason for groups of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImCodeOfType {
    /// The type.
    pub group_type: Name,
    /// The reason.
    pub reason: Reason,
    /// The code.
    pub code: ImCode,
}

impl From<i32> for ImCode {
    fn from(number: i32) -> Self {
        Self { number, name: None }
    }
}

impl ImCodes {
    /// Returns the set with that name.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&ImCodeSet> {
        self.sets.iter().find(|set| set.name.as_str() == name)
    }

    fn of_set(&self, name: &str, reason: Reason) -> Option<&ImCode> {
        let codes = &self.set(name)?.codes;
        codes.iter().find(|(of, _)| *of == reason).map(|(_, code)| code)
    }
}

impl Catalog {
    /// Returns the IM code of a denial. `group_type` is the group's type, if there is one; `set` is
    /// the app's set. A set that this catalog lacks counts as none.
    #[must_use]
    pub fn im_code(&self, reason: Reason, group_type: Option<&str>, set: Option<&str>) -> ImCode {
        if let Some(code) = set.and_then(|name| self.im_codes.of_set(name, reason)) {
            return code.clone();
        }
        let is_meant =
            |it: &&ImCodeOfType| it.reason == reason && group_type == Some(it.group_type.as_str());
        if let Some(own) = self.im_codes.by_type.iter().find(is_meant) {
            return own.code.clone();
        }
        let of_type = match reason.row().im_code {
            ImCodeKey::OfTypeOr(_) => group_type.and_then(|name| self.group_type(name)),
            ImCodeKey::Of(_) | ImCodeKey::OfOr(..) => None,
        };
        match of_type {
            Some(kind) => kind.per_app_im_code.into(),
            None => self.im_codes.by_reason[reason as usize].clone(),
        }
    }
}
