//! Threshold events at 70, 90 and 100 % of a limit, each once until usage fell five points below.
//!
//! A crossed threshold is written `members_per_group g 14/20 at 70`.

use std::time::Duration;

use imquota::domain::decision::{Mode, Subject};
use imquota::domain::limit::LimitId;
use imquota::domain::schedule::Schedule;
use imquota::domain::warning::Warning;
use imquota::ledger::Operation;
use imquota::ledger::reconcile::{ClaimedGroup, Comparison, ExpectedState, Repair};
use tokio::task::JoinSet;

use super::operations::{
    accounts, befriend, create, create_capped, delete, dissolve, follow, join, leave, numbered,
    texts,
};
use super::script::{App, before, endless, now};
use crate::support::{Rng, group, seed, user};

pub fn shown(warning: &Warning) -> String {
    let Warning { limit_id, used, limit, percent, .. } = warning;
    let subject = match &warning.subject {
        Subject::App => "app",
        Subject::User(id) => id.as_str(),
        Subject::Group(id) => id.as_str(),
    };
    format!("{limit_id} {subject} {used}/{limit} at {percent}")
}

impl App {
    /// An app whose only limit is that one.
    async fn only(&self, id: &LimitId, limit: u64) {
        let mut limits = self.trial_with(id, limit);
        limits.sold.retain(|(of, _)| of == id);
        self.put(&Schedule::from_segments(vec![endless(limits)]).expect("endless")).await;
    }

    async fn roomy_but(self, id: &LimitId, limit: u64) -> Self {
        let app = self.roomy().await;
        app.only(id, limit).await;
        app
    }

    /// The thresholds that an operation crosses.
    async fn warns(&self, operation: Operation) -> String {
        let answer = self.apply(operation).await.expect("an answer");
        let mut warnings: Vec<String> = answer.warnings.iter().map(shown).collect();
        warnings.sort_unstable();
        warnings.join(", ")
    }

    /// Applies the operations one after another; checks the thresholds of each against its text.
    async fn warned<const N: usize>(&self, lines: [(Operation, &str); N]) {
        for (number, (operation, expected)) in lines.into_iter().enumerate() {
            let what = format!("line {number}: {operation:.200?}");
            assert_eq!(self.warns(operation).await, expected, "{what}");
        }
    }

    /// A group with that number of members, within the app's only limit.
    async fn filled(&self, id: &str, members: usize) {
        let names = numbered("member", members);
        self.apply(create(id, "Public", "", &texts(&names))).await.expect("created");
    }
}

pub async fn the_free_number_of_groups_has_thresholds_like_other_limits(app: App) {
    let app = app.roomy_but(&LimitId::GroupsAllowance, 10).await;
    for number in 0..6 {
        app.warned([(create(&format!("g{number}"), "Private", "", &[]), "")]).await;
    }
    app.warned([
        (create("a", "Public", "", &[]), "groups_per_app app 7/10 at 70"),
        (create("a", "Public", "", &[]), ""),
        (create("b", "AVChatRoom", "", &[]), ""),
        (create("c", "ChatRoom", "", &[]), "groups_per_app app 9/10 at 90"),
        (dissolve("g0"), ""),
        (create("g0", "Private", "", &[]), "groups_per_app app 9/10 at 90"),
        (create("d", "ChatRoom", "", &[]), "groups_per_app app 10/10 at 100"),
    ])
    .await;
}

pub async fn each_threshold_is_crossed_once_on_the_way_up(app: App) {
    let app = app.roomy_but(&LimitId::GroupsPerUser, 20).await;
    for count in 1..=20 {
        let expected = match count {
            14 => "groups_per_user a 14/20 at 70",
            18 => "groups_per_user a 18/20 at 90",
            20 => "groups_per_user a 20/20 at 100",
            _ => "",
        };
        let operation = create(&format!("g{count}"), "Public", "a", &[]);
        assert_eq!(app.warns(operation).await, expected, "group {count}");
    }
    // Over the limit nothing grows, and held facts cross nothing.
    app.warned([(create("g21", "Public", "a", &[]), ""), (join("g3", &["a"]), "")]).await;
}

