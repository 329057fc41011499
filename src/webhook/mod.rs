//! The webhook: posts each event to a URL, signed, in order, and with retries until it is accepted.
//!
//! - **At least once.** The position is stored in the store. If a sidecar crashes between a post
//!   and storing the position, the next one posts the event again, with the same id.
//! - **In order**, one at a time. An event that is not accepted is retried without limit; later
//!   ones wait in the log. Events that the bounded log drops meanwhile are posted as one event with
//!   their range, counted and logged.
//! - **One sender.** Of all sidecars of a store the one that holds the lease posts.
//!
//! # Layout
//!
//! - `sign`: the signature by which the receiver verifies a post.
//! - `post`: one post over HTTP.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::post::{Poster, Refused};
use crate::clock::{Clock, Stopwatch};
use crate::domain::event::{EventKind, NumberedEvent};
use crate::domain::text::Conventions;
use crate::events::backoff::backoff;
use crate::events::{Claim, EventLog, EventsError, Lease};
use crate::proto::event_json;
use crate::telemetry::Metrics;

mod post;
mod sign;

pub use post::{SetUpError, is_url};
pub use sign::signature;

/// Name of the sender's lease.
const LEASE: &str = "webhook";
/// Duration of the lease: short enough that another sidecar takes over within half a minute of a
/// crash.
const LEASE_KEPT_FOR: Duration = Duration::from_secs(20);
/// Time after which the lease is renewed before the next post: the rest of the lease is longer than
/// a post may take, and a store that commits to disk is not written to all the time.
const RENEWED_AFTER: Duration = Duration::from_secs(5);
/// Interval at which a sidecar without the lease tries to get it.
const CLAIM_EVERY: Duration = Duration::from_secs(2);
/// Interval at which the sender reads new events.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Longest time at shutdown for a post in flight.
const SHUTDOWN_POST_MAX: Duration = Duration::from_secs(2);
/// Events read at a time.
const PAGE: usize = 64;
/// Backoff after a failed post: shortest and longest.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// URL to which events are posted, and the secret that signs them.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// An HTTP or HTTPS URL.
    pub url: String,
    /// The secret shared with the receiver.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Posts events.
pub struct Webhook {
    poster: Poster,
    log: Arc<dyn EventLog>,
    lease: Lease,
    metrics: Arc<Metrics>,
}

/// The claimed lease, and the position of the receiver.
struct Held {
    since: Stopwatch,
    position: u64,
}

/// Reason why an event could not be posted.
enum Failure {
    /// The receiver did not accept it.
    Receiver(Refused),
    /// The log failed.
    Log(EventsError),
}

impl From<EventsError> for Failure {
    fn from(error: EventsError) -> Self {
        Self::Log(error)
    }
}

impl Webhook {
    /// Creates a webhook that posts the events of a log to a target; `holder` is a name that no
    /// other sidecar has.
    pub fn new(
        target: Target,
        log: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        holder: String,
    ) -> Result<Self, SetUpError> {
        let lease = Lease { name: LEASE, holder };
        Ok(Self { poster: Poster::new(target, clock)?, log, lease, metrics })
    }

    /// Sets the position of the first post to the end of the log, if there is no position yet. To
    /// be called before anything is served; if it fails, it is done before the first post.
    pub async fn begin(&self) -> Result<(), EventsError> {
        self.hold(&mut None).await?;
        Ok(())
    }

    /// Posts events until `stopped` is cancelled. `conventions` returns those of
    /// the current catalog.
    pub async fn run(self, conventions: impl Fn() -> Conventions, stopped: CancellationToken) {
        let posting = self.post_until(&conventions, &stopped);
        let late = async {
            stopped.cancelled().await;
            sleep(SHUTDOWN_POST_MAX).await;
        };
        tokio::select! {
            () = posting => {}
            () = late => {}
        }
        // Release the lease, so that the next sidecar need not wait.
        let _ = self.log.claim(&self.lease, Duration::ZERO).await;
    }

