//! The sidecar as a process: opens the store, serves, and ends in order.
//!
//! [`serve`] is what the binary runs: it binds, listens to signals and hands over to [`run`],
//! which is handed all that a test cannot fake. The end: health says NOT_SERVING, what is in work
//! is finished (no longer than `drain_timeout`), and the store is closed last.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic_health::ServingStatus;
use tracing::{info, warn};

use crate::catalog::watch::Watch;
use crate::catalog::{self, LoadError};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Store};
use crate::directory::Directory;
use crate::directory::embedded::EmbeddedDirectory;
use crate::directory::redis::RedisDirectory;
use crate::domain::catalog::Catalog;
use crate::domain::schedule::MissingItem;
use crate::engine::Engine;
use crate::engine::administration::{AdminError, Administration};
use crate::engine::events::PumpError;
use crate::events::EventLog;
use crate::events::embedded::EmbeddedEvents;
use crate::events::redis::RedisEvents;
use crate::ledger::Ledger;
use crate::ledger::embedded::{Embedded, OpenError};
use crate::ledger::redis::{self, Redis};
use crate::telemetry::{self, Metrics};
use crate::webhook;

mod connections;
mod credentials;
mod issuing;
mod listen;
mod management;
mod reload;
mod routes;
mod signals;
mod telling;
mod tls;

use credentials::Credentials;
pub use listen::{BindError, Listener, Listeners, UnixSocket};
pub(crate) use routes::ServedRoutes;
use routes::{SERVICES, routes};
use telling::Telling;
pub use tls::TlsError;

/// Why the sidecar did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] redis::OpenError),
    /// The catalog, or the file of tokens, cannot be used.
    #[error(transparent)]
    File(#[from] LoadError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The catalog has no default edition.
    #[error("the catalog cannot be used: {0}")]
    DefaultEdition(#[from] MissingItem),
    /// The limits that follow from what was bought cannot be worked out.
    #[error("the limits of the apps cannot be worked out: {0}")]
    Limits(#[from] AdminError),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
    /// Events cannot be told.
    #[error("events cannot be told: {0}")]
    Events(#[from] PumpError),
    /// The webhook cannot be set up.
    #[error(transparent)]
    Webhook(#[from] webhook::SetUpError),
    /// gRPC reflection cannot be set up.
    #[error("cannot set up reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The store failed while serving.
    #[error("the store failed; it is opened anew when imquota is started again")]
    StoreFailed,
    /// A listener stopped serving by itself.
    #[error("a listener ended by itself")]
    ListenerEnded,
    /// A listener failed while serving.
    #[error("a listener failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Runs the sidecar until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    telemetry::start_logging(config.log_format, &config.log_filter);
    let signals = signals::listen().map_err(ServeError::Signals)?;
    let listeners = Listeners::bind(&config).await?;
    run(config, listeners, Arc::new(SystemClock), signals.reload, signals.shutdown).await
}

/// Runs the sidecar on these listeners until `shutdown` is ready. Each message of `reload` has the
/// catalog, tokens and certificates read again.
pub async fn run(
    config: Config,
    listeners: Listeners,
    clock: Arc<dyn Clock>,
    reload: mpsc::Receiver<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let metrics = Arc::new(Metrics::new());
    let credentials = Credentials::open(&config.access, &metrics)?;
    let (catalog, watch) = load_catalog(&config)?;
    let version = catalog.version.clone();
    let (ledger, directory, log) = open_store(&config.store, clock.clone()).await?;
    let engine =
        Engine::new(ledger.clone(), clock.clone(), metrics.clone(), catalog, config.unknown_app)?;
    let engine = Arc::new(engine);
    let administration = Administration::new(engine.clone(), directory.clone());
    administration.publish_all().await?;
    let telling = Telling { engine: &engine, directory, log: log.clone(), clock };
    let telling = telling.begin(config.webhook.clone(), &metrics).await?;
    metrics.catalog_in_force(&version);

    let (stop, stopped) = watch::channel(false);
    let [reload_catalog, reload_credentials] = credentials::to_both(reload, stopped.clone());
    let following =
        credentials.clone().follow(reload_credentials, stopped.clone(), metrics.clone());
    let following = tokio::spawn(following);
    let reloading = tokio::spawn(reload::reload_catalog(
        watch,
        reload_catalog,
        stopped.clone(),
        administration.clone(),
        metrics.clone(),
    ));
    let issuing = issuing::issue_statements(administration.clone(), stopped.clone());
    let issuing = tokio::spawn(issuing);
    let (health, routes) =
        routes(&config, engine, administration, log, credentials.access.clone(), &stopped).await?;
    let mut servers = listeners.serve(&routes, &credentials, metrics, &stopped);
    info!(store = %config.store, catalog = version, "serving");

    let end = tokio::select! {
        () = shutdown => Ok(()),
        () = ledger.failed() => Err(ServeError::StoreFailed),
        ended = servers.join_next() => Err(match ended {
            Some(Ok(Err(error))) => error.into(),
            _ => ServeError::ListenerEnded,
        }),
    };
    info!("shutting down");
    for service in std::iter::once("").chain(SERVICES) {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
    let _ = stop.send(true);
    drain(&mut servers, config.drain_timeout).await;
    let _ = reloading.await;
    let _ = following.await;
    let _ = issuing.await;
    telling.end().await;
    ledger.close().await;
    info!("store closed");
    end
}

fn load_catalog(config: &Config) -> Result<(Catalog, Option<Watch>), LoadError> {
    match &config.catalog {
        Some(path) => Watch::open(path).map(|(catalog, watch)| (catalog, Some(watch))),
        None => Ok((catalog::builtin(), None)),
    }
}

type OpenStore = (Arc<dyn Ledger>, Arc<dyn Directory>, Arc<dyn EventLog>);

async fn open_store(store: &Store, clock: Arc<dyn Clock>) -> Result<OpenStore, ServeError> {
    let embedded = match store {
        Store::Embedded(directory) => Embedded::open(directory, clock)?,
        Store::Memory => {
            warn!("the store is in memory: everything is lost when the process ends");
            Embedded::in_memory(clock)?
        }
        Store::Redis(options) => {
            let redis = Redis::open((**options).clone(), clock).await?;
            let directory = Arc::new(RedisDirectory::beside(&redis));
            let events = Arc::new(RedisEvents::beside(&redis));
            return Ok((Arc::new(redis), directory, events));
        }
    };
    let directory = Arc::new(EmbeddedDirectory::beside(&embedded));
    let events = Arc::new(EmbeddedEvents::beside(&embedded));
    Ok((Arc::new(embedded), directory, events))
}

async fn drain(servers: &mut JoinSet<Result<(), tonic::transport::Error>>, longest: Duration) {
    let all = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(longest, all).await.is_err() {
        warn!(drain_timeout = ?longest, "requests in work did not end in time and were cut off");
        servers.shutdown().await;
    }
}
