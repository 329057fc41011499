//! The guarantees of the event log, on every store: events are numbered and appended once by the
//! first of several sidecars, and a lease has one holder at a time. `retention` tests its bounds,
//! `earlier` logs of the previous version.
//!
//! On shared deployments a case checks only events that are appended after its start, and has
//! cursors and leases of its own.

mod earlier;
mod retention;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::redis::{shared_cluster, shared_sentinels, shared_standalone};
use crate::support::{app, redis_options};
use imquota::clock::SystemClock;
use imquota::domain::event::{Event, EventKind};
use imquota::domain::time::Timestamp;
use imquota::events::embedded::EmbeddedEvents;
use imquota::events::redis::RedisEvents;
use imquota::events::{APPENDED_MAX, Claim, EventLog, Lease, Move, Retention};
use imquota::ledger::Ledger;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::memory::Memory;
use imquota::ledger::redis::Redis;
use retention::limit_event;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Longer than any step takes.
const LONG: Duration = Duration::from_secs(60);

/// An open store.
struct Store {
    log: Arc<dyn EventLog>,
    ledger: Arc<dyn Ledger>,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

fn over(
    log: EmbeddedEvents,
    ledger: impl Ledger,
    kept: Option<Box<dyn Any + Send + Sync>>,
) -> Store {
    Store { log: Arc::new(log), ledger: Arc::new(ledger), _kept: kept }
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
async fn memory() -> Store {
    let ledger = Memory::open(Arc::new(SystemClock)).expect("opens");
    let log = EmbeddedEvents::over(ledger.store());
    over(log, ledger, None)
}

#[allow(clippy::unused_async, reason = "all stores are opened alike")]
async fn embedded() -> Store {
    let folder = TempDir::new().expect("a temporary folder");
    let ledger = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("opens");
    let log = EmbeddedEvents::over(ledger.store());
    over(log, ledger, Some(Box::new(folder)))
}

async fn standalone() -> Store {
    redis(&shared_standalone().url()).await
}

async fn sentinel() -> Store {
    redis(&shared_sentinels().url()).await
}

async fn cluster() -> Store {
    redis(&shared_cluster().url()).await
}

async fn redis(url: &str) -> Store {
    let ledger = Redis::open(redis_options(url), Arc::new(SystemClock)).await.expect("opens");
    let log = Arc::new(RedisEvents::over(ledger.store()));
    Store { log, ledger: Arc::new(ledger), _kept: None }
}

/// One log, one case at a time: each counts what it appends.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A unique name.
fn name(what: &str) -> &'static str {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let number = NAMES.fetch_add(1, Ordering::SeqCst);
    Box::leak(format!("{what}-{}-{number}", std::process::id()).into_boxed_str())
}

fn event(number: usize) -> Event {
    let what = EventKind::AppCreated { request_id: format!("r{number}") };
    Event { at: Timestamp::from_millis(7), app: Some(app("demo")), what }
}

fn numbers(events: usize) -> Vec<Event> {
    (0..events).map(event).collect()
}

fn moved(cursor: &'static str, from: Option<&str>, to: &str) -> Move {
    Move { cursor, from: from.map(str::to_owned), to: to.to_owned(), beside: None }
}

async fn head(log: &dyn EventLog) -> u64 {
    log.read(0, 0).await.expect("reads").head
}

async fn events_are_numbered_and_read_in_pages(log: Arc<dyn EventLog>) {
    let before = head(&*log).await;
    for events in [&[][..], &numbers(3), &[], &[event(3), event(4)]] {
        assert!(log.append(events, None).await.expect("appends"));
    }
    let first = log.read(before, 2).await.expect("reads");
    assert_eq!(first.head, before + 5);
    assert_eq!(first.events.iter().map(|it| it.number - before).collect::<Vec<_>>(), [1, 2]);
    let rest = log.read(before + 2, 100).await.expect("reads");
    let told: Vec<_> = rest.events.iter().map(|it| it.event.clone()).collect();
    assert_eq!(told, [event(2), event(3), event(4)]);
    for after in [before + 5, before + 6, before + 1_000_000] {
        assert!(log.read(after, 100).await.expect("reads").events.is_empty());
    }
}

async fn a_cursor_moves_only_while_its_partner_is_unchanged(log: Arc<dyn EventLog>) {
    let (cursor, other) = (name("cursor"), name("other"));
    let before = head(&*log).await;
    let beside = |from: Option<&str>, to: &str, at: Option<&str>| {
        let beside = Some((other, at.map(str::to_owned)));
        Some(Move { beside, ..moved(cursor, from, to) })
    };
    for (step, done) in [
        (beside(None, "1", Some("7")), false),
        (beside(None, "1", None), true),
        (Some(moved(other, None, "7")), true),
        (beside(Some("1"), "2", None), false),
        (beside(Some("1"), "2", Some("8")), false),
        (beside(Some("0"), "2", Some("7")), false),
        (beside(Some("1"), "2", Some("7")), true),
    ] {
        assert_eq!(log.append(&[event(0)], step.clone()).await, Ok(done), "{step:?}");
    }
    assert_eq!(head(&*log).await, before + 3);
    assert_eq!(log.cursor(cursor).await, Ok(Some("2".to_owned())));
    assert_eq!(log.cursor(other).await, Ok(Some("7".to_owned())));
}

async fn a_cursor_moves_with_what_is_appended_or_neither(log: Arc<dyn EventLog>) {
    let cursor = name("cursor");
    let before = head(&*log).await;
    assert_eq!(log.cursor(cursor).await, Ok(None));
    for (from, to, done, at) in [
        (Some("0"), "1", false, None),
        (None, "7", true, Some("7")),
        (None, "8", false, Some("7")),
        (Some("6"), "8", false, Some("7")),
        (Some("7"), "9 demo", true, Some("9 demo")),
        (Some("9"), "10", false, Some("9 demo")),
        (Some("9 demo"), "10", true, Some("10")),
    ] {
        let appended = log.append(&[event(0)], Some(moved(cursor, from, to))).await;
        assert_eq!(appended, Ok(done), "{from:?} to {to}");
        assert_eq!(log.cursor(cursor).await, Ok(at.map(str::to_owned)), "{from:?} to {to}");
    }
    assert_eq!(head(&*log).await, before + 3);
}

async fn an_event_of_many_publishers_is_appended_once(log: Arc<dyn EventLog>) {
    const PUBLISHERS: usize = 16;
    const STEPS: usize = 10;
    let cursor = name("race");
    let before = head(&*log).await;
    let mut tellers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        let log = log.clone();
        tellers.spawn(async move {
            let mut told = 0;
            loop {
                let from = log.cursor(cursor).await.expect("reads");
                let step = from.as_deref().map_or(0, |at| at.parse::<usize>().expect("a number"));
                if step == STEPS {
                    return told;
                }
                let to = moved(cursor, from.as_deref(), &(step + 1).to_string());
                told += usize::from(log.append(&[event(step)], Some(to)).await.expect("appends"));
            }
        });
    }
    let told: usize = tellers.join_all().await.into_iter().sum();
    assert_eq!(told, STEPS);
    let page = log.read(before, 100).await.expect("reads");
    let told: Vec<_> = page.events.into_iter().map(|it| it.event).collect();
    assert_eq!(told, numbers(STEPS));
}

