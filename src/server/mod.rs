//! The sidecar as a process: opens the store, serves, and ends in order.
//!
//! [`serve`] is what the binary runs: it binds, listens to signals and calls [`run`] with
//! everything that a test cannot fake. At the end health reports NOT_SERVING, for `shutdown_delay`
//! calls are served as before, calls in flight are completed (for `drain_timeout` at most), and the
//! store is closed last.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::callbacks::Callbacks;
use crate::catalog;
use crate::clock::{Clock, SteadyClock};
use crate::config::{Config, Store};
use crate::diagnostics::watch::FileWatch;
use crate::diagnostics::{LoadError, with_causes};
use crate::domain::catalog::Catalog;
use crate::domain::schedule::MissingItem;
use crate::engine::Engine;
use crate::engine::admin::{AdminError, Administration};
use crate::engine::fallback::Fallback;
use crate::journal::{Journal, JournalError, Opened};
use crate::ledger::Ledger;
use crate::redb;
use crate::redis;
use crate::telemetry::{self, Metrics};
use crate::webhook;

mod accepting;
mod callbacks;
mod calls;
mod clock_watch;
mod closing;
mod connections;
mod credentials;
mod descriptors;
mod dispatch;
mod event_tasks;
mod group_types;
mod head_timer;
mod holds;
mod keepalive;
mod listen;
mod management;
mod places;
mod publishing;
mod readiness;
mod reload;
mod requests;
mod routes;
mod services;
mod serving;
mod signals;
mod startup;
mod statement_issuer;
mod stores;
mod tls;
mod unknown_apps;

use credentials::Credentials;
use event_tasks::{EventTaskInputs, EventTasks};
pub use listen::{BindError, Listener, Listeners, UnixSocket};
use readiness::Readiness;
use reload::Reported;
pub(crate) use routes::ServedRoutes;
use routes::routes;
use startup::Startup;
pub use stores::Stores;
pub use tls::TlsError;

/// Reason why the sidecar did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] redb::OpenError),
    /// Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] redis::OpenError),
    /// The catalog, or the file of tokens, cannot be used.
    #[error(transparent)]
    File(#[from] LoadError),
    /// The token of a callback cannot be read.
    #[error("token_file of a callback: {0}")]
    CallbackToken(String),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The catalog has no default edition.
    #[error("the catalog cannot be used: {0}")]
    DefaultEdition(#[from] MissingItem),
    /// The catalog lacks a purchased item, or a group type of which there are groups.
    #[error("the catalog does not match the store: {0}")]
    Limits(#[from] AdminError),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
    /// The webhook cannot be set up.
    #[error(transparent)]
    Webhook(#[from] webhook::SetUpError),
    /// gRPC reflection cannot be set up.
    #[error("cannot set up reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal failed while serving.
    #[error("the journal failed, see the log; start imquota again to open it again")]
    JournalFailed,
    /// The store failed while serving.
    #[error("the store failed, see the log; start imquota again to open it again")]
    StoreFailed,
    /// A listener stopped serving by itself.
    #[error("a listener ended unexpectedly")]
    ListenerEnded,
    /// A task of the process panicked: its work is not done until a new start.
    #[error("a task panicked, see the log; start imquota again")]
    TaskPanicked,
}

impl ServeError {
    /// Returns the problems, each separately.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::File(LoadError::Invalid { path, problems }) => {
                let path = path.display();
                problems.0.iter().map(|problem| format!("{path}:{problem}")).collect()
            }
            _ => vec![with_causes(self)],
        }
    }

    /// Returns whether a retry may succeed.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_transient())
    }
}

/// Runs the sidecar until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let traces = telemetry::start(config.log_format, &config.log_filter, config.traces.as_ref());
    telemetry::log_panics();
    let signals = signals::listen().map_err(ServeError::Signals)?;
    let listeners = Listeners::bind(&config).await?;
    let clock = Arc::new(SteadyClock::start());
    let end = run(config, listeners, clock, signals.reload, signals.shutdown).await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    end
}

