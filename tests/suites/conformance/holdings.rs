//! Scans over the usage of all users and groups of an app.
//!
//! Usage is written `friends 2`, `groups 1` or `Private 2 of 5`.

use std::collections::BTreeMap;
use std::time::Duration;

use imquota::ledger::LedgerError;
use imquota::ledger::holdings::{UsageCount, UsageScope};
use imquota::ledger::reconcile::{ClaimedGroup, Comparison, ExpectedState, Repair};
use imquota::store::StoreError;

use super::operations::{
    accounts, befriend, create, create_capped, dissolve, follow, leave, numbered, texts, unfriend,
};
use super::script::{App, before, now};
use crate::support::{group, user};

fn shown(held: &UsageCount) -> String {
    match held {
        UsageCount::Friends(friends) => format!("friends {friends}"),
        UsageCount::Groups(groups) => format!("groups {groups}"),
        UsageCount::Members { group_type, members, max_members } => {
            let own = max_members.map_or(String::new(), |max| format!(" of {max}"));
            format!("{group_type} {members}{own}")
        }
    }
}

impl App {
    /// The usage of each subject, by fingerprint.
    async fn holdings(&self, of: UsageScope) -> BTreeMap<u64, String> {
        let (mut all, mut from) = (BTreeMap::new(), None);
        loop {
            let page = self.ledger.holdings(&self.call, of, from).await.expect("a page");
            all.extend(page.each.iter().map(|it| (it.key, shown(&it.held))));
            from = page.next;
            if from.is_none() {
                return all;
            }
        }
    }

    /// Checks that exactly these subjects, by name, have usage.
    async fn hold<const N: usize>(&self, of: UsageScope, expected: [(&str, &str); N]) {
        let ids = self.ledger.fingerprints();
        let key = |name: &str| match of {
            UsageScope::UsersWithFriends | UsageScope::UsersInGroups => ids.user(&user(name)),
            UsageScope::Groups => ids.group(&group(name)),
        };
        let expected = expected.map(|(name, held)| (key(name), held.to_owned()));
        assert_eq!(self.holdings(of).await, BTreeMap::from(expected), "{of:?}");
    }

    /// Imports a group with members, without limits.
    async fn import(&self, group_type: &str, id: &str, members: &[u64]) {
        let comparison =
            Comparison { call: self.call.clone(), repair: Repair::Add, tracked_since: None };
        let row = Some(ClaimedGroup { group_type: group_type.into(), max_members: None });
        let group = self.ledger.fingerprints().group(&group(id));
        let claim = ExpectedState::Group { group, row, members: members.to_vec() };
        self.ledger.compare(&comparison, vec![claim]).await.expect("added");
    }

    fn users(&self, count: usize) -> Vec<u64> {
        let ids = self.ledger.fingerprints();
        numbered("user", count).into_iter().map(|name| ids.user(&user(name))).collect()
    }
}

pub async fn a_scan_visits_all_subjects_with_their_usage(app: App) {
    for of in [UsageScope::UsersWithFriends, UsageScope::UsersInGroups, UsageScope::Groups] {
        app.hold(of, []).await;
    }
    app.script([
        (accounts(&["a", "b", "z"]), "applied x3"),
        (create("gone", "Private", "d", &[]), "applied"),
        (dissolve("gone"), "applied; released 1"),
        (befriend("a", &["b", "d"]), "applied x2"),
        (follow("a", &["c"]), "applied"),
        (create("g1", "Private", "a", &["b", "d"]), "applied | applied x2"),
        (create_capped("g2", "Public", "a", &[], Some(3)), "applied"),
        (create("lounge", "Lounge", "b", &["e"]), "applied | applied"),
        (create("room", "AVChatRoom", "a", &[]), "applied"),
    ])
    .await;
    // Subjects of another app, and subjects without usage, are not included.
    let other = app.beside();
    other
        .script([
            (befriend("a", &["y"]), "applied"),
            (create("g1", "Public", "x", &["y"]), "applied | applied"),
            (create("g9", "Public", "a", &[]), "applied"),
        ])
        .await;
    app.script([(unfriend("a", &["d"]), "applied"), (leave("g1", &["d"]), "applied")]).await;
    app.hold(UsageScope::UsersWithFriends, [("a", "friends 2"), ("b", "friends 1")]).await;
    app.hold(UsageScope::UsersInGroups, [("a", "groups 2"), ("b", "groups 1")]).await;
    let groups = [
        ("g1", "Private 2"),
        ("g2", "Public 1 of 3"),
        ("lounge", "Lounge 2"),
        ("room", "AVChatRoom 0"),
    ];
    app.hold(UsageScope::Groups, groups).await;
    other.hold(UsageScope::UsersWithFriends, [("a", "friends 1"), ("y", "friends 1")]).await;
}