/// With the bounds that every log has by default.
async fn a_flood_of_limit_events_displaces_no_change(log: Arc<dyn EventLog>) {
    let Retention { limit_events_max: most, limit_events_per_app_max: of_app, .. } =
        Retention::default();
    assert_eq!((most, of_app), (10_000, 500));
    let before = head(&*log).await;
    assert!(log.append(&numbers(1), None).await.expect("appends"));
    let change = before + 1;
    append_all(&*log, (0..of_app + 20).map(|_| limit_event("busy", false))).await;
    let page = log.read(change, 2).await.expect("reads");
    let gap = |last, kinds: &[&str]| {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        EventKind::EventsDropped { first: change + 1, last, kinds }
    };
    assert_eq!(page.events[0].event.what, gap(change + 20, &["limit_passed"]));
    assert_eq!(page.events[1].number, change + 21, "an app keeps its last {of_app}");
    // More than the total bound, from apps that are each within their bound.
    let flood = (0..most + 10).map(|number| limit_event(&format!("app-{}", number % 2000), true));
    append_all(&*log, flood).await;
    let page = log.read(before, 3).await.expect("reads");
    assert_eq!(page.events[0].event, event(0), "the change is kept");
    let first = change + of_app + 20 + 10;
    assert_eq!(page.events[1].event.what, gap(first, &["denied", "limit_passed"]));
    assert_eq!(page.events[2].number, first + 1);
    assert_eq!(page.head, first + most);
}

