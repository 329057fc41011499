//! Accounts, and the facts that a deletion releases.

use super::operations::{accounts, befriend, create, delete, follow};
use super::script::App;

pub async fn an_account_is_counted_once_and_refused_over_the_limit(app: App) {
    app.script([
        (accounts(&["a", "b", "a"]), "applied x2, held"),
        (accounts(&["b"]), "held"),
        (
            accounts(&["c", "d", "e", "f", "g", "a", "h"]),
            "applied x4, denied ACCOUNTS_PER_APP 6/6 app, held, denied ACCOUNTS_PER_APP 6/6 app",
        ),
    ])
    .await;
    app.counts([("app", "accounts 6; today 0")]).await;
}

pub async fn a_deleted_account_makes_room(app: App) {
    app.script([
        (accounts(&["a", "b", "c", "d", "e", "f"]), "applied x6"),
        (accounts(&["g"]), "denied ACCOUNTS_PER_APP 6/6 app"),
        (delete("a"), "applied"),
        (delete("a"), "not held"),
        (accounts(&["g", "a"]), "applied, denied ACCOUNTS_PER_APP 6/6 app"),
    ])
    .await;
    app.counts([("app", "accounts 6; today 0")]).await;
}

pub async fn deleting_an_account_releases_friendships_of_both_sides_and_groups(app: App) {
    app.script([
        (accounts(&["a", "b"]), "applied x2"),
        (follow("a", &["b"]), "applied"),
        (follow("c", &["a"]), "applied"),
        (befriend("a", &["d"]), "applied"),
        (befriend("c", &["d"]), "applied"),
        (create("both", "Private", "a", &["b"]), "applied | applied"),
        (create("alone", "Private", "a", &[]), "applied"),
        (create("lounge", "Lounge", "a", &[]), "applied"),
    ])
    .await;
    app.counts([("user a", "friends 2 groups 2"), ("user c", "friends 2 groups 0")]).await;
    app.script([(delete("a"), "applied")]).await;
    app.counts([
        ("user a", "friends 0 groups 0"),
        ("user b", "friends 0 groups 1"),
        ("user c", "friends 1 groups 0"),
        ("user d", "friends 1 groups 0"),
        ("group both", "Private 1"),
        ("group alone", "error: group_not_found"),
        ("group lounge", "Lounge 0"),
        ("app", "accounts 1; Private 1; Lounge 1; today 2: Private 1: Lounge 1"),
    ])
    .await;
    // No fact of the user is left that would count again or be held already.
    app.script([
        (delete("a"), "not held"),
        (follow("c", &["a"]), "applied"),
        (follow("a", &["b"]), "applied"),
    ])
    .await;
}

pub async fn deleting_nothing_is_not_held(app: App) {
    app.script([
        (delete("absent"), "not held"),
        // The user's facts are released although there was no account.
        (follow("fan", &["a"]), "applied"),
        (delete("a"), "applied"),
    ])
    .await;
    app.counts([("user fan", "friends 0 groups 0"), ("app", "accounts 0; today 0")]).await;
}
