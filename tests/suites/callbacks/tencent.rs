//! Tencent's IM: answers and the ledger behind them.

use imquota::domain::decision::Subject;
use imquota::domain::id::UserId;
use serde_json::{Value, json};

use super::sender::{Sidecar, accounts, names};

fn creation(group: &str, group_type: &str, members: &[&str]) -> Value {
    json!({
        "GroupId": group, "Owner_Account": "owner", "Type": group_type, "Name": "n",
        "MemberList": accounts(members), "EventTime": "1670574414123",
    })
}

async fn create(sidecar: &Sidecar, group: &str, group_type: &str, members: &[&str]) -> i64 {
    let mut before = creation(group, group_type, members);
    before.as_object_mut().expect("an object").remove("GroupId");
    let answer = sidecar.tencent("Group.CallbackBeforeCreateGroup", before).await;
    let code = answer["ErrorCode"].as_i64().expect("a code");
    if code == 0 {
        let after = creation(group, group_type, members);
        sidecar.tencent("Group.CallbackAfterCreateGroup", after).await;
    }
    code
}

#[tokio::test]
async fn a_group_that_gets_its_id_later_counts_once() {
    let sidecar = Sidecar::alone(false);
    for number in 0..10 {
        assert_eq!(create(&sidecar, &format!("@TGS#{number}"), "AVChatRoom", &[]).await, 0);
    }
    assert_ne!(create(&sidecar, "@TGS#10", "AVChatRoom", &[]).await, 0);
    assert_eq!(sidecar.used(Subject::App, "groups_per_app/AVChatRoom").await, 10);
    assert_eq!(create(&sidecar, "@TGS#p", "Public", &["a", "b"]).await, 0);
    assert_eq!(sidecar.members_of("@TGS#p").await, 3);
    assert_eq!(sidecar.groups_of("a").await, 1);
}

#[tokio::test]
async fn a_creation_with_other_members_than_were_asked_for_has_those_alone() {
    let sidecar = Sidecar::alone(false);
    let before = creation("", "Public", &["a", "b"]);
    sidecar.tencent("Group.CallbackBeforeCreateGroup", before).await;
    let after = creation("g", "Public", &["a"]);
    sidecar.tencent("Group.CallbackAfterCreateGroup", after).await;
    assert_eq!(sidecar.members_of("g").await, 2);
    assert_eq!((sidecar.groups_of("a").await, sidecar.groups_of("b").await), (1, 0));
}

#[tokio::test]
async fn a_creation_without_its_first_callback_is_written() {
    let sidecar = Sidecar::alone(false);
    let after = creation("g", "Public", &["a"]);
    sidecar.tencent("Group.CallbackAfterCreateGroup", after).await;
    assert_eq!(sidecar.members_of("g").await, 2);
}

#[tokio::test]
async fn invited_users_are_refused_one_by_one() {
    let sidecar = Sidecar::alone(false);
    create(&sidecar, "g", "Public", &["a", "b"]).await;
    let names = names("u", 25);
    let users: Vec<_> = names.iter().map(String::as_str).collect();
    let invite = |users: &[&str]| -> Value {
        json!({ "GroupId": "g", "Type": "Public", "DestinationMembers": accounts(users) })
    };
    let command = "Group.CallbackBeforeInviteJoinGroup";
    let answer = sidecar.tencent(command, invite(&users)).await;
    assert_eq!(answer["ErrorCode"], 0);
    assert_eq!(answer["RefusedMembers_Account"], json!(users[17..]));
    let all = sidecar.tencent(command, invite(&users[17..])).await;
    assert_ne!(all["ErrorCode"], 0);
    assert_eq!(sidecar.members_of("g").await, 20);
}

