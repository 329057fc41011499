//! The stored format of entries: JSON of separate types, with a version.
//!
//! An operation has version 1, also with the id of its hold, which earlier versions ignore: the
//! take is permanent in the journal. A confirmation has version 2, which they refuse.

use serde::{Deserialize, Serialize};

use super::{Accepted, Entry};
use crate::domain::decision::Mode;
use crate::domain::id::{AppId, InvalidId, OperationId};
use crate::domain::limits::Part;
use crate::domain::time::Timestamp;
use crate::ledger::Operation;
use crate::ledger::operation_codec::StoredOperation;

const VERSION: u32 = 1;
const CONFIRMATION_VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    app_id: String,
    mode: StoredMode,
    at_ms: i64,
    operation: StoredOperation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredConfirmation {
    v: u32,
    app_id: String,
    mode: StoredMode,
    at_ms: i64,
    confirm: Confirmed,
}

#[derive(Serialize, Deserialize)]
struct Confirmed {
    operation_id: String,
    part: StoredPart,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPart {
    Accounts,
    Friends,
    Groups,
}

/// The version, which is read first.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredMode {
    Enforce,
    CheckOnly,
    Shadow,
    Force,
}

impl From<Mode> for StoredMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::CheckOnly => Self::CheckOnly,
            Mode::Shadow => Self::Shadow,
            Mode::Force => Self::Force,
        }
    }
}

impl From<StoredMode> for Mode {
    fn from(stored: StoredMode) -> Self {
        match stored {
            StoredMode::Enforce => Self::Enforce,
            StoredMode::CheckOnly => Self::CheckOnly,
            StoredMode::Shadow => Self::Shadow,
            StoredMode::Force => Self::Force,
        }
    }
}

impl From<Part> for StoredPart {
    fn from(part: Part) -> Self {
        match part {
            Part::Accounts => Self::Accounts,
            Part::Friends => Self::Friends,
            Part::Groups => Self::Groups,
        }
    }
}

impl From<StoredPart> for Part {
    fn from(stored: StoredPart) -> Self {
        match stored {
            StoredPart::Accounts => Self::Accounts,
            StoredPart::Friends => Self::Friends,
            StoredPart::Groups => Self::Groups,
        }
    }
}

/// Encodes an entry.
#[must_use]
pub fn encode(entry: &Entry) -> Vec<u8> {
    let Entry { app, mode, at, accepted } = entry;
    let (app_id, mode, at_ms) = (app.to_string(), (*mode).into(), at.as_millis());
    let operation = |operation: &Operation, id: Option<&OperationId>| {
        let (v, operation) = (VERSION, operation.clone().into());
        let operation_id = id.map(ToString::to_string);
        Stored { v, app_id: app_id.clone(), mode, at_ms, operation, operation_id }
    };
    let stored = match accepted {
        Accepted::Operation(it) => serde_json::to_vec(&operation(it, None)),
        Accepted::Held(it, id) => serde_json::to_vec(&operation(it, Some(id))),
        Accepted::Confirmation(id, part) => {
            let confirm = Confirmed { operation_id: id.to_string(), part: (*part).into() };
            let v = CONFIRMATION_VERSION;
            let app_id = app_id.clone();
            serde_json::to_vec(&StoredConfirmation { v, app_id, mode, at_ms, confirm })
        }
    };
    stored.expect("maps with string keys can always be written")
}

