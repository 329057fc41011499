//! One connection and its supervision: a dead one is noticed, thrown away and made anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::{Notify, watch};

use super::Failure;
use super::connect::{ConnectError, Connector};
use super::inspect::{Compared, inspect};
use super::pace::{self, Deadline, Task};
use crate::clock::Stopwatch;
use crate::ledger::redis::options::Address;

/// So many replies in a row that did not come in time, and the connection is held to be dead:
/// one may be a slow script, three are a black hole.
const LATE_MAX: u32 = 3;
/// Shorter waits say more about the caller's patience than about the connection.
const LATE_AFTER: Duration = Duration::from_millis(100);
/// How often a connection is tried, so that a dead one is replaced before a call needs it.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// How long its reply may take; more than a `WAIT`, which it may stand behind.
const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no connection between two of them.
const LOST: &str = "the connection was lost";

/// A connection that calls share.
pub(super) struct Link {
    connection: MultiplexedConnection,
    opened: Stopwatch,
    late: AtomicU32,
    /// When the last late reply was counted, in microseconds since `opened`.
    late_us: AtomicU64,
    broken: watch::Sender<bool>,
}

impl Link {
    /// A connection that has just been greeted.
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        Self {
            connection,
            opened: Stopwatch::start(),
            late: AtomicU32::new(0),
            late_us: AtomicU64::new(0),
            broken: watch::Sender::new(false),
        }
    }

    fn age_us(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Sends a command and waits for its reply.
    pub(super) async fn send(&self, command: &Cmd, patience: Duration) -> Result<Value, Failure> {
        let (mut connection, sent_us) = (self.connection.clone(), self.age_us());
        let reply = tokio::time::timeout(patience, connection.send_packed_command(command)).await;
        match self.judge(reply, patience, sent_us)? {
            Value::ServerError(error) => Err(Failure::Server(error)),
            value => Ok(value),
        }
    }

    /// Sends commands in one piece and waits for all their replies, errors among them.
    pub(super) async fn send_all(
        &self,
        commands: &Pipeline,
        patience: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let (mut connection, sent_us) = (self.connection.clone(), self.age_us());
        let count = commands.len();
        let sending = connection.send_packed_commands(commands, 0, count);
        let replies = tokio::time::timeout(patience, sending).await;
        let replies = self.judge(replies, patience, sent_us)?;
        if replies.len() == count {
            return Ok(replies);
        }
        self.give_up();
        Err(Failure::Lost("the server answered fewer commands than were sent".to_owned()))
    }

    fn judge<T>(
        &self,
        reply: Result<RedisResult<T>, tokio::time::error::Elapsed>,
        patience: Duration,
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
                if patience >= LATE_AFTER {
                    self.count_late(sent_us);
                }
                Err(Failure::Lost(format!("no reply within {} ms", patience.as_millis())))
            }
        }
    }

    /// Calls that were under way together are late together, which counts once.
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

    /// Has the connection replaced; replies that are still on their way may come.
    pub(super) fn give_up(&self) {
        self.broken.send_replace(true);
    }

    /// Tries the connection now and then until it is given up.
    async fn until_broken(&self) {
        let mut broken = self.broken.subscribe();
        let beats = async {
            let ping = redis::cmd("PING");
            loop {
                tokio::time::sleep(HEARTBEAT_EVERY).await;
                // Its outcome is counted where every reply is.
                let _ = self.send(&ping, HEARTBEAT_PATIENCE).await;
            }
        };
        tokio::select! {
            _ = broken.wait_for(|broken| *broken) => {}
            () = beats => {}
        }
    }
}

/// What there is at the moment.
#[derive(Clone)]
enum State {
    Up(Arc<Link>),
    Down(String),
    /// Down, since the server answers and refuses.
    Refused(String),
}

impl State {
    /// The connection, unless it has been given up.
    fn usable(&self) -> Option<Arc<Link>> {
        match self {
            Self::Up(link) if !*link.broken.borrow() => Some(Arc::clone(link)),
            _ => None,
        }
    }
}

/// A place where there is a connection most of the time. One attempt at a time makes it anew.
#[derive(Clone)]
pub(super) struct Lane {
    state: watch::Receiver<State>,
    _supervisor: Arc<Task>,
}

impl Lane {
    /// Connects in the background, and rings the alarm whenever that fails or a connection dies.
    pub(super) fn new(address: Address, connector: Arc<Connector>, alarm: Arc<Notify>) -> Self {
        let (sender, state) = watch::channel(State::Down("not connected yet".to_owned()));
        let supervisor = Task::spawn(supervise(address, connector, sender, alarm));
        Self { state, _supervisor: Arc::new(supervisor) }
    }

    /// The connection, or why there was none for so long.
    pub(super) async fn link(&self, patience: Duration) -> Result<Arc<Link>, String> {
        if let Some(link) = self.ready() {
            return Ok(link);
        }
        let mut state = self.state.clone();
        let up = state.wait_for(|state| state.usable().is_some());
        // Whichever way the wait ended, the state tells.
        let _ = tokio::time::timeout(patience, up).await.map(|state| state.is_ok());
        match &*self.state.borrow() {
            State::Down(why) | State::Refused(why) => Err(why.clone()),
            up @ State::Up(_) => up.usable().ok_or_else(|| LOST.to_owned()),
        }
    }

    /// Why the server refuses a connection; `None` where there is one, or the server does not
    /// answer.
    pub(super) fn refusal(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Refused(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// The connection if there is one now.
    pub(super) fn ready(&self) -> Option<Arc<Link>> {
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
        match connector.greeted(&address).await {
            Ok(link) => {
                let link = Arc::new(link);
                inspect(&link, &connector, &mut compared).await;
                tracing::info!(server = %address, "connected to Redis");
                failures = 0;
                state.send_replace(State::Up(Arc::clone(&link)));
                link.until_broken().await;
                tracing::warn!(server = %address, "lost the connection to Redis");
                state.send_replace(State::Down(LOST.to_owned()));
            }
            Err(why) => {
                // Once, and not at every attempt.
                if failures == 0 {
                    tracing::warn!(server = %address, reason = %why, "cannot connect to Redis");
                }
                failures += 1;
                let down = if why.is_answer() { State::Refused } else { State::Down };
                state.send_replace(down(why.to_string()));
            }
        }
        alarm.notify_one();
        tokio::time::sleep(pace::pause(failures)).await;
    }
}

/// Asks one thing of a connection that nobody else uses.
pub(super) async fn ask(
    connection: &MultiplexedConnection,
    command: &Cmd,
    deadline: Deadline,
) -> Result<Value, ConnectError> {
    let mut connection = connection.clone();
    let patience = deadline.left();
    match tokio::time::timeout(patience, connection.send_packed_command(command)).await {
        Err(_) => Err(ConnectError::Late(patience)),
        Ok(Err(why)) => Err(ConnectError::Io(why)),
        Ok(Ok(Value::ServerError(error))) => Err(ConnectError::Server(error)),
        Ok(Ok(value)) => Ok(value),
    }
}
