//! One server: its connections, and the turns in which it is given calls.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::Notify;

use super::authority::Authority;
use super::batch::Batches;
use super::clock::{ClockReading, ServerClock};
use super::confirmations::Confirmations;
use super::connect::Connector;
use super::link::{Lane, Link};
use super::pace::{Deadline, Task};
use super::probe::Probe;
use super::refusals::Refusals;
use super::{Failure, Request, inspect, reply};
use crate::clock::Clock;
use crate::ledger::fair::{Load, Places, Turns};
use crate::ledger::redis::options::{Address, Durability};
use crate::ledger::{Overload, Refusal, Replication};

/// A call waits so long for a connection before it asks anew which server it needs: by then
/// another one may have taken over.
pub(super) const LINK_PATIENCE: Duration = Duration::from_millis(100);

/// A server.
pub(super) struct Node {
    pub(super) address: Address,
    /// What is known of its clock.
    pub(super) clock: Arc<ServerClock>,
    connector: Arc<Connector>,
    lane: Lane,
    /// Where answers may have to be confirmed by replicas.
    confirmed: Option<Confirmed>,
    probe: Probe,
    refusals: Refusals,
    turns: Arc<Turns>,
}

/// How answers are confirmed.
struct Confirmed {
    batches: Batches,
    confirmations: Arc<Confirmations>,
    _monitor: Task,
}

impl Node {
    /// Connects in the background; failures ring the alarm.
    pub(super) fn new(
        address: Address,
        connector: &Arc<Connector>,
        alarm: &Arc<Notify>,
        authority: Authority,
    ) -> Arc<Self> {
        let lane = Lane::new(address.clone(), Arc::clone(connector), Arc::clone(alarm));
        let most = connector.options.subjects_in_flight_max;
        let durability = connector.durability();
        let turns = match durability {
            Durability::Local => Turns::new(most),
            Durability::Auto | Durability::Replicated => Turns::of_batches(most),
        };
        let confirmed =
            (durability != Durability::Local || authority.can_replace_master()).then(|| {
                let another =
                    || Lane::new(address.clone(), Arc::clone(connector), Arc::clone(alarm));
                let second = another();
                let confirmations =
                    Confirmations::new(address.clone(), connector, authority, another());
                let batches = Batches::new([lane.clone(), second], &confirmations);
                let monitor = confirmations.monitor(lane.clone());
                Confirmed { batches, confirmations, _monitor: monitor }
            });
        Arc::new(Self {
            probe: Probe::start(address.clone(), connector),
            refusals: Refusals::default(),
            address,
            clock: Arc::default(),
            connector: Arc::clone(connector),
            lane,
            confirmed,
            turns,
        })
    }

    /// The host, empty for a Unix socket.
    pub(super) fn host(&self) -> &str {
        match &self.address {
            Address::Tcp(address) => &address.host,
            Address::Unix(_) => "",
        }
    }

    /// Whether it is absent.
    pub(super) fn is_absent(&self) -> bool {
        self.probe.is_absent()
    }

    /// It serves that slot, as far as is known.
    pub(super) fn serves(&self, slot: u16) {
        self.probe.serves(slot);
    }

