//! Concurrent callers: exactly the limit is admitted, and no subject is counted twice.

use std::collections::BTreeMap;

use imquota::domain::limit::LimitId;
use imquota::ledger::Operation;
use tokio::task::JoinSet;

use super::operations::{
    accounts, befriend, create, create_capped, delete, dissolve, follow, join, leave, numbered,
    texts,
};
use super::script::App;

/// Applies all operations concurrently; returns the number of each answer.
async fn at_once(app: &App, operations: Vec<Operation>) -> BTreeMap<String, usize> {
    let mut tasks = JoinSet::new();
    for operation in operations {
        let app = app.clone();
        tasks.spawn(async move { app.done(operation).await });
    }
    let mut answers = BTreeMap::new();
    while let Some(answer) = tasks.join_next().await {
        *answers.entry(answer.expect("no task panics")).or_default() += 1;
    }
    answers
}

/// The numbers of answers as a map.
fn answers<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(text, count)| (text.to_owned(), count)).collect()
}

pub async fn twenty_of_sixty_four_callers_are_admitted_up_to_a_limit_of_twenty(app: App) {
    let app = app.roomy().await;
    app.script([(create_capped("g", "ChatRoom", "", &[], Some(20)), "applied")]).await;
    let users = numbered("u", 64);
    let joins = users.iter().map(|user| join("g", &[user])).collect();
    let expected = answers([("applied", 20), ("denied MEMBERS_PER_GROUP 20/20 g", 44)]);
    assert_eq!(at_once(&app, joins).await, expected);
    app.counts([("group g", "ChatRoom 20 of 20")]).await;
    let mut groups = 0;
    for user in &users {
        groups += usize::from(app.held(&format!("user {user}")).await == "friends 0 groups 1");
    }
    assert_eq!(groups, 20);
}

pub async fn one_users_groups_are_counted_across_groups(app: App) {
    let app = app.roomy().await;
    let groups = numbered("g", 16);
    for group in &groups {
        app.script([(create(group, "ChatRoom", "", &[]), "applied")]).await;
    }
    app.limit(&LimitId::GroupsPerUser, 5).await;
    let joins = groups.iter().flat_map(|group| [join(group, &["a"]), join(group, &["a"])]);
    let got = at_once(&app, joins.collect()).await;
    let expected = answers([("applied", 5), ("held", 5), ("denied GROUPS_PER_USER 5/5 a", 22)]);
    assert_eq!(got.get("applied"), expected.get("applied"), "{got:?}");
    // Of two joins of one group one or both may be denied.
    assert_eq!(got.values().sum::<usize>(), 32, "{got:?}");
    assert!(got.keys().all(|answer| expected.contains_key(answer)), "{got:?}");
    app.counts([("user a", "friends 0 groups 5")]).await;
    let mut members = 0;
    for group in &groups {
        members += usize::from(app.held(&format!("group {group}")).await == "ChatRoom 1");
    }
    assert_eq!(members, 5);
}

pub async fn one_account_is_taken_once(app: App) {
    let same = (0..16).map(|_| accounts(&["a"])).collect();
    assert_eq!(at_once(&app, same).await, answers([("applied", 1), ("held", 15)]));
    let users = numbered("u", 16);
    let others = users.iter().map(|user| accounts(&[user])).collect();
    let expected = answers([("applied", 5), ("denied ACCOUNTS_PER_APP 6/6 app", 11)]);
    assert_eq!(at_once(&app, others).await, expected);
    app.counts([("app", "accounts 6; today 0")]).await;
}

pub async fn friendships_from_both_sides_count_once(app: App) {
    let both = (0..8).flat_map(|_| [befriend("a", &["b"]), befriend("b", &["a"])]).collect();
    assert_eq!(at_once(&app, both).await, answers([("applied", 1), ("held", 15)]));
    app.counts([("user a", "friends 1 groups 0"), ("user b", "friends 1 groups 0")]).await;
    // One task deletes while others add: whatever the order, both lists agree.
    let mixed = (0..8).flat_map(|_| [befriend("c", &["a"]), delete("c")]).collect();
    at_once(&app, mixed).await;
    let friends = app.held("user c").await;
    let expected = if friends == "friends 1 groups 0" { 2 } else { 1 };
    assert_eq!(app.held("user a").await, format!("friends {expected} groups 0"), "{friends}");
}

