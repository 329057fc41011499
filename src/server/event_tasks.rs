//! The tasks that deliver events: one that appends to the event log, and one that posts the log to
//! the webhook.
//!
//! They end after the listeners, so that events of the last requests are delivered too.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::ServeError;
use crate::clock::Clock;
use crate::directory::Directory;
use crate::domain::text::hex;
use crate::engine::Engine;
use crate::engine::events::EventPublisher;
use crate::events::EventLog;
use crate::telemetry::Metrics;
use crate::webhook::{SetUpError, Target, Webhook};

/// Longest time for which the start waits until the position of the first event is recorded.
const BEGIN_MAX: Duration = Duration::from_secs(2);

/// The parts that event tasks use.
pub struct EventTaskInputs<'a> {
    /// Decides, and records events.
    pub engine: &'a Arc<Engine>,
    /// The apps and their purchases.
    pub directory: Arc<dyn Directory>,
    /// Destination of events.
    pub log: Arc<dyn EventLog>,
    /// The time of posts.
    pub clock: Arc<dyn Clock>,
}

/// The running tasks.
pub struct EventTasks {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl EventTaskInputs<'_> {
    /// Records the position from which events are delivered, and starts the tasks.
    pub async fn begin(
        self,
        target: Option<Target>,
        metrics: &Arc<Metrics>,
    ) -> Result<EventTasks, ServeError> {
        let Self { engine, directory, log, clock } = self;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let publisher = EventPublisher::new(engine.clone(), directory, log.clone());
        begun("events", publisher.begin()).await;
        tasks.spawn(publisher.run(stop.clone()));
        if let Some(target) = target {
            let holder = random_name().map_err(SetUpError::Random)?;
            let webhook = Webhook::new(target, log, clock, metrics.clone(), holder)?;
            begun("webhook", webhook.begin()).await;
            let engine = engine.clone();
            tasks.spawn(webhook.run(move || engine.catalog().conventions(), stop.clone()));
        }
        Ok(EventTasks { tasks, stop })
    }
}

/// Waits for a task to begin, but not for a part of the store that is unavailable: the task
/// completes its beginning when that part is available.
async fn begun<E: Display>(what: &str, beginning: impl Future<Output = Result<(), E>>) {
    match timeout(BEGIN_MAX, beginning).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, what, "event log unavailable, retrying"),
        Err(_) => warn!(within = ?BEGIN_MAX, what, "event log unavailable, retrying"),
    }
}

impl EventTasks {
    /// Waits until one of the tasks has panicked.
    pub async fn panicked(&mut self) {
        super::panicked(&mut self.tasks).await;
    }

    /// Delivers the remaining events, and ends.
    pub async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Returns 128 random bits in hexadecimal.
fn random_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}
