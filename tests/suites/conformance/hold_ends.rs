//! The end of a hold: confirmation, release, expiry, and whatever else removes a fact.

use imquota::domain::decision::Mode;
use imquota::domain::limit::LimitId;
use imquota::domain::limits::Part::{Accounts, Friends, Groups};

use super::hold_script::LONG;
use super::operations::{
    accounts, befriend, create, delete, dissolve, follow, join, leave, unfollow, unfriend,
};
use super::script::App;

pub async fn an_unknown_hold_is_not_found(app: App) {
    for part in [Accounts, Friends, Groups] {
        app.confirm(part, "h", "none").await;
        app.release(part, "h", "none").await;
    }
    // What was held before is not in the hold, and nothing is left of it.
    app.script([(accounts(&["a"]), "applied")]).await;
    app.holding("h", LONG).script([(accounts(&["a"]), "held")]).await;
    app.confirm(Accounts, "h", "none").await;
    let check = app.holding("h", LONG).as_mode(Mode::CheckOnly);
    check.script([(accounts(&["b"]), "applied")]).await;
    app.confirm(Accounts, "h", "none").await;
    app.holding("h", LONG).script([(accounts(&["b"]), "applied")]).await;
    app.confirm(Friends, "h", "none").await;
    app.confirm(Groups, "h", "none").await;
}

pub async fn a_confirmed_hold_is_permanent(app: App) {
    let held = app.holding("h", 1);
    held.script([
        (accounts(&["a", "b"]), "applied x2"),
        (befriend("a", &["b"]), "applied"),
        (create("g", "Private", "a", &["b"]), "applied | applied"),
    ])
    .await;
    for _ in 0..2 {
        app.confirm(Accounts, "h", "create_accounts: confirmed x2").await;
        app.confirm(Friends, "h", "add_friends: confirmed").await;
        app.confirm(Groups, "h", "create_group: confirmed | confirmed").await;
    }
    app.provisional([("app", "accounts 0; today 0"), ("user a", "friends 0 groups 0")]).await;
    app.expire().await;
    app.counts([
        ("app", "accounts 2; Private 1; today 1: Private 1"),
        ("user b", "friends 1 groups 1"),
        ("group g", "Private 2"),
    ])
    .await;
    app.release(Groups, "h", "create_group: ended | ended").await;
    app.counts([("group g", "Private 2")]).await;
}

pub async fn a_released_hold_is_gone(app: App) {
    app.script([(create("p", "Private", "z", &[]), "applied")]).await;
    let held = app.holding("h", LONG);
    held.script([
        (accounts(&["a", "b"]), "applied x2"),
        (befriend("a", &["b"]), "applied"),
        (create("g", "Lounge", "a", &["b"]), "applied | applied"),
        (join("p", &["a"]), "applied"),
    ])
    .await;
    for _ in 0..2 {
        app.release(Accounts, "h", "create_accounts: released x2").await;
        app.release(Friends, "h", "add_friends: released").await;
        app.release(Groups, "h", "create_group: released | released; join_group: released").await;
    }
    app.counts([
        ("app", "accounts 0; Private 1; today 1: Private 1"),
        ("user b", "friends 0 groups 0"),
        ("user a", "friends 0 groups 0"),
        ("group p", "Private 1"),
        ("group g", "error: group_not_found"),
    ])
    .await;
    app.confirm(Groups, "h", "create_group: ended | ended; join_group: ended").await;
    app.counts([("group p", "Private 1"), ("group g", "error: group_not_found")]).await;
}

pub async fn one_confirmed_hold_of_two_is_enough(app: App) {
    app.holding("one", 1).script([(accounts(&["a", "b"]), "applied x2")]).await;
    app.holding("two", LONG).script([(accounts(&["a"]), "held")]).await;
    app.confirm(Accounts, "two", "create_accounts: confirmed").await;
    app.expire().await;
    app.counts([("app", "accounts 1; today 0")]).await;
    app.release(Accounts, "one", "expired create_accounts: ended, released").await;
    app.counts([("app", "accounts 1; today 0")]).await;
}

