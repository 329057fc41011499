//! The webhook: each event is posted to a URL, signed, in order, and again until it is taken.
//!
//! - **At least once.** How far it has come is kept in the store. Whoever crashes between a post
//!   and that note is followed by one who posts the event again, with the same id.
//! - **In order**, one at a time. An event that is not taken is tried again for ever; the ones
//!   behind it wait in the log. What the bounded log drops meanwhile is posted as one event with
//!   its range, counted and logged.
//! - **One sender.** Of all sidecars of a store the one that holds the lease posts.
//!
//! # Layout
//!
//! - `sign`: what shows the receiver that a post is ours.
//! - `post`: one post over HTTP.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use self::post::{Poster, Refused};
use crate::clock::{Clock, Stopwatch};
use crate::domain::calendar::Zone;
use crate::domain::event::{Happening, NumberedEvent};
use crate::events::backoff::backoff;
use crate::events::{Claim, EventLog, EventsError, Lease};
use crate::grpc::event_json;
use crate::telemetry::Metrics;

mod post;
mod sign;

pub use post::{SetUpError, is_url};
pub use sign::signature;

/// The lease of the sender.
const LEASE: &str = "webhook";
/// How long the lease is held: short enough that another sidecar takes over within half a minute of
/// a crash.
const LEASE_KEPT_FOR: Duration = Duration::from_secs(20);
/// After so long it is claimed again before the next post: more is left than a post may take, and
/// a store that commits to disk is not written to all the time.
const CLAIMED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often a sidecar that does not send asks whether it should.
const ASKED_EVERY: Duration = Duration::from_secs(2);
/// How often the sender looks for new events.
const LOOKED_EVERY: Duration = Duration::from_millis(500);
/// Longest time at the end for the post that is on its way.
const LAST_POST_MAX: Duration = Duration::from_secs(2);
/// Events read at a time.
const PAGE: usize = 64;
/// Pauses after a post that was not taken.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Where events are posted, and what they are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// An HTTP or HTTPS URL.
    pub url: String,
    /// The secret that the receiver knows too.
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

/// The lease as it was claimed, and how far the receiver has come.
struct Held {
    since: Stopwatch,
    position: u64,
}

/// What keeps an event from being posted.
enum Trouble {
    /// The receiver did not take it.
    Receiver(Refused),
    /// The log failed.
    Log(EventsError),
}

impl From<EventsError> for Trouble {
    fn from(error: EventsError) -> Self {
        Self::Log(error)
    }
}

impl Webhook {
    /// Posts what is in that log to that target; `holder` is a name that no other sidecar has.
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

    /// Notes where the first post begins, where there was none yet: with what happens from now on.
    /// To be done before anything is served; what fails here is done before the first post.
    pub async fn begin(&self) -> Result<(), EventsError> {
        self.hold(&mut None).await?;
        Ok(())
    }

    /// Posts until `stopped` turns true. `zone` tells the zone of the catalog of the moment.
    pub async fn run(self, zone: impl Fn() -> Zone, mut stopped: watch::Receiver<bool>) {
        let posting = self.post_until(&zone, stopped.clone());
        let late = async {
            let _ = stopped.wait_for(|stop| *stop).await;
            sleep(LAST_POST_MAX).await;
        };
        tokio::select! {
            () = posting => {}
            () = late => {}
        }
        // Whoever goes on need not wait.
        let _ = self.log.claim(&self.lease, Duration::ZERO).await;
    }

    async fn post_until(&self, zone: &impl Fn() -> Zone, mut stopped: watch::Receiver<bool>) {
        let (mut failures, mut held) = (0, None);
        while !*stopped.borrow() {
            let pause = match self.post_some(zone, &stopped, &mut held, &mut failures).await {
                Ok(pause) => pause,
                Err(trouble) => {
                    held = None;
                    failures += 1;
                    let pause = backoff(failures, FIRST_PAUSE, LONGEST_PAUSE);
                    complain(&trouble, failures, pause);
                    pause
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Posts what is there, if it is for us to do so, and answers how long to pause.
    async fn post_some(
        &self,
        zone: &impl Fn() -> Zone,
        stopped: &watch::Receiver<bool>,
        held: &mut Option<Held>,
        failures: &mut u32,
    ) -> Result<Duration, Trouble> {
        let Some(position) = self.hold(held).await? else { return Ok(ASKED_EVERY) };
        let page = self.log.read(position, PAGE).await?;
        if page.head < position {
            // A failover has lost the end of the log.
            warn!(position, head = page.head, "the log of events ends before the webhook's place");
            self.log.advance(&self.lease, page.head).await?;
            *held = None;
            return Ok(Duration::ZERO);
        }
        for numbered in page.events.iter().take_while(|_| !*stopped.borrow()) {
            if self.hold(held).await?.is_none() {
                return Ok(ASKED_EVERY);
            }
            self.post(numbered, zone()).await.map_err(Trouble::Receiver)?;
            if let Happening::EventsDropped { first, last, .. } = numbered.event.what {
                self.metrics.webhook_missed(last - first + 1);
                warn!(first, last, "events were dropped before the webhook received them");
            }
            if *failures > 0 {
                info!(failures, "the webhook takes events again");
                *failures = 0;
            }
            if !self.log.advance(&self.lease, numbered.number).await? {
                *held = None;
                return Ok(ASKED_EVERY);
            }
            if let Some(held) = held {
                held.position = numbered.number;
            }
        }
        Ok(if page.events.is_empty() { LOOKED_EVERY } else { Duration::ZERO })
    }

    /// Holds the lease for at least as long as a post may take, and answers how far the receiver
    /// has come; `None` where another sidecar holds it.
    async fn hold(&self, held: &mut Option<Held>) -> Result<Option<u64>, EventsError> {
        if let Some(held) = held.as_ref().filter(|it| it.since.elapsed() < CLAIMED_AGAIN_AFTER) {
            return Ok(Some(held.position));
        }
        // From before the call, so that it is not believed to last longer than it does.
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

    async fn post(&self, numbered: &NumberedEvent, zone: Zone) -> Result<(), Refused> {
        let body = event_json(numbered, zone);
        let posted = self.poster.post(&numbered.id(), body).await;
        self.metrics.webhook_posted(posted.is_ok());
        posted
    }
}

/// Logs the first failure, and then each time that a person might begin to wonder.
fn complain(trouble: &Trouble, failures: u32, pause: Duration) {
    if !failures.is_power_of_two() {
        return;
    }
    match trouble {
        Trouble::Receiver(refused) => {
            let error = refused;
            warn!(%error, failures, ?pause, "the webhook did not take an event, which waits");
        }
        Trouble::Log(error) => {
            warn!(%error, failures, ?pause, "the log of events cannot be read for the webhook");
        }
    }
}
