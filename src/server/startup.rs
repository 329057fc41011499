//! Opens the store, with retries until it is available.
//!
//! While a store is unavailable, or takes long to open, the process is alive, health and probes
//! report that it is not ready, and every other call fails with that reason. An error that a retry
//! cannot fix ends the process. A store that has lost its facts, or is another one, is served as
//! lost until it is accepted: every call is refused but those that show and accept it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;
use tracing::{info, warn};

use super::calls::CallLayer;
use super::credentials::Credentials;
use super::listen::Listeners;
use super::readiness::Readiness;
use super::routes::{ServedRoutes, routes};
use super::services::Services;
use super::{ServeError, Stores};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::catalog::Catalog;
use crate::engine::Engine;
use crate::engine::admin::Administration;
use crate::engine::fallback::Fallback;
use crate::events::backoff::backoff;
use crate::grpc::status::of_unopened_store;
use crate::grpc::{ADMIN_SERVICE, HealthApi, METERING_SERVICE, QUOTA_SERVICE};
use crate::telemetry::Metrics;

/// Delays between attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Time after which placeholder services are served: a small store is open before.
const PLACEHOLDER_DELAY: Duration = Duration::from_millis(100);

/// The parts that opening the store needs, and those that are served meanwhile.
pub(super) struct Startup<'a> {
    pub(super) config: &'a Config,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) listeners: &'a Listeners,
    pub(super) credentials: &'a Credentials,
    pub(super) readiness: &'a Readiness,
    pub(super) catalog: &'a Catalog,
    pub(super) fallback: Option<&'a Arc<Fallback>>,
}

impl Startup<'_> {
    /// Opens the store. While it is unavailable, or lost, the listeners report that.
    pub(super) async fn open(self) -> Result<Stores, ServeError> {
        loop {
            let stores = self.open_with_retry().await?;
            if !stores.ledger.is_lost() {
                return Ok(stores);
            }
            // The process is alive and the store answers, but its answer cannot be used.
            self.readiness.answered().await;
            if self.wait_until_accepted(&stores).await? {
                return Ok(stores);
            }
            stores.ledger.close().await;
        }
    }

    async fn open_with_retry(&self) -> Result<Stores, ServeError> {
        let waiting = CancellationToken::new();
        let found = waiting.clone().drop_guard();
        let mut placeholder_services = JoinSet::new();
        let opened = {
            let mut startup = pin!(open_until_available(self.config, self.clock));
            let soon = tokio::select! {
                opened = &mut startup => Some(opened),
                () = sleep(PLACEHOLDER_DELAY) => None,
            };
            if let Some(opened) = soon {
                opened
            } else {
                let routes = not_ready(self.readiness, &waiting);
                self.listeners.serve(
                    &mut placeholder_services,
                    &routes,
                    self.credentials,
                    self.metrics.calls(),
                    &waiting,
                );
                startup.await
            }
        };
        drop(found);
        // The listeners stay open; new connections are served by the next services.
        while placeholder_services.join_next().await.is_some() {}
        opened
    }

    /// Serves health and the admin service until the store is accepted; `false` if it has to be
    /// opened again.
    async fn wait_until_accepted(&self, stores: &Stores) -> Result<bool, ServeError> {
        let Stores { ledger, directory, events, .. } = stores;
        let catalog = self.catalog.clone();
        let unknown_app = self.config.unknown_app;
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        let engine = Engine::new(ledger.clone(), clock, metrics, catalog, unknown_app)?;
        let engine = Arc::new(match self.fallback {
            Some(fallback) => engine.falling_back(fallback.clone()),
            None => engine,
        });
        let administration = Administration::new(engine.clone(), directory.clone());
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let routes = routes(
            self.config,
            self.readiness.health(),
            engine,
            administration,
            events.clone(),
            self.credentials.access.clone(),
            &ended,
        )?;
        let mut placeholder_services = JoinSet::new();
        let calls = self.metrics.calls();
        self.listeners.serve(&mut placeholder_services, &routes, self.credentials, calls, &ended);
        let mut changes = ledger.identity_changes();
        let whole = loop {
            self.readiness.lost(ledger.as_ref()).await;
            if !ledger.is_lost() {
                break true;
            }
            tokio::select! {
                () = ledger.failed() => break false,
                () = changed(&mut changes) => {}
                // The process counts as started only after an answer of the store.
                () = sleep(BACKOFF_MAX) => self.readiness.answered().await,
            }
        };
        drop(end);
        while placeholder_services.join_next().await.is_some() {}
        Ok(whole)
    }
}

/// Opens the store; retries transient errors.
async fn open_until_available(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Stores, ServeError> {
    let mut attempts = 0;
    let opened = loop {
        match Stores::open(config, clock.clone()).await {
            Err(error) if error.is_transient() => {
                if attempts == 0 {
                    warn!(%error, "store unavailable, retrying");
                }
                attempts += 1;
                sleep(backoff(attempts, BACKOFF_MIN, BACKOFF_MAX)).await;
            }
            end => break end,
        }
    };
    if attempts > 0 && opened.is_ok() {
        info!(attempts, "store open");
    }
    opened
}

/// Waits until the store's identity has changed.
pub(super) async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Serves health, and placeholders for all other services.
fn not_ready(readiness: &Readiness, waiting: &CancellationToken) -> ServedRoutes {
    let health = || HealthApi::new(readiness.health(), waiting.clone()).into_service();
    let data = Routes::new(health()).add_service(UnavailableQuota).add_service(UnavailableMetering);
    let admin =
        Routes::new(health()).add_service(UnavailableAdmin).add_service(UnavailableMetering);
    let calls = CallLayer::new(None);
    let (data, admin) = (Services::new(data), Services::new(admin));
    ServedRoutes::new((data, calls.clone()), (admin, calls))
}

macro_rules! unavailable {
    ($($service:ident: $name:expr),*) => {$(
        /// Placeholder of the service of that name until the store is open.
        #[derive(Clone)]
        struct $service;

        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl Service<Request<Body>> for $service {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = Ready<Result<Response<Body>, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, _: Request<Body>) -> Self::Future {
                ready(Ok(of_unopened_store().into_http()))
            }
        }
    )*};
}

unavailable!(
    UnavailableQuota: QUOTA_SERVICE,
    UnavailableMetering: METERING_SERVICE,
    UnavailableAdmin: ADMIN_SERVICE
);
