//! Comparison of facts with the exported state and repairs, beside live traffic.
//!
//! An expected state is written `accounts a b`, `no accounts a`, `friends a: b c`,
//! `group g Private: a b`, `group g Private of 5: a`, or `no group g`; a difference is written
//! `member g a missing here, repaired`. Users have one letter, and groups more.

use std::collections::BTreeSet;
use std::time::Duration;

use imquota::ledger::LedgerError;
use imquota::ledger::reconcile::{
    ClaimedGroup, Comparison, Difference, ExpectedState, Fact, Repair, Section, Tracking,
};
use imquota::store::Fingerprints;

use super::operations::{
    accounts, befriend, create, create_capped, delete, dissolve, follow, join, leave, numbered,
    texts, unfollow, unfriend, update,
};
use super::script::App;
use crate::support::{group, user};

const KEPT_FOR: Duration = Duration::from_secs(60 * 60);
const GROUPS: [&str; 6] = ["g1", "g2", "g3", "g4", "room", "lounge"];

struct Names(Fingerprints);

impl Names {
    fn users(&self, names: &str) -> Vec<u64> {
        names.split_whitespace().map(|name| self.0.user(&user(name))).collect()
    }

    fn user(&self, name: &str) -> u64 {
        self.users(name)[0]
    }

    fn claim(&self, text: &str) -> ExpectedState {
        let (head, list) = text.split_once(": ").unwrap_or((text.trim_end_matches(':'), ""));
        let words: Vec<&str> = head.split_whitespace().collect();
        match words.as_slice() {
            ["accounts", ..] => {
                ExpectedState::Accounts { users: self.users(&text[9..]), exist: true }
            }
            ["no", "accounts", ..] => {
                ExpectedState::Accounts { users: self.users(&text[12..]), exist: false }
            }
            ["friends", of] => {
                ExpectedState::Friends { user: self.user(of), friends: self.users(list) }
            }
            ["group", id, kind, own @ ..] => {
                let max_members = match own {
                    ["of", "none"] => Some(None),
                    ["of", number] => Some(Some(number.parse().expect("a number"))),
                    _ => None,
                };
                let row = Some(ClaimedGroup { group_type: (*kind).into(), max_members });
                ExpectedState::Group {
                    group: self.0.group(&group(*id)),
                    row,
                    members: self.users(list),
                }
            }
            ["no", "group", id] => {
                let group = self.0.group(&group(*id));
                ExpectedState::Group { group, row: None, members: Vec::new() }
            }
            _ => panic!("no expected state: {text}"),
        }
    }

    fn user_of(&self, key: u64) -> char {
        let mut all = ('a'..='z').filter(|name| self.user(&name.to_string()) == key);
        all.next().expect("one of the users")
    }

    fn group_of(&self, key: u64) -> &'static str {
        let mut all = GROUPS.into_iter().filter(|name| self.0.group(&group(*name)) == key);
        all.next().expect("one of the groups")
    }

    fn show(&self, difference: &Difference) -> String {
        let fact = match difference.fact {
            Fact::Account(key) => format!("account {}", self.user_of(key)),
            Fact::Friend(key, friend) => {
                format!("friend {} {}", self.user_of(key), self.user_of(friend))
            }
            Fact::Group(key) => format!("group {}", self.group_of(key)),
            Fact::Member(key, of) => {
                format!("member {} {}", self.group_of(key), self.user_of(of))
            }
        };
        format!("{fact} {}, {}", difference.side.name(), difference.outcome.name())
    }
}

impl App {
    async fn try_compare(
        &self,
        repair: Repair,
        tracking: Option<Tracking>,
        claims: &[&str],
    ) -> Result<BTreeSet<String>, LedgerError> {
        let names = Names(self.ledger.fingerprints());
        let tracked_since = tracking.map(|tracking| tracking.since);
        let comparison = Comparison { call: self.call.clone(), repair, tracked_since };
        let claims = claims.iter().map(|text| names.claim(text)).collect();
        let differences = self.ledger.compare(&comparison, claims).await?;
        Ok(differences.iter().map(|it| names.show(it)).collect())
    }

    /// Compares; checks the differences.
    pub(super) async fn compare(
        &self,
        repair: Repair,
        tracking: Option<Tracking>,
        claims: &[&str],
        expected: &[&str],
    ) {
        let found = self.try_compare(repair, tracking, claims).await.expect("compared");
        let expected: BTreeSet<_> = expected.iter().map(|&text| text.to_owned()).collect();
        assert_eq!(found, expected);
    }

    pub(super) async fn track(&self) -> Tracking {
        self.ledger.track(&self.call.app, KEPT_FOR).await.expect("changes are tracked")
    }

