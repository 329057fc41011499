//! Interrupted operations over Redis: the error of a failing step in the middle, retries that
//! finish them, no execution after the deadline, and the operations that work without memory.

mod replaced;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use crate::support::redis::{Server, Standalone};
use crate::support::{Place, Service, app, group, order, request_id, user};
use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::decision::{Mode, Outcome, Subject};
use imquota::domain::id::{AppId, UserId};
use imquota::engine::Request;
use imquota::engine::admin::{PreviewChange, PreviewRequest};
use imquota::ledger::{LedgerError, Operation, TakeOptions};
use imquota::store::StoreError;

async fn open(redis: &Standalone) -> Service {
    let (place, clock) = (Place::Redis(redis.url()), Arc::new(SystemClock));
    Service::open_any(&place, clock, imquota::catalog::builtin()).await
}

async fn service(redis: &Standalone, app: &AppId) -> Service {
    let service = open(redis).await;
    service.register(app, "r0").await.expect("registered");
    service.buy(app, "r1", order("professional"), 1).await.expect("bought");
    service.buy(app, "r2", order("members-2000"), 1).await.expect("bought");
    service
}

fn join(name: &str, users: &[UserId]) -> Operation {
    Operation::JoinGroup { group: group(name), users: users.to_vec() }
}

fn create(name: &str) -> Operation {
    Operation::CreateGroup {
        group: group(name),
        group_type: "Public".into(),
        owner: None,
        members: Vec::new(),
        max_members: None,
    }
}

/// Makes every script fail that counts the user's groups; returns the changed key.
async fn break_groups_of(service: &Service, server: &Server, app: &AppId, id: &UserId) -> String {
    service.enforce(app, create("other")).await;
    service.enforce(app, join("other", std::slice::from_ref(id))).await;
    let key = server.cli(&["KEYS", "q1{*/groups}u*"]);
    assert_eq!(key.lines().count(), 1, "{key}");
    server.cli(&["SET", &key, "no set"]);
    key
}

