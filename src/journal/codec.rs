//! The stored format of entries: JSON of separate types, with a version.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::domain::decision::Mode;
use crate::domain::id::{AppId, GroupId, InvalidId, Name, UserId};
use crate::domain::time::Timestamp;
use crate::ledger::Operation;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    app_id: String,
    mode: StoredMode,
    at_ms: i64,
    operation: StoredOperation,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredMode {
    Enforce,
    CheckOnly,
    Shadow,
    Force,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredOperation {
    CreateAccounts { users: Vec<String> },
    DeleteAccount { user: String },
    AddFriends(List),
    RemoveFriends(List),
    CreateGroup(NewGroup),
    UpdateGroup { group: String, max_members: Option<u32> },
    JoinGroup(Members),
    LeaveGroup(Members),
    DissolveGroup { group: String },
}

#[derive(Serialize, Deserialize)]
struct List {
    user: String,
    friends: Vec<String>,
    one_way: bool,
}

#[derive(Serialize, Deserialize)]
struct Members {
    group: String,
    users: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct NewGroup {
    group: String,
    group_type: String,
    owner: Option<String>,
    members: Vec<String>,
    max_members: Option<u32>,
}

/// Encodes an entry.
#[must_use]
pub fn encode(entry: &Entry) -> Vec<u8> {
    let stored = Stored {
        v: VERSION,
        app_id: entry.app.to_string(),
        mode: match entry.mode {
            Mode::Enforce => StoredMode::Enforce,
            Mode::CheckOnly => StoredMode::CheckOnly,
            Mode::Shadow => StoredMode::Shadow,
            Mode::Force => StoredMode::Force,
        },
        at_ms: entry.at.as_millis(),
        operation: entry.operation.clone().into(),
    };
    serde_json::to_vec(&stored).expect("maps with string keys can always be written")
}

/// Decodes an entry.
pub fn decode(bytes: &[u8]) -> Result<Entry, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.v != VERSION {
        return Err(format!("version {} is not {VERSION}", stored.v));
    }
    let read = || -> Result<Entry, InvalidId> {
        Ok(Entry {
            app: AppId::try_from(stored.app_id)?,
            mode: match stored.mode {
                StoredMode::Enforce => Mode::Enforce,
                StoredMode::CheckOnly => Mode::CheckOnly,
                StoredMode::Shadow => Mode::Shadow,
                StoredMode::Force => Mode::Force,
            },
            at: Timestamp::from_millis(stored.at_ms),
            operation: stored.operation.try_into()?,
        })
    };
    read().map_err(|error| error.to_string())
}

fn texts(users: &[UserId]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

fn users(texts: Vec<String>) -> Result<Vec<UserId>, InvalidId> {
    texts.into_iter().map(UserId::try_from).collect()
}

impl From<Operation> for StoredOperation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::CreateAccounts { users } => Self::CreateAccounts { users: texts(&users) },
            Operation::DeleteAccount { user } => Self::DeleteAccount { user: user.to_string() },
            Operation::AddFriends { user, friends, one_way } => {
                Self::AddFriends(List { user: user.to_string(), friends: texts(&friends), one_way })
            }
            Operation::RemoveFriends { user, friends, one_way } => Self::RemoveFriends(List {
                user: user.to_string(),
                friends: texts(&friends),
                one_way,
            }),
            Operation::CreateGroup { group, group_type, owner, members, max_members } => {
                Self::CreateGroup(NewGroup {
                    group: group.to_string(),
                    group_type: group_type.to_string(),
                    owner: owner.map(|owner| owner.to_string()),
                    members: texts(&members),
                    max_members,
                })
            }
            Operation::UpdateGroup { group, max_members } => {
                Self::UpdateGroup { group: group.to_string(), max_members }
            }
            Operation::JoinGroup { group, users } => {
                Self::JoinGroup(Members { group: group.to_string(), users: texts(&users) })
            }
            Operation::LeaveGroup { group, users } => {
                Self::LeaveGroup(Members { group: group.to_string(), users: texts(&users) })
            }
            Operation::DissolveGroup { group } => Self::DissolveGroup { group: group.to_string() },
        }
    }
}

impl TryFrom<StoredOperation> for Operation {
    type Error = InvalidId;

    fn try_from(stored: StoredOperation) -> Result<Self, InvalidId> {
        Ok(match stored {
            StoredOperation::CreateAccounts { users: ids } => {
                Self::CreateAccounts { users: users(ids)? }
            }
            StoredOperation::DeleteAccount { user } => {
                Self::DeleteAccount { user: UserId::try_from(user)? }
            }
            StoredOperation::AddFriends(List { user, friends, one_way }) => Self::AddFriends {
                user: UserId::try_from(user)?,
                friends: users(friends)?,
                one_way,
            },
            StoredOperation::RemoveFriends(List { user, friends, one_way }) => {
                Self::RemoveFriends {
                    user: UserId::try_from(user)?,
                    friends: users(friends)?,
                    one_way,
                }
            }
            StoredOperation::CreateGroup(new) => Self::CreateGroup {
                group: GroupId::try_from(new.group)?,
                group_type: Name::from(new.group_type.as_str()),
                owner: new.owner.map(UserId::try_from).transpose()?,
                members: users(new.members)?,
                max_members: new.max_members,
            },
            StoredOperation::UpdateGroup { group, max_members } => {
                Self::UpdateGroup { group: GroupId::try_from(group)?, max_members }
            }
            StoredOperation::JoinGroup(Members { group, users: ids }) => {
                Self::JoinGroup { group: GroupId::try_from(group)?, users: users(ids)? }
            }
            StoredOperation::LeaveGroup(Members { group, users: ids }) => {
                Self::LeaveGroup { group: GroupId::try_from(group)?, users: users(ids)? }
            }
            StoredOperation::DissolveGroup { group } => {
                Self::DissolveGroup { group: GroupId::try_from(group)? }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(operation: Operation) -> Entry {
        let app = AppId::try_from("demo").expect("an id");
        Entry { app, mode: Mode::Enforce, at: Timestamp::from_millis(7), operation }
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
            let written = entry(operation);
            let bytes = encode(&written);
            assert_eq!(String::from_utf8_lossy(&bytes), format!("{head}{tail}"));
            assert_eq!(decode(&bytes), Ok(written));
        }
    }

    #[test]
    fn a_malformed_entry_is_refused_with_the_reason() {
        for (bytes, why) in [
            ("", "EOF"),
            (
                r#"{"v":2,"app_id":"a","mode":"force","at_ms":1,"operation":{"dissolve_group":{"group":"g"}}}"#,
                "version 2",
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
