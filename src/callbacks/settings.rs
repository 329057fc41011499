//! Settings of one `[[callback]]`, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::SecretPath;
use crate::domain::id::{AppId, Name};

/// Protocol of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OpenIM.
    OpenIm,
    /// Tencent Cloud IM.
    Tencent,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 2] = [Self::OpenIm, Self::Tencent];

    /// Returns the name in settings, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenIm => "openim",
            Self::Tencent => "tencent",
        }
    }
}

/// The answer to a before-callback without a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The operation is refused.
    Refuse,
    /// The operation goes on.
    Allow,
}

/// The apps of the callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Apps {
    /// One app, whatever the request says.
    One(AppId),
    /// The app of each SdkAppid; others are refused.
    Listed(BTreeMap<String, AppId>),
    /// The SdkAppid itself.
    Any,
}

/// A group type of the catalog to which one of the IM is mapped, and the setting that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedType {
    /// The type of the catalog.
    pub name: Name,
    /// The setting, with its position in the file.
    pub source: String,
}

/// The codes that the IM's clients get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// The code of each IM code of the catalog.
    pub by_im_code: BTreeMap<i32, i32>,
    /// The code of an answer without a decision, and of a denial whose code is not mapped.
    pub unavailable: i32,
}

/// The settings of one `[[callback]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackSettings {
    /// The protocol.
    pub protocol: Protocol,
    /// The path, whose last segment is a secret.
    pub path: SecretPath,
    /// The apps.
    pub apps: Apps,
    /// The catalog's type of each group type of the IM.
    pub group_types: BTreeMap<String, MappedType>,
    /// The catalog's type of groups of another type, or of an unknown one.
    pub default_group_type: Option<MappedType>,
    /// The codes of refusals.
    pub codes: Codes,
    /// The answer without a decision.
    pub unavailable: Unavailable,
    /// Time for the whole handling of a callback.
    pub budget: Duration,
    /// True if every answer is to go on.
    pub shadow: bool,
    /// The file of the token by which Tencent signs its requests.
    pub token_file: Option<PathBuf>,
}

impl CallbackSettings {
    /// Returns the catalog's type for a group type of the IM; `None` if it is not mapped.
    #[must_use]
    pub fn group_type(&self, of_im: Option<&str>) -> Option<&Name> {
        let mapped = of_im.and_then(|of_im| self.group_types.get(of_im));
        mapped.or(self.default_group_type.as_ref()).map(|mapped| &mapped.name)
    }
}
