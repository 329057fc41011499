//! Whole batches: `all_or_nothing` on each take, written from the comments of the API.
//!
//! If any subject is denied nothing is written: it is denied, what is held stays held, and the
//! others are aborted.

use std::collections::BTreeMap;

use imquota::domain::decision::Mode;
use imquota::domain::limit::LimitId;
use imquota::domain::schedule::Schedule;
use imquota::domain::timeline::ServiceState;
use imquota::ledger::{Operation, WHOLE_BATCH_MAX};
use tokio::task::JoinSet;

use super::operations::{
    accounts, befriend, create, create_capped, follow, join, leave, numbered, texts,
};
use super::script::{App, endless};

impl App {
    /// Checks the answers of whole batches that write nothing, in both modes that deny.
    async fn refuses<const N: usize>(&self, lines: [(Operation, &str); N]) {
        let whole = self.all_or_nothing();
        whole.as_mode(Mode::CheckOnly).script(lines.clone()).await;
        whole.script(lines).await;
    }
}

const FULL: &str = "denied ACCOUNTS_PER_APP 6/6 app";
const BUSY: &str = "denied GROUPS_PER_USER 1/1 x";

pub async fn no_account_of_a_refused_batch_is_created(app: App) {
    app.script([(accounts(&["a", "b", "c", "d"]), "applied x4")]).await;
    app.refuses([
        (accounts(&["e", "f", "g"]), format!("aborted x2, {FULL}").as_str()),
        (
            accounts(&["e", "a", "f", "g", "b"]),
            format!("aborted, held, aborted, {FULL}, held").as_str(),
        ),
        (accounts(&["e", "f", "g", "h"]), format!("aborted x2, {FULL} x2").as_str()),
    ])
    .await;
    app.counts([("app", "accounts 4; today 0")]).await;
    app.all_or_nothing().script([(accounts(&["e", "f"]), "applied x2")]).await;
    app.refuses([
        (accounts(&["g", "a"]), format!("{FULL}, held").as_str()),
        (accounts(&["a", "g"]), format!("held, {FULL}").as_str()),
    ])
    .await;
    app.counts([("app", "accounts 6; today 0")]).await;
}

pub async fn no_friend_of_a_refused_batch_is_added(app: App) {
    const PEER: &str = "denied PEER_FRIENDS 3/3 x";
    app.script([(follow("x", &["p", "q", "r"]), "applied x3"), (befriend("a", &["h"]), "applied")])
        .await;
    app.refuses([
        (befriend("a", &["x", "b"]), format!("{PEER}, aborted").as_str()),
        (befriend("a", &["b", "x", "c"]), format!("aborted, {PEER}, aborted").as_str()),
        (befriend("a", &["b", "h", "x"]), format!("aborted, held, {PEER}").as_str()),
        (befriend("a", &["b", "c", "d"]), "aborted x2, denied MY_FRIENDS 3/3 a"),
        (follow("a", &["b", "c", "x"]), "aborted x2, denied MY_FRIENDS 3/3 a"),
    ])
    .await;
    app.counts([("user a", "friends 1 groups 0"), ("user b", "friends 0 groups 0")]).await;
    app.all_or_nothing().script([(follow("a", &["x", "b"]), "applied x2")]).await;
    app.counts([("user a", "friends 3 groups 0"), ("user x", "friends 3 groups 0")]).await;
}

pub async fn no_member_of_a_refused_batch_is_added(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([
        (create("h", "Private", "x", &[]), "applied"),
        (create("g", "Private", "o", &[]), "applied"),
    ])
    .await;
    app.refuses([
        (join("g", &["x", "b", "c"]), format!("{BUSY}, aborted x2").as_str()),
        (join("g", &["b", "x", "c"]), format!("aborted, {BUSY}, aborted").as_str()),
        (join("g", &["b", "c", "x"]), format!("aborted x2, {BUSY}").as_str()),
        (join("g", &["o", "b", "x", "b"]), format!("held, aborted, {BUSY}, aborted").as_str()),
        (join("g", &["b", "c", "d", "e"]), "aborted x3, denied MEMBERS_PER_GROUP 4/4 g"),
        (join("none", &["b", "x"]), "error: group_not_found"),
    ])
    .await;
    app.counts([("group g", "Private 1"), ("user b", "friends 0 groups 0")]).await;
    app.all_or_nothing().script([(join("g", &["b", "o", "c"]), "applied, held, applied")]).await;
    app.counts([("group g", "Private 3"), ("user b", "friends 0 groups 1")]).await;
}