    async fn subjects(&self, section: Section) -> BTreeSet<u64> {
        let (mut all, mut from) = (BTreeSet::new(), None);
        loop {
            let page = self.ledger.subjects(&self.call, section, from).await.expect("a page");
            all.extend(page.keys);
            from = page.next;
            if from.is_none() {
                return all;
            }
        }
    }
}

/// Some facts of every kind.
async fn some_facts(app: &App) {
    app.script([
        (accounts(&["a", "b", "c"]), "applied x3"),
        (befriend("a", &["b"]), "applied"),
        (follow("a", &["c"]), "applied"),
        (create("g1", "Private", "a", &["b"]), "applied | applied"),
        (create_capped("g2", "Public", "a", &[], Some(3)), "applied"),
        (create("lounge", "Lounge", "b", &[]), "applied"),
    ])
    .await;
}

const AGREEING: [&str; 6] = [
    "accounts a b c",
    "friends a: b c",
    "friends b: a",
    "group g1 Private of none: a b",
    "group g2 Public of 3: a",
    "group lounge Lounge: b",
];

const DIFFERING: [&str; 8] = [
    "accounts a d",
    "no accounts b c",
    "friends a: c d",
    "friends b:",
    "group g1 Private: b c",
    "group g2 Public of none: a",
    "group g3 Private of 4: d",
    "no group lounge",
];

const DIFFERENCES: [&str; 13] = [
    "account b missing there",
    "account c missing there",
    "account d missing here",
    "friend a b missing there",
    "friend a d missing here",
    "friend b a missing there",
    "group g2 with another max_members",
    "group g3 missing here",
    "group lounge missing there",
    "member g1 a missing there",
    "member g1 c missing here",
    "member g3 d missing here",
    "member lounge b missing there",
];

fn each(outcome: &str) -> Vec<String> {
    DIFFERENCES.iter().map(|text| format!("{text}, {outcome}")).collect()
}

pub async fn differences_are_found_on_either_side(app: App) {
    some_facts(&app).await;
    app.compare(Repair::No, None, &AGREEING, &[]).await;
    for _ in 0..2 {
        app.compare(Repair::No, None, &DIFFERING, &texts(&each("found"))).await;
    }
    app.compare(Repair::No, None, &AGREEING, &[]).await;
}

pub async fn a_repair_makes_the_facts_equal_to_the_export(app: App) {
    some_facts(&app).await;
    let tracking = Some(app.track().await);
    app.compare(Repair::Both, tracking, &DIFFERING, &texts(&each("repaired"))).await;
    app.compare(Repair::Both, tracking, &DIFFERING, &[]).await;
    // Neither repaired additions nor repaired removals count for today's groups.
    app.counts([
        ("app", "accounts 2; Private 2; Public 1; today 3: Private 1: Public 1: Lounge 1"),
        ("user a", "friends 2 groups 1"),
        ("user b", "friends 0 groups 1"),
        ("user c", "friends 0 groups 1"),
        ("user d", "friends 0 groups 1"),
        ("group g1", "Private 2"),
        ("group g2", "Public 1"),
        ("group g3", "Private 1 of 4"),
        ("group lounge", "error: group_not_found"),
    ])
    .await;
    // Repaired facts are equivalent to taken ones.
    app.script([
        (delete("d"), "applied"),
        (delete("c"), "applied"),
        (unfollow("a", &["c", "d"]), "not held x2"),
        (dissolve("g1"), "applied; released 1"),
    ])
    .await;
    app.counts([("user a", "friends 0 groups 1"), ("user b", "friends 0 groups 0")]).await;
}

pub async fn an_import_only_adds_and_ignores_limits(app: App) {
    some_facts(&app).await;
    let claims = ["accounts d e f g h", "friends b: d", "group g2 Public of 4: b c d e f g h"];
    let added = [
        "account d missing here, repaired",
        "account e missing here, repaired",
        "account f missing here, repaired",
        "account g missing here, repaired",
        "account h missing here, repaired",
        "friend b d missing here, repaired",
        "group g2 with another max_members, repaired",
        "member g2 b missing here, repaired",
        "member g2 c missing here, repaired",
        "member g2 d missing here, repaired",
        "member g2 e missing here, repaired",
        "member g2 f missing here, repaired",
        "member g2 g missing here, repaired",
        "member g2 h missing here, repaired",
    ];
    app.compare(Repair::Add, None, &claims, &added).await;
    app.compare(Repair::Add, None, &claims, &[]).await;
    app.counts([
        ("group g2", "Public 8 of 4"),
        ("user b", "friends 2 groups 2"),
        (
            "app",
            "accounts 8; Private 1; Public 1; Lounge 1; today 3: Private 1: Public 1: Lounge 1",
        ),
    ])
    .await;
    app.script([(join("g2", &["z"]), "denied MEMBERS_PER_GROUP 8/4 g2")]).await;
}

