//! Creating, changing and dissolving groups.

use imquota::domain::limit::LimitId;

use super::operations::{create, create_capped, dissolve, join, leave, update};
use super::script::App;

pub async fn a_group_is_created_with_its_owner_and_members(app: App) {
    app.script([
        (create("g", "Private", "a", &["b", "a", "b", "c"]), "applied | applied, held x2, applied"),
        (create("h", "Public", "", &[]), "applied"),
    ])
    .await;
    app.counts([
        ("group g", "Private 3"),
        ("group h", "Public 0"),
        ("user a", "friends 0 groups 1"),
        ("user b", "friends 0 groups 1"),
        ("app", "accounts 0; Private 1; Public 1; today 2: Private 1: Public 1"),
    ])
    .await;
}

pub async fn creating_again_joins_the_missing_members(app: App) {
    app.script([
        (create_capped("g", "Private", "a", &["b"], Some(4)), "applied | applied"),
        (create_capped("g", "Private", "a", &["b"], Some(4)), "held | held"),
        (create("g", "Private", "a", &["b", "c"]), "held | held, applied"),
        (create("g", "Private", "d", &["a"]), "held | held"),
        // An owner who cannot be a member denies the whole creation.
        (create("g", "Private", "e", &["f"]), "denied MEMBERS_AT_CREATION 4/4 g | denied"),
        (create("g", "Private", "", &["f"]), "held | denied MEMBERS_AT_CREATION 4/4 g"),
    ])
    .await;
    app.counts([
        ("group g", "Private 4 of 4"),
        ("user d", "friends 0 groups 1"),
        ("user e", "friends 0 groups 0"),
        ("app", "accounts 0; Private 1; today 1: Private 1"),
    ])
    .await;
}

pub async fn an_id_in_use_by_another_type_is_an_error(app: App) {
    app.script([
        (create("g", "Private", "a", &[]), "applied"),
        (create("g", "Public", "b", &["c"]), "error: group_type_differs"),
        (create("h", "Nonesuch", "b", &["c"]), "error: group_type_unknown"),
    ])
    .await;
    app.counts([
        ("group g", "Private 1"),
        ("user b", "friends 0 groups 0"),
        ("app", "accounts 0; Private 1; today 1: Private 1"),
    ])
    .await;
}

pub async fn only_a_member_over_their_own_limit_is_denied(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([
        (create("h", "Private", "b", &[]), "applied"),
        (
            create("g", "Public", "a", &["b", "c"]),
            "applied | denied GROUPS_PER_USER 1/1 b, applied",
        ),
        (join("g", &["b", "d"]), "denied GROUPS_PER_USER 1/1 b, applied"),
    ])
    .await;
    app.counts([("group g", "Public 3"), ("user b", "friends 0 groups 1")]).await;
}

pub async fn an_owner_over_their_limit_denies_the_whole_creation(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([
        (create("h", "Private", "a", &[]), "applied"),
        (create("g", "Private", "a", &["b", "c"]), "denied GROUPS_PER_USER 1/1 a | denied x2"),
    ])
    .await;
    app.counts([
        ("group g", "error: group_not_found"),
        ("user b", "friends 0 groups 0"),
        ("app", "accounts 0; Private 1; today 1: Private 1"),
    ])
    .await;
}

pub async fn creation_fills_up_to_the_lowest_limit(app: App) {
    app.script([
        // The sold limit: four.
        (
            create("g", "Private", "a", &["b", "c", "d", "e"]),
            "applied | applied x3, denied MEMBERS_AT_CREATION 4/4 g",
        ),
        // The group's own.
        (
            create_capped("h", "Private", "a", &["b", "c", "a"], Some(2)),
            "applied | applied, denied MEMBERS_AT_CREATION 2/2 h, held",
        ),
        (
            create_capped("i", "Private", "a", &["b"], Some(0)),
            "denied MEMBERS_AT_CREATION 0/0 i | denied",
        ),
    ])
    .await;
    app.limit(&LimitId::GroupsPerUser, 2).await;
    app.script([(
        create_capped("j", "Private", "", &["a", "x", "a"], Some(1)),
        "applied | denied GROUPS_PER_USER 2/2 a, applied, \
         denied GROUPS_PER_USER 2/2 a + MEMBERS_AT_CREATION 1/1 j",
    )])
    .await;
}

