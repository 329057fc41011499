//! Joining and leaving groups.

use imquota::domain::limit::LimitId;

use super::operations::{create, join, leave};
use super::script::App;

pub async fn the_first_members_that_fit_are_admitted_in_order(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([
        (create("other", "Private", "u1", &[]), "applied"),
        (create("g", "Private", "a", &[]), "applied"),
        (
            join("g", &["u0", "u1", "u2", "u3", "u4", "u1", "u5", "u6", "u7", "u8"]),
            "applied, denied GROUPS_PER_USER 1/1 u1, applied x2, denied MEMBERS_PER_GROUP 4/4 g, \
             denied GROUPS_PER_USER 1/1 u1 + MEMBERS_PER_GROUP 4/4 g, \
             denied MEMBERS_PER_GROUP 4/4 g x4",
        ),
    ])
    .await;
    app.counts([
        ("group g", "Private 4"),
        ("user u1", "friends 0 groups 1"),
        ("user u3", "friends 0 groups 1"),
        ("user u4", "friends 0 groups 0"),
    ])
    .await;
}

pub async fn a_member_is_held_although_the_group_is_full(app: App) {
    app.script([
        (create("g", "Private", "a", &["b", "c", "d"]), "applied | applied x3"),
        (
            join("g", &["b", "e", "a", "e"]),
            "held, denied MEMBERS_PER_GROUP 4/4 g, held, denied MEMBERS_PER_GROUP 4/4 g",
        ),
    ])
    .await;
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([(join("g", &["b"]), "held")]).await;
    app.counts([("group g", "Private 4"), ("user b", "friends 0 groups 1")]).await;
}

pub async fn leaving_makes_room_and_is_applied_once(app: App) {
    app.script([
        (create("g", "Private", "a", &["b", "c", "d"]), "applied | applied x3"),
        (leave("g", &["b", "b", "stranger"]), "applied, not held x2"),
        (leave("g", &["b"]), "not held"),
        (join("g", &["e", "b"]), "applied, denied MEMBERS_PER_GROUP 4/4 g"),
    ])
    .await;
    app.counts([
        ("group g", "Private 4"),
        ("user b", "friends 0 groups 0"),
        ("user e", "friends 0 groups 1"),
    ])
    .await;
}

pub async fn a_group_is_reclaimed_with_its_last_member(app: App) {
    app.script([
        (create("g", "Private", "a", &["b"]), "applied | applied"),
        (leave("g", &["a"]), "applied"),
        (leave("g", &["b", "a"]), "applied, not held; reclaimed"),
        (leave("g", &["b"]), "not held"),
        (join("g", &["b"]), "error: group_not_found"),
    ])
    .await;
    app.counts([
        ("group g", "error: group_not_found"),
        ("user b", "friends 0 groups 0"),
        ("app", "accounts 0; today 0"),
    ])
    .await;
    app.script([(create("g", "Public", "c", &["b"]), "applied | applied")]).await;
}

pub async fn an_unknown_group_cannot_be_joined_and_need_not_be_left(app: App) {
    app.script([
        (join("nonesuch", &["a"]), "error: group_not_found"),
        (leave("nonesuch", &["a", "b"]), "not held x2"),
    ])
    .await;
    app.counts([
        ("user a", "friends 0 groups 0"),
        ("group nonesuch", "error: group_not_found"),
        ("app", "accounts 0; today 0"),
    ])
    .await;
}

pub async fn members_of_an_untracked_group_are_not_counted(app: App) {
    app.script([
        (create("av", "AVChatRoom", "a", &[]), "applied"),
        (join("av", &["a", "b", "c", "d", "e", "e"]), "applied x6"),
        (leave("av", &["b"]), "not held"),
    ])
    .await;
    app.counts([("group av", "AVChatRoom 0"), ("user b", "friends 0 groups 0")]).await;
}
