//! Deadlines, schedules, unknown apps, and the fields of a violation.

use std::time::Duration;

use imquota::domain::decision::{Mode, Reason, Subject, Violation};
use imquota::domain::limit::{Bound, Limit, LimitId, Source};
use imquota::domain::schedule::{Schedule, Segment};
use imquota::domain::timeline::ServiceState;
use imquota::ledger::Operation;

use super::operations::{
    accounts, befriend, create, create_capped, delete, dissolve, follow, join, leave, unfriend,
    update,
};
use super::script::{App, before, endless, now, shown};
use crate::support::{group, user};

fn releases() -> [Operation; 5] {
    [unfriend("a", &["b"]), leave("g", &["b"]), update("g", Some(3)), dissolve("g"), delete("a")]
}

/// Takes one fact of every kind.
async fn furnish(app: &App) {
    app.script([
        (accounts(&["a"]), "applied"),
        (befriend("a", &["b"]), "applied"),
        (create("g", "Private", "a", &["b"]), "applied | applied"),
    ])
    .await;
}

async fn is_furnished(app: &App) {
    app.counts([
        ("app", "accounts 1; Private 1; today 1: Private 1"),
        ("user a", "friends 1 groups 1"),
        ("user b", "friends 1 groups 1"),
        ("group g", "Private 2"),
    ])
    .await;
}

pub async fn nothing_is_done_after_the_deadline(app: App) {
    furnish(&app).await;
    let mut late = app.clone();
    late.call.deadline = before(now(), Duration::from_secs(2));
    let takes = [
        accounts(&["b"]),
        befriend("a", &["c"]),
        create("h", "Private", "a", &[]),
        join("g", &["c"]),
    ];
    for operation in takes.into_iter().chain(releases()) {
        let what = format!("{operation:?}");
        assert_eq!(late.done(operation).await, "error: deadline_passed", "{what}");
    }
    is_furnished(&app).await;
}

pub async fn a_stopped_service_takes_nothing_and_releases(app: App) {
    furnish(&app).await;
    let mut limits = app.trial();
    limits.state = ServiceState::Stopped;
    app.put(&Schedule::from_segments(vec![endless(limits)]).expect("endless")).await;
    let stopped = "denied SERVICE_STOPPED 0/0 app";
    app.script([
        (accounts(&["a", "b"]), format!("held, {stopped}").as_str()),
        (befriend("a", &["b", "c"]), format!("held, {stopped}").as_str()),
        (follow("c", &["a"]), stopped),
        (create("h", "Private", "a", &["b"]), format!("{stopped} | denied").as_str()),
        (create("g", "Private", "a", &["c"]), format!("held | {stopped}").as_str()),
        (create("av", "AVChatRoom", "", &[]), stopped),
        (join("g", &["b", "c"]), format!("held, {stopped}").as_str()),
    ])
    .await;
    is_furnished(&app).await;
    let released = ["applied", "applied", "applied", "applied; released 1", "applied"];
    for (operation, expected) in releases().into_iter().zip(released) {
        assert_eq!(app.done(operation).await, expected);
    }
    app.counts([("app", "accounts 0; today 0")]).await;
}

pub async fn a_stopped_service_takes_nothing_however_far_the_limits(app: App) {
    let app = app.roomy().await;
    app.script([(create("g", "Public", "a", &[]), "applied")]).await;
    let mut limits = app.trial();
    limits.sold.clear();
    limits.state = ServiceState::Stopped;
    app.put(&Schedule::from_segments(vec![endless(limits)]).expect("endless")).await;
    let stopped = "denied SERVICE_STOPPED 0/0 app";
    app.script([(join("g", &["b"]), stopped), (join("g", &["a"]), "held")]).await;
    app.counts([("group g", "Public 1"), ("user b", "friends 0 groups 0")]).await;
}