pub async fn of_two_holds_one_released_leaves_the_other(app: App) {
    app.holding("one", LONG)
        .script([(create("g", "Private", "a", &["b"]), "applied | applied")])
        .await;
    app.holding("two", LONG).script([(join("g", &["b", "c"]), "held, applied")]).await;
    app.release(Groups, "one", "create_group: released | released").await;
    app.counts([("group g", "Private 2"), ("user a", "friends 0 groups 0")]).await;
    app.provisional([("app", "accounts 0; Private 1; today 1: Private 1")]).await;
    app.release(Groups, "two", "join_group: released x2").await;
    app.counts([("group g", "error: group_not_found"), ("app", "accounts 0; today 0")]).await;
}

pub async fn a_confirmation_after_the_expiry_takes_anew(app: App) {
    let held = app.holding("h", 1);
    held.script([
        (accounts(&["a", "b", "c"]), "applied x3"),
        (befriend("a", &["b"]), "applied"),
        (create("g", "Private", "a", &["b"]), "applied | applied"),
    ])
    .await;
    app.expire().await;
    app.script([(accounts(&["p", "q", "r", "s", "t"]), "applied x5")]).await;
    let denied = "denied ACCOUNTS_PER_APP 6/6 app";
    let expected = format!("expired create_accounts: retaken, {denied} x2");
    app.confirm(Accounts, "h", &expected).await;
    let expected = format!("expired create_accounts: confirmed, {denied} x2");
    app.confirm(Accounts, "h", &expected).await;
    app.counts([("app", "accounts 6; today 0")]).await;
    let force = app.as_mode(Mode::Force);
    force.confirm(Accounts, "h", "expired create_accounts: confirmed, retaken x2").await;
    app.confirm(Accounts, "h", "create_accounts: confirmed x3").await;
    app.confirm(Friends, "h", "expired add_friends: retaken").await;
    app.confirm(Groups, "h", "expired create_group: retaken | retaken").await;
    app.counts([
        ("app", "accounts 8; Private 1; today 1: Private 1"),
        ("user b", "friends 1 groups 1"),
        ("group g", "Private 2"),
    ])
    .await;
    app.provisional([("app", "accounts 0; today 0"), ("user b", "friends 0 groups 0")]).await;
}

pub async fn a_release_after_the_expiry_removes_no_later_take(app: App) {
    app.script([(create("p", "Lounge", "", &[]), "applied")]).await;
    let held = app.holding("h", 1);
    held.script([
        (accounts(&["a", "b", "c"]), "applied x3"),
        (befriend("a", &["b", "c"]), "applied x2"),
        (join("p", &["a", "b", "c"]), "applied x3"),
        (create("g", "Lounge", "a", &["b"]), "applied | applied"),
    ])
    .await;
    app.expire().await;
    // Without a hold, and with that of another operation.
    app.script([
        (accounts(&["a"]), "applied"),
        (befriend("a", &["b"]), "applied"),
        (join("p", &["a"]), "applied"),
        (create("g", "Lounge", "a", &[]), "applied"),
    ])
    .await;
    let other = app.holding("other", LONG);
    other
        .script([
            (accounts(&["b"]), "applied"),
            (befriend("a", &["c"]), "applied"),
            (join("p", &["b"]), "applied"),
        ])
        .await;
    app.release(Accounts, "h", "expired create_accounts: released x3").await;
    app.release(Friends, "h", "expired add_friends: released x2").await;
    let groups = "expired create_group: released | released; expired join_group: released x3";
    app.release(Groups, "h", groups).await;
    app.counts([
        ("app", "accounts 2; Lounge 2; today 2: Lounge 2"),
        ("user a", "friends 2 groups 0"),
        ("group p", "Lounge 2"),
        ("group g", "Lounge 1"),
    ])
    .await;
    app.release(Accounts, "other", "create_accounts: released").await;
    app.release(Friends, "other", "add_friends: released").await;
    app.release(Groups, "other", "join_group: released").await;
    app.counts([("user a", "friends 1 groups 0"), ("group p", "Lounge 1")]).await;
}

