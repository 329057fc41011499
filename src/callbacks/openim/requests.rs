//! Requests of OpenIM, with the fields that are used. Others are ignored.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A group type: a number, its digits, or the character with that number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupType(pub String);

impl Default for GroupType {
    /// Returns the type of a request that leaves out a zero.
    fn default() -> Self {
        Self("0".to_owned())
    }
}

impl<'de> Deserialize<'de> for GroupType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfAny;

        impl Visitor<'_> for OfAny {
            type Value = GroupType;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number or a text")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<GroupType, E> {
                Ok(GroupType(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<GroupType, E> {
                Ok(GroupType(number.to_string()))
            }

            fn visit_unit<E: Error>(self) -> Result<GroupType, E> {
                Ok(GroupType::default())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<GroupType, E> {
                let mut letters = text.chars();
                Ok(match (letters.next(), letters.next()) {
                    (None, _) => GroupType::default(),
                    // Go's `string(number)` is the character with that number.
                    (Some(letter), None) if letter.is_control() => {
                        GroupType(u32::from(letter).to_string())
                    }
                    _ => GroupType(text.to_owned()),
                })
            }
        }

        deserializer.deserialize_any(OfAny)
    }
}

/// An entry of a list of users.
#[derive(Debug, serde::Deserialize)]
pub struct Listed {
    /// The user.
    #[serde(rename = "userID")]
    pub user_id: String,
    /// The role in the group; 100 is the owner's.
    #[serde(default, rename = "roleLevel")]
    pub role_level: i64,
}

/// Role of the owner of a group.
pub const OWNER_LEVEL: i64 = 100;

macro_rules! request {
    ($(#[$doc:meta])* $name:ident {
        $($field:ident: $type:ty = $wire:literal $(, $default:ident)?;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, serde::Deserialize)]
        pub struct $name {
            $(
                #[allow(missing_docs, reason = "named as on the wire")]
                #[serde(rename = $wire $(, $default)?)]
                pub $field: $type,
            )*
        }
    };
}

request! {
    /// Before users are registered.
    Register { users: Vec<Listed> = "users"; }
}
request! {
    /// Before a group is created. The id may be empty.
    BeforeCreate {
        group_id: Option<String> = "groupID", default;
        owner: Option<String> = "ownerUserID", default;
        group_type: GroupType = "groupType", default;
        operation_id: Option<String> = "operationID", default;
        members: Option<Vec<Listed>> = "initMemberList", default;
    }
}
request! {
    /// Right before members are written, whichever way they came in.
    MembersJoin {
        group_id: String = "groupID";
        members: Vec<Listed> = "memberList";
    }
}
request! {
    /// Before a user applies or joins.
    BeforeJoin {
        group_id: String = "groupID";
        group_type: Option<GroupType> = "groupType", default;
        user: String = "applyID";
    }
}
request! {
    /// Before users are invited.
    BeforeInvite {
        group_id: String = "groupID";
        users: Vec<String> = "invitedUserIDs";
    }
}
request! {
    /// After a user quit.
    Quit {
        group_id: String = "groupID";
        user: String = "userID";
    }
}
request! {
    /// After users were kicked.
    Kick {
        group_id: String = "groupID";
        users: Vec<String> = "kickedUserIDs";
    }
}
request! {
    /// After a group was dismissed.
    Dismiss { group_id: String = "groupID"; }
}
request! {
    /// Before a request for friendship.
    BeforeAddFriend {
        from: String = "fromUserID";
        to: String = "toUserID";
    }
}
request! {
    /// Before a request is answered; the answering user is in `blackUserID`.
    Agree {
        from: String = "fromUserID";
        answering: String = "blackUserID";
        result: i64 = "HandleResult";
    }
}
request! {
    /// Before friends are imported.
    Import {
        owner: String = "ownerUserID";
        friends: Vec<String> = "friendUserIDs";
    }
}
request! {
    /// After a user removed a friend from their own list.
    DeleteFriend {
        owner: String = "ownerUserID";
        friend: String = "friendUserID";
    }
}
request! {
    /// After a user has come online.
    Online { user: String = "userID"; }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_type(json: &str) -> Option<String> {
        serde_json::from_str::<GroupType>(json).ok().map(|it| it.0)
    }

    #[test]
    fn a_group_type_is_a_number_its_digits_or_its_character() {
        for (json, expected) in [
            ("2", Some("2")),
            ("\"2\"", Some("2")),
            ("\"\\u0002\"", Some("2")),
            ("\"\\u0000\"", Some("0")),
            ("\"\"", Some("0")),
            ("null", Some("0")),
            ("\"12\"", Some("12")),
            ("[2]", None),
            ("true", None),
        ] {
            assert_eq!(group_type(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_wrong_types_are_not() {
        let read = |json: &str| serde_json::from_str::<MembersJoin>(json).is_ok();
        let extra = r#"{"groupID":"g","memberList":[{"userID":"u","ex":1}],"new":[{}]}"#;
        assert!(read(extra));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"groupID":1,"memberList":[]}"#,
            r#"{"groupID":"g","memberList":null}"#,
            r#"{"groupID":"g","memberList":["u"]}"#,
        ] {
            assert!(!read(bad), "{bad}");
        }
    }

    #[test]
    fn the_answering_user_is_in_the_field_of_the_blacklist() {
        let json = r#"{"fromUserID":"asks","blackUserID":"agrees","HandleResult":1}"#;
        let agree: Agree = serde_json::from_str(json).expect("a request");
        assert_eq!((agree.from.as_str(), agree.answering.as_str()), ("asks", "agrees"));
    }

    #[test]
    fn a_creation_needs_none_of_its_fields() {
        let create: BeforeCreate = serde_json::from_str("{}").expect("a request");
        assert_eq!((create.group_id, create.group_type.0.as_str()), (None, "0"));
    }
}