pub async fn facts_touched_by_live_traffic_are_left_alone(app: App) {
    some_facts(&app).await;
    let tracking = Some(app.track().await);
    // Held or not held: the export may be older than the take, or newer than the release.
    app.script([
        (accounts(&["b"]), "held"),
        (delete("d"), "not held"),
        (befriend("a", &["b"]), "held"),
        (unfollow("a", &["d"]), "not held"),
        (join("g1", &["a"]), "held"),
        (leave("g1", &["c"]), "not held"),
        (update("g2", Some(3)), "held"),
        (dissolve("g3"), "not held"),
    ])
    .await;
    app.compare(
        Repair::Both,
        tracking,
        &DIFFERING,
        &[
            "account b missing there, left alone",
            "account c missing there, repaired",
            "account d missing here, left alone",
            "friend a b missing there, left alone",
            "friend a d missing here, left alone",
            "friend b a missing there, left alone",
            "group g2 with another max_members, left alone",
            "group g3 missing here, left alone",
            "group lounge missing there, repaired",
            "member g1 a missing there, left alone",
            "member g1 c missing here, left alone",
            "member g3 d missing here, left alone",
            "member lounge b missing there, repaired",
        ],
    )
    .await;
}

pub async fn single_joins_far_from_every_limit_are_left_alone(app: App) {
    let app = app.roomy().await;
    app.script([(create("g1", "Public", "a", &["b", "c"]), "applied | applied x2")]).await;
    let tracking = Some(app.track().await);
    app.script([(join("g1", &["b"]), "held"), (join("g1", &["d"]), "applied")]).await;
    let expected = [
        "member g1 b missing there, left alone",
        "member g1 c missing there, repaired",
        "member g1 d missing there, left alone",
    ];
    app.compare(Repair::Both, tracking, &["group g1 Public: a"], &expected).await;
}

pub async fn a_touched_group_keeps_its_members(app: App) {
    app.script([
        (create("g1", "Private", "a", &["b"]), "applied | applied"),
        (create("g2", "Private", "a", &[]), "applied"),
        (create("g3", "Private", "a", &[]), "applied"),
        (create("g4", "Private", "c", &[]), "applied"),
    ])
    .await;
    let tracking = Some(app.track().await);
    app.script([
        (join("g1", &["b"]), "held"),
        (leave("g2", &["a"]), "applied; reclaimed"),
        (create("g3", "Private", "", &[]), "held"),
        (delete("c"), "applied"),
    ])
    .await;
    let claims =
        ["no group g1", "group g2 Private: a", "group g3 Private: b", "group g4 Private: c"];
    app.compare(
        Repair::Both,
        tracking,
        &claims,
        &[
            "group g1 missing there, left alone",
            "member g1 a missing there, repaired",
            "member g1 b missing there, left alone",
            "group g2 missing here, left alone",
            "member g2 a missing here, left alone",
            "member g3 a missing there, left alone",
            "member g3 b missing here, left alone",
            "group g4 missing here, left alone",
            "member g4 c missing here, left alone",
        ],
    )
    .await;
}

pub async fn denied_and_dry_run_calls_are_not_tracked(app: App) {
    use imquota::domain::decision::Mode;
    app.script([
        (create("g1", "Private", "a", &["b", "c", "d"]), "applied | applied x3"),
        (befriend("a", &["b"]), "applied"),
    ])
    .await;
    let tracking = Some(app.track().await);
    app.script([(join("g1", &["e"]), "denied MEMBERS_PER_GROUP 4/4 g1")]).await;
    let check = app.as_mode(Mode::CheckOnly);
    check
        .script([
            (join("g1", &["a"]), "held"),
            (befriend("a", &["b"]), "held"),
            (accounts(&["a"]), "applied"),
            (create("g2", "Private", "a", &[]), "applied"),
        ])
        .await;
    let claims = ["accounts a", "friends a:", "group g1 Private: b c d e", "group g2 Private:"];
    app.compare(
        Repair::Both,
        tracking,
        &claims,
        &[
            "account a missing here, repaired",
            "friend a b missing there, repaired",
            "group g2 missing here, repaired",
            "member g1 a missing there, repaired",
            "member g1 e missing here, repaired",
        ],
    )
    .await;
}

pub async fn both_ways_are_tracked_and_one_way_alone(app: App) {
    let tracking = Some(app.track().await);
    app.script([(unfriend("a", &["b"]), "not held"), (unfollow("c", &["d"]), "not held")]).await;
    let claims = ["friends a: b", "friends b: a", "friends c: d", "friends d: c"];
    app.compare(
        Repair::Both,
        tracking,
        &claims,
        &[
            "friend a b missing here, left alone",
            "friend b a missing here, left alone",
            "friend c d missing here, left alone",
            "friend d c missing here, repaired",
        ],
    )
    .await;
}

