//! A sidecar over Redis, without its listeners.

use std::sync::Arc;
use std::time::Duration;

use imquota::clock::{Clock as _, Stopwatch, SystemClock};
use imquota::directory::Directory as _;
use imquota::directory::redis::RedisDirectory;
use imquota::domain::audit::{Entry, Head};
use imquota::domain::decision::{Mode, Outcome};
use imquota::domain::event::{EventKind, NumberedEvent};
use imquota::domain::id::AppId;
use imquota::engine::admin::{Administration, Change, ChangeKind, Changed};
use imquota::engine::events::EventPublisher;
use imquota::engine::{Engine, Request, UnknownApp};
use imquota::events::EventLog as _;
use imquota::events::redis::RedisEvents;
use imquota::ledger::redis::Redis;
use imquota::ledger::{Ledger as _, LedgerError, Operation, TakeOptions};
use imquota::redis::StoreMemory;
use imquota::redis::options::Options;
use imquota::telemetry::{Exposition, Metrics};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{actor, order, redis_options, request_id, user};

/// Longer than any step takes on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longer than a second report of the same loss would take.
pub const QUIET: Duration = Duration::from_secs(4);

/// A sidecar without its listeners.
pub struct Sidecar {
    pub store: Arc<Redis>,
    pub engine: Arc<Engine>,
    pub administration: Administration,
    pub directory: Arc<RedisDirectory>,
    pub log: Arc<RedisEvents>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    pumping: JoinHandle<()>,
}

impl Sidecar {
    pub async fn start(url: &str) -> Self {
        Self::start_with(redis_options(url), StoreMemory::default()).await
    }

    pub async fn start_with(options: Options, memory: StoreMemory) -> Self {
        let clock = Arc::new(SystemClock);
        let store = Redis::open_known(options, clock.clone(), memory).await.expect("opens");
        let store = Arc::new(store);
        let directory = Arc::new(RedisDirectory::over(store.store()));
        let log = Arc::new(RedisEvents::over(store.store()));
        let (metrics, catalog) = (Arc::new(Metrics::new()), imquota::catalog::builtin());
        let engine = Engine::new(store.clone(), clock, metrics.clone(), catalog, UnknownApp::Trial);
        let engine = Arc::new(engine.expect("the catalog has its default edition"));
        let administration = Administration::new(engine.clone(), directory.clone());
        let pump = EventPublisher::new(engine.clone(), directory.clone(), log.clone());
        pump.begin().await.expect("begins");
        let stop = CancellationToken::new();
        let pumping = tokio::spawn(pump.run(stop.clone()));
        Self { store, engine, administration, directory, log, metrics, stop, pumping }
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.pumping.await.expect("it ends");
        self.store.close().await;
    }

    /// Takes an account, with retries while the store is unavailable.
    pub async fn take(&self, app: &AppId, name: &str) {
        until("a decision", async || self.try_take(app, name).await.ok()).await;
    }

    pub async fn try_take(&self, app: &AppId, name: &str) -> Result<(), LedgerError> {
        let deadline = SystemClock.now() + Duration::from_secs(5);
        let operation = Operation::CreateAccounts { users: vec![user(name)] };
        let request = Request {
            app: app.clone(),
            mode: Mode::Enforce,
            take: TakeOptions::default(),
            deadline,
            operation,
        };
        let decision = self.engine.apply(request).await?;
        assert_ne!(decision.items[0].outcome, Outcome::Denied, "{name}");
        Ok(())
    }

    pub async fn take_each(&self, app: &AppId, names: std::ops::Range<usize>) {
        for name in names {
            self.take(app, &format!("u{name}")).await;
        }
    }

    pub async fn change(
        &self,
        app: &AppId,
        request: &str,
        what: ChangeKind,
    ) -> Result<Changed, String> {
        let (app, request_id) = (app.clone(), request_id(request));
        let change = Change { app, request_id, effective_at: None, what };
        self.administration.change(change, actor()).await.map_err(|error| error.to_string())
    }

    pub async fn buy(&self, app: &AppId, request: &str, what: &str) -> Result<Changed, String> {
        self.change(
            app,
            request,
            ChangeKind::Purchase { order: order(what), months: 1, price_fen: None },
        )
        .await
    }

    /// Buys with retries; returns the errors before the success.
    pub async fn buy_with_retries(&self, app: &AppId, request: &str, what: &str) -> Vec<String> {
        let mut refusals = Vec::new();
        until("a sale", async || match self.buy(app, request, what).await {
            Ok(_) => Some(()),
            Err(refusal) => {
                refusals.push(refusal);
                None
            }
        })
        .await;
        refusals
    }

    pub async fn events(&self) -> Vec<NumberedEvent> {
        until("events", async || self.log.read(0, 10_000).await.ok()).await.events
    }

    /// The reported losses: app, part, the found and the expected counter.
    pub async fn losses(&self) -> Vec<String> {
        let lost = |it: NumberedEvent| match it.event.what {
            EventKind::FactsLost { part, found, known } => {
                let app = it.event.app.map_or_else(|| "-".to_owned(), |app| app.to_string());
                Some(format!("{app} {} {found} {known}", part.name()))
            }
            _ => None,
        };
        let mut lost: Vec<_> = self.events().await.into_iter().filter_map(lost).collect();
        lost.sort();
        lost
    }

    /// Waits for these losses, and for a time for unexpected ones.
    pub async fn expect_losses(&self, wanted: &[&str]) {
        self.expect_losses_where(wanted, |_| true).await;
    }

    /// Waits for losses of apps only: while its replica is away a server refuses calls, and the
    /// event of that may be lost with the server.
    pub async fn expect_losses_of_apps(&self, wanted: &[&str]) {
        self.expect_losses_where(wanted, |loss| !loss.starts_with("- events")).await;
    }

    async fn expect_losses_where(&self, wanted: &[&str], is_meant: impl Fn(&str) -> bool) {
        let found = async || {
            let mut losses = self.losses().await;
            losses.retain(|loss| is_meant(loss));
            losses
        };
        let waiting = Stopwatch::start();
        while found().await.len() < wanted.len() && waiting.elapsed() < WAIT_MAX {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(QUIET).await;
        assert_eq!(found().await, wanted);
    }

    /// Waits until the event log has a number of events of a kind.
    pub async fn expect_events(&self, kind: &str, count: usize) {
        until(kind, async || {
            let events = self.events().await;
            (events.iter().filter(|it| it.event.what.kind() == kind).count() == count).then_some(())
        })
        .await;
    }

    /// The actions of the audit log; verifies its chain.
    pub async fn audit(&self) -> Vec<String> {
        let mut before = Head::default();
        let entries = self.directory.entries(0, 1000).await.expect("reads");
        let action = |(_, entry): (u64, Entry)| {
            entry.verify(&before).expect("the chain holds");
            before = entry.head;
            entry.event.action
        };
        entries.into_iter().map(action).collect()
    }

    pub fn counted(&self, part: &str) -> String {
        let (text, name) =
            (self.metrics.text(Exposition::Text), format!("facts_lost_total{{part=\"{part}\"}} "));
        let mut lines = text.lines().filter_map(|line| line.split_once(&name));
        lines.next().expect("it is counted").1.to_owned()
    }
}

/// Polls until there is a value.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = Stopwatch::start();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(waiting.elapsed() < WAIT_MAX, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
