//! Statements in a store with a fake clock: a final one never changes, is issued once by any number
//! of sidecars, and its month accepts no further figures.

use std::sync::Arc;

use crate::support::moved_clock::MovedClock;
use crate::support::redis::Server;
use crate::support::{ManualClock, Place, Service, actor, app, order, request_id, user};
use imquota::directory::statement::HashedStatement;
use imquota::domain::billing::Item;
use imquota::domain::calendar::Zone;
use imquota::domain::catalog::Catalog;
use imquota::domain::decision::Mode;
use imquota::domain::id::AppId;
use imquota::domain::metering::{Login, MeterOutcome};
use imquota::domain::month::Month;
use imquota::domain::time::Timestamp;
use imquota::engine::admin::{AdminError, Change, ChangeKind, ChangeResult, EntryFilter};
use tokio::task::JoinSet;

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
/// 2019-08-01 00:00 in Shanghai.
const AUGUST: i64 = 1_564_588_800_000;
/// 2019-09-01 00:00 in Shanghai.
const SEPTEMBER: i64 = AUGUST + 31 * DAY;
/// The instant at which the statement of August becomes final.
const FINAL: i64 = SEPTEMBER + 2 * DAY;

fn month(text: &str) -> Month {
    text.parse().expect("a month")
}

async fn open(place: &Place, clock: &Arc<ManualClock>) -> Arc<Service> {
    let catalog = imquota::catalog::builtin();
    Arc::new(Service::open_any(place, clock.clone(), catalog).await)
}

async fn of(service: &Service, app: &AppId, of: &str) -> Result<HashedStatement, AdminError> {
    service.administration.statement(app, Some(month(of))).await
}

/// The statement after a run of the issuer.
async fn issued(service: &Service, app: &AppId, month: &str) -> HashedStatement {
    service.administration.issue_due().await.expect("issued");
    let sealed = of(service, app, month).await.expect("a statement");
    assert!(sealed.statement.is_final, "{month}");
    sealed
}

/// Records logins; returns their outcomes.
async fn log_in(
    service: &Service,
    app: &AppId,
    users: std::ops::Range<usize>,
    at: i64,
) -> Vec<MeterOutcome> {
    let at = Some(Timestamp::from_millis(at));
    let logins = users.map(|number| Login { user: user(format!("u{number}")), at }).collect();
    let deadline = service.deadline();
    let metered = service.engine.record_logins(app.clone(), Mode::Enforce, logins, deadline).await;
    metered.expect("metered").outcomes
}