pub async fn a_group_of_another_type_is_reported_and_left_alone(app: App) {
    some_facts(&app).await;
    let claims = ["group g1 Public: c"];
    let expected = ["group g1 of another type, found"];
    app.compare(Repair::Add, None, &claims, &expected).await;
    app.counts([("group g1", "Private 2")]).await;
}

pub async fn members_that_are_not_tracked_are_not_compared(app: App) {
    app.script([(create("room", "AVChatRoom", "a", &[]), "applied")]).await;
    let claims = ["group room AVChatRoom: a b c"];
    app.compare(Repair::No, None, &claims, &[]).await;
    let tracking = app.track().await;
    app.script([(join("room", &["a"]), "applied")]).await;
    app.compare(
        Repair::Both,
        Some(tracking),
        &["no group room"],
        &["group room missing there, repaired"],
    )
    .await;
}

pub async fn restarted_tracking_is_a_new_one(app: App) {
    assert_eq!(app.ledger.tracking(&app.call.app).await, Ok(None));
    let first = app.track().await;
    assert_eq!(first.until - first.since, KEPT_FOR);
    assert_eq!(app.ledger.tracking(&app.call.app).await, Ok(Some(first)));
    app.script([(accounts(&["a"]), "applied")]).await;
    let second = app.track().await;
    assert!(second.since > first.since);
    for claims in [["no accounts a"], ["friends a: b"], ["group g1 Private: a"]] {
        let error = app.try_compare(Repair::Both, Some(first), &claims).await;
        assert_eq!(error, Err(LedgerError::NotTracked(first.since)), "{claims:?}");
    }
    // Earlier tracked changes are discarded.
    let expected = ["account a missing there, repaired"];
    app.compare(Repair::Both, Some(second), &["no accounts a"], &expected).await;
}

pub async fn an_unknown_app_is_refused_here_too(app: App) {
    let mut app = app.beside();
    app.call.unknown_app = None;
    let error = app.try_compare(Repair::Add, None, &["accounts a"]).await;
    assert_eq!(error, Err(LedgerError::UnknownApp(app.call.app.clone())));
}

pub async fn a_scan_visits_every_subject(app: App) {
    let app = app.roomy().await;
    let users = numbered("user", 90);
    for users in users.chunks(45) {
        app.done(accounts(&texts(users))).await;
    }
    app.script([(befriend("a", &texts(&users)), "applied x90")]).await;
    for id in numbered("group", 30) {
        app.script([(create(&id, "Public", "a", &[]), "applied")]).await;
    }
    // Subjects of another app are not included.
    let other = app.beside();
    other.script([(accounts(&["z"]), "applied"), (befriend("y", &["z"]), "applied")]).await;
    let ids = app.ledger.fingerprints();
    let users: BTreeSet<u64> = users.into_iter().map(|name| ids.user(&user(name))).collect();
    let groups = numbered("group", 30).into_iter().map(|name| ids.group(&group(name)));
    assert_eq!(app.subjects(Section::Accounts).await, users);
    let mut with_friends = users;
    with_friends.insert(ids.user(&user("a")));
    assert_eq!(app.subjects(Section::Friends).await, with_friends);
    assert_eq!(app.subjects(Section::Groups).await, groups.collect());
}

pub async fn large_groups_and_lists_are_compared_whole(app: App) {
    let app = app.roomy().await;
    let names = numbered("user", 700);
    let ids = app.ledger.fingerprints();
    let users: Vec<u64> = names.iter().map(|name| ids.user(&user(name.clone()))).collect();
    let row = Some(ClaimedGroup { group_type: "ChatRoom".into(), max_members: None });
    let claims = |users: &[u64]| {
        let (group, row) = (ids.group(&group("g1")), row.clone());
        let friends =
            ExpectedState::Friends { user: ids.user(&user("a")), friends: users.to_vec() };
        vec![friends, ExpectedState::Group { group, row, members: users.to_vec() }]
    };
    let compare = async |repair, users: &[u64]| {
        let comparison = Comparison { call: app.call.clone(), repair, tracked_since: None };
        app.ledger.compare(&comparison, claims(users)).await.expect("compared").len()
    };
    assert_eq!(compare(Repair::Add, &users).await, 700 + 1 + 700);
    app.counts([("group g1", "ChatRoom 700"), ("user a", "friends 700 groups 0")]).await;
    assert_eq!(compare(Repair::No, &users[350..]).await, 350 + 350);
    assert_eq!(compare(Repair::Both, &users[350..]).await, 350 + 350);
    app.counts([("group g1", "ChatRoom 350"), ("user a", "friends 350 groups 0")]).await;
    app.counts([("user user0", "friends 0 groups 0"), ("user user350", "friends 0 groups 1")])
        .await;
}