/// More subjects than one page of a store.
pub async fn a_scan_of_a_large_app_is_complete(app: App) {
    let app = app.roomy().await;
    let (users, ids) = (app.users(5000), app.ledger.fingerprints());
    app.import("ChatRoom", "big", &users).await;
    let groups = numbered("group", 300);
    for (number, id) in groups.iter().enumerate() {
        app.import("Public", id, &users[..number % 3]).await;
    }
    let names = numbered("user", 700);
    app.script([(befriend("a", &texts(&names)), "applied x700")]).await;

    let mut friends: BTreeMap<u64, String> =
        users[..700].iter().map(|key| (*key, "friends 1".to_owned())).collect();
    friends.insert(ids.user(&user("a")), "friends 700".to_owned());
    assert_eq!(app.holdings(UsageScope::UsersWithFriends).await, friends);
    let mut joined: BTreeMap<u64, String> =
        users.iter().map(|key| (*key, "groups 1".to_owned())).collect();
    // Of every three groups two have the first user, and one has the second user.
    joined.insert(users[0], "groups 201".to_owned());
    joined.insert(users[1], "groups 101".to_owned());
    assert_eq!(app.holdings(UsageScope::UsersInGroups).await, joined);
    let mut existing: BTreeMap<u64, String> = groups
        .iter()
        .enumerate()
        .map(|(number, id)| (ids.group(&group(id.as_str())), format!("Public {}", number % 3)))
        .collect();
    existing.insert(ids.group(&group("big")), "ChatRoom 5000".to_owned());
    assert_eq!(app.holdings(UsageScope::Groups).await, existing);
}

pub async fn a_group_is_whole_or_missing_while_it_is_dissolved(app: App) {
    let app = app.roomy().await;
    app.import("ChatRoom", "big", &app.users(3000)).await;
    app.import("Public", "stays", &[]).await;
    let ids = app.ledger.fingerprints();
    let (big, stays) = (ids.group(&group("big")), ids.group(&group("stays")));
    let watch = async {
        loop {
            let mut seen = app.holdings(UsageScope::Groups).await;
            assert_eq!(seen.remove(&stays).as_deref(), Some("Public 0"));
            let Some(held) = seen.remove(&big) else { return };
            assert_eq!(held, "ChatRoom 3000");
        }
    };
    let (dissolved, ()) = tokio::join!(app.done(dissolve("big")), watch);
    assert_eq!(dissolved, "applied; released 3000");
    app.hold(UsageScope::UsersInGroups, []).await;
}

pub async fn no_scan_runs_after_the_deadline(mut app: App) {
    app.call.deadline = before(now(), Duration::from_secs(60));
    for of in [UsageScope::UsersWithFriends, UsageScope::UsersInGroups, UsageScope::Groups] {
        let refused = app.ledger.holdings(&app.call, of, None).await;
        assert_eq!(refused, Err(LedgerError::Store(StoreError::DeadlinePassed)), "{of:?}");
    }
}
