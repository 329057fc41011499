//! The four modes of a request.

use imquota::domain::decision::Mode;
use imquota::domain::limit::LimitId;

use super::operations::{
    accounts, befriend, create, delete, dissolve, join, leave, unfriend, update,
};
use super::script::App;

pub async fn a_check_decides_within_itself_and_writes_nothing(app: App) {
    app.script([(create("g", "Private", "a", &["b"]), "applied | applied")]).await;
    let check = app.as_mode(Mode::CheckOnly);
    check
        .script([
            (accounts(&["a", "a"]), "applied, held"),
            (
                accounts(&["a", "b", "c", "d", "e", "f", "g"]),
                "applied x6, denied ACCOUNTS_PER_APP 6/6 app",
            ),
            (befriend("a", &["b", "b"]), "applied, held"),
            (join("g", &["c", "d", "c", "e"]), "applied x2, held, denied MEMBERS_PER_GROUP 4/4 g"),
            (create("h", "Private", "a", &["c", "a"]), "applied | applied, held"),
            (create("g", "Private", "c", &["d"]), "held | applied"),
            (create("g", "Public", "c", &[]), "error: group_type_differs"),
        ])
        .await;
    app.counts([
        ("app", "accounts 0; Private 1; today 1: Private 1"),
        ("group g", "Private 2"),
        ("group h", "error: group_not_found"),
        ("user a", "friends 0 groups 1"),
        ("user c", "friends 0 groups 0"),
    ])
    .await;
}

pub async fn shadow_writes_everything_and_reports(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([(create("g", "Private", "a", &["b", "c", "d"]), "applied | applied x3")]).await;
    let shadow = app.as_mode(Mode::Shadow);
    shadow
        .script([
            (join("g", &["e", "e"]), "applied MEMBERS_PER_GROUP 4/4 g, held"),
            (create("h", "Private", "a", &["x"]), "applied GROUPS_PER_USER 1/1 a | applied"),
            (create("g", "Private", "f", &[]), "held MEMBERS_AT_CREATION 5/4 g"),
            (befriend("a", &["b", "c", "d", "e"]), "applied x3, applied MY_FRIENDS 3/3 a"),
        ])
        .await;
    app.counts([
        ("group g", "Private 6"),
        ("user a", "friends 4 groups 2"),
        ("user e", "friends 1 groups 1"),
    ])
    .await;
    app.script([
        (join("g", &["z"]), "denied MEMBERS_PER_GROUP 6/4 g"),
        (befriend("a", &["z"]), "denied MY_FRIENDS 4/3 a"),
    ])
    .await;
}

pub async fn force_writes_everything_and_is_silent(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([(create("g", "Private", "a", &["b", "c", "d"]), "applied | applied x3")]).await;
    let force = app.as_mode(Mode::Force);
    force
        .script([
            (join("g", &["e", "e"]), "applied, held"),
            (create("h", "Private", "a", &["b"]), "applied | applied"),
            (befriend("a", &["b", "c", "d", "e"]), "applied x4"),
            (accounts(&["a", "b", "c", "d", "e", "f", "g"]), "applied x7"),
        ])
        .await;
    app.counts([
        ("app", "accounts 7; Private 2; today 2: Private 2"),
        ("group g", "Private 5"),
        ("user a", "friends 4 groups 2"),
    ])
    .await;
    app.script([(accounts(&["h"]), "denied ACCOUNTS_PER_APP 7/6 app")]).await;
}

pub async fn releases_and_changes_have_no_mode(app: App) {
    app.script([
        (accounts(&["a"]), "applied"),
        (befriend("a", &["b"]), "applied"),
        (create("g", "Private", "a", &["b"]), "applied | applied"),
    ])
    .await;
    let check = app.as_mode(Mode::CheckOnly);
    check
        .script([
            (unfriend("a", &["b"]), "applied"),
            (leave("g", &["b"]), "applied"),
            (update("g", Some(3)), "applied"),
        ])
        .await;
    app.counts([("user a", "friends 0 groups 1"), ("group g", "Private 1 of 3")]).await;
    check.script([(dissolve("g"), "applied; released 1"), (delete("a"), "applied")]).await;
    app.counts([("app", "accounts 0; today 0"), ("user a", "friends 0 groups 0")]).await;
}

pub async fn users_far_from_every_limit_are_decided_equally_in_each_mode(app: App) {
    let app = app.roomy().await;
    let [check, shadow, force] =
        [Mode::CheckOnly, Mode::Shadow, Mode::Force].map(|mode| app.as_mode(mode));
    app.script([(create("g", "Public", "a", &[]), "applied")]).await;
    check.script([(join("g", &["b"]), "applied"), (join("g", &["a"]), "held")]).await;
    app.counts([("group g", "Public 1"), ("user b", "friends 0 groups 0")]).await;
    app.script([(join("g", &["b"]), "applied"), (join("g", &["b"]), "held")]).await;
    shadow.script([(join("g", &["c"]), "applied"), (join("g", &["b"]), "held")]).await;
    force.script([(join("g", &["d"]), "applied"), (join("g", &["c"]), "held")]).await;
    app.counts([("group g", "Public 4"), ("user b", "friends 0 groups 1")]).await;
    app.script([(leave("g", &["b"]), "applied"), (leave("g", &["b"]), "not held")]).await;
    app.counts([("group g", "Public 3"), ("user b", "friends 0 groups 0")]).await;
}