pub async fn groups_of_a_type_at_once_are_limited(app: App) {
    app.script([
        (create("x1", "AVChatRoom", "a", &["b"]), "applied | applied"),
        (create("x2", "AVChatRoom", "a", &[]), "applied"),
        (create("x3", "AVChatRoom", "a", &["b"]), "denied GROUPS_PER_APP 2/2 app | denied"),
        (create("x1", "AVChatRoom", "a", &[]), "held"),
        (dissolve("x1"), "applied"),
        (create("x3", "AVChatRoom", "a", &[]), "applied"),
    ])
    .await;
    app.counts([
        ("group x2", "AVChatRoom 0"),
        ("user a", "friends 0 groups 0"),
        ("app", "accounts 0; AVChatRoom 2; today 2: AVChatRoom 2"),
    ])
    .await;
}

pub async fn net_new_groups_of_a_day_are_limited(app: App) {
    let b3 = || create("b3", "BChatRoom", "", &[]);
    app.script([
        (create("b1", "BChatRoom", "", &[]), "applied"),
        (create("b2", "BChatRoom", "", &[]), "applied"),
        (b3(), "denied groups_per_day/BChatRoom 2/2 app"),
        (create("p1", "Private", "a", &[]), "applied"),
        (create("p2", "Private", "a", &[]), "applied"),
        (b3(), "denied groups_per_day/BChatRoom 2/2 app + groups_per_day 4/4 app"),
        (create("p3", "Private", "a", &["b"]), "denied groups_per_day 4/4 app | denied"),
        (dissolve("p1"), "applied; released 1"),
        (b3(), "denied groups_per_day/BChatRoom 2/2 app"),
        (dissolve("b1"), "applied"),
        (b3(), "applied"),
    ])
    .await;
    let counts = "accounts 0; Private 1; BChatRoom 2; today 3: Private 1: BChatRoom 2";
    app.counts([("app", counts)]).await;
}

pub async fn a_groups_own_limit_can_change(app: App) {
    app.script([
        (create("g", "Private", "a", &["b", "c"]), "applied | applied x2"),
        (update("g", Some(2)), "applied"),
        (update("g", Some(2)), "held"),
        (join("g", &["d"]), "denied MEMBERS_PER_GROUP 3/2 g"),
    ])
    .await;
    app.counts([("group g", "Private 3 of 2")]).await;
    app.script([
        (update("g", None), "applied"),
        (update("g", None), "held"),
        (join("g", &["d"]), "applied"),
        (update("nonesuch", Some(2)), "error: group_not_found"),
        (create("av", "AVChatRoom", "a", &[]), "applied"),
        (update("av", Some(2)), "error: members_not_tracked"),
        (update("av", None), "held"),
    ])
    .await;
    app.counts([("group g", "Private 4"), ("group av", "AVChatRoom 0")]).await;
}

pub async fn a_dissolution_releases_all_members(app: App) {
    app.script([
        (create("none", "Private", "", &[]), "applied"),
        (dissolve("none"), "applied"),
        (create("g", "Private", "a", &["b", "c"]), "applied | applied x2"),
        (dissolve("g"), "applied; released 3"),
        (dissolve("g"), "not held"),
        (dissolve("nonesuch"), "not held"),
    ])
    .await;
    app.counts([
        ("group g", "error: group_not_found"),
        ("user a", "friends 0 groups 0"),
        ("user c", "friends 0 groups 0"),
        ("app", "accounts 0; today 0"),
    ])
    .await;
    // The id is free, and the new group has no earlier member.
    app.script([(create("g", "Public", "d", &["a"]), "applied | applied")]).await;
    app.counts([("group g", "Public 2")]).await;
}

pub async fn types_that_count_for_no_user_and_stay_when_empty(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([
        (create("g", "Private", "a", &[]), "applied"),
        (create("l", "Lounge", "a", &["b"]), "applied | applied"),
        (leave("l", &["a", "b"]), "applied x2"),
    ])
    .await;
    app.counts([("group l", "Lounge 0"), ("user a", "friends 0 groups 1")]).await;
    app.script([
        (join("l", &["a", "c", "d", "e", "f"]), "applied x4, denied MEMBERS_PER_GROUP 4/4 l"),
        (dissolve("l"), "applied; released 4"),
    ])
    .await;
    app.counts([("user a", "friends 0 groups 1")]).await;
}
