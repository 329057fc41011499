//! Changes of apps, on the embedded store and on Redis: idempotence, differing retries, dates,
//! refunds, a change that is interrupted between two parts of an app, the audit log, and previews.

mod group_types;
mod overrun_scan;
mod paced;
mod recorded;
mod unreadable;

use std::sync::Arc;

use crate::support::redis::{Cluster, Standalone};
use crate::support::{Place, Service, actor, app, order, request_id, user};
use imquota::clock::{Clock as _, SystemClock};
use imquota::domain::audit::Head;
use imquota::domain::decision::Subject;
use imquota::domain::id::{AppId, UserId};
use imquota::domain::time::Timestamp;
use imquota::engine::admin::{
    AdminError, Change, ChangeKind, ChangeResult, EntryFilter, PreviewChange, PreviewRequest,
};
use imquota::ledger::Operation;
use tokio::task::JoinSet;

async fn open(place: &Place) -> Service {
    Service::open_any(place, Arc::new(SystemClock), imquota::catalog::builtin()).await
}

/// Both kinds of store, each with the guard that keeps it alive.
fn places() -> (Standalone, Vec<Place>) {
    let redis = Standalone::start();
    let places = vec![Place::Memory, Place::Redis(redis.url())];
    (redis, places)
}

fn buy(what: &str, months: u32) -> ChangeKind {
    ChangeKind::Purchase { order: order(what), months, price_fen: None }
}

fn refund(purchase: &str) -> ChangeKind {
    ChangeKind::Refund { purchase: request_id(purchase) }
}

async fn error(service: &Service, app: &AppId, request: &str, what: ChangeKind) -> String {
    service.change(app, request, what).await.expect_err("refused")
}