pub async fn an_expired_creation_is_denied_whole_without_its_owner(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.holding("h", 1).script([(create("g", "Private", "a", &["b"]), "applied | applied")]).await;
    app.holding("j", 1).script([(join("g", &["c"]), "applied")]).await;
    app.expire().await;
    app.script([(create("other", "Private", "a", &[]), "applied")]).await;
    let denied = "expired create_group: denied GROUPS_PER_USER 1/1 a | denied";
    app.confirm(Groups, "h", denied).await;
    app.counts([("group g", "error: group_not_found"), ("user b", "friends 0 groups 0")]).await;
    app.script([(dissolve("other"), "applied; released 1")]).await;
    app.confirm(Groups, "h", "expired create_group: retaken | retaken").await;
    app.confirm(Groups, "j", "expired join_group: retaken").await;
    app.counts([("group g", "Private 3")]).await;
}

pub async fn an_end_may_be_repeated_whatever_has_ended_the_hold(app: App) {
    app.holding("x", LONG).script([(accounts(&["a", "b"]), "applied x2")]).await;
    app.holding("y", LONG).script([(accounts(&["b"]), "held")]).await;
    app.release(Accounts, "x", "create_accounts: released x2").await;
    app.release(Accounts, "x", "create_accounts: released x2").await;
    app.counts([("app", "accounts 1; today 0")]).await;
    app.confirm(Accounts, "x", "create_accounts: ended x2").await;
    app.confirm(Accounts, "y", "create_accounts: confirmed").await;
    app.release(Accounts, "y", "create_accounts: ended").await;
    app.holding("z", LONG).script([(accounts(&["c"]), "applied")]).await;
    app.script([(delete("c"), "applied")]).await;
    app.release(Accounts, "z", "create_accounts: ended").await;
    app.counts([("app", "accounts 1; today 0")]).await;
}

pub async fn members_of_a_group_that_is_gone_are_not_taken_anew(app: App) {
    app.holding("h", 1).script([(create("g", "Private", "a", &[]), "applied")]).await;
    app.holding("j", 1).script([(join("g", &["b"]), "applied")]).await;
    app.expire().await;
    app.confirm(Groups, "j", "expired join_group: ended").await;
    app.script([(create("g", "Private", "z", &[]), "applied")]).await;
    app.confirm(Groups, "j", "join_group: ended").await;
    app.counts([("group g", "Private 1")]).await;
}

pub async fn a_confirmation_as_of_before_the_expiry_is_in_time(app: App) {
    app.holding("h", 1).script([(accounts(&["a", "b"]), "applied x2")]).await;
    let before = app.time().await;
    app.expire().await;
    let late = app.time().await;
    app.ledger.sweep_holds(app.call.clone()).await.expect("swept");
    app.script([(accounts(&["p", "q", "r", "s", "t", "b"]), "applied x6")]).await;
    let denied = "expired create_accounts: denied ACCOUNTS_PER_APP 6/6 app, retaken";
    app.confirm_as_of(Accounts, "h", late, denied).await;
    let expected = "expired create_accounts: retaken, confirmed";
    app.confirm_as_of(Accounts, "h", before, expected).await;
    app.counts([("app", "accounts 7; today 0")]).await;
}

pub async fn a_leave_ends_the_hold_for_good(app: App) {
    app.script([(create("p", "Lounge", "", &[]), "applied")]).await;
    for seconds in [LONG, 1] {
        let id = format!("h{seconds}");
        let held = app.holding(&id, seconds);
        held.script([
            (accounts(&["a", "b"]), "applied x2"),
            (befriend("x", &["y"]), "applied"),
            (join("p", &["a", "b"]), "applied x2"),
        ])
        .await;
        app.script([
            (leave("p", &["a"]), "applied"),
            (delete("b"), "applied"),
            (unfriend("x", &["y"]), "applied"),
            // A later take belongs to no older hold.
            (join("p", &["a"]), "applied"),
        ])
        .await;
        if seconds == 1 {
            app.expire().await;
            app.release(Groups, &id, "join_group: ended x2").await;
            app.confirm(Accounts, &id, "expired create_accounts: retaken, ended").await;
        } else {
            app.release(Groups, &id, "join_group: ended x2").await;
            app.release(Accounts, &id, "create_accounts: released, ended").await;
        }
        app.confirm(Friends, &id, "add_friends: ended").await;
        app.confirm(Groups, &id, "join_group: ended x2").await;
        app.counts([
            ("group p", "Lounge 1"),
            ("user b", "friends 0 groups 0"),
            ("user x", "friends 0 groups 0"),
        ])
        .await;
        app.script([(leave("p", &["a"]), "applied")]).await;
    }
}