async fn change_at(service: &Service, app: &AppId, id: &str, what: ChangeKind, at: i64) -> String {
    let effective_at = Some(Timestamp::from_millis(at));
    let change = Change { app: app.clone(), request_id: request_id(id), effective_at, what };
    match service.administration.change(change, actor()).await {
        Ok(_) => "done".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Checks that it stays final if another catalog has a later final day, or a zone in which the
/// month is not over.
async fn stays_final_under_other_catalogs(one: &Service, other: &Service, first: &HashedStatement) {
    for (final_day, zone) in [(28, "Asia/Shanghai"), (3, "Pacific/Honolulu"), (1, "Asia/Tokyo")] {
        let mut moved = imquota::catalog::builtin();
        moved.postpaid.final_day = final_day;
        moved.zone = Zone::named(zone).expect("a zone");
        for service in [one, other] {
            let changed = service.administration.change_catalog(moved.clone()).await;
            changed.expect("the catalog has all sold items");
            let shown = of(service, &app("billed"), "2019-08").await.expect("a statement");
            assert_eq!(shown, *first, "{final_day} {zone}");
        }
    }
    for service in [one, other] {
        let builtin = imquota::catalog::builtin();
        service.administration.change_catalog(builtin).await.expect("the original catalog");
    }
}

fn add_on() -> ChangeKind {
    ChangeKind::Purchase { order: order("members-2000"), months: 1, price_fen: None }
}

/// The whole life of a statement. `one` and `other` are sidecars on one store.
async fn a_final_statement_never_changes(
    (one, other): (Arc<Service>, Arc<Service>),
    clock: &ManualClock,
) {
    let app = app("billed");
    clock.set(AUGUST + HOUR);
    one.register(&app, "r0").await.expect("registered");
    one.buy(&app, "r1", order("professional"), 12).await.expect("bought");
    log_in(&one, &app, 0..10, AUGUST + HOUR).await;
    let running = of(&other, &app, "2019-08").await.expect("a statement").statement;
    assert!(!running.is_final && running.days.len() == 1 && running.days[0].figures.dau == 10);
    assert_eq!(running.total_fen, 12 * 99_900);

    // Late logins count until it is final.
    clock.set(FINAL - 1);
    log_in(&other, &app, 5..25, AUGUST + 20 * DAY).await;
    let running = of(&one, &app, "2019-08").await.expect("a statement").statement;
    assert!(!running.is_final && running.days[20].figures.dau == 20);
    let dated_back = |id| change_at(&one, &app, id, add_on(), SEPTEMBER - HOUR);
    assert_eq!(dated_back("r2").await, "done");

    clock.set(FINAL);
    // It is too late, even without any read before.
    let late = log_in(&one, &app, 30..31, SEPTEMBER - HOUR).await;
    assert_eq!(late, [MeterOutcome::TooLate]);
    // A read issues nothing.
    for service in [&one, &other] {
        assert!(!of(service, &app, "2019-08").await.expect("a statement").statement.is_final);
    }
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let (service, app) =
            (if number % 2 == 0 { one.clone() } else { other.clone() }, app.clone());
        tasks.spawn(async move { issued(&service, &app, "2019-08").await });
    }
    let all = tasks.join_all().await;
    let first = all[0].clone();
    assert_eq!(first.statement.total_fen, 12 * 99_900 + 50_000);
    assert!(all.iter().all(|sealed| sealed.json == first.json), "all are the same");
    let issued = EntryFilter { action: Some("IssueStatement".into()), ..EntryFilter::default() };
    let entries = one.administration.entries(0, 10, &issued).await.expect("entries").entries;
    assert!(entries.len() == 1 && entries[0].event.after.contains(&first.hash), "{entries:?}");
    let is_pending = one.administration.app(&app).await.expect("the app").pending;
    assert!(!is_pending, "the limits follow the record");

    stays_final_under_other_catalogs(&one, &other, &first).await;

    // Later events do not change it.
    let late = log_in(&one, &app, 100..200, AUGUST + 20 * DAY).await;
    assert!(late.iter().all(|outcome| *outcome == MeterOutcome::TooLate), "{late:?}");
    let closed = dated_back("r3").await;
    assert!(closed.contains("2019-08 is closed"), "{closed}");
    let retention = ChangeKind::SetRetention { days: 30 };
    let closed = change_at(&one, &app, "r4", retention.clone(), SEPTEMBER - HOUR).await;
    assert!(closed.contains("2019-08 is closed"), "{closed}");
    assert_eq!(change_at(&one, &app, "r4", retention, SEPTEMBER).await, "done");
    clock.set(FINAL + 200 * DAY);
    one.administration.issue_due().await.expect("issued");
    other.administration.issue_due().await.expect("nothing is left");
    let again = of(&other, &app, "2019-08").await.expect("a statement");
    assert_eq!(again, first);
    let september = of(&one, &app, "2019-09").await.expect("a statement").statement;
    let history = september.lines.iter().find(|line| line.item == Item::MessageHistory);
    assert!(history.is_some_and(|line| line.description.contains("30 days")));
    let entries = one.administration.entries(0, 100, &issued).await.expect("entries").entries;
    // August to February, each once and in order.
    assert_eq!(entries.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_statement_never_changes_on_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::at(AUGUST);
    let service = open(&Place::directory(directory.path()), &clock).await;
    a_final_statement_never_changes((service.clone(), service.clone()), &clock).await;
    let before = of(&service, &app("billed"), "2019-08").await.expect("a statement");
    Arc::into_inner(service).expect("the last one").close().await;
    let service = open(&Place::directory(directory.path()), &clock).await;
    assert_eq!(of(&service, &app("billed"), "2019-08").await.expect("a statement"), before);
    Arc::into_inner(service).expect("the last one").close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_statement_never_changes_in_redis() {
    let moved = MovedClock::new();
    let server = Server::start_with_clock(&[], &moved);
    let clock = ManualClock::shared(AUGUST, &moved.file());
    let place = Place::Redis(format!("redis://{}/0", server.address()));
    let (one, other) = (open(&place, &clock).await, open(&place, &clock).await);
    a_final_statement_never_changes((one.clone(), other.clone()), &clock).await;
    for service in [one, other] {
        Arc::into_inner(service).expect("the last one").close().await;
    }
}

/// The built-in catalog with a row in place of its own metered usage.
fn with_a_row() -> Catalog {
    let builtin = imquota::catalog::BUILTIN;
    let (head, rest) = builtin.split_once("\n[metering.dau]\n").expect("a section of users");
    let (_, tail) = rest.split_once("\n[ids]\n").expect("a section of ids");
    let row = "[[metering.meters]]\nid = \"users\"\nlabel = \"Users\"\nof = \"logins\"\n\
               aggregate = \"day_distinct_peak\"\nfree = { professional = 7 }\nprice = \"0.015\"\n";
    imquota::catalog::parse(&format!("{head}\n{row}\n[ids]\n{tail}")).expect("a catalog")
}

#[tokio::test]
async fn a_row_of_the_catalog_is_charged_alike_before_and_after_re_opening() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = Place::directory(directory.path());
    let (clock, app) = (ManualClock::at(AUGUST + HOUR), app("metered"));
    let service = Service::open_any(&place, clock.clone(), with_a_row()).await;
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 1).await.expect("bought");
    log_in(&service, &app, 0..10, AUGUST + HOUR).await;
    let running = of(&service, &app, "2019-08").await.expect("a statement");
    // 3 users at 0.015 are 0.045.
    let lines: Vec<_> =
        running.statement.lines.iter().map(|line| (line.item, line.amount_fen)).collect();
    assert_eq!(lines, [(Item::Edition, 99_900), (Item::Meter, 5)]);
    service.close().await;
    let service = Service::open_any(&place, clock.clone(), with_a_row()).await;
    assert_eq!(of(&service, &app, "2019-08").await.expect("a statement"), running);
    clock.set(FINAL);
    let first = issued(&service, &app, "2019-08").await;
    assert_eq!(first.statement.total_fen, 99_905);
    let builtin = imquota::catalog::builtin();
    service.administration.change_catalog(builtin).await.expect("the original catalog");
    assert_eq!(of(&service, &app, "2019-08").await.expect("a statement"), first);
    service.close().await;
}

#[tokio::test]
async fn without_a_price_of_history_any_retention_is_kept_free_of_charge() {
    let clock = ManualClock::at(AUGUST + HOUR);
    let (service, app) =
        (Service::open_any(&Place::Memory, clock.clone(), with_a_row()).await, app("kept"));
    service.register(&app, "r0").await.expect("registered");
    let kept = |id: &'static str, days| {
        change_at(&service, &app, id, ChangeKind::SetRetention { days }, AUGUST + HOUR)
    };
    assert_eq!(kept("r1", 3650).await, "done");
    assert_eq!(kept("r2", 1).await, "done");
    let refused = kept("r3", 3651).await;
    assert!(refused.contains("must be 1 (free of charge) to 3650, not 3651"), "{refused}");
    let shown = of(&service, &app, "2019-08").await.expect("a statement").statement;
    assert!(shown.lines.iter().all(|line| line.item != Item::MessageHistory));
}

