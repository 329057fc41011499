//! Opens the store, however late it comes.
//!
//! A store that does not answer yet, or takes long to open, is waited for: the process is alive,
//! health and probes say that it is not ready, and every other call is told so. What waiting does
//! not mend ends the process with a sentence.

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
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;
use tracing::{info, warn};

use super::calls::CallLayer;
use super::credentials::Credentials;
use super::listen::Listeners;
use super::readiness::Readiness;
use super::routes::ServedRoutes;
use super::{OpenStore, ServeError, open_store};
use crate::clock::Clock;
use crate::config::Store;
use crate::events::backoff::backoff;
use crate::grpc::{ADMIN_SERVICE, HealthApi, METERING_SERVICE, QUOTA_SERVICE};

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After so long the listeners say that the store is not open yet: a small store is open before.
const SILENT_MAX: Duration = Duration::from_millis(100);

/// Opens the store. Where it is not open soon, the listeners say so meanwhile.
pub(super) async fn open_patiently(
    store: &Store,
    clock: &Arc<dyn Clock>,
    listeners: &Listeners,
    credentials: &Credentials,
    readiness: &Readiness,
) -> Result<OpenStore, ServeError> {
    let (found, waiting) = watch::channel(false);
    let mut reception = JoinSet::new();
    let opened = {
        let mut opening = pin!(open_at_last(store, clock));
        let soon = tokio::select! {
            opened = &mut opening => Some(opened),
            () = sleep(SILENT_MAX) => None,
        };
        match soon {
            Some(opened) => opened,
            None => {
                let routes = not_ready(readiness, &waiting);
                listeners.serve(&mut reception, &routes, credentials, &waiting);
                opening.await
            }
        }
    };
    let _ = found.send(true);
    // The listeners stay open; whoever connects now is served by what comes next.
    while reception.join_next().await.is_some() {}
    opened
}

/// Opens the store, as often as it may yet succeed.
async fn open_at_last(store: &Store, clock: &Arc<dyn Clock>) -> Result<OpenStore, ServeError> {
    let mut attempts = 0;
    let opened = loop {
        match open_store(store, clock.clone()).await {
            Err(error) if error.may_pass() => {
                if attempts == 0 {
                    warn!(%error, "the store is not there yet; it is waited for");
                }
                attempts += 1;
                sleep(backoff(attempts, FIRST_PAUSE, LONGEST_PAUSE)).await;
            }
            end => break end,
        }
    };
    if attempts > 0 && opened.is_ok() {
        info!(attempts, "the store is there");
    }
    opened
}

/// Health, and that nothing else is to be had yet.
fn not_ready(readiness: &Readiness, waiting: &watch::Receiver<bool>) -> ServedRoutes {
    let health = || HealthApi::new(readiness.health(), waiting.clone()).into_service();
    ServedRoutes {
        data: Routes::new(health()).add_service(QuotaLater).add_service(MeteringLater),
        admin: Routes::new(health()).add_service(AdminLater).add_service(MeteringLater),
        calls: CallLayer::new(None),
    }
}

/// What every call but health is told before the store is there.
const NOT_YET: &str = "the store is not open yet; nothing was done";

macro_rules! later {
    ($($service:ident: $name:expr),*) => {$(
        /// The service of that name, before the store is there.
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
                ready(Ok(Status::unavailable(NOT_YET).into_http()))
            }
        }
    )*};
}

later!(QuotaLater: QUOTA_SERVICE, MeteringLater: METERING_SERVICE, AdminLater: ADMIN_SERVICE);