pub async fn an_unknown_app_is_refused(app: App) {
    let app = app.beside();
    let mut refused = app.clone();
    refused.call.unknown_app = None;
    let takes = [
        accounts(&["a"]),
        befriend("a", &["b"]),
        create("g", "Private", "a", &[]),
        join("g", &["c"]),
    ];
    for operation in takes.into_iter().chain(releases()) {
        let what = format!("{operation:?}");
        assert_eq!(refused.done(operation).await, "error: unknown_app", "{what}");
    }
    refused.counts([("app", "error: unknown_app"), ("user a", "error: unknown_app")]).await;
    app.counts([("app", "accounts 0; today 0")]).await;
    app.limit(&LimitId::AccountsPerApp, 1).await;
    refused.script([(accounts(&["a", "b"]), "applied, denied ACCOUNTS_PER_APP 1/1 app")]).await;
}

pub async fn a_later_revision_of_the_schedule_counts(app: App) {
    let friends = |most| {
        let limits = app.trial_with(&LimitId::FriendsPerUser, most);
        Schedule::from_segments(vec![endless(limits)]).expect("endless")
    };
    app.put_revision(5, &friends(1)).await;
    app.script([(follow("a", &["b", "c"]), "applied, denied MY_FRIENDS 1/1 a")]).await;
    app.put_revision(4, &friends(9)).await;
    app.script([(follow("a", &["c"]), "denied MY_FRIENDS 1/1 a")]).await;
    app.put_revision(5, &friends(2)).await;
    app.script([(follow("a", &["c", "d"]), "applied, denied MY_FRIENDS 2/2 a")]).await;
    app.put_revision(5, &friends(2)).await;
    app.put_revision(6, &friends(1)).await;
    app.script([(follow("a", &["b", "d"]), "held, denied MY_FRIENDS 2/1 a")]).await;
    app.put_revision(u64::from(u32::MAX) + 1, &friends(3)).await;
    app.script([(follow("a", &["d"]), "applied")]).await;
}

pub async fn limits_change_by_themselves_when_their_time_comes(app: App) {
    let until = now() + Duration::from_millis(300);
    let first = Segment { until, limits: app.trial_with(&LimitId::FriendsPerUser, 1) };
    let then = endless(app.trial_with(&LimitId::FriendsPerUser, 2));
    app.put(&Schedule::from_segments(vec![first, then]).expect("in order")).await;
    app.script([(follow("a", &["b"]), "applied")]).await;
    loop {
        let answer = app.apply(follow("a", &["c"])).await.expect("a decision");
        let expected =
            if answer.decided_at < until { "denied MY_FRIENDS 1/1 a" } else { "applied" };
        assert_eq!(shown(&answer), expected, "at {:?} of {until:?}", answer.decided_at);
        if answer.decided_at >= until {
            break;
        }
    }
    app.script([(follow("a", &["d"]), "denied MY_FRIENDS 2/2 a")]).await;
}

