//! Logs of the previous version, which kept the last 10,000 events of all kinds without an index:
//! they can be read and continued, and both versions can write concurrently.

use std::sync::Arc;

use imquota::clock::SystemClock;
use imquota::domain::event::{Event, EventKind, NumberedEvent};
use imquota::events::embedded::EmbeddedEvents;
use imquota::events::redis::RedisEvents;
use imquota::events::{EventLog, Retention};
use imquota::ledger::Ledger as _;
use imquota::ledger::embedded::Embedded;
use imquota::ledger::redis::Redis;
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::retention::limit_event;
use crate::support::redis::{Server, Standalone};
use crate::support::redis_options;

/// The script that appended events.
const APPEND: &str = include_str!("../../support/scripts_before/append_events.lua");
/// More events than one call indexes.
const EVENTS: u64 = 2300;
/// A bound that some apps exceed.
const PER_APP_MAX: u64 = 50;

const BOUNDS: fn() -> Retention =
    || Retention { limit_events_per_app_max: PER_APP_MAX, ..Retention::default() };

/// Stored bytes of the previous version: a change, or every third one a limit event of one app.
fn stored(number: u64) -> String {
    let what = if number.is_multiple_of(3) {
        r#""kind":"limit_passed","count":{"limit_id":"accounts_per_app","used":70,"limit":100},"percent":70"#.to_owned()
    } else {
        format!(r#""kind":"app_created","request_id":"r{number}""#)
    };
    format!(r#"{{"v":1,"at_ms":7,"app_id":"demo",{what}}}"#)
}

/// Appends like the previous version.
fn append_before(server: &Server, numbers: std::ops::RangeInclusive<u64>) {
    let numbers: Vec<_> = numbers.collect();
    for some in numbers.chunks(200) {
        let events: Vec<_> = some.iter().map(|number| stored(*number)).collect();
        let mut words = vec!["EVAL", APPEND, "2", "q1{events}log", "q1{events}cursors"];
        words.extend(["10000", "", "", "", "", "", "0", "", "", ""]);
        words.extend(events.iter().map(String::as_str));
        server.cli(&words);
    }
}

async fn all(log: &dyn EventLog) -> Vec<NumberedEvent> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = log.read(after, 1000).await.expect("reads");
        let Some(last) = page.events.last() else { return all };
        after = last.number;
        all.extend(page.events);
    }
}

fn changes(events: &[NumberedEvent]) -> Vec<u64> {
    let changes = events.iter().filter(|it| it.event.what.kind() == "app_created");
    changes.map(|it| it.number).collect()
}

fn limits(events: &[NumberedEvent]) -> usize {
    events.iter().filter(|it| it.event.what.kind() == "limit_passed").count()
}

/// Checks the log before and after this version appends.
async fn is_read_and_continued(log: &dyn EventLog) {
    let of_before = all(log).await;
    assert_eq!(of_before.len() as u64, EVENTS);
    assert!(of_before.iter().zip(1..).all(|(it, number)| it.number == number));
    assert_eq!(log.append(&[limit_event("demo", false)], None).await, Ok(true));
    let page = log.read(0, 1).await.expect("reads");
    assert_eq!((page.oldest, page.head), (1, EVENTS + 1));
    let events = all(log).await;
    assert_eq!(changes(&events), changes(&of_before), "no change is dropped");
    assert_eq!(limits(&events) as u64, PER_APP_MAX);
    let dropped: Vec<&Event> =
        events.iter().map(|it| &it.event).filter(|it| it.app.is_none()).collect();
    assert_eq!(dropped.len() as u64, EVENTS / 3 + 1 - PER_APP_MAX);
    let first = EventKind::EventsDropped { first: 3, last: 3, kinds: vec!["limit_passed".into()] };
    assert_eq!(dropped[0].what, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_redis_is_read_and_continued() {
    let redis = Standalone::start();
    append_before(&redis.server, 1..=EVENTS);
    let ledger = Redis::open(redis_options(&redis.url()), Arc::new(SystemClock)).await;
    let ledger = ledger.expect("opens");
    is_read_and_continued(&RedisEvents::over(ledger.store()).keeping(BOUNDS())).await;
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_a_file_is_read_and_continued() {
    let folder = TempDir::new().expect("a temporary folder");
    Embedded::open(folder.path(), Arc::new(SystemClock)).expect("opens").close().await;
    let events: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
    let index: TableDefinition<'_, (u8, &str, u64), &str> = TableDefinition::new("event_index");
    let file = std::fs::read_dir(folder.path()).expect("readable").map(|it| it.expect("a file"));
    let file = file.map(|it| it.path()).find(|it| it.extension().is_some_and(|it| it == "redb"));
    let database = Database::open(file.expect("the store")).expect("opens");
    let txn = database.begin_write().expect("begins");
    {
        let mut events = txn.open_table(events).expect("opens");
        for number in 1..=EVENTS {
            events.insert(number, stored(number).as_bytes()).expect("writes");
        }
    }
    txn.delete_table(index).expect("the previous version has none");
    txn.commit().expect("commits");
    drop(database);
    let ledger = Embedded::open(folder.path(), Arc::new(SystemClock)).expect("opens");
    is_read_and_continued(&EmbeddedEvents::over(ledger.store()).keeping(BOUNDS())).await;
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_append_to_one_log_in_redis() {
    let redis = Standalone::start();
    let ledger = Redis::open(redis_options(&redis.url()), Arc::new(SystemClock)).await;
    let ledger = ledger.expect("opens");
    let log = RedisEvents::over(ledger.store());
    let mut next = 1;
    for round in 0..12 {
        append_before(&redis.server, next..=next + 999);
        let events = vec![limit_event("other", true); 250];
        assert_eq!(log.append(&events, None).await, Ok(true), "round {round}");
        next += 1250;
        let page = log.read(next - 4, 10).await.expect("reads");
        assert_eq!(page.events.last().map(|it| it.number), Some(next - 1));
    }
    // The previous version still keeps the last 10,000 of all kinds.
    let events = all(&log).await;
    assert_eq!(events.last().map(|it| it.number), Some(next - 1));
    let mut at = 0;
    for it in &events {
        if let EventKind::EventsDropped { first, .. } = it.event.what {
            assert_eq!(first, at + 1);
        }
        at = it.number;
    }
    let kept = changes(&events);
    assert!(kept.len() > 4000, "{} changes", kept.len());
    ledger.close().await;
}
