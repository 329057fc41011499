//! The event publisher, with a fake clock: each end of a purchase is one event, for any number of
//! sidecars and after any time without one.

mod random;
mod slow;
mod unanswered;

use std::sync::Arc;
use std::time::Duration;

use crate::support::redis::{Standalone, wait_for};
use crate::support::{ManualClock, actor, app, exchange, order, redis_options, request_id};
use imquota::clock::SystemClock;
use imquota::directory::embedded::EmbeddedDirectory;
use imquota::directory::redis::RedisDirectory;
use imquota::domain::agreed::AgreedOrder;
use imquota::domain::calendar::Day;
use imquota::domain::catalog::Catalog;
use imquota::domain::event::{Event, EventKind, NumberedEvent};
use imquota::domain::id::AppId;
use imquota::domain::limit::Limit;
use imquota::domain::purchase::Order;
use imquota::domain::time::Timestamp;
use imquota::engine::admin::{Administration, Change, ChangeKind};
use imquota::engine::events::EventPublisher;
use imquota::engine::{Engine, UnknownApp};
use imquota::events::EventLog;
use imquota::events::embedded::EmbeddedEvents;
use imquota::events::redis::RedisEvents;
use imquota::ledger::Ledger as _;
use imquota::ledger::memory::Memory;
use imquota::ledger::redis::Redis;
use imquota::telemetry::{Exposition, Metrics};
use slow::SlowOnce;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SECOND: i64 = 1000;
const DAY: i64 = 24 * 60 * 60 * SECOND;
/// 2019-02-12 00:00 in Shanghai.
const FEBRUARY_12: i64 = 1_549_900_800_000;
/// 2019-03-12 00:00 in Shanghai.
const MARCH_12: i64 = FEBRUARY_12 + 28 * DAY;

/// A store, and sidecars on it.
#[derive(Clone)]
struct World {
    catalog: Catalog,
    clock: Arc<ManualClock>,
    ledger: Arc<Memory>,
    directory: Arc<EmbeddedDirectory>,
    log: Arc<EmbeddedEvents>,
}

/// The event tasks of one sidecar.
#[derive(Clone)]
struct Sidecar {
    engine: Arc<Engine>,
    administration: Administration,
}

impl World {
    fn new() -> Self {
        Self::with(imquota::catalog::builtin())
    }

    fn with(catalog: Catalog) -> Self {
        let clock = ManualClock::at(FEBRUARY_12 + 12 * 60 * 60 * SECOND);
        let ledger = Arc::new(Memory::open(clock.clone()).expect("opens"));
        let directory = Arc::new(EmbeddedDirectory::over(ledger.store()));
        let log = Arc::new(EmbeddedEvents::over(ledger.store()));
        Self { catalog, clock, ledger, directory, log }
    }

    fn sidecar(&self) -> Sidecar {
        let metrics = Arc::new(Metrics::new());
        let catalog = self.catalog.clone();
        let (ledger, clock) = (self.ledger.clone(), self.clock.clone());
        let engine = Engine::new(ledger, clock, metrics, catalog, UnknownApp::Trial);
        let engine = Arc::new(engine.expect("the catalog has its default edition"));
        let administration = Administration::new(engine.clone(), self.directory.clone());
        Sidecar { engine, administration }
    }

    fn pump(&self, sidecar: &Sidecar) -> EventPublisher {
        EventPublisher::new(sidecar.engine.clone(), self.directory.clone(), self.log.clone())
    }

    /// Starts a sidecar, publishes the due events, and ends it.
    async fn tell(&self, sidecar: &Sidecar) {
        let stopped = CancellationToken::new();
        stopped.cancel();
        let pump = self.pump(sidecar);
        pump.begin().await.expect("begins");
        pump.run(stopped).await;
    }

    /// The events after that number.
    async fn published(&self, mut after: u64) -> Vec<NumberedEvent> {
        let mut published = Vec::new();
        loop {
            let page = self.log.read(after, 1000).await.expect("reads");
            let Some(last) = page.events.last() else { return published };
            after = last.number;
            published.extend(page.events);
        }
    }
}

impl Sidecar {
    async fn change(&self, app: &AppId, request: &str, what: ChangeKind) {
        let (app, request_id) = (app.clone(), request_id(request));
        let change = Change { app, request_id, effective_at: None, what };
        self.administration.change(change, actor()).await.expect("changed");
    }