pub async fn two_apps_do_not_disturb_each_other(app: App) {
    let other = app.beside();
    other.limit(&LimitId::FriendsPerUser, 1).await;
    for one in [&app, &other] {
        one.script([
            (accounts(&["a", "b"]), "applied x2"),
            (follow("a", &["b"]), "applied"),
            (create("g", "Private", "a", &["b"]), "applied | applied"),
        ])
        .await;
    }
    other.script([(follow("a", &["c"]), "denied MY_FRIENDS 1/1 a")]).await;
    app.script([(follow("a", &["c"]), "applied"), (create("h", "Public", "b", &[]), "applied")])
        .await;
    other.script([(create("h", "Private", "c", &[]), "applied"), (delete("a"), "applied")]).await;
    app.counts([
        ("user a", "friends 2 groups 1"),
        ("group g", "Private 2"),
        ("group h", "Public 1"),
        ("app", "accounts 2; Private 1; Public 1; today 2: Private 1: Public 1"),
    ])
    .await;
    app.script([(dissolve("h"), "applied; released 1")]).await;
    other
        .counts([
            ("group g", "Private 1"),
            ("group h", "Private 1"),
            ("app", "accounts 1; Private 2; today 2: Private 2"),
        ])
        .await;
}

/// The number of runs of a race without a fixed winner.
const ROUNDS: usize = 12;

pub async fn of_many_dissolutions_of_one_group_one_is_applied(app: App) {
    let app = app.roomy().await;
    let names = numbered("u", 600);
    for _ in 0..ROUNDS {
        app.script([(create("g", "ChatRoom", "", &texts(&names)), "applied | applied x600")]).await;
        let answers = at_once(&app, (0..8).map(|_| dissolve("g")).collect()).await;
        let applied = answers.iter().filter(|(answer, _)| answer.starts_with("applied"));
        assert_eq!(applied.map(|(_, count)| count).sum::<usize>(), 1, "{answers:?}");
        let others = answers.iter().filter(|(answer, _)| answer.starts_with("not held"));
        assert_eq!(others.map(|(_, count)| count).sum::<usize>(), 7, "{answers:?}");
        let released = answers.iter().filter_map(|(answer, count)| {
            let (_, released) = answer.split_once("released ")?;
            Some(released.parse::<usize>().expect("a number") * count)
        });
        assert_eq!(released.sum::<usize>(), 600, "{answers:?}");
        app.counts([("group g", "error: group_not_found"), ("app", "accounts 0; today 0")]).await;
    }
}

pub async fn a_dissolved_large_creation_adds_no_member_to_the_next_group(app: App) {
    let app = app.roomy().await;
    let names = numbered("u", 600);
    for round in 0..ROUNDS {
        let (creating, large) = (app.clone(), create("g", "ChatRoom", "", &texts(&names)));
        let created = tokio::spawn(async move { creating.done(large).await });
        while !app.done(dissolve("g")).await.starts_with("applied") {}
        app.script([(create("g", "ChatRoom", "new", &[]), "applied")]).await;
        let created = created.await.expect("no task panics");
        let answers = ["applied | applied x600", "error: group_replaced"];
        assert!(answers.contains(&created.as_str()), "{round}: {created}");
        app.counts([
            ("group g", "ChatRoom 1"),
            ("user u0", "friends 0 groups 0"),
            ("user u599", "friends 0 groups 0"),
        ])
        .await;
        app.script([(dissolve("g"), "applied; released 1")]).await;
    }
}

pub async fn a_large_leave_during_a_dissolution_removes_no_member_of_the_next_group(app: App) {
    let app = app.roomy().await;
    let names = numbered("u", 600);
    // Named many times, so that there is time for a dissolution and a creation in between.
    let again = texts(&names).repeat(20);
    for round in 0..ROUNDS {
        app.script([(create("g", "ChatRoom", "a", &texts(&names)), "applied | applied x600")])
            .await;
        let (leaving, large) = (app.clone(), leave("g", &again));
        let left = tokio::spawn(async move { leaving.done(large).await });
        while app.held("user u0").await == "friends 0 groups 1" {
            tokio::task::yield_now().await;
        }
        app.done(dissolve("g")).await;
        app.script([(create("g", "ChatRoom", "a", &texts(&names)), "applied | applied x600")])
            .await;
        // Users who left before are out; the others are not removed from the later group.
        let left = left.await.expect("no task panics");
        assert!(left.starts_with("applied x"), "{round}: {left}");
        app.counts([("group g", "ChatRoom 601"), ("user u599", "friends 0 groups 1")]).await;
        app.script([(dissolve("g"), "applied; released 601")]).await;
    }
}