pub async fn a_threshold_is_crossed_again_after_usage_fell_five_points_below(app: App) {
    // One member is five points.
    let app = app.roomy_but(&LimitId::MembersPerGroup, 20).await;
    app.filled("g", 20).await;
    let [a, b, c, d] = ["member0", "member1", "member2", "member3"];
    app.warned([
        // 95 % is not below 95.
        (leave("g", &[a]), ""),
        (join("g", &[a]), ""),
        (leave("g", &[a, b]), ""),
        (join("g", &[a]), ""),
        (join("g", &[b]), "members_per_group g 20/20 at 100"),
        (leave("g", &[a, b, c]), ""),
        (join("g", &[a]), ""),
        (leave("g", &[a, d]), ""),
        (join("g", &[a]), ""),
        (join("g", &[b]), "members_per_group g 18/20 at 90"),
    ])
    .await;
    // Two of them have left already: 12 remain, and 13 are 65 %.
    let eight = numbered("member", 8);
    app.warned([
        (leave("g", &texts(&eight)), ""),
        (join("g", &["x1"]), ""),
        (join("g", &["x2"]), "members_per_group g 14/20 at 70"),
    ])
    .await;
}

pub async fn an_operation_over_several_thresholds_crosses_the_highest(app: App) {
    let app = app.roomy_but(&LimitId::MembersPerGroup, 20).await;
    let names = numbered("member", 20);
    app.warned([
        (create("g", "Public", "a", &texts(&names[..17])), "members_per_group g 18/20 at 90"),
        (join("g", &texts(&names)), "members_per_group g 20/20 at 100"),
        // The group's own limit is the lower one.
        (create_capped("h", "Public", "a", &["b"], Some(2)), "members_per_group h 2/2 at 100"),
    ])
    .await;
}

pub async fn every_usage_has_the_thresholds_of_its_own_limit(app: App) {
    let accounts_limited = app.clone().roomy_but(&LimitId::AccountsPerApp, 10).await;
    let names = numbered("user", 10);
    accounts_limited
        .warned([
            (accounts(&texts(&names[..6])), ""),
            (accounts(&texts(&names[..7])), "accounts_per_app app 7/10 at 70"),
            (accounts(&texts(&names)), "accounts_per_app app 10/10 at 100"),
        ])
        .await;
    let friends = app.beside().roomy_but(&LimitId::FriendsPerUser, 4).await;
    friends
        .warned([
            (befriend("a", &["b", "c"]), ""),
            (befriend("a", &["d"]), "friends_per_user a 3/4 at 70"),
            (befriend("e", &["a"]), "friends_per_user a 4/4 at 100"),
            (follow("f", &["b", "c", "d"]), "friends_per_user f 3/4 at 70"),
            // Only the user's own list grows, and a's is full.
            (follow("g", &["a"]), ""),
            (befriend("b", &["c", "d"]), "friends_per_user b 3/4 at 70"),
        ])
        .await;
    let rooms = LimitId::GroupsPerApp("AVChatRoom".into());
    let rooms = app.beside().beside().roomy_but(&rooms, 4).await;
    rooms
        .warned([
            (create("r1", "AVChatRoom", "a", &[]), ""),
            (create("r2", "AVChatRoom", "a", &[]), ""),
            (create("r3", "AVChatRoom", "a", &[]), "groups_per_app/AVChatRoom app 3/4 at 70"),
            (create("r4", "AVChatRoom", "a", &[]), "groups_per_app/AVChatRoom app 4/4 at 100"),
        ])
        .await;
}

pub async fn net_new_groups_of_a_day_have_thresholds(app: App) {
    // Four a day of all types in the small catalog.
    app.warned([
        (create("g1", "Private", "", &[]), ""),
        (create("g2", "Private", "", &[]), ""),
        (create("g3", "Private", "", &[]), "groups_per_day app 3/4 at 70"),
        (dissolve("g3"), ""),
        (create("g4", "Public", "", &[]), "groups_per_day app 3/4 at 70"),
        (create("g5", "Public", "", &[]), "groups_per_day app 4/4 at 100"),
    ])
    .await;
}