    async fn post_until(
        &self,
        conventions: &impl Fn() -> Conventions,
        stopped: &CancellationToken,
    ) {
        let (mut failures, mut held) = (0, None);
        while !stopped.is_cancelled() {
            let pause =
                match self.post_available(conventions, stopped, &mut held, &mut failures).await {
                    Ok(pause) => pause,
                    Err(failure) => {
                        held = None;
                        failures += 1;
                        let pause = backoff(failures, BACKOFF_MIN, BACKOFF_MAX);
                        log_failure(&failure, failures, pause);
                        pause
                    }
                };
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped.cancelled() => {}
            }
        }
    }

    /// Posts the events that are available, if this sidecar holds the lease, and returns the pause
    /// until the next attempt.
    async fn post_available(
        &self,
        conventions: &impl Fn() -> Conventions,
        stopped: &CancellationToken,
        held: &mut Option<Held>,
        failures: &mut u32,
    ) -> Result<Duration, Failure> {
        let Some(position) = self.hold(held).await? else { return Ok(CLAIM_EVERY) };
        let page = self.log.read(position, PAGE).await?;
        if page.head < position {
            // A failover has lost the end of the log.
            warn!(
                position,
                head = page.head,
                "webhook position moved back: the event log ends before it"
            );
            self.log.advance(&self.lease, page.head).await?;
            *held = None;
            return Ok(Duration::ZERO);
        }
        for numbered in page.events.iter().take_while(|_| !stopped.is_cancelled()) {
            if self.hold(held).await?.is_none() {
                return Ok(CLAIM_EVERY);
            }
            self.post(numbered, conventions()).await.map_err(Failure::Receiver)?;
            if let EventKind::EventsDropped { first, last, .. } = numbered.event.what {
                self.metrics.webhook_missed(last - first + 1);
                warn!(first, last, "events dropped before the webhook received them");
            }
            if *failures > 0 {
                info!(failures, "webhook delivery resumed");
                *failures = 0;
            }
            if !self.log.advance(&self.lease, numbered.number).await? {
                *held = None;
                return Ok(CLAIM_EVERY);
            }
            if let Some(held) = held {
                held.position = numbered.number;
            }
        }
        Ok(if page.events.is_empty() { POLL_EVERY } else { Duration::ZERO })
    }

    /// Holds the lease for at least as long as a post may take, and returns the position of the
    /// receiver; `None` if another sidecar holds the lease.
    async fn hold(&self, held: &mut Option<Held>) -> Result<Option<u64>, EventsError> {
        if let Some(held) = held.as_ref().filter(|it| it.since.elapsed() < RENEWED_AFTER) {
            return Ok(Some(held.position));
        }
        // Started before the call, so that the lease is not assumed to last longer than it does.
        let since = Stopwatch::start();
        let position = match self.log.claim(&self.lease, LEASE_KEPT_FOR).await? {
            Claim::Refused => None,
            Claim::Granted { position: Some(position) } => Some(position),
            Claim::Granted { position: None } => {
                let head = self.log.read(0, 0).await?.head;
                self.log.advance(&self.lease, head).await?.then_some(head)
            }
        };
        *held = position.map(|position| Held { since, position });
        Ok(position)
    }

    async fn post(&self, numbered: &NumberedEvent, by: Conventions) -> Result<(), Refused> {
        let body = event_json(numbered, by);
        let posted = self.poster.post(&numbered.id(), body).await;
        self.metrics.webhook_posted(posted.is_ok());
        posted
    }
}

/// Logs the first failure, and then at exponentially growing intervals.
fn log_failure(failure: &Failure, failures: u32, pause: Duration) {
    if !failures.is_power_of_two() {
        return;
    }
    match failure {
        Failure::Receiver(refused) => {
            let error = refused;
            warn!(%error, failures, ?pause, "webhook delivery failed, retrying");
        }
        Failure::Log(error) => {
            warn!(%error, failures, ?pause, "event log not readable by the webhook, retrying");
        }
    }
}