/// Runs the sidecar on these listeners until `shutdown` is ready. Each message of `reload` reloads
/// the catalog, tokens and certificates.
pub async fn run(
    config: Config,
    mut listeners: Listeners,
    clock: Arc<dyn Clock>,
    reload: mpsc::Receiver<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let metrics = Arc::new(Metrics::new());
    let callbacks = open_callbacks(&config, &metrics)?;
    let credentials = Credentials::open(&config.access, callbacks.as_deref(), &metrics)?;
    let (catalog, watch) = load_catalog(&config)?;
    let readiness = Readiness::new(metrics.clone(), config.store_tolerance).await;
    let stopped = CancellationToken::new();
    // However this ends, tasks that no one waits for end too.
    let _stop = stopped.clone().drop_guard();
    let mut servers = JoinSet::new();
    if let Some(listener) = listeners.management.take() {
        let probes = readiness.clone();
        servers.spawn(management::serve(listener, metrics.clone(), probes, stopped.clone()));
    }
    if let Some((listener, callbacks)) = listeners.callbacks.take().zip(callbacks.clone()) {
        let (certificates, bounds) = (credentials.callbacks.clone(), listeners.bounds.clone());
        let stopped = stopped.clone();
        servers.spawn(callbacks::serve(listener, certificates, callbacks, bounds, stopped));
    }
    let mut shutdown = pin!(shutdown);
    let startup = async {
        let fallback = open_journal(&config).await?.map(|(journal, entries)| {
            Arc::new(Fallback::new(journal, entries, config.store_timeout, metrics.clone()))
        });
        let placeholder_services = Startup {
            config: &config,
            clock: &clock,
            metrics: &metrics,
            listeners: &listeners,
            credentials: &credentials,
            readiness: &readiness,
            catalog: &catalog,
            fallback: fallback.as_ref(),
        };
        let opened = placeholder_services.open().await?;
        Ok::<_, ServeError>((fallback, opened))
    };
    let (fallback, opened) = tokio::select! {
        biased;
        opened = startup => opened?,
        () = &mut shutdown => {
            info!("shutting down before the store was open");
            return Ok(());
        }
    };
    readiness.answered().await;
    let config = &config;
    let process = Process { config, clock, metrics, credentials, callbacks, readiness, stopped };
    let running = process.start(opened, catalog, watch, fallback, reload).await?;
    process.serve(running, &listeners, servers, shutdown).await
}

/// The parts that all parts of the process share.
struct Process<'a> {
    config: &'a Config,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    credentials: Credentials,
    callbacks: Option<Arc<Callbacks>>,
    readiness: Arc<Readiness>,
    stopped: CancellationToken,
}

/// The started parts.
struct Running {
    ledger: Arc<dyn Ledger>,
    routes: ServedRoutes,
    tasks: JoinSet<()>,
    event_tasks: EventTasks,
    fallback: Option<(Arc<Fallback>, Replaying)>,
}

/// Waits until one of the tasks has panicked.
async fn panicked(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

impl Process<'_> {
    /// Starts everything behind the listeners.
    async fn start(
        &self,
        Stores { ledger, directory, events, callback_notes }: Stores,
        catalog: Catalog,
        watch: Option<FileWatch<Catalog>>,
        fallback: Option<Arc<Fallback>>,
        reload: mpsc::Receiver<()>,
    ) -> Result<Running, ServeError> {
        let Self { config, clock, metrics, credentials, readiness, stopped, .. } = self;
        let unknown_app = config.unknown_app;
        let engine = Engine::new(
            ledger.clone(),
            clock.clone(),
            metrics.clone(),
            catalog.clone(),
            unknown_app,
        )?;
        let engine = Arc::new(match &fallback {
            Some(fallback) => engine.falling_back(fallback.clone()),
            None => engine,
        });
        let administration = Administration::new(engine.clone(), directory.clone());
        let reported = Arc::new(Reported::new(metrics.clone()));
        let unloaded = activate_loaded(&administration, catalog, &reported).await?;
        let in_force = engine.catalog();
        let mut tasks = JoinSet::new();
        let (published, first_round) = oneshot::channel();
        let publishing =
            publishing::publish_limits(administration.clone(), published, stopped.clone());
        tasks.spawn(publishing);
        // After a timeout the remaining limits are published in the background.
        let _ = timeout(publishing::FIRST_ROUND_MAX, first_round).await;
        let event_tasks = EventTaskInputs {
            engine: &engine,
            directory,
            log: events.clone(),
            clock: clock.clone(),
        };
        let event_tasks = event_tasks.begin(config.webhook.clone(), metrics).await?;

        let [reload_catalog, reload_credentials] = credentials::to_both(reload, stopped.clone());
        let credentials = credentials.clone();
        let access = credentials.access.clone();
        tasks.spawn(credentials.follow(reload_credentials, stopped.clone(), metrics.clone()));
        tasks.spawn(reload::reload_catalog(
            watch,
            reload_catalog,
            stopped.clone(),
            administration.clone(),
            reported.clone(),
        ));
        let following =
            reload::follow_catalog(administration.clone(), unloaded, reported, stopped.clone());
        tasks.spawn(following);
        tasks.spawn(group_types::count_types(administration.clone(), stopped.clone()));
        tasks.spawn(unknown_apps::review(ledger.clone(), stopped.clone()));
        tasks.spawn(holds::sweep(engine.clone(), administration.clone(), stopped.clone()));
        tasks.spawn(statement_issuer::issue_statements(administration.clone(), stopped.clone()));
        let watched = (ledger.clone(), metrics.clone());
        tasks.spawn(clock_watch::watch_clocks(watched.0, watched.1, stopped.clone()));
        tasks.spawn(readiness.clone().follow(engine.clone(), ledger.clone(), stopped.clone()));
        let fallback = fallback.map(|fallback| {
            let replaying = Replaying::start(&fallback, &engine);
            (fallback, replaying)
        });
        self.callbacks.iter().for_each(|it| it.open(engine.clone(), callback_notes.clone()));
        let health = readiness.health();
        let routes = routes(config, health, engine, administration, events, access, stopped)?;
        info!(store = %config.store, catalog = in_force.version, "serving");
        Ok(Running { ledger, routes, tasks, event_tasks, fallback })
    }

    /// Serves until the end, and ends in order.
    async fn serve(
        self,
        running: Running,
        listeners: &Listeners,
        mut servers: JoinSet<()>,
        shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), ServeError> {
        let Running { ledger, routes, mut tasks, mut event_tasks, mut fallback } = running;
        let calls = self.metrics.calls();
        listeners.serve(&mut servers, &routes, &self.credentials, calls, &self.stopped);
        let journal_failed = async {
            let Some((fallback, replaying)) = &mut fallback else {
                return std::future::pending().await;
            };
            tokio::select! {
                () = fallback.failed() => ServeError::JournalFailed,
                () = panicked(&mut replaying.tasks) => ServeError::TaskPanicked,
            }
        };
        let end = tokio::select! {
            () = shutdown => Ok(()),
            () = ledger.failed() => Err(ServeError::StoreFailed),
            error = journal_failed => Err(error),
            () = panicked(&mut tasks) => Err(ServeError::TaskPanicked),
            () = event_tasks.panicked() => Err(ServeError::TaskPanicked),
            _ = servers.join_next() => Err(ServeError::ListenerEnded),
        };
        info!("shutting down");
        self.readiness.stopping().await;
        if end.is_ok() {
            // Clients that have not seen NOT_SERVING yet are served as before.
            tokio::time::sleep(self.config.shutdown_delay).await;
        }
        self.stopped.cancel();
        drain(&mut servers, self.config.drain_timeout).await;
        while tasks.join_next().await.is_some() {}
        if let Some((fallback, replaying)) = fallback {
            replaying.end().await;
            fallback.close().await;
        }
        event_tasks.end().await;
        ledger.close().await;
        info!("store closed");
        end
    }
}

