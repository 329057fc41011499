//! A connection and its supervision: a dead connection is detected and replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Failure;
use super::connect::{ConnectError, Connector};
use super::inspect::{Compared, inspect};
use super::retry::{self, Deadline};
use crate::clock::Stopwatch;
use crate::redis::options::Address;

/// Number of late replies in a row after which the connection counts as dead: one may be a slow
/// script, three mean that packets are lost.
const LATE_MAX: u32 = 3;
/// Shortest timeout whose expiry counts as a late reply; shorter ones depend on the caller rather
/// than on the connection.
const LATE_AFTER: Duration = Duration::from_millis(100);
/// Time between two heartbeats, so that a dead connection is replaced before a call needs it.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of a heartbeat; longer than a `WAIT`, which may precede it.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason for a missing connection between the loss of one and the next attempt.
const LOST: &str = "the connection was lost";

/// A connection that calls share.
pub(super) struct Connection {
    multiplexed: MultiplexedConnection,
    opened: Stopwatch,
    late: AtomicU32,
    /// When the last late reply was counted, in microseconds since `opened`.
    late_us: AtomicU64,
    broken: CancellationToken,
}

impl Connection {
    /// Wraps a connection whose handshake is complete.
    pub(super) fn new(multiplexed: MultiplexedConnection) -> Self {
        Self {
            multiplexed,
            opened: Stopwatch::start(),
            late: AtomicU32::new(0),
            late_us: AtomicU64::new(0),
            broken: CancellationToken::new(),
        }
    }

    fn age_us(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Sends a command and waits for its reply.
    pub(super) async fn send(&self, command: &Cmd, timeout: Duration) -> Result<Value, Failure> {
        let (mut connection, sent_us) = (self.multiplexed.clone(), self.age_us());
        let reply = tokio::time::timeout(timeout, connection.send_packed_command(command)).await;
        match self.outcome_of(reply, timeout, sent_us)? {
            Value::ServerError(error) => Err(Failure::Server(error)),
            value => Ok(value),
        }
    }

    /// Sends commands as one pipeline and waits for all their replies, errors included.
    pub(super) async fn send_all(
        &self,
        commands: &Pipeline,
        timeout: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let (mut connection, sent_us) = (self.multiplexed.clone(), self.age_us());
        let count = commands.len();
        let sending = connection.send_packed_commands(commands, 0, count);
        let replies = tokio::time::timeout(timeout, sending).await;
        let replies = self.outcome_of(replies, timeout, sent_us)?;
        if replies.len() == count {
            return Ok(replies);
        }
        self.give_up();
        Err(Failure::OutcomeUnknown("the server sent fewer replies than commands".to_owned()))
    }

    fn outcome_of<T>(
        &self,
        reply: Result<RedisResult<T>, tokio::time::error::Elapsed>,
        timeout: Duration,
        sent_us: u64,
    ) -> Result<T, Failure> {
        match reply {
            Ok(Ok(reply)) => {
                self.late.store(0, Ordering::Relaxed);
                Ok(reply)
            }
            Ok(Err(why)) => {
                self.give_up();
                Err(Failure::Broken(why.to_string()))
            }
            Err(_) => {
                if timeout >= LATE_AFTER {
                    self.count_late(sent_us);
                }
                Err(Failure::OutcomeUnknown(format!("no reply within {} ms", timeout.as_millis())))
            }
        }
    }

    /// Counts a late reply; calls that were in flight together are late together, which counts
    /// once.
    fn count_late(&self, sent_us: u64) {
        let last = self.late_us.load(Ordering::Relaxed);
        let now = self.age_us();
        let alone = sent_us >= last
            && self.late_us.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                == Ok(last);
        if alone && self.late.fetch_add(1, Ordering::Relaxed) + 1 >= LATE_MAX {
            self.give_up();
        }
    }

    /// Marks the connection as broken, so that it is replaced; replies that are under way may still
    /// arrive.
    pub(super) fn give_up(&self) {
        self.broken.cancel();
    }

    /// Sends heartbeats until the connection is broken.
    async fn until_broken(&self) {
        let heartbeats = async {
            let ping = redis::cmd("PING");
            loop {
                tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                // The outcome is counted in `send`, as for every reply.
                let _ = self.send(&ping, HEARTBEAT_TIMEOUT).await;
            }
        };
        tokio::select! {
            () = self.broken.cancelled() => {}
            () = heartbeats => {}
        }
    }
}

/// The current state of the connection.
#[derive(Clone)]
enum State {
    Up(Arc<Connection>),
    Down(String),
    /// Down, since the server answers and refuses.
    Refused(String),
}

impl State {
    /// Returns the connection, unless it is broken.
    fn usable(&self) -> Option<Arc<Connection>> {
        match self {
            Self::Up(connection) if !connection.broken.is_cancelled() => {
                Some(Arc::clone(connection))
            }
            _ => None,
        }
    }
}

/// A connection slot: reconnects in the background, with one attempt at a time.
#[derive(Clone)]
pub(super) struct ManagedConnection {
    state: watch::Receiver<State>,
    _supervisor: Arc<AbortOnDropHandle<()>>,
}

impl ManagedConnection {
    /// Connects in the background; a failed attempt or a lost connection notifies `alarm`.
    pub(super) fn new(address: Address, connector: Arc<Connector>, alarm: Arc<Notify>) -> Self {
        let (sender, state) = watch::channel(State::Down("not connected yet".to_owned()));
        let supervisor =
            AbortOnDropHandle::new(tokio::spawn(supervise(address, connector, sender, alarm)));
        Self { state, _supervisor: Arc::new(supervisor) }
    }

