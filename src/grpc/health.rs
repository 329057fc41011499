//! grpc.health.v1, whose watches end when the server does.
//!
//! tonic-health keeps watches open forever, and an open stream prevents the server from ending.
//! Here a watch gets the last status (NOT_SERVING) and then ends. A watch whose connection has
//! reached its age ends too, as UNAVAILABLE.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use super::OPEN_REQUEST_MAX_BYTES;
use super::connection_age::ConnectionAge;

/// Longest time for which a watch waits for its last status once the server shuts down.
const LAST_STATUS_TIMEOUT: Duration = Duration::from_millis(100);
/// Most statuses that wait for a slow watcher.
const STATUSES_MAX: usize = 4;

/// The health of a server that ends when `shutdown` is cancelled.
#[derive(Clone)]
pub struct HealthApi {
    inner: Arc<HealthService>,
    shutdown: CancellationToken,
}

impl HealthApi {
    /// Creates the service over the statuses of a reporter.
    #[must_use]
    pub fn new(reporter: HealthReporter, shutdown: CancellationToken) -> Self {
        let inner = Arc::new(HealthService::from_health_reporter(reporter));
        Self { inner, shutdown }
    }

    /// Makes a gRPC service of it.
    #[must_use]
    pub fn into_service(self) -> HealthServer<Self> {
        HealthServer::new(self).max_decoding_message_size(OPEN_REQUEST_MAX_BYTES)
    }
}

type Statuses = ReceiverStream<Result<HealthCheckResponse, Status>>;

#[tonic::async_trait]
impl Health for HealthApi {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.inner.check(request).await
    }

    type WatchStream = Statuses;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let age = ConnectionAge::of(request.extensions());
        let mut statuses = self.inner.watch(request).await?.into_inner();
        let shutdown = self.shutdown.clone();
        let (sender, receiver) = mpsc::channel(STATUSES_MAX);
        tokio::spawn(async move {
            loop {
                let status = tokio::select! {
                    status = statuses.next() => status,
                    () = sender.closed() => None,
                    () = shutdown.cancelled() => break,
                    status = age.reached("watch again") => {
                        // A watcher that does not read has its stream ended without the status.
                        let _ = sender.try_send(Err(status));
                        return;
                    }
                };
                let Some(status) = status else { return };
                if sender.send(status).await.is_err() {
                    return;
                }
            }
            let last = tokio::time::timeout(LAST_STATUS_TIMEOUT, statuses.next()).await;
            if let Ok(Some(status)) = last {
                // A watcher that has gone away does not need the status.
                let _ = sender.try_send(status);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