pub async fn a_group_is_not_created_without_all_of_its_members(app: App) {
    app.limit(&LimitId::GroupsPerUser, 1).await;
    app.script([
        (create("h", "Private", "x", &[]), "applied"),
        (create("g", "Private", "o", &[]), "applied"),
    ])
    .await;
    app.refuses([
        (create("k", "Private", "y", &["x", "b"]), format!("aborted | {BUSY}, aborted").as_str()),
        (
            create("k", "Private", "y", &["b", "x", "y", "c"]),
            format!("aborted | aborted, {BUSY}, aborted x2").as_str(),
        ),
        (create("k", "Private", "", &["b", "x"]), format!("aborted | aborted, {BUSY}").as_str()),
        // The owner is denied.
        (create("k", "Private", "x", &["b", "c"]), format!("{BUSY} | aborted x2").as_str()),
        (
            create("k", "Private", "x", &["o"]),
            format!("{BUSY} | denied GROUPS_PER_USER 1/1 o").as_str(),
        ),
        (create("k", "Private", "x", &[]), BUSY),
        // The group exists: with its owner as a member, with another one, and with none.
        (create("g", "Private", "o", &["b", "x"]), format!("held | aborted, {BUSY}").as_str()),
        (create("g", "Private", "b", &["o", "x"]), format!("aborted | held, {BUSY}").as_str()),
        (create("g", "Private", "", &["b", "x"]), format!("held | aborted, {BUSY}").as_str()),
        (create("g", "Private", "x", &["o", "b"]), format!("{BUSY} | held, aborted").as_str()),
        (
            create_capped("k", "Private", "b", &["c", "d"], Some(2)),
            "aborted | aborted, denied MEMBERS_AT_CREATION 2/2 k",
        ),
    ])
    .await;
    app.counts([
        ("app", "accounts 0; Private 2; today 2: Private 2"),
        ("group g", "Private 1"),
        ("group k", "error: group_not_found"),
        ("user b", "friends 0 groups 0"),
    ])
    .await;
    app.all_or_nothing()
        .script([
            (create("k", "Private", "y", &["b", "c"]), "applied | applied x2"),
            (create("k", "Private", "y", &["b", "c"]), "held | held x2"),
            (create("k", "Private", "d", &["y"]), "held | held"),
        ])
        .await;
    app.counts([("group k", "Private 4"), ("user y", "friends 0 groups 1")]).await;
}

pub async fn a_denied_group_aborts_its_members(app: App) {
    app.script([
        (create("g", "AVChatRoom", "", &[]), "applied"),
        (create("h", "AVChatRoom", "", &[]), "applied"),
    ])
    .await;
    app.refuses([(
        create("k", "AVChatRoom", "a", &["b", "c"]),
        "denied GROUPS_PER_APP 2/2 app | aborted x2",
    )])
    .await;
    app.counts([("group k", "error: group_not_found")]).await;
}

pub async fn nothing_is_aborted_without_a_denial(app: App) {
    let whole = app.all_or_nothing();
    let check = whole.as_mode(Mode::CheckOnly);
    let batches = || {
        [
            (accounts(&["a", "b", "a"]), "applied x2, held"),
            (befriend("a", &["b", "c"]), "applied x2"),
            (create("g", "Private", "a", &["b"]), "applied | applied"),
        ]
    };
    check.script(batches()).await;
    app.counts([("app", "accounts 0; today 0"), ("group g", "error: group_not_found")]).await;
    whole.script(batches()).await;
    whole
        .script([
            (join("g", &["c", "d"]), "applied x2"),
            (accounts(&["a", "b"]), "held x2"),
            (befriend("a", &["b", "c"]), "held x2"),
            (create("g", "Private", "a", &["b"]), "held | held"),
            (join("g", &["c", "d"]), "held x2"),
        ])
        .await;
    app.counts([("user a", "friends 2 groups 1"), ("group g", "Private 4")]).await;
}

pub async fn shadow_and_force_abort_nothing(app: App) {
    app.script([(create("g", "Private", "a", &["b", "c"]), "applied | applied x2")]).await;
    app.all_or_nothing()
        .as_mode(Mode::Shadow)
        .script([(join("g", &["d", "e"]), "applied, applied MEMBERS_PER_GROUP 4/4 g")])
        .await;
    app.all_or_nothing()
        .as_mode(Mode::Force)
        .script([
            (join("g", &["f", "h"]), "applied x2"),
            (befriend("a", &["b", "c", "d", "e"]), "applied x4"),
        ])
        .await;
    app.counts([("group g", "Private 7"), ("user a", "friends 4 groups 1")]).await;
}

pub async fn a_stopped_service_denies_all_of_a_whole_batch(app: App) {
    app.script([(create("g", "Private", "a", &["b"]), "applied | applied")]).await;
    let mut stopped = app.trial();
    stopped.state = ServiceState::Stopped;
    app.put(&Schedule::from_segments(vec![endless(stopped)]).expect("endless")).await;
    app.refuses([
        (join("g", &["a", "c"]), "held, denied SERVICE_STOPPED 0/0 app"),
        (accounts(&["a", "b"]), "denied SERVICE_STOPPED 0/0 app x2"),
    ])
    .await;
    app.counts([("group g", "Private 2")]).await;
}