#[tokio::test]
async fn a_bad_id_spoils_no_other_member() {
    let sidecar = Sidecar::alone(false);
    let long = "u".repeat(33);
    sidecar.tencent("Group.CallbackAfterCreateGroup", creation("g", "Public", &["a", &long])).await;
    let joined =
        json!({ "GroupId": "g", "Type": "Public", "NewMemberList": accounts(&[&long, "b"]) });
    sidecar.tencent("Group.CallbackAfterNewMemberJoin", joined).await;
    assert_eq!(sidecar.members_of("g").await, 3);
    let invited =
        json!({ "GroupId": "g", "Type": "Public", "DestinationMembers": accounts(&["c", &long]) });
    let answer = sidecar.tencent("Group.CallbackBeforeInviteJoinGroup", invited).await;
    assert_eq!(
        (&answer["ErrorCode"], &answer["RefusedMembers_Account"]),
        (&json!(0), &json!([long]))
    );
    assert_eq!(sidecar.members_of("g").await, 4);
}

#[tokio::test]
async fn an_application_is_held_where_no_approval_follows_and_else_checked() {
    let sidecar = Sidecar::alone(false);
    create(&sidecar, "room", "ChatRoom", &[]).await;
    create(&sidecar, "public", "Public", &[]).await;
    for (group, group_type, expected) in [("room", "ChatRoom", 2), ("public", "Public", 1)] {
        let apply = json!({ "GroupId": group, "Type": group_type, "Requestor_Account": "a" });
        let answer = sidecar.tencent("Group.CallbackBeforeApplyJoinGroup", apply).await;
        assert_eq!(answer["ErrorCode"], 0);
        assert_eq!(sidecar.members_of(group).await, expected, "{group}");
    }
}

#[tokio::test]
async fn each_friend_has_a_code_of_its_own() {
    let sidecar = Sidecar::alone(false);
    let add = |friends: &[String], add_type: &str| {
        let friends: Vec<_> =
            friends.iter().map(|friend| json!({ "To_Account": friend })).collect();
        json!({ "From_Account": "a", "FriendItem": friends, "AddType": add_type })
    };
    let friends = async || {
        let user = UserId::try_from("a").expect("an id");
        sidecar.used(Subject::User(user), "friends_per_user").await
    };
    let command = "Sns.CallbackPrevFriendAdd";
    let answer = sidecar.tencent(command, add(&names("f", 3), "Add_Type_Both")).await;
    assert_eq!((answer["ErrorCode"].as_i64(), friends().await), (Some(0), 0));
    let answer = sidecar.tencent(command, add(&names("f", 22), "Add_Type_Single")).await;
    let codes = answer["ResultItem"].as_array().expect("a list");
    let refused = codes.iter().filter(|item| item["ResultCode"] != 0);
    let refused: Vec<_> = refused.map(|item| item["To_Account"].as_str()).collect();
    assert_eq!((refused, friends().await), (vec![Some("f20"), Some("f21")], 20));
    let pairs = json!({ "PairList": [{ "From_Account": "a", "To_Account": "f0" }] });
    sidecar.tencent("Sns.CallbackFriendDelete", pairs.clone()).await;
    assert_eq!(friends().await, 19);
    sidecar.tencent("Sns.CallbackFriendAdd", pairs).await;
    assert_eq!(friends().await, 20);
}

#[tokio::test]
async fn a_request_that_is_answered_takes_one_list_or_both() {
    let sidecar = Sidecar::alone(false);
    let friends = async |user: &str| {
        let user = UserId::try_from(user).expect("an id");
        sidecar.used(Subject::User(user), "friends_per_user").await
    };
    let item = |asking: &str, action: &str| -> Value {
        let action = format!("Response_Action_{action}");
        json!({ "To_Account": asking, "ResponseAction": action })
    };
    let items = [item("x", "Agree"), item("y", "AgreeAndAdd"), item("z", "Reject")];
    let body = json!({ "From_Account": "b", "ResponseFriendItem": items });
    sidecar.tencent("Sns.CallbackPrevFriendResponse", body).await;
    for (user, expected) in [("b", 1), ("x", 1), ("y", 1), ("z", 0)] {
        assert_eq!(friends(user).await, expected, "{user}");
    }
}