#[tokio::test]
async fn there_is_no_statement_of_a_month_without_figures() {
    let clock = ManualClock::at(AUGUST + HOUR);
    let (service, app) = (open(&Place::Memory, &clock).await, app("new"));
    let unknown = of(&service, &app, "2019-08").await;
    assert_eq!(unknown, Err(AdminError::UnknownApp(app.clone())));
    service.register(&app, "r0").await.expect("registered");
    for (text, told) in [
        ("2019-09", "2019-09 has not begun; the current month is 2019-08"),
        ("2019-07", "app \"new\" was registered in 2019-08; there is no statement of 2019-07"),
    ] {
        let error = of(&service, &app, text).await.expect_err("refused").to_string();
        assert_eq!(error, told);
    }
    // For two years there was no read, and no sidecar ran.
    clock.set(AUGUST + 730 * DAY);
    let gone = of(&service, &app, "2019-09").await;
    assert_eq!(gone, Err(AdminError::FiguresGone(month("2019-09"))));
    let due = of(&service, &app, "2021-05").await.expect("a statement").statement;
    assert!(!due.is_final);
    assert_eq!(issued(&service, &app, "2021-05").await.statement.total_fen, 0);
}

#[tokio::test]
async fn sales_backdated_before_the_registration_are_on_the_first_statement() {
    let clock = ManualClock::at(SEPTEMBER + 10 * DAY);
    let (service, app) = (open(&Place::Memory, &clock).await, app("moved-here"));
    assert_eq!(
        change_at(&service, &app, "r0", ChangeKind::Create, AUGUST - 60 * DAY).await,
        "done"
    );
    // No month before the registration is closed.
    service.administration.issue_due().await.expect("nothing is due");
    let edition = ChangeKind::Purchase { order: order("professional"), months: 6, price_fen: None };
    assert_eq!(change_at(&service, &app, "r1", edition, AUGUST - 40 * DAY).await, "done");
    let early = of(&service, &app, "2019-08").await.expect_err("not registered").to_string();
    assert!(early.contains("was registered in 2019-09"), "{early}");
    clock.set(SEPTEMBER + 40 * DAY);
    let september = issued(&service, &app, "2019-09").await.statement;
    assert_eq!(september.total_fen, 6 * 99_900);
    let october = of(&service, &app, "2019-10").await.expect("a statement").statement;
    assert_eq!(october.total_fen, 0);
    let add_on = ChangeKind::Purchase { order: order("members-2000"), months: 1, price_fen: None };
    let closed = change_at(&service, &app, "r2", add_on, AUGUST).await;
    assert!(closed.contains("2019-09 is closed"), "{closed}");
}