pub async fn a_violation_names_limit_source_ceiling_and_type(app: App) {
    let sold =
        |limit| Bound { limit: Limit::Finite(limit), source: Source::Edition("trial".into()) };
    let violations = async |operation| {
        let answer = app.apply(operation).await.expect("a decision");
        assert_eq!(answer.limits, Some(app.trial()));
        let results = answer.whole.into_iter().chain(answer.items);
        results.flat_map(|result| result.violations).collect::<Vec<Violation>>()
    };
    let mine = Violation {
        reason: Reason::MyFriends,
        limit_id: LimitId::FriendsPerUser,
        subject: Subject::User(user("a")),
        used: 3,
        bound: sold(3),
        ceiling: Limit::Unlimited,
        group_type: None,
    };
    assert_eq!(violations(follow("a", &["b", "c", "d", "e"])).await, [mine]);
    // The cap of the group's type, and below that the group's own limit.
    let full = Violation {
        reason: Reason::MembersAtCreation,
        limit_id: LimitId::MembersPerGroup,
        subject: Subject::Group(group("g")),
        used: 4,
        bound: sold(4),
        ceiling: Limit::Finite(7),
        group_type: Some("Private".into()),
    };
    assert_eq!(
        violations(create("g", "Private", "a", &["b", "c", "d", "e"])).await,
        std::slice::from_ref(&full)
    );
    let own = Violation {
        subject: Subject::Group(group("h")),
        used: 1,
        bound: Bound { limit: Limit::Finite(1), source: Source::Group(group("h")) },
        ceiling: Limit::Finite(1),
        ..full
    };
    assert_eq!(violations(create_capped("h", "Private", "a", &["b"], Some(1))).await, [own]);
    for room in ["b1", "b2"] {
        app.script([(create(room, "BChatRoom", "", &[]), "applied")]).await;
    }
    let by_type = Bound { limit: Limit::Finite(2), source: Source::GroupType("BChatRoom".into()) };
    let of_type = Violation {
        reason: Reason::GroupsPerDay,
        limit_id: LimitId::GroupsPerDayOfType("BChatRoom".into()),
        subject: Subject::App,
        used: 2,
        bound: by_type,
        ceiling: Limit::Finite(2),
        group_type: Some("BChatRoom".into()),
    };
    let of_all = Violation {
        limit_id: LimitId::GroupsPerDay,
        used: 4,
        bound: Bound { limit: Limit::Finite(4), source: Source::App },
        ceiling: Limit::Finite(4),
        ..of_type.clone()
    };
    assert_eq!(violations(create("b3", "BChatRoom", "", &[])).await, [of_type, of_all]);
}

pub async fn a_reading_shows_the_schedule(app: App) {
    let began = now();
    let read = async || app.ledger.read(app.call.clone(), Subject::App).await.expect("a reading");
    let trial = read().await;
    assert_eq!(trial.schedule.at(trial.read_at), &app.trial());
    let until = began + Duration::from_secs(3600);
    let soon = Segment { until, limits: app.trial_with(&LimitId::FriendsPerUser, 7) };
    let schedule = Schedule::from_segments(vec![soon.clone(), endless(app.trial())]);
    app.put(&schedule.expect("in order")).await;
    let reading = read().await;
    assert_eq!(reading.schedule.at(reading.read_at), &soon.limits);
    assert_eq!(reading.schedule.next_change(reading.read_at), Some(until));
    assert_eq!(reading.schedule.at(until), &app.trial());
    // The store's clock may differ slightly from this process's.
    let slack = Duration::from_secs(2);
    assert!(reading.read_at + slack >= began && reading.read_at <= now() + slack);
}

pub async fn a_closed_store_returns_its_error(app: App) {
    furnish(&app).await;
    app.ledger.close().await;
    app.script([(accounts(&["b"]), "error: closing"), (delete("a"), "error: closing")]).await;
    app.counts([("app", "error: closing")]).await;
    let schedule = app.call.unknown_app.clone().expect("it is on trial");
    let put = app.ledger.put_schedule(&app.call.app, 1, &schedule).await;
    assert_eq!(put.map_err(|error| error.name()), Err("closing"));
}

const ALLOWANCE: LimitId = LimitId::GroupsAllowance;

