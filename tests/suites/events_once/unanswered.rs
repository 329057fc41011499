//! Thresholds crossed by operations with a lost reply.

use std::sync::Arc;
use std::time::Duration;

use imquota::clock::{Clock as _, Stopwatch, SystemClock};
use imquota::directory::redis::RedisDirectory;
use imquota::domain::decision::{Mode, Outcome, Subject};
use imquota::domain::event::{Count, EventKind};
use imquota::engine::events::EventPublisher;
use imquota::engine::{Decision, Engine, Request, UnknownApp};
use imquota::events::EventLog;
use imquota::events::redis::RedisEvents;
use imquota::ledger::redis::Redis;
use imquota::ledger::{Ledger, LedgerError, Operation, TakeOptions};
use imquota::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::support::proxy::Proxy;
use crate::support::redis::Standalone;
use crate::support::{app, create_capped, group, redis_options, user};

/// The group's own limit.
const MEMBERS_MAX: u32 = 20;
/// The time after which the next step has another millisecond.
const MILLISECONDS: Duration = Duration::from_millis(3);
/// The timeout of a call.
const DEADLINE: Duration = Duration::from_millis(1500);
/// Longer than the delay until a lost reply is recovered.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(30);

/// The bytes that requests of joins contain.
const OF_GROUPS: &str = "/groups}limits";

struct Sidecar {
    engine: Arc<Engine>,
    log: Arc<RedisEvents>,
    stop: CancellationToken,
    publishing: tokio::task::JoinHandle<()>,
}

impl Sidecar {
    async fn start(url: &str) -> Self {
        let clock = Arc::new(SystemClock);
        let store = Redis::open(redis_options(url), clock.clone()).await.expect("opens");
        let directory = Arc::new(RedisDirectory::over(store.store()));
        let log = Arc::new(RedisEvents::over(store.store()));
        let (metrics, catalog) = (Arc::new(Metrics::new()), imquota::catalog::builtin());
        let store: Arc<dyn Ledger> = Arc::new(store);
        let engine = Engine::new(store, clock, metrics, catalog, UnknownApp::Trial);
        let engine = Arc::new(engine.expect("the catalog has its default edition"));
        let pump = EventPublisher::new(engine.clone(), directory, log.clone());
        pump.begin().await.expect("begins");
        let stop = CancellationToken::new();
        let publishing = tokio::spawn(pump.run(stop.clone()));
        Self { engine, log, stop, publishing }
    }

    async fn apply(&self, operation: Operation) -> Result<Decision, LedgerError> {
        let deadline = SystemClock.now() + DEADLINE;
        let request = Request {
            app: app("demo"),
            mode: Mode::Enforce,
            take: TakeOptions::default(),
            deadline,
            operation,
        };
        self.engine.apply(request).await
    }

    async fn create(&self, members: u32) {
        let create = create_capped(members, MEMBERS_MAX);
        let created = self.apply(create).await.expect("decided");
        assert!(created.items.iter().all(|item| item.outcome == Outcome::Applied), "{created:?}");
    }

    /// The published thresholds of members, with the usage of each.
    async fn published(&self) -> Vec<(u64, u64)> {
        let page = loop {
            // The event log uses the connections with dropped replies too.
            if let Ok(page) = self.log.read(0, 1000).await {
                break page;
            }
        };
        let passed = page.events.into_iter().filter_map(|published| match published.event.what {
            EventKind::LimitPassed { count, percent } => {
                let Count { limit_id, subject, used, limit } = count;
                assert_eq!((limit_id.as_str(), limit), ("members_per_group", 20));
                assert_eq!(subject, Subject::Group(group("g")));
                Some((used, percent))
            }
            _ => None,
        });
        passed.collect()
    }

    async fn publishes(&self, expected: &[(u64, u64)]) {
        let since = Stopwatch::start();
        loop {
            let published = self.published().await;
            if published == expected {
                return;
            }
            assert!(since.elapsed() < PUBLISHED_WITHIN, "{published:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.publishing.await.expect("it ends");
    }
}

fn join(names: &[&str]) -> Operation {
    Operation::JoinGroup {
        group: group("g"),
        users: names.iter().map(|name| user(*name)).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_that_was_crossed_with_a_lost_reply_is_published_once_in_redis() {
    let standalone = Standalone::start();
    let proxy = Proxy::start(standalone.server.port()).await;
    let sidecar = Sidecar::start(&format!("redis://127.0.0.1:{}/0", proxy.port())).await;
    sidecar.create(13).await;
    proxy.drop_replies(1, OF_GROUPS);
    let lost = sidecar.apply(join(&["a"])).await;
    assert!(lost.is_err_and(|error| !error.did_nothing()), "its outcome is unknown");
    let repeated = sidecar.apply(join(&["a"])).await.expect("decided");
    assert_eq!(repeated.items[0].outcome, Outcome::AlreadyHeld);
    sidecar.publishes(&[(14, 70)]).await;

    // The second is crossed with a reply, and nothing by the lost reply after it.
    let answered = sidecar.apply(join(&["b", "c", "d", "e"])).await.expect("decided");
    assert_eq!(answered.warnings.len(), 1);
    // Steps in one millisecond are indistinguishable, so they are sent in different ones.
    tokio::time::sleep(MILLISECONDS).await;
    proxy.drop_replies(1, OF_GROUPS);
    assert!(sidecar.apply(join(&["f"])).await.is_err());
    tokio::time::sleep(MILLISECONDS).await;
    // The third is crossed by a call whose caller stops waiting while it is in flight.
    proxy.stop_request(0, OF_GROUPS);
    tokio::select! {
        decided = sidecar.apply(join(&["g"])) => panic!("it is stopped: {decided:?}"),
        () = proxy.stopped() => {}
    }
    proxy.let_through();
    sidecar.publishes(&[(14, 70), (18, 90), (20, 100)]).await;
    tokio::time::sleep(2 * DEADLINE).await;
    assert_eq!(sidecar.published().await, [(14, 70), (18, 90), (20, 100)], "each once");
    sidecar.end().await;
}
