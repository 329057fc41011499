//! One server: its connections, and the turns by which calls are sent to it.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::authority::Authority;
use super::batch::Batches;
use super::clock::{ClockReading, ServerClock};
use super::confirmations::Confirmations;
use super::connect::Connector;
use super::connection::{Connection, ManagedConnection};
use super::probe::Probe;
use super::refusals::Refusals;
use super::retry::Deadline;
use super::{Failure, Request, inspect, reply};
use crate::clock::Clock;
use crate::redis::options::{Address, Durability};
use crate::store::Overload;
use crate::store::fair::{Load, Places, Turns};
use crate::store::{Refusal, Replication};

/// Longest wait of a call for a connection before it looks its server up again: another one may
/// have taken over meanwhile.
pub(super) const CONNECTION_WAIT_MAX: Duration = Duration::from_millis(100);

/// A server.
pub(super) struct Node {
    pub(super) address: Address,
    /// The observed offset of its clock.
    pub(super) clock: Arc<ServerClock>,
    connector: Arc<Connector>,
    managed: ManagedConnection,
    /// The confirmation of replies by replicas, if they may have to be confirmed.
    confirmed: Option<Confirmed>,
    probe: Probe,
    refusals: Refusals,
    turns: Arc<Turns>,
}

/// Confirms replies by replicas.
struct Confirmed {
    batches: Batches,
    confirmations: Arc<Confirmations>,
    _monitor: AbortOnDropHandle<()>,
}

impl Node {
    /// Connects in the background; failures notify `alarm`.
    pub(super) fn new(
        address: Address,
        connector: &Arc<Connector>,
        alarm: &Arc<Notify>,
        authority: Authority,
    ) -> Arc<Self> {
        let managed =
            ManagedConnection::new(address.clone(), Arc::clone(connector), Arc::clone(alarm));
        let most = connector.options.subjects_in_flight_max;
        let durability = connector.durability();
        let turns = match durability {
            Durability::Local => Turns::new(most),
            Durability::Auto | Durability::Replicated => Turns::of_batches(most),
        };
        let confirmed =
            (durability != Durability::Local || authority.can_replace_master()).then(|| {
                let new_connection = || {
                    ManagedConnection::new(
                        address.clone(),
                        Arc::clone(connector),
                        Arc::clone(alarm),
                    )
                };
                let second_connection = new_connection();
                let confirmations =
                    Confirmations::new(address.clone(), connector, authority, new_connection());
                let batches = Batches::new([managed.clone(), second_connection], &confirmations);
                let monitor = confirmations.monitor(managed.clone());
                Confirmed { batches, confirmations, _monitor: monitor }
            });
        Arc::new(Self {
            probe: Probe::start(address.clone(), connector),
            refusals: Refusals::default(),
            address,
            clock: Arc::default(),
            connector: Arc::clone(connector),
            managed,
            confirmed,
            turns,
        })
    }

    /// Returns the host; empty for a Unix socket.
    pub(super) fn host(&self) -> &str {
        match &self.address {
            Address::Tcp(address) => &address.host,
            Address::Unix(_) => "",
        }
    }

    /// Returns whether the server is absent.
    pub(super) fn is_absent(&self) -> bool {
        self.probe.is_absent()
    }

    /// Records that the server serves that slot, for its probe.
    pub(super) fn serves(&self, slot: u16) {
        self.probe.serves(slot);
    }

