//! Friendships, mutual and one-way, and the limits of either side.

use super::operations::{befriend, follow, unfollow, unfriend};
use super::script::App;

/// Checks the numbers of friends of `a` and `b`.
async fn friends(app: &App, a: u32, b: u32) {
    let texts = [a, b].map(|count| format!("friends {count} groups 0"));
    app.counts([("user a", &texts[0]), ("user b", &texts[1])]).await;
}

pub async fn mutual_friendships_count_in_both_lists(app: App) {
    app.script([(befriend("a", &["b", "b"]), "applied, held"), (befriend("b", &["a"]), "held")])
        .await;
    friends(&app, 1, 1).await;
    app.script([(unfriend("b", &["a", "a"]), "applied, not held")]).await;
    friends(&app, 0, 0).await;
    app.script([(unfriend("a", &["b", "c"]), "not held x2")]).await;
}

pub async fn one_way_friendships_count_in_one_list(app: App) {
    app.script([(follow("a", &["b"]), "applied"), (follow("a", &["b"]), "held")]).await;
    friends(&app, 1, 0).await;
    app.script([
        (unfollow("b", &["a"]), "not held"),
        (unfollow("a", &["b"]), "applied"),
        (unfollow("a", &["b"]), "not held"),
    ])
    .await;
    friends(&app, 0, 0).await;
}

pub async fn two_one_ways_make_both_ways(app: App) {
    app.script([
        (follow("a", &["b"]), "applied"),
        (follow("b", &["a"]), "applied"),
        (befriend("a", &["b"]), "held"),
    ])
    .await;
    friends(&app, 1, 1).await;
    app.script([(unfriend("a", &["b"]), "applied")]).await;
    friends(&app, 0, 0).await;
}

pub async fn the_missing_side_of_a_mutual_friendship_is_added(app: App) {
    app.script([(follow("a", &["b"]), "applied"), (befriend("a", &["b"]), "applied")]).await;
    friends(&app, 1, 1).await;
    app.script([(unfollow("a", &["b"]), "applied")]).await;
    friends(&app, 0, 1).await;
    app.script([(befriend("a", &["b"]), "applied")]).await;
    friends(&app, 1, 1).await;
}

pub async fn sides_are_removed_one_by_one(app: App) {
    app.script([(befriend("a", &["b"]), "applied"), (unfollow("a", &["b"]), "applied")]).await;
    friends(&app, 0, 1).await;
    app.script([(unfollow("b", &["a"]), "applied")]).await;
    friends(&app, 0, 0).await;
    app.script([(follow("b", &["a"]), "applied"), (unfriend("a", &["b"]), "applied")]).await;
    friends(&app, 0, 0).await;
}

pub async fn a_full_list_is_named_with_its_user(app: App) {
    app.script([
        (befriend("a", &["b", "c", "d", "e", "b"]), "applied x3, denied MY_FRIENDS 3/3 a, held"),
        (befriend("x", &["a", "y"]), "denied PEER_FRIENDS 3/3 a, applied"),
        (befriend("x", &["u", "v"]), "applied x2"),
        (befriend("x", &["a"]), "denied MY_FRIENDS 3/3 x + PEER_FRIENDS 3/3 a"),
        (follow("x", &["a"]), "denied MY_FRIENDS 3/3 x"),
        // Only the lists that grow are checked.
        (follow("z", &["a"]), "applied"),
        (befriend("z", &["a"]), "denied PEER_FRIENDS 3/3 a"),
        (befriend("a", &["z"]), "denied MY_FRIENDS 3/3 a"),
        (unfriend("a", &["b"]), "applied"),
        (befriend("a", &["z"]), "applied"),
    ])
    .await;
    app.counts([
        ("user a", "friends 3 groups 0"),
        ("user b", "friends 0 groups 0"),
        ("user e", "friends 0 groups 0"),
        ("user x", "friends 3 groups 0"),
        ("user z", "friends 1 groups 0"),
    ])
    .await;
}

pub async fn followers_count_for_no_list(app: App) {
    for fan in ["f1", "f2", "f3", "f4", "f5"] {
        app.script([(follow(fan, &["a"]), "applied")]).await;
    }
    friends(&app, 0, 0).await;
    app.script([(befriend("a", &["b", "f1", "f2"]), "applied x3")]).await;
    app.counts([("user a", "friends 3 groups 0"), ("user f1", "friends 1 groups 0")]).await;
}
