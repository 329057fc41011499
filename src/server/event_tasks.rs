//! The tasks that tell what happens: one that fills the log of events, and one that posts it to the
//! webhook.
//!
//! They end after the listeners, so that what the last requests did is told too.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
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

/// Longest time for which a start waits until it is noted from where on events are told.
const BEGIN_MAX: Duration = Duration::from_secs(2);

/// What is told, and where to.
pub struct Telling<'a> {
    /// What decides.
    pub engine: &'a Arc<Engine>,
    /// Who bought what.
    pub directory: Arc<dyn Directory>,
    /// Where to.
    pub log: Arc<dyn EventLog>,
    /// The time of posts.
    pub clock: Arc<dyn Clock>,
}

/// The tasks at work.
pub struct Tellers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Telling<'_> {
    /// Notes from where on events are told, and starts.
    pub async fn begin(
        self,
        target: Option<Target>,
        metrics: &Arc<Metrics>,
    ) -> Result<Tellers, ServeError> {
        let Self { engine, directory, log, clock } = self;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let pump = EventPublisher::new(engine.clone(), directory, log.clone());
        begun("events", pump.begin()).await;
        tasks.spawn(pump.run(stopped.clone()));
        if let Some(target) = target {
            let holder = random_name().map_err(SetUpError::Random)?;
            let webhook = Webhook::new(target, log, clock, metrics.clone(), holder)?;
            begun("webhook", webhook.begin()).await;
            let engine = engine.clone();
            tasks.spawn(webhook.run(move || engine.catalog().zone, stopped));
        }
        Ok(Tellers { tasks, stop })
    }
}

/// Waits for a beginning, though not for a part of the store that is away: the tasks do what is
/// left of it once that answers.
async fn begun<E: Display>(what: &str, beginning: impl Future<Output = Result<(), E>>) {
    match timeout(BEGIN_MAX, beginning).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, what, "log of events not reached, retrying"),
        Err(_) => warn!(within = ?BEGIN_MAX, what, "log of events not reached, retrying"),
    }
}

impl Tellers {
    /// Ready when one of the tasks has panicked.
    pub async fn panicked(&mut self) {
        super::panicked(&mut self.tasks).await;
    }

    /// Tells what is left, and ends.
    pub async fn end(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// 128 random bits in hexadecimal.
fn random_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}
