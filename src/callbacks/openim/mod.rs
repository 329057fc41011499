//! OpenIM: `POST {path}/{command}`.

use http::HeaderMap;

use super::answer::{Answer, Kind, Undecided};
use super::settings::{Apps, CallbackSettings};
use super::work::Work;
use crate::domain::id::AppId;

mod answers;
mod created;
mod friends;
mod groups;
mod requests;

pub use answers::render;
pub use created::Created;

/// The commands that are used.
pub const COMMANDS: [&str; 14] = [
    "callbackBeforeUserRegisterCommand",
    "callbackBeforeCreateGroupCommand",
    "callbackAfterCreateGroupCommand",
    "callbackBeforeMembersJoinGroupCommand",
    "callbackBeforeJoinGroupCommand",
    "callbackBeforeInviteJoinGroupCommand",
    "callbackAfterQuitGroupCommand",
    "callbackAfterKickGroupCommand",
    "callbackAfterDisMissGroupCommand",
    "callbackBeforeAddFriendCommand",
    "callbackBeforeAddFriendAgreeCommand",
    "callbackBeforeImportFriendsCommand",
    "callbackAfterDeleteFriendCommand",
    "callbackAfterUserOnlineCommand",
];

/// Returns app, command and operation id of a request.
pub fn identify(
    settings: &CallbackSettings,
    command: &str,
    headers: &HeaderMap,
) -> Result<(AppId, String, String), &'static str> {
    let Apps::One(app) = &settings.apps else { return Err("app") };
    let id = headers.get("operationid").and_then(|id| id.to_str().ok()).unwrap_or_default();
    Ok((app.clone(), command.to_owned(), id.to_owned()))
}

/// Carries out a command.
pub async fn decide(
    work: &Work,
    created: &Created,
    command: &str,
    operation_id: &str,
    body: &[u8],
) -> Result<Answer, Undecided> {
    match command {
        "callbackBeforeUserRegisterCommand" => friends::register(work, parse(body)?).await,
        "callbackBeforeCreateGroupCommand" => {
            groups::before_create(work, created, operation_id, parse(body)?).await
        }
        // What OpenIM takes is permanent: its after-callbacks may be lost.
        "callbackAfterCreateGroupCommand" => Ok(Answer::of(Kind::Done)),
        "callbackBeforeMembersJoinGroupCommand" => {
            groups::members_join(work, created, operation_id, parse(body)?).await
        }
        "callbackBeforeJoinGroupCommand" => groups::before_join(work, parse(body)?).await,
        "callbackBeforeInviteJoinGroupCommand" => groups::before_invite(work, parse(body)?).await,
        "callbackAfterQuitGroupCommand" => groups::quit(work, parse(body)?).await,
        "callbackAfterKickGroupCommand" => groups::kick(work, parse(body)?).await,
        "callbackAfterDisMissGroupCommand" => groups::dismiss(work, parse(body)?).await,
        "callbackBeforeAddFriendCommand" => friends::before_add(work, parse(body)?).await,
        "callbackBeforeAddFriendAgreeCommand" => friends::agree(work, parse(body)?).await,
        "callbackBeforeImportFriendsCommand" => friends::import(work, parse(body)?).await,
        "callbackAfterDeleteFriendCommand" => friends::delete(work, parse(body)?).await,
        "callbackAfterUserOnlineCommand" => friends::online(work, parse(body)?).await,
        _ => Ok(Answer::of(Kind::Ignored)),
    }
}

fn parse<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> Result<T, Undecided> {
    serde_json::from_slice(body).map_err(|_| Undecided::Malformed)
}