pub async fn five_hundred_are_one_step(app: App) {
    let app = app.roomy().await;
    let names = numbered("u", WHOLE_BATCH_MAX);
    let names = texts(&names);
    app.script([(create_capped("g", "ChatRoom", "o", &[], Some(500)), "applied")]).await;
    app.refuses([
        (join("g", &names), "aborted x499, denied MEMBERS_PER_GROUP 500/500 g"),
        (
            create_capped("h", "ChatRoom", "o", &names, Some(500)),
            "aborted | aborted x499, denied MEMBERS_AT_CREATION 500/500 h",
        ),
    ])
    .await;
    app.counts([("group g", "ChatRoom 1 of 500"), ("group h", "error: group_not_found")]).await;
    app.counts([("user u0", "friends 0 groups 0"), ("user u499", "friends 0 groups 0")]).await;
    app.all_or_nothing()
        .script([
            (join("g", &names[..499]), "applied x499"),
            (create_capped("h", "ChatRoom", "o", &names, Some(501)), "applied | applied x500"),
            (befriend("o", &names), "applied x500"),
            (accounts(&names), "applied x500"),
        ])
        .await;
    app.counts([("group g", "ChatRoom 500 of 500"), ("group h", "ChatRoom 501 of 501")]).await;
    app.counts([("user o", "friends 500 groups 2"), ("user u499", "friends 1 groups 1")]).await;
    app.limit(&LimitId::AccountsPerApp, 600).await;
    let others = numbered("v", WHOLE_BATCH_MAX);
    app.refuses([(
        accounts(&texts(&others)),
        "aborted x100, denied ACCOUNTS_PER_APP 600/600 app x400",
    )])
    .await;
    app.counts([("app", "accounts 500; ChatRoom 2; today 2: ChatRoom 2")]).await;
}

pub async fn refused_batches_cross_no_threshold(app: App) {
    let app = app.roomy().await;
    app.script([(create_capped("g", "ChatRoom", "", &[], Some(10)), "applied")]).await;
    let names = numbered("u", 11);
    let names = texts(&names);
    let whole = app.all_or_nothing();
    let refused = whole.apply(join("g", &names)).await.expect("a decision");
    assert_eq!(refused.warnings, []);
    let applied = whole.apply(join("g", &names[..7])).await.expect("a decision");
    let crossed: Vec<_> = applied.warnings.iter().map(|it| (it.used, it.percent)).collect();
    assert_eq!(crossed, [(7, 70)]);
    let refused = whole.apply(join("g", &names)).await.expect("a decision");
    assert_eq!(refused.warnings, []);
}

/// Applies all operations concurrently; returns the number of each answer.
async fn at_once(operations: Vec<(App, Operation)>) -> BTreeMap<String, usize> {
    let mut tasks = JoinSet::new();
    for (app, operation) in operations {
        tasks.spawn(async move { app.done(operation).await });
    }
    let mut answers = BTreeMap::new();
    while let Some(answer) = tasks.join_next().await {
        *answers.entry(answer.expect("no task panics")).or_default() += 1;
    }
    answers
}

pub async fn sixty_four_batches_of_three_fill_a_group_of_one_hundred_to_ninety_nine(app: App) {
    let app = app.roomy().await;
    app.script([(create_capped("g", "ChatRoom", "", &[], Some(100)), "applied")]).await;
    let whole = app.all_or_nothing();
    let batch = |number: usize| {
        let names = ["a", "b", "c"].map(|name| format!("{name}{number}"));
        join("g", &names.each_ref().map(String::as_str))
    };
    let answers = at_once((0..64).map(|number| (whole.clone(), batch(number))).collect()).await;
    let refused = "aborted, denied MEMBERS_PER_GROUP 100/100 g x2".to_owned();
    assert_eq!(answers, BTreeMap::from([("applied x3".to_owned(), 33), (refused, 31)]));
    app.counts([("group g", "ChatRoom 99 of 100")]).await;
    app.script([(join("g", &["single"]), "applied")]).await;
}

pub async fn refused_batches_take_no_room_from_other_joins(app: App) {
    let app = app.roomy().await;
    app.script([(create_capped("g", "ChatRoom", "", &[], Some(100)), "applied")]).await;
    let too_many = numbered("t", 101);
    let too_many = texts(&too_many);
    let whole = app.all_or_nothing();
    let singles = numbered("s", 100);
    let operations = singles.iter().enumerate().flat_map(|(number, single)| {
        let refused = (number % 2 == 0).then(|| (whole.clone(), join("g", &too_many)));
        refused.into_iter().chain([(app.clone(), join("g", &[single.as_str()]))])
    });
    let answers = at_once(operations.collect()).await;
    assert_eq!(answers.get("applied"), Some(&100), "{answers:?}");
    app.counts([("group g", "ChatRoom 100 of 100"), ("user t0", "friends 0 groups 0")]).await;
    app.script([(leave("g", &["s0", "s1"]), "applied x2")]).await;
    whole.script([(join("g", &["t0", "t1"]), "applied x2")]).await;
}