pub async fn denied_and_dry_run_calls_cross_no_threshold(app: App) {
    let app = app.roomy_but(&LimitId::MembersPerGroup, 10).await;
    app.filled("g", 6).await;
    let check = app.as_mode(Mode::CheckOnly);
    let seven = [(join("g", &["x"]), "")];
    check.warned(seven).await;
    app.warned([(join("g", &["x"]), "members_per_group g 7/10 at 70")]).await;
    let names = numbered("more", 5);
    app.as_mode(Mode::Shadow)
        .warned([(join("g", &texts(&names)), "members_per_group g 12/10 at 100")])
        .await;
    app.warned([(join("g", &["y"]), "")]).await;
    app.as_mode(Mode::Force).warned([(join("g", &["z"]), "")]).await;
}

pub async fn thresholds_follow_a_changed_limit(app: App) {
    let id = LimitId::MembersPerGroup;
    let app = app.roomy_but(&id, 20).await;
    app.filled("g", 10).await;
    app.only(&id, 14).await;
    app.warned([(join("g", &["a"]), "members_per_group g 11/14 at 70")]).await;
    app.only(&id, 40).await;
    app.warned([(join("g", &["b"]), "")]).await;
    let names = numbered("more", 16);
    app.warned([(join("g", &texts(&names)), "members_per_group g 28/40 at 70")]).await;
}

pub async fn imported_facts_cross_thresholds_with_the_next_take(app: App) {
    let app = app.roomy_but(&LimitId::MembersPerGroup, 20).await;
    let ids = app.ledger.fingerprints();
    let members = numbered("member", 17).into_iter().map(|name| ids.user(&user(name))).collect();
    let row = Some(ClaimedGroup { group_type: "Public".into(), max_members: None });
    let claim = ExpectedState::Group { group: ids.group(&group("g")), row, members };
    let comparison =
        Comparison { call: app.call.clone(), repair: Repair::Add, tracked_since: None };
    app.ledger.compare(&comparison, vec![claim]).await.expect("added");
    app.warned([(join("g", &["a"]), "members_per_group g 18/20 at 90")]).await;
}

pub async fn deleted_subjects_cross_thresholds_anew(app: App) {
    let app = app.roomy_but(&LimitId::MembersPerGroup, 4).await;
    let full = |owner: &str| create("g", "Private", owner, &["b", "c", "d"]);
    app.warned([
        (full("a"), "members_per_group g 4/4 at 100"),
        (dissolve("g"), ""),
        (full("a"), "members_per_group g 4/4 at 100"),
        (leave("g", &["a", "b", "c", "d"]), ""),
        (full("a"), "members_per_group g 4/4 at 100"),
        (delete("a"), ""),
        (join("g", &["a"]), "members_per_group g 4/4 at 100"),
    ])
    .await;
}

pub async fn a_race_crosses_each_threshold_once(app: App) {
    let app = app.roomy_but(&LimitId::MembersPerGroup, 20).await;
    app.filled("g", 1).await;
    let mut tasks = JoinSet::new();
    for number in 0..64 {
        let app = app.clone();
        tasks.spawn(async move { app.warns(join("g", &[&format!("racer{number}")])).await });
    }
    let mut warnings: Vec<String> = tasks.join_all().await;
    warnings.retain(|warning| !warning.is_empty());
    warnings.sort_unstable();
    let each = ["14/20 at 70", "18/20 at 90", "20/20 at 100"];
    assert_eq!(warnings, each.map(|count| format!("members_per_group g {count}")));
}

pub async fn a_race_of_one_users_groups_crosses_each_threshold_once(app: App) {
    let app = app.roomy_but(&LimitId::GroupsPerUser, 10).await;
    for number in 0..24 {
        app.apply(create(&format!("g{number}"), "Public", "", &[])).await.expect("created");
    }
    let mut tasks = JoinSet::new();
    for number in 0..24 {
        let app = app.clone();
        tasks.spawn(async move { app.warns(join(&format!("g{number}"), &["a"])).await });
    }
    let mut warnings: Vec<String> = tasks.join_all().await;
    warnings.retain(|warning| !warning.is_empty());
    warnings.sort_unstable();
    let each = ["10/10 at 100", "7/10 at 70", "9/10 at 90"];
    assert_eq!(warnings, each.map(|count| format!("groups_per_user a {count}")));
}

