//! Tencent Cloud IM: `POST {path}?SdkAppid=...&CallbackCommand=...`.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::Head;
use super::answer::{Answer, Kind, Undecided};
use super::secret::Token;
use super::settings::Apps;
use super::work::Work;
use crate::access::Credential;
use crate::domain::id::AppId;
use crate::domain::time::Timestamp;

mod answers;
mod friends;
mod groups;
mod requests;

pub use answers::render;

/// The commands that are used.
pub const COMMANDS: [&str; 12] = [
    "Group.CallbackBeforeCreateGroup",
    "Group.CallbackAfterCreateGroup",
    "Group.CallbackBeforeApplyJoinGroup",
    "Group.CallbackBeforeInviteJoinGroup",
    "Group.CallbackAfterNewMemberJoin",
    "Group.CallbackAfterMemberExit",
    "Group.CallbackAfterGroupDestroyed",
    "Sns.CallbackPrevFriendAdd",
    "Sns.CallbackPrevFriendResponse",
    "Sns.CallbackFriendAdd",
    "Sns.CallbackFriendDelete",
    "State.StateChange",
];

/// Greatest difference between the time of a signed request and this machine's.
const REQUEST_TIME_OFF_MAX: Duration = Duration::from_secs(60);

/// Returns app, command and no operation id of a request, if its caller is the IM; `now` is absent
/// until the store is open.
pub fn identify(
    apps: &Apps,
    token: Option<&Token>,
    now: Option<Timestamp>,
    head: Head<'_>,
) -> Result<(AppId, String, String), &'static str> {
    let query = head.query.unwrap_or_default();
    match token {
        Some(token) => {
            let (sign, time) = (value(query, "Sign"), value(query, "RequestTime"));
            let (sign, time) = sign.zip(time).ok_or("sign")?;
            if !token.has_signed(&time, &sign) {
                return Err("sign");
            }
            let seconds: i64 = time.parse().map_err(|_| "time")?;
            let at = Timestamp::from_millis(seconds.saturating_mul(1000));
            if now.is_some_and(|now| now.abs_diff(at) > REQUEST_TIME_OFF_MAX) {
                return Err("time");
            }
        }
        None if head.peer.listener_is_local => {}
        None if matches!(head.peer.proof, Credential::Names(_)) => {}
        None => return Err("certificate"),
    }
    let sdk_app_id = value(query, "SdkAppid").ok_or("app")?;
    let app = match apps {
        Apps::One(app) => Some(app.clone()),
        Apps::Listed(apps) => apps.get(sdk_app_id.as_ref()).cloned(),
        Apps::Any => AppId::try_from(sdk_app_id.as_ref()).ok(),
    };
    let command = value(query, "CallbackCommand").unwrap_or_default().into_owned();
    Ok((app.ok_or("app")?, command, String::new()))
}

/// Returns a value of a query.
fn value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    percent_decode_str(value).decode_utf8().ok()
}

/// Carries out a command.
pub async fn decide(work: &Work, command: &str, body: &[u8]) -> Result<Answer, Undecided> {
    match command {
        "Group.CallbackBeforeCreateGroup" => groups::before_create(work, parse(body)?).await,
        "Group.CallbackAfterCreateGroup" => groups::after_create(work, parse(body)?).await,
        "Group.CallbackBeforeApplyJoinGroup" => groups::before_apply(work, parse(body)?).await,
        "Group.CallbackBeforeInviteJoinGroup" => groups::before_invite(work, parse(body)?).await,
        "Group.CallbackAfterNewMemberJoin" => groups::after_join(work, parse(body)?).await,
        "Group.CallbackAfterMemberExit" => groups::after_exit(work, parse(body)?).await,
        "Group.CallbackAfterGroupDestroyed" => groups::destroyed(work, parse(body)?).await,
        "Sns.CallbackPrevFriendAdd" => friends::before_add(work, parse(body)?).await,
        "Sns.CallbackPrevFriendResponse" => friends::before_response(work, parse(body)?).await,
        "Sns.CallbackFriendAdd" => friends::added(work, parse(body)?).await,
        "Sns.CallbackFriendDelete" => friends::deleted(work, parse(body)?).await,
        "State.StateChange" => friends::state(work, parse(body)?).await,
        _ => Ok(Answer::of(Kind::Ignored)),
    }
}

fn parse<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> Result<T, Undecided> {
    serde_json::from_slice(body).map_err(|_| Undecided::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_query_are_decoded() {
        let query = "SdkAppid=14&CallbackCommand=Group.X%20y&Sign&contenttype=json";
        assert_eq!(value(query, "SdkAppid").as_deref(), Some("14"));
        assert_eq!(value(query, "CallbackCommand").as_deref(), Some("Group.X y"));
        assert_eq!(value(query, "Sign"), None);
        assert_eq!(value(query, "App"), None);
    }
}
