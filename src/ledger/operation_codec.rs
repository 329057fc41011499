//! The stored format of operations: JSON of separate types, in the journal and in records of holds.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::domain::id::{GroupId, InvalidId, Name, UserId};

/// An operation as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredOperation {
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

/// A list of friends.
#[derive(Serialize, Deserialize)]
pub(crate) struct List {
    user: String,
    friends: Vec<String>,
    one_way: bool,
}

/// Members of a group.
#[derive(Serialize, Deserialize)]
pub(crate) struct Members {
    group: String,
    users: Vec<String>,
}

/// A group to be created.
#[derive(Serialize, Deserialize)]
pub(crate) struct NewGroup {
    group: String,
    group_type: String,
    owner: Option<String>,
    members: Vec<String>,
    max_members: Option<u32>,
}

/// Encodes an operation.
pub(crate) fn encode(operation: &Operation) -> Vec<u8> {
    let stored = StoredOperation::from(operation.clone());
    serde_json::to_vec(&stored).expect("maps with string keys can always be written")
}

/// Decodes an operation.
pub(crate) fn decode(bytes: &[u8]) -> Result<Operation, String> {
    let stored: StoredOperation =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    stored.try_into().map_err(|error: InvalidId| error.to_string())
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
