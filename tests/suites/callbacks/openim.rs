//! OpenIM: answers and the ledger behind them.

use http::{Method, StatusCode};
use imquota::domain::decision::Subject;
use serde_json::{Value, json};

use super::sender::{OPENIM, Sidecar, listed, names};

fn allowed(answer: &Value) -> bool {
    let allowed =
        json!({ "actionCode": 0, "errCode": 0, "errDlt": "", "errMsg": "", "nextCode": 0 });
    *answer == allowed
}

async fn register(sidecar: &Sidecar, prefix: &str, count: usize) -> Value {
    let names = names(prefix, count);
    let users = listed(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let command = "callbackBeforeUserRegisterCommand";
    sidecar.openim("op", command, json!({ "users": users })).await
}

async fn join(sidecar: &Sidecar, operation_id: &str, group: &str, users: &[&str]) -> Value {
    let body = json!({ "groupID": group, "memberList": listed(users) });
    sidecar.openim(operation_id, "callbackBeforeMembersJoinGroupCommand", body).await
}

async fn create(sidecar: &Sidecar, group: &str, group_type: i64, users: &[&str]) -> Value {
    let operation_id = format!("create-{group}");
    let members: Vec<_> = users.iter().enumerate().map(|(index, user)| {
        json!({ "userID": user, "roleLevel": if index == 0 { 100 } else { 20 } })
    }).collect();
    let body = json!({ "groupID": group, "groupType": group_type, "initMemberList": members });
    let answer = sidecar.openim(&operation_id, "callbackBeforeCreateGroupCommand", body).await;
    let group = answer["groupID"].as_str().unwrap_or(group).to_owned();
    join(sidecar, &operation_id, &group, users).await
}

#[tokio::test]
async fn a_registration_over_the_limit_is_refused_whole() {
    let sidecar = Sidecar::alone(false);
    assert!(allowed(&register(&sidecar, "a", 60).await));
    let refused = register(&sidecar, "b", 50).await;
    assert_eq!((&refused["nextCode"], &refused["errCode"]), (&json!(1), &json!(20398)));
    let detail: Value =
        serde_json::from_str(refused["errDlt"].as_str().expect("a text")).expect("JSON");
    assert_eq!(detail["reason"], "ACCOUNTS_PER_APP");
    assert_eq!(sidecar.used(Subject::App, "accounts_per_app").await, 60);
}

#[tokio::test]
async fn a_batch_in_parts_leaves_nothing_after_a_denial() {
    let sidecar = Sidecar::alone(false);
    let refused = register(&sidecar, "a", 700).await;
    assert_eq!(refused["nextCode"], 1);
    assert_eq!(sidecar.used(Subject::App, "accounts_per_app").await, 0);
    assert!(allowed(&register(&sidecar, "a", 100).await));
}

#[tokio::test]
async fn a_creation_takes_its_type_and_owner_from_the_first_callback() {
    let sidecar = Sidecar::alone(false);
    for number in 0..10 {
        assert!(allowed(&create(&sidecar, &format!("av{number}"), 3, &["owner"]).await));
    }
    let refused = create(&sidecar, "av10", 3, &["owner"]).await;
    assert_eq!(refused["nextCode"], 1, "{refused}");
    assert!(allowed(&create(&sidecar, "", 1, &["owner", "member"]).await));
    assert_eq!(sidecar.groups_of("owner").await, 1);
    assert_eq!(sidecar.groups_of("member").await, 1);
}

#[tokio::test]
async fn any_sidecar_answers_the_second_callback_of_a_creation() {
    let stores = super::sender::stores();
    let one = Sidecar::open(stores.clone(), false, |notes| notes);
    let other = Sidecar::open(stores, false, |notes| notes);
    let body = json!({
        "groupID": "g", "groupType": 1, "initMemberList": [{ "userID": "a", "roleLevel": 100 }],
    });
    assert!(allowed(&one.openim("op", "callbackBeforeCreateGroupCommand", body).await));
    assert!(allowed(&join(&other, "op", "g", &["a", "b"]).await));
    assert_eq!(other.members_of("g").await, 2);
}

#[tokio::test]
async fn an_unknown_group_without_a_type_is_not_decided() {
    let sidecar = Sidecar::alone(false);
    let answer = join(&sidecar, "op", "g", &["a"]).await;
    assert_eq!((&answer["nextCode"], &answer["errCode"]), (&json!(1), &json!(20999)));
}

#[tokio::test]
async fn a_join_beyond_the_limit_is_refused_whole_and_a_check_takes_nothing() {
    let sidecar = Sidecar::alone(false);
    create(&sidecar, "g", 1, &["owner", "a"]).await;
    let invite = |users: Vec<String>| json!({ "groupID": "g", "invitedUserIDs": users });
    let command = "callbackBeforeInviteJoinGroupCommand";
    assert!(allowed(&sidecar.openim("op", command, invite(names("u", 18))).await));
    assert_eq!(sidecar.openim("op", command, invite(names("u", 19))).await["nextCode"], 1);
    assert_eq!(sidecar.members_of("g").await, 2);
    let names = names("u", 19);
    let users: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(join(&sidecar, "op1", "g", &users).await["errCode"], 20014);
    assert!(allowed(&join(&sidecar, "op2", "g", &users[1..]).await));
    assert_eq!(sidecar.members_of("g").await, 20);
}

#[tokio::test]
async fn an_import_is_shortened_to_the_admitted_friends() {
    let sidecar = Sidecar::alone(false);
    let import = |owner: &str, friends: Vec<String>| -> Value {
        json!({ "ownerUserID": owner, "friendUserIDs": friends })
    };
    let command = "callbackBeforeImportFriendsCommand";
    assert!(allowed(&sidecar.openim("op", command, import("full", names("f", 20))).await));
    let mut friends = names("v", 4);
    friends.insert(2, "full".to_owned());
    let answer = sidecar.openim("op", command, import("a", friends)).await;
    assert_eq!(answer["nextCode"], 0);
    assert_eq!(answer["friendUserIDs"], json!(["v0", "v1", "v2", "v3"]));
    let none = sidecar.openim("op", command, import("a", vec!["full".to_owned()])).await;
    assert_eq!((&none["nextCode"], none.get("friendUserIDs")), (&json!(1), None));
}

#[tokio::test]
async fn a_friend_is_deleted_from_one_list_only() {
    let sidecar = Sidecar::alone(false);
    let friends = async |user: &str| {
        let user = imquota::domain::id::UserId::try_from(user).expect("an id");
        sidecar.used(Subject::User(user), "friends_per_user").await
    };
    let agree = json!({ "fromUserID": "a", "blackUserID": "b", "HandleResult": 1 });
    let declined = json!({ "fromUserID": "a", "blackUserID": "c", "HandleResult": -1 });
    for body in [agree, declined] {
        let answer = sidecar.openim("op", "callbackBeforeAddFriendAgreeCommand", body).await;
        assert!(allowed(&answer));
    }
    assert_eq!((friends("a").await, friends("b").await, friends("c").await), (1, 1, 0));
    let delete = json!({ "ownerUserID": "a", "friendUserID": "b" });
    sidecar.openim("op", "callbackAfterDeleteFriendCommand", delete).await;
    assert_eq!((friends("a").await, friends("b").await), (0, 1));
}

#[tokio::test]
async fn shadow_mode_refuses_nothing_and_follows_the_im() {
    let sidecar = Sidecar::alone(true);
    assert!(allowed(&register(&sidecar, "a", 150).await));
    assert_eq!(sidecar.used(Subject::App, "accounts_per_app").await, 150);
    assert!(allowed(&join(&sidecar, "op", "unknown", &["a"]).await), "also without a decision");
}

#[tokio::test]
async fn a_dismissed_group_and_members_who_left_are_released() {
    let sidecar = Sidecar::alone(false);
    create(&sidecar, "g", 1, &["owner", "a", "b", "c"]).await;
    sidecar
        .openim("op", "callbackAfterQuitGroupCommand", json!({ "groupID": "g", "userID": "a" }))
        .await;
    let kicked = json!({ "groupID": "g", "kickedUserIDs": ["b", "c", "unknown"] });
    sidecar.openim("op", "callbackAfterKickGroupCommand", kicked).await;
    assert_eq!(sidecar.members_of("g").await, 1);
    let dismissed = json!({ "groupID": "g", "groupType": "\u{2}", "membersID": ["owner"] });
    for _ in 0..2 {
        let answer =
            sidecar.openim("op", "callbackAfterDisMissGroupCommand", dismissed.clone()).await;
        assert!(allowed(&answer));
    }
    assert_eq!(sidecar.groups_of("owner").await, 0);
}

#[tokio::test]
async fn only_the_whole_path_with_its_method_is_answered() {
    let sidecar = Sidecar::alone(false);
    for (method, path, expected) in [
        (Method::GET, OPENIM, StatusCode::OK),
        (Method::GET, "/openim/secret-2", StatusCode::NOT_FOUND),
        (Method::POST, "/openim/secret-2/callbackAfterUserOnlineCommand", StatusCode::NOT_FOUND),
        (Method::POST, "/openim", StatusCode::NOT_FOUND),
        (Method::POST, OPENIM, StatusCode::METHOD_NOT_ALLOWED),
        (Method::PUT, OPENIM, StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/openim/secret-1/anything", StatusCode::OK),
    ] {
        let reply = sidecar.send(&method, path, None, "op", &json!({})).await;
        assert_eq!(reply.status, expected, "{method} {path}");
    }
}