fn assert_unfinished(error: &LedgerError) {
    assert!(matches!(error, LedgerError::Unfinished(_)), "{error:?}");
    let reported = error.to_string();
    assert!(reported.contains("a part of the operation may have been done"), "{reported}");
    assert!(error.can_retry());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_a_failed_second_step_is_finished_by_a_retry() {
    let (redis, app) = (Standalone::start(), app("steps"));
    let service = service(&redis, &app).await;
    let users: Vec<UserId> = (0..300).map(|number| user(format!("user {number}"))).collect();
    let key = break_groups_of(&service, &redis.server, &app, &users[280]).await;
    service.enforce(&app, create("big")).await;
    let cut_off = service.apply(&app, Mode::Enforce, join("big", &users)).await;
    assert_unfinished(&cut_off.expect_err("the second step fails"));
    let members = Subject::Group(group("big"));
    assert_eq!(service.used(&app, members.clone(), "members_per_group").await, 256);
    // Nothing is written in this mode, whatever step fails.
    let asked = service.apply(&app, Mode::CheckOnly, join("big", &users)).await;
    let error = asked.expect_err("the second step fails");
    assert!(!matches!(error, LedgerError::Unfinished(_)), "{error:?}");

    redis.server.cli(&["DEL", &key]);
    let repeated = service.enforce(&app, join("big", &users)).await;
    let outcomes = |range: std::ops::Range<usize>, outcome| {
        repeated.items[range].iter().all(|item| item.outcome == outcome)
    };
    assert!(outcomes(0..256, Outcome::AlreadyHeld) && outcomes(256..300, Outcome::Applied));
    assert_eq!(service.used(&app, members, "members_per_group").await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_deletion_keeps_the_account_and_is_finished_by_a_retry() {
    let (redis, app) = (Standalone::start(), app("steps"));
    let service = service(&redis, &app).await;
    let victim = user("victim");
    service.enforce(&app, Operation::CreateAccounts { users: vec![victim.clone()] }).await;
    let (friends, one_way) = (vec![user("friend")], false);
    service.enforce(&app, Operation::AddFriends { user: victim.clone(), friends, one_way }).await;
    let key = break_groups_of(&service, &redis.server, &app, &victim).await;
    let delete = Operation::DeleteAccount { user: victim.clone() };
    let cut_off = service.apply(&app, Mode::Enforce, delete.clone()).await;
    assert_unfinished(&cut_off.expect_err("the second step fails"));
    let friend = Subject::User(user("friend"));
    assert_eq!(service.used(&app, friend, "friends_per_user").await, 0);
    assert_eq!(service.used(&app, Subject::App, "accounts_per_app").await, 1);

    redis.server.cli(&["DEL", &key]);
    let repeated = service.enforce(&app, delete).await;
    assert_eq!(repeated.whole.map(|ruling| ruling.outcome), Some(Outcome::Applied));
    assert_eq!(service.used(&app, Subject::App, "accounts_per_app").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_during_its_dissolution_is_not_over_its_limit() {
    let (redis, app) = (Standalone::start(), app("steps"));
    let service = service(&redis, &app).await;
    let users: Vec<UserId> = (0..300).map(|number| user(format!("user {number}"))).collect();
    let over = async || {
        let change = Some(PreviewChange::Refund(request_id("r2")));
        let question = PreviewRequest { change, overrun_scan: true, ..PreviewRequest::default() };
        let preview = service.administration.preview(&app, question).await.expect("shown");
        let counts = preview.overrun_counts.expect("asked for");
        counts.iter().map(|it| (it.limit, it.subjects, it.highest_used)).collect::<Vec<_>>()
    };
    service.enforce(&app, create("first")).await;
    service.enforce(&app, join("first", &users)).await;
    let record = redis.server.cli(&["KEYS", "q1{*/groups}g*"]);
    service.enforce(&app, create("second")).await;
    service.enforce(&app, join("second", &users)).await;
    assert_eq!(over().await, [(200, 2, 300)]);
    // The state after the first step of a dissolution.
    redis.server.cli(&["SET", &record, "!- Public"]);
    assert_eq!(over().await, [(200, 1, 300)]);
    let deadline = SystemClock.now() + Duration::from_secs(5);
    let late = join("first", &[user("late")]);
    let late = Request {
        app: app.clone(),
        mode: Mode::Enforce,
        take: TakeOptions::default(),
        deadline,
        operation: late,
    };
    let refused = service.engine.apply(late).await.expect_err("the group cannot be joined");
    assert_eq!(refused, LedgerError::GroupNotFound(group("first")));
    let dissolve = Operation::DissolveGroup { group: group("first") };
    assert_eq!(service.enforce(&app, dissolve).await.members_released, 300);
    assert_eq!(over().await, [(200, 1, 300)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_reaches_the_server_after_its_deadline_does_nothing() {
    let (redis, app) = (Standalone::start(), app("late"));
    let service = service(&redis, &app).await;
    service.enforce(&app, create("g")).await;
    redis.server.stop();
    let deadline = SystemClock.now() + Duration::from_millis(300);
    let late = Request {
        app: app.clone(),
        mode: Mode::Enforce,
        take: TakeOptions::default(),
        deadline,
        operation: join("g", &[user("late")]),
    };
    let lost = service.engine.apply(late).await.expect_err("the server hangs");
    assert!(matches!(lost, LedgerError::Store(StoreError::Unavailable(_))), "{lost:?}");
    redis.server.resume();
    // This call follows the late one on the same connection.
    let members = Subject::Group(group("g"));
    assert_eq!(service.used(&app, members, "members_per_group").await, 0);
    let refused = redis.server.info("commandstats", "cmdstat_evalsha").expect("calls");
    assert!(refused.contains("failed_calls=0"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_during_a_dissolution_does_not_change_the_next_group() {
    let (redis, app) = (Standalone::start(), app("dissolved"));
    let service = Arc::new(service(&redis, &app).await);
    // A creation during a dissolution finishes the latter; of many concurrent ones some come late.
    for round in 0..40 {
        let name = format!("g{round}");
        service.enforce(&app, create(&name)).await;
        let users: Vec<UserId> = (0..20).map(|number| user(format!("old {number}"))).collect();
        service.enforce(&app, join(&name, &users)).await;
        let dissolve = Operation::DissolveGroup { group: group(name.as_str()) };
        let mut calls = tokio::task::JoinSet::new();
        let (dissolver, of) = (service.clone(), app.clone());
        let dissolved = tokio::spawn(async move { dissolver.enforce(&of, dissolve).await });
        for number in 0..8 {
            let (service, app, name) = (service.clone(), app.clone(), name.clone());
            calls.spawn(async move {
                let new = Operation::CreateGroup {
                    group: group(name.as_str()),
                    group_type: "Public".into(),
                    owner: Some(user(format!("new {number}"))),
                    members: Vec::new(),
                    max_members: None,
                };
                service.enforce(&app, new).await
            });
        }
        let created = calls.join_all().await;
        let dissolved = dissolved.await.expect("no panic");
        assert_eq!(dissolved.whole.map(|ruling| ruling.outcome), Some(Outcome::Applied));
        // Owners of creations before the dissolution were released; all others are members.
        let first = created.iter().filter(|decision| {
            decision.whole.as_ref().is_some_and(|whole| whole.outcome == Outcome::Applied)
        });
        let first = first.count();
        let after = dissolved.decided_at;
        let later = created.iter().filter(|decision| decision.decided_at > after).count();
        let members = Subject::Group(group(name.as_str()));
        let report = service.engine.usage(app.clone(), members, service.deadline()).await;
        let held = report.map_or(0, |report| report.usages[0].used);
        assert!(usize::try_from(held).expect("a count") >= later, "{round}: {held} of {later}");
        assert!(first <= 2, "{round}: created {first} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_a_sidecar_starts_and_releases_and_takes_nothing() {
    let (redis, app) = (Standalone::start(), app("short"));
    let first = service(&redis, &app).await;
    first.enforce(&app, create("g")).await;
    first.enforce(&app, join("g", &[user("a"), user("b")])).await;
    first.close().await;
    redis.server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let second = open(&redis).await;
    let refused = second.apply(&app, Mode::Enforce, join("g", &[user("c")])).await;
    let refused = refused.expect_err("there is no memory");
    assert!(
        matches!(&refused, LedgerError::Store(StoreError::Refused(why)) if why.contains("OOM")),
        "{refused:?}"
    );
    let leave = Operation::LeaveGroup { group: group("g"), users: vec![user("a")] };
    let left = second.enforce(&app, leave).await;
    assert_eq!(left.items[0].outcome, Outcome::Applied);
    second.buy(&app, "r3", order("renew"), 1).await.expect_err("nothing is recorded");
}