pub async fn a_dissolution_ends_the_holds_of_group_and_members(app: App) {
    app.holding("h", LONG)
        .script([(create("g", "Private", "a", &["b"]), "applied | applied")])
        .await;
    app.holding("j", LONG).script([(join("g", &["c", "b"]), "applied, held")]).await;
    app.script([
        (dissolve("g"), "applied; released 3"),
        (create("g", "Private", "z", &["b"]), "applied | applied"),
    ])
    .await;
    app.release(Groups, "h", "create_group: ended | ended").await;
    app.release(Groups, "j", "join_group: ended x2").await;
    app.confirm(Groups, "h", "create_group: ended | ended").await;
    app.counts([("group g", "Private 2"), ("app", "accounts 0; Private 1; today 1: Private 1")])
        .await;
}

pub async fn members_of_a_dissolved_group_are_not_taken_anew(app: App) {
    app.holding("h", 1).script([(create("g", "Lounge", "a", &["c"]), "applied | applied")]).await;
    app.holding("j", LONG).script([(join("g", &["b"]), "applied")]).await;
    app.expire().await;
    // Without those whose hold has expired.
    app.script([
        (dissolve("g"), "applied; released 1"),
        (create("g", "Lounge", "z", &[]), "applied"),
    ])
    .await;
    app.confirm(Groups, "h", "expired create_group: ended | ended").await;
    app.confirm(Groups, "j", "join_group: ended").await;
    app.counts([("group g", "Lounge 1"), ("user a", "friends 0 groups 0")]).await;
}

pub async fn the_last_member_reclaims_a_held_group(app: App) {
    app.holding("h", LONG).script([(create("g", "Private", "a", &[]), "applied")]).await;
    app.script([(leave("g", &["a"]), "applied; reclaimed")]).await;
    app.confirm(Groups, "h", "create_group: ended").await;
    app.counts([("app", "accounts 0; today 0")]).await;
    // An expiry does the same to a group that is permanent.
    app.script([(create("p", "Private", "a", &[]), "applied")]).await;
    app.holding("j", 1).script([(join("p", &["b"]), "applied")]).await;
    app.script([(leave("p", &["a"]), "applied")]).await;
    app.expire().await;
    app.counts([("app", "accounts 0; today 0"), ("group p", "error: group_not_found")]).await;
    app.script([(join("p", &["c"]), "error: group_not_found")]).await;
}

pub async fn a_permanent_member_makes_a_held_group_permanent(app: App) {
    for (id, name) in [("h1", "g1"), ("h2", "g2"), ("h3", "g3")] {
        app.holding(id, 1).script([(create(name, "Private", "a", &[]), "applied")]).await;
    }
    app.holding("j", LONG).script([(join("g2", &["b"]), "applied")]).await;
    app.script([(join("g1", &["b"]), "applied")]).await;
    app.confirm(Groups, "j", "join_group: confirmed").await;
    app.expire().await;
    app.counts([
        ("group g1", "Private 1"),
        ("group g2", "Private 1"),
        ("group g3", "error: group_not_found"),
        ("app", "accounts 0; Private 2; today 2: Private 2"),
        ("user a", "friends 0 groups 0"),
    ])
    .await;
    app.release(Groups, "h1", "expired create_group: released").await;
    app.confirm(Groups, "h2", "expired create_group: retaken").await;
    app.counts([("group g1", "Private 1"), ("group g2", "Private 2")]).await;
}

pub async fn each_side_of_a_friendship_is_held_by_itself(app: App) {
    app.script([(follow("a", &["b"]), "applied")]).await;
    app.holding("h", LONG).script([(befriend("a", &["b", "c"]), "applied x2")]).await;
    app.provisional([("user a", "friends 1 groups 0"), ("user b", "friends 1 groups 0")]).await;
    app.script([(unfollow("c", &["a"]), "applied")]).await;
    app.confirm(Friends, "h", "add_friends: confirmed x2").await;
    app.counts([("user a", "friends 2 groups 0"), ("user c", "friends 0 groups 0")]).await;
    app.provisional([("user a", "friends 0 groups 0"), ("user b", "friends 0 groups 0")]).await;
}