    /// Returns the server's refusal: of recent calls, or of connections.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let no_connection = || {
            let words = self.managed.refusal().filter(|_| !self.is_absent())?;
            Some(Refusal { code: "UNCONNECTED".to_owned(), words })
        };
        let unconfirmed = || {
            let words = self.confirmed.as_ref().filter(|_| !self.is_absent())?;
            let words = words.confirmations.closed()?;
            Some(Refusal { code: "UNCONFIRMED".to_owned(), words })
        };
        self.refusals.current().or_else(no_connection).or_else(unconfirmed)
    }

    /// Returns the servers that hold the data on which its replies rest.
    pub(super) fn replication(&self) -> Replication {
        let confirmed = self.confirmed.as_ref();
        confirmed.map_or_else(Replication::default, |it| it.confirmations.replication())
    }

    /// Returns the numbers of calls in flight and waiting.
    pub(super) fn load(&self) -> Load {
        self.turns.load()
    }

    /// Returns the response time of the server while it is idle, once it was measured.
    pub(super) fn idle_response(&self) -> Option<Duration> {
        self.turns.idle_response()
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
            // Before the call takes its turn: a call that cannot be answered holds no permit.
            let opening = async {
                let opened = confirmations.opened_within(CONNECTION_WAIT_MAX.min(deadline.left()));
                opened.await.map_err(Failure::Unconfirmable)
            };
            Box::pin(self.unless_absent(deadline, false, opening)).await?;
        }
        let permits = match self.turns.at_once(request.turn) {
            Some(permits) => permits,
            // Boxed, since most calls do not wait.
            None => Box::pin(self.wait_for_turn(request, deadline)).await?,
        };
        if let Some(confirmed) = &self.confirmed
            && !confirmed.confirmations.is_direct()
        {
            return confirmed.batches.call(request, asking, deadline, permits, &self.probe).await;
        }
        let connection = self.managed.connection(CONNECTION_WAIT_MAX.min(deadline.left())).await;
        let connection = connection.map_err(Failure::NotSent)?;
        let timeout = deadline.left();
        if timeout.is_zero() {
            return Err(Failure::NotSent("no time was left to send it".to_owned()));
        }
        let sending = send(&connection, request, asking, timeout);
        let outcome = self.unless_absent(deadline, true, sending).await;
        if matches!(outcome, Ok(_) | Err(Failure::Server(_))) {
            permits.answered();
        }
        outcome
    }

    /// Waits for the call's turn and returns its permits.
    async fn wait_for_turn(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Places, Failure> {
        let turn = async {
            let permits = self.turns.when_it_comes(request.turn, deadline.left()).await;
            match permits {
                // A turn that comes as the call's time ends comes too late.
                Ok(_) if deadline.is_over() => Err(Failure::Overloaded(Overload::Late)),
                permits => permits.map_err(Failure::Overloaded),
            }
        };
        self.unless_absent(deadline, false, turn).await
    }

    /// Runs `work` to its end; a call that fails fast is given up when the server is absent.
    async fn unless_absent<T>(
        &self,
        deadline: Deadline,
        is_sent: bool,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if !deadline.fail_fast {
            return work.await;
        }
        tokio::select! {
            biased;
            done = work => done,
            () = self.probe.absence() => Err(Failure::Absent { is_sent }),
        }
    }

    /// Loads a script that the server no longer has.
    pub(super) async fn load_script(
        &self,
        script: usize,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let text = self.connector.scripts.get(script).map(|script| script.text.as_str());
        let command = redis::cmd("SCRIPT").arg("LOAD").arg(text).to_owned();
        self.query(&command, deadline).await.map(drop)
    }

    /// Sends a command that changes nothing.
    pub(super) async fn query(&self, command: &Cmd, deadline: Deadline) -> Result<Value, Failure> {
        let connection = self.managed.connection(CONNECTION_WAIT_MAX.min(deadline.left())).await;
        connection.map_err(Failure::NotSent)?.send(command, deadline.left()).await
    }

    /// Reads the server's clock, in milliseconds since the epoch.
    pub(super) async fn read_clock(
        &self,
        clock: &dyn Clock,
        deadline: Deadline,
    ) -> Option<ClockReading> {
        let sent_at = clock.now();
        let reply = self.query(&redis::cmd("TIME"), deadline).await.ok()?;
        let now = clock.now();
        let [seconds, micros] = reply::elements(&reply) else { return None };
        let number = |value| reply::text(value)?.parse::<i64>().ok();
        let server_now = number(seconds)? * 1000 + number(micros)? / 1000;
        self.clock.observe(server_now, sent_at, now);
        Some(ClockReading::new(self.address.to_string(), server_now, sent_at, now))
    }

    /// Returns by how many milliseconds the server's clock is ahead of this process's; reads the
    /// clock if the offset has not been observed yet. 0 if that fails: the server will not answer
    /// the call either.
    pub(super) async fn clock_offset_ms(&self, clock: &dyn Clock, deadline: Deadline) -> i64 {
        if let Some(offset_ms) = self.clock.offset_ms() {
            return offset_ms;
        }
        self.read_clock(clock, deadline).await;
        self.clock.offset_ms().unwrap_or(0)
    }

    /// Waits for a connection; returns an error with the reason if there is none in time.
    pub(super) async fn connected(&self, timeout: Duration) -> Result<(), String> {
        self.managed.connection(timeout).await.map(drop)
    }

    /// Compares the server's counts with earlier observations, if there is a connection.
    pub(super) async fn compare(&self, deadline: Deadline) {
        if let Ok(connection) =
            self.managed.connection(CONNECTION_WAIT_MAX.min(deadline.left())).await
        {
            inspect::compare(&connection, &self.connector, deadline).await;
        }
    }

    /// Returns whether there is a connection.
    pub(super) fn is_up(&self) -> bool {
        self.managed.ready().is_some()
    }

    /// Replaces the connections, which checks again that the server is a master.
    pub(super) fn reconnect(&self) {
        if let Some(connection) = self.managed.ready() {
            connection.give_up();
        }
        if let Some(confirmed) = &self.confirmed {
            confirmed.batches.reconnect();
        }
    }
}

/// Sends the call once and waits for its reply.
async fn send(
    connection: &Connection,
    request: &Request,
    asking: bool,
    timeout: Duration,
) -> Result<Value, Failure> {
    if !asking {
        return connection.send(&request.command, timeout).await;
    }
    let mut pair = redis::pipe();
    pair.cmd("ASKING").add_command((*request.command).clone());
    match connection.send_all(&pair, timeout).await?.pop() {
        Some(Value::ServerError(error)) => Err(Failure::Server(error)),
        Some(value) => Ok(value),
        None => Err(Failure::OutcomeUnknown("an empty reply".to_owned())),
    }
}
