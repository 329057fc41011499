//! The largest operations, and ids with unusual characters.

use std::collections::BTreeSet;

use imquota::domain::decision::Mode;
use imquota::domain::limit::LimitId;

use super::operations::{
    accounts, befriend, create, create_capped, delete, dissolve, follow, join, leave, numbered,
    texts, unfriend,
};
use super::script::App;

pub async fn five_hundred_members_at_once(app: App) {
    let app = app.roomy().await;
    let names = numbered("u", 500);
    let names = texts(&names);
    app.script([
        (create("g", "ChatRoom", "a", &names), "applied | applied x500"),
        (create("g", "ChatRoom", "a", &names), "held | held x500"),
        (create("h", "ChatRoom", "a", &[]), "applied"),
        (join("h", &names), "applied x500"),
        (join("h", &names), "held x500"),
    ])
    .await;
    app.counts([
        ("group g", "ChatRoom 501"),
        ("group h", "ChatRoom 501"),
        ("user u499", "friends 0 groups 2"),
    ])
    .await;
    app.script([
        (leave("g", &names), "applied x500"),
        (leave("g", &names), "not held x500"),
        (leave("g", &["a"]), "applied; reclaimed"),
    ])
    .await;
    app.counts([("group h", "ChatRoom 501"), ("user u499", "friends 0 groups 1")]).await;
}

pub async fn six_hundred_members_are_released(app: App) {
    let app = app.roomy().await;
    let names = numbered("u", 600);
    let names = texts(&names);
    app.script([
        (create("g", "ChatRoom", "", &names[..300]), "applied | applied x300"),
        (create("stays", "ChatRoom", "u0", &["u599"]), "applied | applied"),
        (join("g", &names[300..]), "applied x300"),
    ])
    .await;
    app.counts([("group g", "ChatRoom 600")]).await;
    app.script([(dissolve("g"), "applied; released 600"), (dissolve("g"), "not held")]).await;
    app.counts([
        ("user u0", "friends 0 groups 1"),
        ("user u1", "friends 0 groups 0"),
        ("user u599", "friends 0 groups 1"),
        ("group stays", "ChatRoom 2"),
    ])
    .await;
    for name in names.iter().skip(1).step_by(97) {
        app.counts([(format!("user {name}").as_str(), "friends 0 groups 0")]).await;
    }
}

pub async fn a_thousand_friends_at_once(app: App) {
    let app = app.roomy().await;
    let names = numbered("u", 1000);
    let names = texts(&names);
    app.script([
        (befriend("a", &names), "applied x1000"),
        (befriend("a", &names), "held x1000"),
        (follow("a", &names[..10]), "held x10"),
    ])
    .await;
    app.counts([("user a", "friends 1000 groups 0"), ("user u999", "friends 1 groups 0")]).await;
    app.script([(unfriend("a", &names[..400]), "applied x400"), (delete("a"), "applied")]).await;
    app.counts([
        ("user a", "friends 0 groups 0"),
        ("user u0", "friends 0 groups 0"),
        ("user u400", "friends 0 groups 0"),
        ("user u999", "friends 0 groups 0"),
    ])
    .await;
}

pub async fn a_large_check_counts_its_own_takes(app: App) {
    let mut names = numbered("u", 700);
    names.push("u0".into());
    names.push("u699".into());
    let names = texts(&names);
    app.limit(&LimitId::AccountsPerApp, 650).await;
    app.script([(accounts(&["u1"]), "applied")]).await;
    app.as_mode(Mode::CheckOnly)
        .script([(
            accounts(&names),
            "applied, held, applied x648, denied ACCOUNTS_PER_APP 650/650 app x50, held, \
             denied ACCOUNTS_PER_APP 650/650 app",
        )])
        .await;
    app.counts([("app", "accounts 1; today 0")]).await;

    let app = app.roomy().await;
    app.script([(create_capped("g", "ChatRoom", "u1", &[], Some(650)), "applied")]).await;
    app.as_mode(Mode::CheckOnly)
        .script([
            (
                join("g", &names),
                "applied, held, applied x648, denied MEMBERS_PER_GROUP 650/650 g x50, held, \
                 denied MEMBERS_PER_GROUP 650/650 g",
            ),
            (befriend("a", &names), "applied x700, held x2"),
            (create("h", "ChatRoom", "a", &names), "applied | applied x700, held x2"),
        ])
        .await;
    app.counts([
        ("group g", "ChatRoom 1 of 650"),
        ("group h", "error: group_not_found"),
        ("user a", "friends 0 groups 0"),
        ("user u699", "friends 0 groups 0"),
    ])
    .await;
}