pub async fn no_group_beyond_the_free_number_without_overage(app: App) {
    app.limit(&ALLOWANCE, 3).await;
    let full = "denied GROUPS_ALLOWANCE 3/3 app";
    app.script([
        (create("a", "Private", "u", &[]), "applied"),
        (create("b", "AVChatRoom", "", &[]), "applied"),
        (create("c", "Public", "u", &[]), "applied"),
        (create("d", "Public", "v", &["w"]), format!("{full} | denied").as_str()),
        (create("d", "BChatRoom", "", &[]), full),
        // Existing groups can be joined.
        (create("c", "Public", "v", &["w"]), "held | applied"),
        (join("a", &["w"]), "applied"),
        (dissolve("b"), "applied"),
        (create("d", "Public", "v", &["w"]), "applied | applied"),
        (create("e", "AVChatRoom", "", &[]), full),
    ])
    .await;
    // An edition that may run over has no such limit, and a lower limit removes nothing.
    let mut over = app.trial();
    over.sold.retain(|(id, _)| *id != ALLOWANCE);
    app.put(&Schedule::from_segments(vec![endless(over)]).expect("endless")).await;
    app.script([(create("e", "AVChatRoom", "", &[]), "applied")]).await;
    app.limit(&ALLOWANCE, 1).await;
    app.script([
        (
            create("f", "AVChatRoom", "", &[]),
            "denied groups_per_day 4/4 app + GROUPS_ALLOWANCE 4/1 app",
        ),
        (dissolve("e"), "applied"),
        (create("f", "AVChatRoom", "", &[]), "denied GROUPS_ALLOWANCE 3/1 app"),
    ])
    .await;
    app.counts([("app", "accounts 0; Private 1; Public 2; today 3: Private 1: Public 2")]).await;
    let violation = app.apply(create("g", "BChatRoom", "", &[])).await.expect("denied").whole;
    let violation = violation.expect("on the group").violations.pop().expect("the last of them");
    let source = Source::Edition("trial".into());
    let expected = Violation {
        reason: Reason::GroupsAllowance,
        limit_id: ALLOWANCE,
        subject: Subject::App,
        used: 3,
        bound: Bound { limit: Limit::Finite(1), source },
        // Independent of the number per type, which is a separate limit.
        ceiling: Limit::Unlimited,
        group_type: None,
    };
    assert_eq!(violation, expected);
}

pub async fn the_free_number_of_groups_is_a_limit_in_every_mode(app: App) {
    app.limit(&ALLOWANCE, 1).await;
    app.script([(create("a", "Private", "u", &[]), "applied")]).await;
    let full = "denied GROUPS_ALLOWANCE 1/1 app";
    let check = app.as_mode(Mode::CheckOnly);
    check.script([(create("b", "Public", "u", &["v"]), format!("{full} | denied").as_str())]).await;
    let shadow = app.as_mode(Mode::Shadow);
    let through = "applied GROUPS_ALLOWANCE 1/1 app | applied";
    shadow.script([(create("b", "Public", "u", &["v"]), through)]).await;
    app.as_mode(Mode::Force).script([(create("c", "AVChatRoom", "", &[]), "applied")]).await;
    app.script([(create("d", "Private", "u", &[]), "denied GROUPS_ALLOWANCE 3/1 app")]).await;
    app.limit(&ALLOWANCE, 4).await;
    check.script([(create("d", "Private", "u", &[]), "applied")]).await;
    app.script([(create("d", "Private", "u", &[]), "applied")]).await;
    let both = "denied groups_per_day 4/4 app + GROUPS_ALLOWANCE 4/4 app";
    app.script([(create("e", "Private", "v", &[]), both)]).await;
}

pub async fn the_last_free_groups_are_admitted_exactly_in_a_race(app: App) {
    let app = app.roomy().await;
    let mut limits = app.trial();
    limits.sold.retain(|(id, _)| *id == ALLOWANCE);
    for (_, bound) in &mut limits.sold {
        bound.limit = Limit::Finite(10);
    }
    app.put(&Schedule::from_segments(vec![endless(limits)]).expect("endless")).await;
    let types = ["Private", "Public", "ChatRoom", "AVChatRoom"];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..32 {
        let app = app.clone();
        let group = create(&format!("g{number}"), types[number % 4], "", &[]);
        tasks.spawn(async move { app.done(group).await });
    }
    let answers = tasks.join_all().await;
    let applied = answers.iter().filter(|answer| *answer == "applied").count();
    let denied = answers.iter().filter(|it| *it == "denied GROUPS_ALLOWANCE 10/10 app").count();
    assert_eq!((applied, denied), (10, 22), "{answers:?}");
}