#[tokio::test]
async fn on_trial_messages_are_kept_for_the_free_days_only() {
    let clock = ManualClock::at(AUGUST + HOUR);
    let (service, app) = (open(&Place::Memory, &clock).await, app("on-trial"));
    service.register(&app, "r0").await.expect("registered");
    let set = |days| ChangeKind::SetRetention { days };
    let refused = "edition \"trial\" keeps messages for the 7 free days and no longer; \
                   purchase edition \"professional\" first";
    let error = service.change(&app, "r1", set(8)).await.expect_err("on trial");
    assert_eq!(error, refused);
    service.change(&app, "r1", set(7)).await.expect("history is off already");
    clock.set(AUGUST + 2 * HOUR);
    service.buy(&app, "r2", order("professional"), 1).await.expect("bought");
    service.change(&app, "r3", set(8)).await.expect("it may run over");
    // Backdated into the trial.
    let early = change_at(&service, &app, "r4", set(30), AUGUST + HOUR).await;
    assert!(early.contains("effective_at"), "{early}");
}

#[tokio::test]
async fn a_repeated_refund_returns_the_first_result_in_another_zone() {
    let clock = ManualClock::at(AUGUST + HOUR);
    let (service, app) = (open(&Place::Memory, &clock).await, app("elsewhere"));
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 2).await.expect("bought");
    clock.set(AUGUST + 10 * DAY + HOUR);
    let refund = || ChangeKind::Refund { purchase: request_id("r1") };
    let first = service.change(&app, "r2", refund()).await.expect("refunded").remaining;
    let first = first.expect("figures");
    assert_eq!((first.days, first.days_used), (61, 11));
    for zone in ["America/Los_Angeles", "Asia/Tokyo", "UTC"] {
        let mut moved = imquota::catalog::builtin();
        moved.zone = Zone::named(zone).expect("a zone");
        service.administration.change_catalog(moved).await.expect("changed");
        let again = service.change(&app, "r2", refund()).await.expect("as before");
        assert_eq!(again.remaining, Some(first), "{zone}");
        let statement = of(&service, &app, "2019-08").await.expect("a statement").statement;
        let line = statement.lines.iter().find(|line| line.item == Item::Refund).expect("a line");
        for input in [("days", "61"), ("days_used", "11")] {
            assert!(line.inputs.contains(&(input.0.into(), input.1.into())), "{line:?}");
        }
    }
}