pub async fn a_large_check_of_untracked_members_admits_a_repeated_one_again(app: App) {
    let mut names = numbered("u", 600);
    names.extend(["u0".into(), "u599".into()]);
    let names = texts(&names);
    let app = app.roomy().await;
    app.script([(create("g", "AVChatRoom", "", &[]), "applied")]).await;
    for app in [app.as_mode(Mode::CheckOnly), app] {
        app.script([
            (join("g", &names), "applied x602"),
            (create("h", "AVChatRoom", "", &names), "applied | applied x602"),
        ])
        .await;
    }
}

/// Ids that a careless key, pattern, set of integers or comparison would confuse.
const ODD: &[&str] = &[
    "a",
    "A",
    " a",
    "a ",
    "a b",
    " ",
    "  ",
    "{a}",
    "{}",
    "}{",
    "{",
    "a:b",
    "a/b",
    "@TGS#1",
    "@",
    "*",
    "?",
    "[a]",
    "\\",
    "\"",
    "'",
    "%",
    "$1",
    "1",
    "01",
    "+1",
    "-1",
    "1.0",
    "1e0",
    "0",
    "-0",
    "~",
    "nil",
    "9007199254740992",
    "9007199254740993",
    "18446744073709551616",
    "u",
    "g",
    "0123456789abcdef",
    "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~",
    "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~ ",
    "123e4567-e89b-12d3-a456-426614174000",
    "@ann:matrix.example.org",
    "ann@xmpp.example.org/phone",
    "张三",
    "张",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{a0}",
    "\u{10ffff}",
    LONGEST,
];

/// 255 bytes.
const LONGEST: &str = "长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长\
    长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长长";

pub async fn ids_of_any_characters_are_distinct(app: App) {
    let app = app.roomy().await;
    let count = ODD.len();
    assert_eq!(ODD.iter().collect::<BTreeSet<_>>().len(), count, "all different");
    let applied = format!("applied x{count}");
    let held = format!("held x{count}");
    app.script([
        (accounts(ODD), applied.as_str()),
        (accounts(ODD), held.as_str()),
        (befriend("x", ODD), applied.as_str()),
        (befriend("x", ODD), held.as_str()),
        (create("{g} ", "ChatRoom", "x", ODD), format!("applied | {applied}").as_str()),
        (join("{g} ", ODD), held.as_str()),
        (join("{g}", ODD), "error: group_not_found"),
    ])
    .await;
    assert_eq!(LONGEST.len(), 255);
    let longest = ["g".repeat(255), format!("{} ", "{".repeat(254))];
    for id in ODD.iter().copied().chain(longest.iter().map(String::as_str)) {
        app.script([(create(id, "Private", "x", &[]), "applied")]).await;
        app.counts([(format!("group {id}").as_str(), "Private 1")]).await;
    }
    for id in ODD {
        app.counts([(format!("user {id}").as_str(), "friends 1 groups 1")]).await;
        app.script([(unfriend(id, &["x"]), "applied"), (delete(id), "applied")]).await;
        app.script([(dissolve(id), "applied; released 1")]).await;
    }
    app.counts([
        ("user x", "friends 0 groups 3"),
        ("group {g} ", "ChatRoom 1"),
        ("app", "accounts 0; Private 2; ChatRoom 1; today 3: Private 2: ChatRoom 1"),
    ])
    .await;
}