/// An app with an edition and an add-on.
async fn registered(service: &Service, app: &AppId) {
    service.register(app, "r0").await.expect("registered");
    service.buy(app, "r1", order("professional"), 2).await.expect("bought");
    service.buy(app, "r2", order("members-2000"), 1).await.expect("bought");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_returns_the_first_result_and_a_changed_one_names_the_difference() {
    let (_redis, places) = places();
    for place in &places {
        let (service, app) = (open(place).await, app("repeated"));
        registered(&service, &app).await;
        let first = service.change(&app, "r3", refund("r2")).await.expect("refunded");
        for (request, what, made) in [
            ("r0", ChangeKind::Create, ChangeResult::App),
            ("r1", buy("professional", 2), ChangeResult::Purchase(0)),
            ("r2", buy("members-2000", 1), ChangeResult::Purchase(1)),
            ("r3", refund("r2"), ChangeResult::Refund(0)),
        ] {
            let again = service.change(&app, request, what).await.expect("as before");
            assert_eq!((again.made, &again.view.record), (made, &first.view.record));
        }
        let again = service.change(&app, "r3", refund("r2")).await.expect("as before");
        assert_eq!(again.remaining, first.remaining);
        for (request, what, reported) in [
            ("r1", buy("professional", 3), "months was 2 and is 3 now"),
            ("r2", buy("members-6000", 1), "add_on_id was members-2000 and is members-6000 now"),
            ("r3", refund("r1"), "purchase_request_id was r2 and is r1 now"),
            ("r1", refund("r2"), "used before for edition \"professional\" for 2 months"),
            ("r3", buy("renew", 1), "used before for the refund of purchase \"r2\""),
            ("r0", buy("renew", 1), "used before for the registration of the app"),
        ] {
            let error = error(&service, &app, request, what).await;
            assert!(error.contains(reported), "{error}");
        }
        let error = error(&service, &app, "r9", ChangeKind::Create).await;
        assert!(error.contains("registered already"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_can_be_backdated_to_the_last_one_and_never_postdated() {
    let (_redis, places) = places();
    for place in &places {
        let (service, app) = (open(place).await, app("dated"));
        service.register(&app, "r0").await.expect("registered");
        let day = std::time::Duration::from_secs(24 * 60 * 60);
        let now = SystemClock.now();
        let ago =
            |days: u32| Timestamp::from_millis(now.as_millis() - i64::from(days) * 86_400_000);
        let dated = |request: &str, at, what| Change {
            app: app.clone(),
            request_id: request_id(request),
            effective_at: Some(at),
            what,
        };
        let change = |it| service.administration.change(it, actor());
        let sold = change(dated("r1", ago(10), buy("professional", 1))).await.expect("sold");
        assert_eq!(sold.view.valid[0].from, ago(10));
        let early = change(dated("r2", ago(11), buy("members-2000", 1))).await;
        let early = early.expect_err("before the last one").to_string();
        assert!(early.contains("effective_at") && early.contains("last purchase"), "{early}");
        let late = change(dated("r2", now + day, buy("members-2000", 1))).await;
        assert!(late.expect_err("ahead").to_string().contains("lies in the future"));
        let other = change(dated("r1", ago(9), buy("professional", 1))).await;
        let other = other.expect_err("another instant").to_string();
        assert!(other.contains("effective_at was"), "{other}");
        // More than five days after the purchase: eleven days of it are used.
        let refunded = service.change(&app, "r3", refund("r1")).await.expect("refunded");
        let figures = refunded.remaining.expect("figures");
        assert_eq!((figures.days_used, figures.in_full), (11, false));
        assert_eq!(refunded.view.record.sales.refunds[0].refund_fen, figures.refund_fen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_counts_for_the_next_decision_of_every_sidecar() {
    let redis = Cluster::start();
    let place = Place::Redis(redis.url());
    let (one, other, app) = (open(&place).await, open(&place).await, app("refunded"));
    registered(&one, &app).await;
    let create = |id: &str| Operation::CreateAccounts { users: vec![user(id)] };
    assert!(!other.enforce(&app, create("before")).await.denied());
    one.change(&app, "r3", refund("r1")).await.expect("refunded");
    let denied = other.enforce(&app, create("after")).await;
    assert_eq!(denied.items[0].violations[0].im_code.number, 60_020, "{denied:?}");
    one.buy(&app, "r4", order("professional"), 1).await.expect("bought anew");
    assert!(!other.enforce(&app, create("after")).await.denied());
}

/// A change that reaches one part of an app and not the next is shown as pending, and a retry or a
/// publishing round of any sidecar finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_change_is_shown_and_finished() {
    for repeated in [true, false] {
        interrupted_change(repeated).await;
    }
}

async fn interrupted_change(repeated: bool) {
    let redis = Standalone::start();
    let (service, app) = (open(&Place::Redis(redis.url())).await, app("half-way"));
    let other = open(&Place::Redis(redis.url())).await;
    service.register(&app, "r0").await.expect("registered");
    other.administration.publish_all().await.expect("all are published");
    let in_force = service.administration.app(&app).await.expect("registered");
    assert!(!in_force.pending);
    // Limits are stored under three keys; the last one is made unwritable.
    let keys = redis.server.cli(&["KEYS", "q1{*}limits"]);
    let last = keys.lines().find(|key| key.contains("/groups}")).expect("limits of groups");
    redis.server.cli(&["RENAME", last, "aside"]);
    redis.server.cli(&["SET", last, "no hash"]);
    let befriend = |count: usize| Operation::AddFriends {
        user: user("a"),
        friends: (0..count).map(|number| user(format!("friend {number}"))).collect(),
        one_way: true,
    };
    let cut_off = error(&service, &app, "r1", buy("professional", 1)).await;
    assert!(cut_off.contains("recorded, but not in force yet"), "{cut_off}");
    // Friends have the new limits, and groups cannot be counted at all.
    assert!(!service.enforce(&app, befriend(21)).await.denied());
    redis.server.cli(&["DEL", last]);
    redis.server.cli(&["RENAME", "aside", last]);
    let meanwhile = service.administration.app(&app).await.expect("registered");
    assert!(meanwhile.pending && meanwhile.record.sales.purchases.len() == 1);
    assert!(is_listed_as_pending(&service).await);
    if repeated {
        service.buy(&app, "r1", order("professional"), 1).await.expect("finished");
    } else {
        // On another sidecar, which has published all apps before.
        let again = other.administration.publish_all().await;
        again.expect("finished");
    }
    let after = service.administration.app(&app).await.expect("registered");
    assert!(!after.pending && after.record.sales.purchases.len() == 1);
    assert!(!is_listed_as_pending(&service).await);
}

/// The pending flag of the only listed app.
async fn is_listed_as_pending(service: &Service) -> bool {
    let list = service.administration.apps(None, 10).await.expect("listed");
    assert_eq!((list.views.len(), list.unreadable.len()), (1, 0), "{list:?}");
    list.views[0].pending
}

/// Reads the whole log page by page, and verifies its chain.
async fn verified(service: &Service, page: usize) -> Result<(Vec<String>, Head), String> {
    let (mut reported, mut head, mut after) = (Vec::new(), Head::default(), 0);
    loop {
        let filter = EntryFilter::default();
        let found = service.administration.entries(after, page, &filter).await;
        let found = found.map_err(|error| error.to_string())?;
        for entry in found.entries {
            entry.verify(&head).map_err(|fault| fault.to_string())?;
            reported.push(format!("{} {}", entry.event.action, entry.event.request_id));
            head = entry.head;
        }
        let Some(next) = found.next else { return Ok((reported, head)) };
        after = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_logged_once_with_caller_and_state_before_and_after() {
    let (_redis, places) = places();
    for place in &places {
        let (service, app) = (open(place).await, app("logged"));
        registered(&service, &app).await;
        error(&service, &app, "r3", buy("members-6000", 1)).await;
        service.change(&app, "r4", refund("r2")).await.expect("refunded");
        service.change(&app, "r4", refund("r2")).await.expect("as before");
        let wanted = ["CreateApp r0", "PurchaseEdition r1", "GrantAddOn r2", "RefundPurchase r4"];
        for page in [1, 3, 100] {
            let (reported, head) = verified(&service, page).await.expect("untouched");
            assert_eq!((reported, head.number), (wanted.map(str::to_owned).to_vec(), 4));
        }
        let filter = EntryFilter { action: Some("GrantAddOn".into()), ..EntryFilter::default() };
        let found = service.administration.entries(0, 10, &filter).await.expect("found");
        let event = &found.entries[0].event;
        assert_eq!((event.actor.clone(), found.entries.len()), (actor(), 1));
        assert_eq!(event.request, r#"{"add_on_id":"members-2000","months":1}"#);
        assert!(event.before.contains(r#""add_ons":[]"#), "{}", event.before);
        assert!(event.after.contains(r#""add_ons":["members-2000"]"#), "{}", event.after);
        let absent = EntryFilter { actor: Some("absent".into()), ..EntryFilter::default() };
        let none = service.administration.entries(0, 10, &absent).await.expect("read");
        assert!(none.entries.is_empty() && none.next.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_with_the_log_is_detected() {
    const LOG: &str = "q1{directory}audit";
    let redis = Standalone::start();
    let (service, app) = (open(&Place::Redis(redis.url())).await, app("tampered"));
    registered(&service, &app).await;
    let entry = |index: &str| redis.server.cli(&["LINDEX", LOG, index]);
    let second = entry("1");
    let changed = second.replace("professional", "platinum");
    assert_ne!(second, changed);
    redis.server.cli(&["LSET", LOG, "1", &changed]);
    let reported = verified(&service, 100).await.expect_err("changed");
    assert_eq!(reported, "entry 2 was changed");
    redis.server.cli(&["LSET", LOG, "1", &second]);
    verified(&service, 100).await.expect("the original log");
    redis.server.cli(&["LREM", LOG, "1", &second]);
    let reported = verified(&service, 100).await.expect_err("removed");
    assert!(reported.contains("entry 3 follows entry 1"), "{reported}");
}

/// Two sidecars change the same app and others concurrently: no change is lost, and the log has
/// all of them in one chain.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_several_sidecars_make_one_chain() {
    let redis = Standalone::start();
    let place = Place::Redis(redis.url());
    let sidecars = [Arc::new(open(&place).await), Arc::new(open(&place).await)];
    let shared = app("shared");
    sidecars[0].register(&shared, "r0").await.expect("registered");
    sidecars[0].buy(&shared, "r1", order("professional"), 1).await.expect("bought");
    let mut changes = JoinSet::new();
    for number in 0..40 {
        let (service, shared) = (sidecars[number % 2].clone(), shared.clone());
        changes.spawn(async move {
            let own = app(&format!("own-{number}"));
            service.register(&own, "r0").await.expect("registered");
            let renewal = format!("renewal {number}");
            service.buy(&shared, &renewal, order("renew"), 1).await.expect("renewed");
        });
    }
    changes.join_all().await;
    let (reported, head) = verified(&sidecars[1], 7).await.expect("one chain");
    assert_eq!((reported.len(), head.number), (82, 82));
    let view = sidecars[1].administration.app(&shared).await.expect("there");
    assert_eq!(view.record.sales.purchases.len(), 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_the_later_result_and_changes_nothing() {
    let (_redis, places) = places();
    for place in &places {
        let (service, app) = (open(place).await, app("previewed"));
        registered(&service, &app).await;
        let friends: Vec<UserId> = (0..30).map(|number| user(format!("f {number}"))).collect();
        let befriend = Operation::AddFriends { user: user("a"), friends, one_way: true };
        service.enforce(&app, befriend).await;
        let before = service.administration.app(&app).await.expect("there");
        let preview = |change, at| {
            let users = vec![user("a"), user("b")];
            let question = PreviewRequest { change, at, users, ..PreviewRequest::default() };
            let (administration, app) = (service.administration.clone(), app.clone());
            async move { administration.preview(&app, question).await }
        };
        let purchase = PreviewChange::Purchase(order("groups-per-user-400"), 2, None);
        let shown = preview(Some(purchase), None).await.expect("shown");
        assert_eq!((shown.price_fen, shown.overruns().len()), (100_000, 0));
        let refused =
            preview(Some(PreviewChange::Purchase(order("members-6000"), 1, None)), None).await;
        assert!(matches!(refused, Err(AdminError::Refused(_))), "{refused:?}");
        // After the edition's grace the service stops, and the limits are those of the edition.
        let stopped = preview(None, Some(before.schedule.segments()[0].until)).await;
        assert_eq!(stopped.expect("shown").schedule_now, before.schedule);
        let refunded = preview(Some(PreviewChange::Refund(request_id("r2"))), None).await;
        let refunded = refunded.expect("shown");
        assert_eq!(service.administration.app(&app).await.expect("there").record, before.record);
        let really = service.change(&app, "r9", refund("r2")).await.expect("refunded");
        let figures = really.remaining.expect("figures");
        assert_eq!(refunded.price_fen, -figures.refund_fen);
        let limits = |schedule: &imquota::domain::schedule::Schedule, at| schedule.at(at).clone();
        assert_eq!(
            limits(&refunded.schedule_then, refunded.now),
            limits(&really.view.schedule, really.view.at)
        );
    }
}

/// Users and groups over the limits of Trial, after a refund of the edition.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_names_every_given_user_and_group_that_would_be_over() {
    let mut catalog = imquota::catalog::builtin();
    catalog.validity.after_grace = imquota::domain::catalog::AfterGrace::DefaultEdition;
    let service = Service::open_any(&Place::Memory, Arc::new(SystemClock), catalog).await;
    let app = app("over");
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    let accounts: Vec<UserId> = (0..150).map(|number| user(format!("u {number}"))).collect();
    for chunk in accounts.chunks(100) {
        service.enforce(&app, Operation::CreateAccounts { users: chunk.to_vec() }).await;
    }
    for (name, count) in [("popular", 21), ("fine", 20)] {
        let friends = accounts[..count].to_vec();
        let befriend = Operation::AddFriends { user: user(name), friends, one_way: true };
        service.enforce(&app, befriend).await;
    }
    let refund = PreviewChange::Refund(request_id("r1"));
    let users = vec![user("popular"), user("fine")];
    let question = PreviewRequest { change: Some(refund), users, ..PreviewRequest::default() };
    let shown = service.administration.preview(&app, question).await;
    let over: Vec<_> = shown.expect("shown").overruns();
    let reported: Vec<_> =
        over.iter().map(|it| (it.subject.clone(), it.limit_id.to_string(), it.used)).collect();
    assert_eq!(
        reported,
        [
            (Subject::App, "accounts_per_app".to_owned(), 150),
            (Subject::User(user("popular")), "friends_per_user".to_owned(), 21),
        ]
    );
    assert_eq!((over[0].limit, over[1].limit), (100, 20));
}
