//! Requests of Tencent's IM, with the fields that are used. Others are ignored: Tencent adds some
//! at any time.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::domain::time::Timestamp;

/// Instants below this number are seconds: milliseconds have not been that low since 1973.
const MILLIS_MIN: i64 = 100_000_000_000;

/// The instant of an event: milliseconds, as a number or a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventTime(pub Option<Timestamp>);

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfAny;

        impl Visitor<'_> for OfAny {
            type Value = EventTime;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("milliseconds, as a number or a text")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<EventTime, E> {
                let millis = if number < MILLIS_MIN { number.saturating_mul(1000) } else { number };
                Ok(EventTime((number > 0).then(|| Timestamp::from_millis(millis))))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<EventTime, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(0))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<EventTime, E> {
                self.visit_i64(text.parse().unwrap_or(0))
            }

            fn visit_unit<E: Error>(self) -> Result<EventTime, E> {
                Ok(EventTime(None))
            }
        }

        deserializer.deserialize_any(OfAny)
    }
}

/// A member of a group.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    #[serde(rename = "Member_Account")]
    pub account: String,
}

/// Before a group is created, when it has no id yet, and after that.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Creation {
    #[serde(default)]
    pub group_id: String,
    #[serde(default, rename = "Owner_Account")]
    pub owner: String,
    #[serde(rename = "Type")]
    pub group_type: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub member_list: Option<Vec<Member>>,
    #[serde(default)]
    pub event_time: EventTime,
}

/// Before a user applies to join.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Application {
    pub group_id: String,
    #[serde(rename = "Type")]
    pub group_type: String,
    #[serde(rename = "Requestor_Account")]
    pub user: String,
    #[serde(default)]
    pub event_time: EventTime,
}

/// Before members are invited, and after members were added or have left.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Members {
    pub group_id: String,
    #[serde(default, rename = "Type")]
    pub group_type: String,
    #[serde(alias = "DestinationMembers", alias = "NewMemberList", alias = "ExitMemberList")]
    pub users: Vec<Member>,
    #[serde(default)]
    pub event_time: EventTime,
}

/// After a group was destroyed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Destruction {
    pub group_id: String,
    #[serde(default)]
    pub event_time: EventTime,
}

/// A friend of a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Friend {
    #[serde(rename = "To_Account")]
    pub account: String,
    #[serde(default)]
    pub response_action: String,
}

/// Before friends are added, or asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FriendAdd {
    #[serde(rename = "From_Account")]
    pub user: String,
    pub friend_item: Vec<Friend>,
    #[serde(default)]
    pub add_type: Option<String>,
}

/// Before a user answers requests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FriendResponse {
    #[serde(rename = "From_Account")]
    pub user: String,
    pub response_friend_item: Vec<Friend>,
}

/// A friend in the list of a user.
#[derive(Debug, Deserialize)]
pub struct Pair {
    #[serde(rename = "From_Account")]
    pub user: String,
    #[serde(rename = "To_Account")]
    pub friend: String,
}

/// After friends were added or deleted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pairs {
    pub pair_list: Vec<Pair>,
}

/// After a user's state changed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateChange {
    pub info: StateInfo,
    #[serde(default)]
    pub event_time: EventTime,
}

/// The state of a user.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateInfo {
    pub action: String,
    #[serde(rename = "To_Account")]
    pub user: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instant_of_an_event_is_a_number_or_a_text() {
        for (json, expected) in [
            ("1670574414123", Some(1_670_574_414_123)),
            ("\"1670574414123\"", Some(1_670_574_414_123)),
            ("1670574414", Some(1_670_574_414_000)),
            ("null", None),
            ("0", None),
            ("-1", None),
            ("\"soon\"", None),
            ("18446744073709551615", None),
        ] {
            let time: EventTime = serde_json::from_str(json).expect("an instant");
            assert_eq!(time.0.map(Timestamp::as_millis), expected, "{json}");
        }
        assert!(serde_json::from_str::<EventTime>("[1]").is_err());
    }

    #[test]
    fn members_are_in_a_field_of_each_command() {
        for field in ["DestinationMembers", "NewMemberList", "ExitMemberList"] {
            let json = format!(
                r#"{{"GroupId":"g","{field}":[{{"Member_Account":"u","New":1}}],"Later":{{}}}}"#
            );
            let members: Members = serde_json::from_str(&json).expect("a request");
            assert_eq!(members.users[0].account, "u");
        }
        assert!(serde_json::from_str::<Members>(r#"{"GroupId":"g"}"#).is_err());
    }
}