pub async fn each_admitted_user_crosses_thresholds_separately_and_once(app: App) {
    let app = app.roomy_but(&LimitId::GroupsPerUser, 4).await;
    let other = app.beside().roomy_but(&LimitId::GroupsPerUser, 4).await;
    let more = "groups_per_user b 3/4 at 70, groups_per_user c 3/4 at 70";
    app.warned([
        (create("g1", "Public", "a", &["b", "c"]), ""),
        (create("g2", "Public", "d", &["b", "c", "e"]), ""),
        // A repeated user crosses it once.
        (create("g3", "Public", "a", &["b", "c", "b", "e"]), more),
        (create("g4", "Public", "b", &["c"]), &more.replace("3/4 at 70", "4/4 at 100")),
    ])
    .await;
    // Another app's users of the same names have their own counts.
    other.warned([(create("g1", "Public", "b", &["c"]), "")]).await;
}

pub async fn net_new_groups_of_a_type_have_thresholds(app: App) {
    // Five BChatRooms a day, and at once, in the built-in catalog.
    let app = app.roomy_but(&LimitId::GroupsPerUser, 1000).await;
    for (number, percent) in [(1, ""), (2, ""), (3, ""), (4, "70"), (5, "100")] {
        let told = |what: &str| format!("{what}/BChatRoom app {number}/5 at {percent}");
        let expected = if percent.is_empty() {
            String::new()
        } else {
            [told("groups_per_app"), told("groups_per_day")].join(", ")
        };
        let operation = create(&format!("b{number}"), "BChatRoom", "", &[]);
        assert_eq!(app.warns(operation).await, expected);
    }
}

/// The armed thresholds: all at first, and each again five points below.
struct Armed([bool; 3]);

const THRESHOLDS: [usize; 3] = [70, 90, 100];

impl Armed {
    fn fall(&mut self, count: usize, limit: usize) {
        for (armed, threshold) in self.0.iter_mut().zip(THRESHOLDS) {
            *armed |= count * 100 < (threshold - 5) * limit;
        }
    }

    fn rise(&mut self, count: usize, limit: usize) -> Option<usize> {
        let reached = THRESHOLDS.iter().rposition(|threshold| count * 100 >= threshold * limit)?;
        let warns = self.0[reached];
        self.0[..=reached].fill(false);
        warns.then_some(THRESHOLDS[reached])
    }
}

pub async fn random_joins_and_leaves_cross_the_thresholds_of_a_plain_model(app: App) {
    const LIMIT: usize = 37;
    let seed = seed(21);
    let mut rng = Rng::new(seed);
    let app = app.roomy_but(&LimitId::MembersPerGroup, LIMIT as u64).await;
    // The owner stays, so that the group is not reclaimed.
    app.apply(create("g", "Public", "owner", &[])).await.expect("created");
    let (mut members, mut armed, mut warned) = (Vec::<String>::new(), Armed([true; 3]), 0);
    for round in 0..250 {
        let many = 1 + rng.below(6);
        let up = rng.percent(if round / 25 % 2 == 0 { 75 } else { 30 });
        if up {
            let room = LIMIT - 1 - members.len();
            let new: Vec<_> = (0..many.min(room)).map(|n| format!("u{round}.{n}")).collect();
            if new.is_empty() {
                continue;
            }
            members.extend(new.iter().cloned());
            let count = members.len() + 1;
            let expected = armed.rise(count, LIMIT).map_or_else(String::new, |percent| {
                warned += 1;
                format!("members_per_group g {count}/{LIMIT} at {percent}")
            });
            let got = app.warns(join("g", &texts(&new))).await;
            assert_eq!(got, expected, "round {round}, IMQUOTA_SEED={seed}");
        } else {
            let gone = members.split_off(members.len().saturating_sub(many));
            if !gone.is_empty() {
                assert_eq!(app.warns(leave("g", &texts(&gone))).await, "");
            }
            armed.fall(members.len() + 1, LIMIT);
        }
    }
    assert!(warned > 5, "only {warned} warnings, IMQUOTA_SEED={seed}");
}

pub async fn no_threshold_is_crossed_after_the_deadline(mut app: App) {
    app.only(&LimitId::MembersPerGroup, 2).await;
    app.call.deadline = before(now(), Duration::from_secs(60));
    assert_eq!(app.done(create("g", "Private", "a", &["b"])).await, "error: deadline_passed");
    app.call.deadline = now() + Duration::from_secs(60);
    app.warned([(create("g", "Private", "a", &["b"]), "members_per_group g 2/2 at 100")]).await;
}