/// Activates the loaded catalog. Returns it if the store is unavailable: until the store activates
/// it, this sidecar decides by it.
async fn activate_loaded(
    administration: &Administration,
    catalog: Catalog,
    reported: &Reported,
) -> Result<Option<Catalog>, AdminError> {
    match administration.change_catalog(catalog.clone()).await {
        Ok(standing) => {
            reported.report(&standing);
            Ok(None)
        }
        Err(error) if error.is_of_store() => {
            warn!(%error, "catalogs not read, deciding by the loaded one, retrying");
            Ok(Some(catalog))
        }
        Err(error) if error.is_of_catalog_in_use() && administration.keeps_catalogs() => {
            error!(%error, "catalog refused, following the store's last one");
            reported.report(&administration.follow_catalog().await?);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Task that replays the journal into the store. It ends after the listeners, so that the entries
/// of the last requests are replayed too.
struct Replaying {
    stop: CancellationToken,
    /// One task.
    tasks: JoinSet<()>,
}

impl Replaying {
    fn start(fallback: &Arc<Fallback>, engine: &Arc<Engine>) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(fallback.clone().replay(engine.clone(), stop.clone()));
        Self { stop, tasks }
    }

    async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Opens the journal if there is to be one: a store in this process is never unavailable.
async fn open_journal(config: &Config) -> Result<Option<(Journal, Vec<Opened>)>, JournalError> {
    match (&config.store, &config.journal) {
        (Store::Redis(_), Some(directory)) => {
            let directory = directory.clone();
            run_blocking(move || Journal::open(&directory)).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Creates the callbacks, if there is a listener for them.
fn open_callbacks(
    config: &Config,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Callbacks>>, ServeError> {
    if config.callbacks.is_empty() {
        return Ok(None);
    }
    let opened = Callbacks::new(&config.callbacks, metrics.clone());
    opened.map(Some).map_err(ServeError::CallbackToken)
}

fn load_catalog(config: &Config) -> Result<(Catalog, Option<FileWatch<Catalog>>), LoadError> {
    match &config.catalog {
        Some(path) => catalog::watch(path).map(|(catalog, watch)| (catalog, Some(watch))),
        None => Ok((catalog::builtin(), None)),
    }
}

/// Runs blocking work on its own thread, so that probes are answered meanwhile.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a runtime that ends cancels it, and with it this task.
        Err(_) => std::future::pending().await,
    }
}

async fn drain(servers: &mut JoinSet<()>, longest: Duration) {
    let all = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(longest, all).await.is_err() {
        warn!(drain_timeout = ?longest, "requests in flight cut off: drain timeout reached");
        servers.shutdown().await;
    }
}