    /// What it refuses: calls of a short while ago, or connections.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let unconnected = || {
            let words = self.lane.refusal().filter(|_| !self.is_absent())?;
            Some(Refusal { code: "UNCONNECTED".to_owned(), words })
        };
        let unconfirmed = || {
            let words = self.confirmed.as_ref().filter(|_| !self.is_absent())?;
            let words = words.confirmations.closed()?;
            Some(Refusal { code: "UNCONFIRMED".to_owned(), words })
        };
        self.refusals.current().or_else(unconnected).or_else(unconfirmed)
    }

    /// The servers that hold what its answers rest on.
    pub(super) fn replication(&self) -> Replication {
        let confirmed = self.confirmed.as_ref();
        confirmed.map_or_else(Replication::default, |it| it.confirmations.replication())
    }

    /// How much it is given at once, and how much waits.
    pub(super) fn load(&self) -> Load {
        self.turns.load()
    }

    /// Sends the call once, if there is a connection, and waits for its outcome.
    pub(super) async fn call(
        &self,
        request: &Request,
        asking: bool,
        deadline: Deadline,
    ) -> Result<Value, Failure> {
        let outcome = self.attempt(request, asking, deadline).await;
        self.refusals.record(&self.address, &outcome);
        outcome
    }

    async fn attempt(
        &self,
        request: &Request,
        asking: bool,
        deadline: Deadline,
    ) -> Result<Value, Failure> {
        if let Some(Confirmed { confirmations, .. }) = &self.confirmed
            && confirmations.closed().is_some()
        {
            // Before its turn: what cannot be answered takes no one's place.
            let opening = async {
                let opened = confirmations.opened_within(LINK_PATIENCE.min(deadline.left()));
                opened.await.map_err(Failure::Unconfirmable)
            };
            Box::pin(self.unless_absent(deadline, false, opening)).await?;
        }
        let places = match self.turns.at_once(request.turn) {
            Some(places) => places,
            // Boxed, since most calls do not wait.
            None => Box::pin(self.wait_for_turn(request, deadline)).await?,
        };
        if let Some(confirmed) = &self.confirmed
            && !confirmed.confirmations.is_direct()
        {
            return confirmed.batches.call(request, asking, deadline, places, &self.probe).await;
        }
        let link = self.lane.link(LINK_PATIENCE.min(deadline.left())).await;
        let link = link.map_err(Failure::Unsent)?;
        let patience = deadline.left();
        if patience.is_zero() {
            return Err(Failure::Unsent("no time was left to send it".to_owned()));
        }
        let sending = send(&link, request, asking, patience);
        let outcome = self.unless_absent(deadline, true, sending).await;
        if matches!(outcome, Ok(_) | Err(Failure::Server(_))) {
            places.answered();
        }
        outcome
    }

    /// Places for a call, when its turn comes.
    async fn wait_for_turn(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Places, Failure> {
        let turn = async {
            let places = self.turns.when_it_comes(request.turn, deadline.left()).await;
            match places {
                // A turn that comes with the end of the call's time comes too late.
                Ok(_) if deadline.is_over() => Err(Failure::Overloaded(Overload::Late)),
                places => places.map_err(Failure::Overloaded),
            }
        };
        self.unless_absent(deadline, false, turn).await
    }

    /// Works until it is done or, for a call that fails fast, until the server is absent.
    async fn unless_absent<T>(
        &self,
        deadline: Deadline,
        is_sent: bool,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if !deadline.hurried {
            return work.await;
        }
        tokio::select! {
            biased;
            done = work => done,
            () = self.probe.absence() => Err(Failure::Absent { is_sent }),
        }
    }

    /// Gives the server a script that it has forgotten.
    pub(super) async fn load_script(
        &self,
        script: usize,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let text = self.connector.scripts.get(script).map(|script| script.text.as_str());
        let command = redis::cmd("SCRIPT").arg("LOAD").arg(text).to_owned();
        self.ask(&command, deadline).await.map(drop)
    }

    /// Sends a command that changes nothing.
    pub(super) async fn ask(&self, command: &Cmd, deadline: Deadline) -> Result<Value, Failure> {
        let link = self.lane.link(LINK_PATIENCE.min(deadline.left())).await;
        link.map_err(Failure::Unsent)?.send(command, deadline.left()).await
    }

    /// Reads its clock, in milliseconds since the epoch.
    pub(super) async fn read_clock(
        &self,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Option<ClockReading> {
        let sent_at = clock.now();
        let reply = self.ask(&redis::cmd("TIME"), deadline).await.ok()?;
        let now = clock.now();
        let [seconds, micros] = reply::elements(&reply) else { return None };
        let number = |value| reply::text(value)?.parse::<i64>().ok();
        let server_now = number(seconds)? * 1000 + number(micros)? / 1000;
        self.clock.observe(server_now, sent_at, now);
        Some(ClockReading::new(self.address.to_string(), server_now, sent_at, now))
    }

    /// What its clock is ahead of this process's, in milliseconds; it is read where that is not
    /// known yet. A server that does not answer will not answer the call either.
    pub(super) async fn clock_offset_ms(&self, clock: &dyn Clock, deadline: Deadline) -> i64 {
        if let Some(offset_ms) = self.clock.offset_ms() {
            return offset_ms;
        }
        self.read_clock(clock, deadline).await;
        self.clock.offset_ms().unwrap_or(0)
    }

    /// Waits until there is a connection, or says why there is none.
    pub(super) async fn connected(&self, patience: Duration) -> Result<(), String> {
        self.lane.link(patience).await.map(drop)
    }

    /// Compares what the server counts with what was seen before, where there is a connection.
    pub(super) async fn compare(&self, deadline: Deadline) {
        if let Ok(link) = self.lane.link(LINK_PATIENCE.min(deadline.left())).await {
            inspect::compare(&link, &self.connector, deadline).await;
        }
    }

    /// Whether there is a connection.
    pub(super) fn is_up(&self) -> bool {
        self.lane.ready().is_some()
    }

    /// Has connections made anew, and with them the check that this is a master.
    pub(super) fn distrust(&self) {
        if let Some(link) = self.lane.ready() {
            link.give_up();
        }
        if let Some(confirmed) = &self.confirmed {
            confirmed.batches.distrust();
        }
    }
}

/// Sends the call once and waits for its reply.
async fn send(
    link: &Link,
    request: &Request,
    asking: bool,
    patience: Duration,
) -> Result<Value, Failure> {
    if !asking {
        return link.send(&request.command, patience).await;
    }
    let mut pair = redis::pipe();
    pair.cmd("ASKING").add_command((*request.command).clone());
    match link.send_all(&pair, patience).await?.pop() {
        Some(Value::ServerError(error)) => Err(Failure::Server(error)),
        Some(value) => Ok(value),
        None => Err(Failure::Lost("an empty reply".to_owned())),
    }
}