    async fn upgrade(&self, app: &AppId) {
        self.change(app, "create", ChangeKind::Create).await;
        self.change(
            app,
            "buy",
            ChangeKind::Purchase { order: order("professional"), months: 1, price_fen: None },
        )
        .await;
    }
}

fn kinds(published: &[NumberedEvent]) -> Vec<String> {
    let kind = |published: &NumberedEvent| match &published.event.what {
        EventKind::Ending { days_left, .. } => format!("ending in {days_left}"),
        other => other.kind().to_owned(),
    };
    published.iter().map(kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_published_in_time_and_a_renewal_postpones_them() {
    let world = World::new();
    let (sidecar, app) = (world.sidecar(), app("demo"));
    world.tell(&sidecar).await;
    sidecar.upgrade(&app).await;
    let mut last = 0;
    for (at, renewed, expected) in [
        (FEBRUARY_12 + DAY, false, &["app_created", "purchased"][..]),
        (MARCH_12 - 7 * DAY - 1, false, &[]),
        (MARCH_12 - 7 * DAY, false, &["ending in 7"]),
        (MARCH_12 - 7 * DAY + 1, false, &[]),
        // No sidecar ran for four days.
        (MARCH_12 - 3 * DAY + DAY, false, &["ending in 3"]),
        (MARCH_12 - 2 * DAY + 1, true, &["purchased"]),
        (MARCH_12 + 8 * DAY, false, &[]),
        // From the anchor: until 2019-04-12, with grace until 2019-04-19.
        (MARCH_12 + 24 * DAY, false, &["ending in 7"]),
        (
            MARCH_12 + 60 * DAY,
            false,
            &["ending in 3", "ending in 1", "grace_began", "service_stopped"],
        ),
        (MARCH_12 + 90 * DAY, false, &[]),
    ] {
        world.clock.set(at);
        if renewed {
            let what = ChangeKind::Purchase { order: order("renew"), months: 1, price_fen: None };
            sidecar.change(&app, "renew", what).await;
        }
        world.tell(&sidecar).await;
        let published = world.published(last).await;
        assert_eq!(kinds(&published), expected, "{} days after March 12", (at - MARCH_12) / DAY);
        last = published.last().map_or(last, |published| published.number);
    }
    // Each with its own instant, even if it is published late.
    let published = world.published(last - 2).await;
    let instants: Vec<_> = published.iter().map(|it| it.event.at.as_millis()).collect();
    assert_eq!(instants, [MARCH_12 + 31 * DAY, MARCH_12 + 38 * DAY]);
}

/// An agreed limit is a purchase with reminders and an end of its own; a refund is its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_agreed_limit_is_published_as_a_purchase_and_its_end() {
    let world = World::new();
    let (sidecar, app) = (world.sidecar(), app("demo"));
    world.tell(&sidecar).await;
    sidecar.change(&app, "create", ChangeKind::Create).await;
    let agreed = |until| {
        let order = Order::Limit(AgreedOrder {
            limit_id: "groups_per_user".to_owned(),
            limit: Limit::Finite(500),
            last_day: Day::parse(until),
            note: "contract 7".to_owned(),
        });
        Some(ChangeKind::Purchase { order, months: 0, price_fen: Some(1000) })
    };
    let refund = Some(ChangeKind::Refund { purchase: request_id("change 1") });
    let mut last = 0;
    for (number, at, what, expected) in [
        (0, FEBRUARY_12 + DAY, agreed("2019-03-11"), &["app_created", "purchased"][..]),
        (1, FEBRUARY_12 + 2 * DAY, agreed("2019-03-05"), &["purchased"]),
        // The end is the midnight after the last day.
        (2, MARCH_12 - 7 * DAY, refund, &["refunded", "ending in 7"]),
        (3, MARCH_12 - 1, None, &["ending in 3", "ending in 1"]),
        (4, MARCH_12, None, &["agreed_limit_ended"]),
        (5, MARCH_12 + 9 * DAY, None, &[]),
    ] {
        world.clock.set(at);
        if let Some(what) = what {
            sidecar.change(&app, &format!("change {number}"), what).await;
        }
        world.tell(&sidecar).await;
        let published = world.published(last).await;
        assert_eq!(kinds(&published), expected, "{number}");
        last = published.last().map_or(last, |published| published.number);
    }
    let by = world.catalog.conventions();
    let published = world.published(0).await;
    let sentences: Vec<_> = published.iter().map(|it| it.event.what.sentence(by)).collect();
    let bought = "agreed limit \"groups_per_user\" was bought, for 10.00 CNY";
    assert_eq!(sentences[1], bought);
    let ended = "agreed limit \"groups_per_user\" ended at 2019-03-12T00:00:00+08:00";
    assert_eq!(sentences.last().map(String::as_str), Some(ended));
}

/// An exchange is a refund for each item and one purchase; no stop is published, and the ends and
/// reminders are those of the new edition.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_is_published_as_its_refunds_and_its_purchase() {
    let catalog = imquota::catalog::parse(include_str!("../support/small.toml"));
    let world = World::with(catalog.expect("a valid catalog"));
    let (sidecar, app) = (world.sidecar(), app("demo"));
    world.tell(&sidecar).await;
    sidecar.upgrade(&app).await;
    let add_on =
        ChangeKind::Purchase { order: order("groups-per-user-400"), months: 1, price_fen: None };
    sidecar.change(&app, "add-on", add_on).await;
    let change = || ChangeKind::Exchange(exchange(None, "premium", 1));
    let grace = ["ending in 7", "ending in 3", "ending in 1", "grace_began"];
    let changed = ["refunded", "refunded", "purchased"];
    let mut last = 0;
    for (at, what, expected) in [
        (FEBRUARY_12 + DAY, None, &["app_created", "purchased", "purchased"][..]),
        (FEBRUARY_12 + 9 * DAY, Some(change()), &changed),
        (FEBRUARY_12 + 9 * DAY, Some(change()), &[]),
        // Bought anew on 2019-02-21, until 2019-03-21; in grace until 2019-03-28.
        (MARCH_12 + 7 * DAY, None, &["ending in 7", "ending in 3"]),
        (MARCH_12 + 9 * DAY, None, &["ending in 1", "grace_began"]),
        (
            MARCH_12 + 12 * DAY,
            Some(ChangeKind::Exchange(exchange(None, "basic", 1))),
            &["refunded", "purchased"],
        ),
        // 2019-03-24 until 2019-04-24.
        (MARCH_12 + 43 * DAY, None, &grace),
        (MARCH_12 + 50 * DAY, None, &["service_stopped"]),
    ] {
        world.clock.set(at);
        if let Some(what) = what {
            sidecar.change(&app, &format!("change {at}"), what).await;
        }
        world.tell(&sidecar).await;
        let published = world.published(last).await;
        assert_eq!(kinds(&published), expected, "{} days after March 12", (at - MARCH_12) / DAY);
        last = published.last().map_or(last, |published| published.number);
    }
    let fen = |published: &NumberedEvent| match &published.event.what {
        EventKind::Refunded { refund_fen, what, .. } => Some((what.to_string(), -refund_fen)),
        EventKind::Purchased { price_fen, what, .. } => Some((what.to_string(), *price_fen)),
        _ => None,
    };
    let sums: Vec<_> = world.published(3).await.iter().filter_map(fen).collect();
    // 18/28 of 999.00 and of 500.00 CNY; in grace nothing.
    let expected = [
        ("edition \"professional\"", -64_221),
        ("add-on \"groups-per-user-400\"", -32_143),
        ("edition \"premium\"", 199_900),
        ("edition \"premium\"", 0),
        ("edition \"basic\"", 49_900),
    ];
    assert_eq!(sums, expected.map(|(what, fen)| (what.to_owned(), fen)));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_from_before_the_event_log_are_not_published() {
    let world = World::new();
    let (sidecar, app) = (world.sidecar(), app("demo"));
    sidecar.upgrade(&app).await;
    world.clock.set(MARCH_12 - DAY);
    world.tell(&sidecar).await;
    assert_eq!(kinds(&world.published(0).await), [""; 0]);
    world.clock.set(MARCH_12);
    world.tell(&sidecar).await;
    assert_eq!(kinds(&world.published(0).await), ["grace_began"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_ends_of_many_apps_are_published_once_by_many_sidecars() {
    // More than one step appends, at each of the same few instants.
    const APPS: usize = 700;
    const SIDECARS: usize = 4;
    let world = Arc::new(World::new());
    let first = world.sidecar();
    world.tell(&first).await;
    for number in 0..APPS {
        first.upgrade(&app(&format!("app-{number:03}"))).await;
    }
    world.clock.set(MARCH_12 + 30 * DAY);
    let mut sidecars = JoinSet::new();
    for _ in 0..SIDECARS {
        let world = world.clone();
        sidecars.spawn(async move { world.tell(&world.sidecar()).await });
    }
    sidecars.join_all().await;
    let mut published: Vec<_> = world.published(0).await;
    for (number, it) in (1..).zip(&published) {
        assert_eq!(it.number, number);
    }
    let ends: Vec<_> = published
        .iter()
        .filter(|it| !matches!(it.event.what, EventKind::Purchased { .. }))
        .collect();
    let ends = ends.iter().filter(|it| it.event.what.kind() != "app_created");
    let instants: Vec<_> = ends.map(|it| it.event.at).collect();
    assert!(instants.is_sorted(), "the ends are in order");
    let key = |it: &NumberedEvent| {
        (
            it.event.app.clone().expect("an event of an app"),
            kinds(std::slice::from_ref(it)).swap_remove(0),
        )
    };
    published.sort_by_key(key);
    let count = published.len();
    published.dedup_by_key(|it| key(it));
    assert_eq!((count, published.len()), (7 * APPS, 7 * APPS));
}

/// A sidecar that could not reach the log at its start sets the cursor later, from several tasks.
#[tokio::test(flavor = "multi_thread")]
async fn changes_before_the_first_start_are_not_published_whichever_task_comes_first() {
    let world = World::new();
    let sidecar = world.sidecar();
    sidecar.upgrade(&app("before")).await;
    let log = Arc::new(SlowOnce::over(world.log.clone(), Duration::from_millis(300)));
    let pump = EventPublisher::new(sidecar.engine.clone(), world.directory.clone(), log);
    let stop = CancellationToken::new();
    let running = tokio::spawn(pump.run(stop.clone()));
    tokio::time::sleep(Duration::from_millis(600)).await;
    sidecar.upgrade(&app("after")).await;
    stop.cancel();
    running.await.expect("ends");
    let read = world.published(0).await;
    assert!(read.iter().all(|it| it.event.app == Some(app("after"))), "{read:?}");
    assert_eq!(kinds(&read), ["app_created", "purchased"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_outage_are_published_after_it_in_redis() {
    const EVENTS: u64 = 600;
    let redis = Standalone::start();
    let store = Redis::open(redis_options(&redis.url()), Arc::new(SystemClock)).await;
    let store = Arc::new(store.expect("opens"));
    let directory = Arc::new(RedisDirectory::over(store.store()));
    let log = Arc::new(RedisEvents::over(store.store()));
    let (metrics, catalog) = (Arc::new(Metrics::new()), imquota::catalog::builtin());
    let clock = Arc::new(SystemClock);
    let engine = Engine::new(store.clone(), clock, metrics.clone(), catalog, UnknownApp::Trial);
    let engine = Arc::new(engine.expect("the catalog has its default edition"));
    let pump = EventPublisher::new(engine.clone(), directory, log.clone());
    pump.begin().await.expect("begins");
    let stop = CancellationToken::new();
    let pumping = tokio::spawn(pump.run(stop.clone()));
    redis.server.kill9();
    for days in 1..=u32::try_from(EVENTS).expect("fits") {
        let what = EventKind::RetentionSet { days, request_id: String::new() };
        engine.event_buffer().record_event(Event {
            at: Timestamp::from_millis(7),
            app: Some(app("demo")),
            what,
        });
    }
    redis.server.restart();
    let runtime = tokio::runtime::Handle::current();
    let published = tokio::task::spawn_blocking(move || {
        wait_for("the events", || {
            let page = runtime.block_on(log.read(0, 1000)).ok()?;
            (page.head == EVENTS).then_some(page.events)
        })
    });
    let days = published.await.expect("they come").into_iter().map(|it| match it.event.what {
        EventKind::RetentionSet { days, .. } => u64::from(days),
        other => panic!("{other:?}"),
    });
    assert_eq!(days.collect::<Vec<_>>(), (1..=EVENTS).collect::<Vec<_>>());
    stop.cancel();
    pumping.await.expect("it ends");
    let text = metrics.text(Exposition::Text);
    assert!(text.contains("imquota_events_appended_total{kind=\"retention_set\"} 600"), "{text}");
    assert!(text.contains("imquota_events_dropped_total 0"), "{text}");
    store.close().await;
}