async fn append_all(log: &dyn EventLog, events: impl Iterator<Item = Event>) {
    let events: Vec<_> = events.collect();
    for some in events.chunks(APPENDED_MAX) {
        assert_eq!(log.append(some, None).await, Ok(true));
    }
}

async fn a_lease_is_held_by_one_until_it_ends(log: Arc<dyn EventLog>) {
    let lease = name("lease");
    let of = |holder: &str| Lease { name: lease, holder: holder.to_owned() };
    let (ann, bob) = (of("ann"), of("bob"));
    let granted = |position| Ok(Claim::Granted { position });
    assert_eq!(log.advance(&ann, 1).await, Ok(false), "it has no holder yet");
    assert_eq!(log.claim(&ann, LONG).await, granted(None));
    assert_eq!(log.claim(&bob, LONG).await, Ok(Claim::Refused));
    assert_eq!(log.advance(&bob, 9).await, Ok(false));
    assert_eq!(log.advance(&ann, 4).await, Ok(true));
    assert_eq!(log.claim(&ann, LONG).await, granted(Some(4)), "it is prolonged");
    // Released: held for no time.
    assert_eq!(log.claim(&ann, Duration::ZERO).await, granted(Some(4)));
    assert_eq!(log.advance(&ann, 5).await, Ok(false), "it has ended");
    assert_eq!(log.claim(&bob, Duration::from_millis(300)).await, granted(Some(4)));
    assert_eq!(log.claim(&ann, LONG).await, Ok(Claim::Refused));
    let waiting = imquota::clock::Stopwatch::start();
    while log.claim(&ann, LONG).await == Ok(Claim::Refused) {
        assert!(waiting.elapsed() < LONG, "it never ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(waiting.elapsed() > Duration::from_millis(200), "{:?}", waiting.elapsed());
    assert_eq!(log.advance(&bob, 6).await, Ok(false), "it has another holder");
    assert_eq!(log.advance(&ann, 0).await, Ok(true), "the position of the holder");
}

macro_rules! stamp {
    ($store:ident: $($case:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let _alone = crate::events::ONE_AT_A_TIME.lock().await;
                    let store = crate::events::$store().await;
                    crate::events::$case(store.log.clone()).await;
                    store.ledger.close().await;
                }
            )*
        }
    };
}

macro_rules! on_each {
    ($($store:ident),*) => {
        $(
            stamp! { $store:
                events_are_numbered_and_read_in_pages
                a_cursor_moves_with_what_is_appended_or_neither
                a_cursor_moves_only_while_its_partner_is_unchanged
                an_event_of_many_publishers_is_appended_once
                a_flood_of_limit_events_displaces_no_change
                a_lease_is_held_by_one_until_it_ends
            }
        )*
    };
}

on_each!(memory, embedded, standalone, sentinel, cluster);

macro_rules! bounded {
    ($($store:ident),*) => {
        mod bounded {
            $(bounded! { @ $store: kept_and_reported_events_equal_those_of_the_model
                changes_of_a_month_are_kept_up_to_the_maximum })*
        }
    };
    (@ $store:ident: $($case:ident)*) => {
        mod $store {
            use crate::events::retention;

            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let _alone = crate::events::ONE_AT_A_TIME.lock().await;
                    let store = retention::$store(retention::SMALL).await;
                    retention::$case(store.log.clone()).await;
                    store.ledger.close().await;
                }
            )*
        }
    };
}

bounded!(memory, embedded, standalone, sentinel, cluster);

#[tokio::test(flavor = "multi_thread")]
async fn the_log_survives_a_reopened_file() {
    let folder = TempDir::new().expect("a temporary folder");
    let cursor = name("kept");
    for round in 0..3 {
        let ledger = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("opens");
        let store = over(EmbeddedEvents::over(ledger.store()), ledger, None);
        assert_eq!(head(&*store.log).await, round);
        let from = (round > 0).then(|| round.to_string());
        let to = moved(cursor, from.as_deref(), &(round + 1).to_string());
        assert_eq!(store.log.append(&[event(0)], Some(to)).await, Ok(true));
        store.ledger.close().await;
    }
}