#[tokio::test]
async fn purchases_of_months_without_figures_are_on_the_next_statement() {
    let clock = ManualClock::at(AUGUST + HOUR);
    let (service, app) = (open(&Place::Memory, &clock).await, app("forgotten"));
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "r1", order("professional"), 12).await.expect("bought");
    clock.set(FINAL);
    let august = issued(&service, &app, "2019-08").await.statement;
    assert_eq!(august.total_fen, 12 * 99_900);
    clock.set(FINAL + 5 * DAY);
    service.buy(&app, "r2", order("members-2000"), 3).await.expect("bought");
    // No sidecar ran for two years: the figures of September have expired.
    clock.set(AUGUST + 730 * DAY);
    let gone = of(&service, &app, "2019-09").await;
    assert_eq!(gone, Err(AdminError::FiguresGone(month("2019-09"))));
    service.administration.issue_due().await.expect("issued");
    let issued = EntryFilter { action: Some("IssueStatement".into()), ..EntryFilter::default() };
    let entries = service.administration.entries(0, 100, &issued).await.expect("entries").entries;
    let fen = |entry: &imquota::domain::audit::Entry| {
        let after: serde_json::Value = serde_json::from_str(&entry.event.after).expect("JSON");
        after["total_fen"].as_i64().expect("a sum")
    };
    let sums: Vec<i64> = entries.iter().map(fen).collect();
    // August, and then the first month with figures: with the sales of September, once.
    assert_eq!(sums[..2], [12 * 99_900, 3 * 50_000]);
    assert!(sums.len() > 10 && sums[2..].iter().all(|sum| *sum == 0), "{sums:?}");
}

#[tokio::test]
async fn the_retention_is_set_once_by_a_request_and_within_bounds() {
    let clock = ManualClock::at(AUGUST + HOUR);
    let (service, app) = (open(&Place::Memory, &clock).await, app("kept"));
    service.register(&app, "r0").await.expect("registered");
    service.buy(&app, "edition", order("professional"), 1).await.expect("bought");
    let set = |days| ChangeKind::SetRetention { days };
    let made = service.change(&app, "r1", set(30)).await.expect("set");
    assert_eq!(made.made, ChangeResult::Retention(0));
    clock.set(AUGUST + 2 * HOUR);
    let again = service.change(&app, "r1", set(30)).await.expect("as before");
    assert_eq!(again.view.record.retentions, made.view.record.retentions);
    for (request, days, told) in [
        ("r1", 31, "days was 30 and is 31 now"),
        ("r2", 6, "must be 7 (free of charge) to 360, not 6"),
        ("r2", 361, "must be 7 (free of charge) to 360, not 361"),
    ] {
        let error = service.change(&app, request, set(days)).await.expect_err("refused");
        assert!(error.contains(told), "{error}");
    }
    let error = service.change(&app, "r0", set(30)).await.expect_err("another kind");
    assert!(error.contains("used before for the registration"), "{error}");
}