/// Decodes an entry.
pub fn decode(bytes: &[u8]) -> Result<Entry, String> {
    let Versioned { v } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let read = match v {
        VERSION => serde_json::from_slice(bytes).map(operation),
        CONFIRMATION_VERSION => serde_json::from_slice(bytes).map(confirmation),
        _ => return Err(format!("version {v} is neither {VERSION} nor {CONFIRMATION_VERSION}")),
    };
    read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

fn operation(stored: Stored) -> Result<Entry, InvalidId> {
    let Stored { app_id, mode, at_ms, operation, operation_id, .. } = stored;
    let operation = operation.try_into()?;
    let accepted = match operation_id {
        None => Accepted::Operation(operation),
        Some(id) => Accepted::Held(operation, OperationId::try_from(id)?),
    };
    let at = Timestamp::from_millis(at_ms);
    Ok(Entry { app: AppId::try_from(app_id)?, mode: mode.into(), at, accepted })
}

fn confirmation(stored: StoredConfirmation) -> Result<Entry, InvalidId> {
    let StoredConfirmation { app_id, mode, at_ms, confirm, .. } = stored;
    let id = OperationId::try_from(confirm.operation_id)?;
    let accepted = Accepted::Confirmation(id, confirm.part.into());
    let at = Timestamp::from_millis(at_ms);
    Ok(Entry { app: AppId::try_from(app_id)?, mode: mode.into(), at, accepted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{GroupId, UserId};

    fn entry(accepted: Accepted) -> Entry {
        let app = AppId::try_from("demo").expect("an id");
        Entry { app, mode: Mode::Enforce, at: Timestamp::from_millis(7), accepted }
    }

    #[test]
    fn bytes_do_not_change() {
        let user = |id: &str| UserId::try_from(id).expect("an id");
        let group = GroupId::try_from("@TGS#1").expect("an id");
        let users = vec![user("a"), user("b")];
        let head = r#"{"v":1,"app_id":"demo","mode":"enforce","at_ms":7,"operation":"#;
        for (operation, tail) in [
            (
                Operation::JoinGroup { group: group.clone(), users: users.clone() },
                r#"{"join_group":{"group":"@TGS#1","users":["a","b"]}}}"#,
            ),
            (
                Operation::AddFriends { user: user("a"), friends: users.clone(), one_way: true },
                r#"{"add_friends":{"user":"a","friends":["a","b"],"one_way":true}}}"#,
            ),
            (
                Operation::CreateGroup {
                    group: group.clone(),
                    group_type: "Public".into(),
                    owner: None,
                    members: users,
                    max_members: Some(9),
                },
                r#"{"create_group":{"group":"@TGS#1","group_type":"Public","owner":null,"members":["a","b"],"max_members":9}}}"#,
            ),
            (
                Operation::LeaveGroup {
                    group: GroupId::try_from("!r\"\\:matrix.example.org").expect("an id"),
                    users: vec![user("张三"), user("\u{1f468}\u{200d}\u{1f469}")],
                },
                "{\"leave_group\":{\"group\":\"!r\\\"\\\\:matrix.example.org\",\
                 \"users\":[\"张三\",\"\u{1f468}\u{200d}\u{1f469}\"]}}}",
            ),
            (Operation::DissolveGroup { group }, r#"{"dissolve_group":{"group":"@TGS#1"}}}"#),
            (Operation::DeleteAccount { user: user("a") }, r#"{"delete_account":{"user":"a"}}}"#),
        ] {
            let written = entry(Accepted::Operation(operation));
            let bytes = encode(&written);
            assert_eq!(String::from_utf8_lossy(&bytes), format!("{head}{tail}"));
            assert_eq!(decode(&bytes), Ok(written));
        }
    }

    #[test]
    fn takes_with_a_hold_and_confirmations_have_the_id_of_the_operation() {
        let id = OperationId::try_from("o1").expect("an id");
        let users = vec![UserId::try_from("a").expect("an id")];
        let head = r#""app_id":"demo","mode":"enforce","at_ms":7,"#;
        for (accepted, version, tail) in [
            (
                Accepted::Held(Operation::CreateAccounts { users }, id.clone()),
                1,
                r#""operation":{"create_accounts":{"users":["a"]}},"operation_id":"o1"}"#,
            ),
            (
                Accepted::Confirmation(id, Part::Groups),
                2,
                r#""confirm":{"operation_id":"o1","part":"groups"}}"#,
            ),
        ] {
            let written = entry(accepted);
            let bytes = encode(&written);
            let expected = format!("{{\"v\":{version},{head}{tail}");
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
            assert_eq!(decode(&bytes), Ok(written));
        }
    }

    #[test]
    fn a_malformed_entry_is_refused_with_the_reason() {
        for (bytes, why) in [
            ("", "EOF"),
            (
                r#"{"v":3,"app_id":"a","mode":"force","at_ms":1,"operation":{"dissolve_group":{"group":"g"}}}"#,
                "version 3",
            ),
            (
                r#"{"v":1,"app_id":"","mode":"force","at_ms":1,"operation":{"dissolve_group":{"group":"g"}}}"#,
                "empty",
            ),
        ] {
            let error = decode(bytes.as_bytes()).expect_err(bytes);
            assert!(error.contains(why), "{error}");
        }
    }
}