    /// Returns the connection; waits for one at most `timeout`, then returns the reason why there
    /// is none.
    pub(super) async fn connection(&self, timeout: Duration) -> Result<Arc<Connection>, String> {
        if let Some(connection) = self.ready() {
            return Ok(connection);
        }
        let mut state = self.state.clone();
        let up = state.wait_for(|state| state.usable().is_some());
        // However the wait ended, the state has the result.
        let _ = tokio::time::timeout(timeout, up).await.map(|state| state.is_ok());
        match &*self.state.borrow() {
            State::Down(why) | State::Refused(why) => Err(why.clone()),
            up @ State::Up(_) => up.usable().ok_or_else(|| LOST.to_owned()),
        }
    }

    /// Returns why the server refuses a connection; `None` if there is one, or the server does not
    /// answer.
    pub(super) fn refusal(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Refused(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// Returns the connection if there is one now.
    pub(super) fn ready(&self) -> Option<Arc<Connection>> {
        self.state.borrow().usable()
    }
}

async fn supervise(
    address: Address,
    connector: Arc<Connector>,
    state: watch::Sender<State>,
    alarm: Arc<Notify>,
) {
    let mut failures = 0;
    let mut compared = Compared::default();
    loop {
        match connector.connect_with_handshake(&address).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                inspect(&connection, &connector, &mut compared).await;
                tracing::info!(server = %address, "connected to Redis");
                failures = 0;
                state.send_replace(State::Up(Arc::clone(&connection)));
                connection.until_broken().await;
                tracing::warn!(server = %address, "connection to Redis lost");
                state.send_replace(State::Down(LOST.to_owned()));
            }
            Err(why) => {
                // Logged once, not for every attempt.
                if failures == 0 {
                    tracing::warn!(server = %address, reason = %why, "cannot connect to Redis");
                }
                failures += 1;
                let down = if why.is_answer() { State::Refused } else { State::Down };
                state.send_replace(down(why.to_string()));
            }
        }
        alarm.notify_one();
        tokio::time::sleep(retry::pause(failures)).await;
    }
}

/// Sends one command over a connection that is not shared.
pub(super) async fn query(
    connection: &MultiplexedConnection,
    command: &Cmd,
    deadline: Deadline,
) -> Result<Value, ConnectError> {
    let mut connection = connection.clone();
    let timeout = deadline.left();
    match tokio::time::timeout(timeout, connection.send_packed_command(command)).await {
        Err(_) => Err(ConnectError::Late(timeout)),
        Ok(Err(why)) => Err(ConnectError::Io(why)),
        Ok(Ok(Value::ServerError(error))) => Err(ConnectError::Server(error)),
        Ok(Ok(value)) => Ok(value),
    }
}
