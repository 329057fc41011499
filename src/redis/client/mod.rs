//! Calls scripts on the right Redis server and reports the outcome of each call.
//!
//! The invariant: a call is sent again only after the server has replied that it did nothing. If
//! bytes may have reached a server and its reply is missing, the outcome is unknown
//! ([`CallError::OutcomeUnknown`]) and the caller decides.
//!
//! # Beside the cluster and sentinel clients of redis-rs
//!
//! Each connection is redis-rs's `MultiplexedConnection`, with its parser and its TLS. Its
//! `ClusterConnection` and `SentinelClient` (1.8) break rules that decisions rest on:
//!
//! - A call whose connection was dropped is sent again by `ClusterConnection`, up to 16 times,
//!   although it may have been carried out. Here its outcome is unknown.
//! - `WAIT` confirms the calls of its own connection; `ClusterConnection` sends it to all
//!   primaries. Here it follows the calls, between two `ROLE`s (`batch`).
//! - `SentinelClient` takes the master from the first Sentinel that names one, when a connection is
//!   made. Here a majority names it, also while calls run (`authority`).
//! - Deadlines within arguments are by the clock of the node that runs the call, so that a call is
//!   formatted once its node is selected, and again for another one.
//! - The counts of a node are compared before its connection carries calls (`inspect`), so that a
//!   promoted replica that lacks writes is detected.
//!
//! The words are those of redis-rs: node, slot map, topology, redirect (`MOVED`, `ASK`), pending
//! call, retry. Its initial nodes are the seeds here, and its primary is the master, as in the
//! replies of Redis.
//!
//! # Layout
//!
//! From the wire up: `connect` makes a connection and its handshake, `inspect` compares the counts
//! of a node with earlier observations, `connection` keeps one connection alive, `node` is one
//! server with its turns (`turn`) and its `clock`, `probe` detects that it is absent (`silence`),
//! `refusals` keeps its refusals, `batch` has replicas confirm calls, `confirmations` tracks which
//! ones have to (`replicas`), `acknowledgements` has them acknowledge immediately, `sentinel` and
//! `cluster` find the master and act as the `authority` on whether it still is one, `open` rejects
//! configurations that cannot work, `server_info` reads what a server reports about itself,
//! `config_check` checks the servers' settings, and `topology` selects the server of a call and
//! retries calls that had no effect, within the budget of `retry`.

mod acknowledgements;
mod authority;
mod batch;
mod clock;
mod cluster;
mod config_check;
mod confirmations;
mod connect;
mod connection;
mod inspect;
mod node;
mod open;
mod password;
mod probe;
mod refusals;
mod replicas;
mod retry;
// Public for the fuzz targets only.
#[doc(hidden)]
pub mod reply;
mod sentinel;
mod server_info;
mod silence;
mod slot;
mod topology;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, ServerError, Value};
use thiserror::Error;
use tokio::sync::RwLock;

pub use self::clock::{ClockReading, ServerClock};
use self::node::Node;
pub use self::open::OpenError;
use self::retry::{Deadline, RetryBudget};
pub(crate) use self::slot::{SLOTS, slot};
use self::topology::Servers;
use super::known::Known;
use super::marks::Marks;
use super::options::{Options, Topology};
use super::script::Script;
use crate::clock::Clock;
use crate::store::Overload;
use crate::store::ServerState;
use crate::store::fair::{Load, Turn};

/// Arguments of a call before its keys: the command, the script's digest and the number of keys.
const ARGUMENTS_BEFORE: usize = 3;
/// Least number of bytes of these arguments.
const BYTES_BEFORE: usize = 56;

/// Usual number of arguments behind the keys of a timed call.
const ARGUMENTS_USUAL: usize = 16;
/// Usual number of bytes of these arguments: mostly group types, and the limits of an app that has
/// none of its own.
const BYTES_USUAL: usize = 1024;

/// The reason why a call has no result.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CallError {
    /// Not sent: too many calls are waiting.
    #[error("{0}")]
    Overloaded(Overload),
    /// No effect: the server refused it, or could not be reached in time.
    #[error("the call had no effect on Redis: {0}")]
    Refused(String),
    /// It was sent and the reply is missing: the outcome is unknown.
    #[error("the outcome of the call to Redis is unknown: {0}")]
    OutcomeUnknown(String),
    /// It was sent and the connection was lost before the reply: the outcome is unknown.
    #[error("the connection to Redis was lost: {0}")]
    Broken(String),
    /// The script failed within the server: it may have been carried out in part.
    #[error("the script failed in Redis: {0}")]
    Failed(String),
    /// The server is absent.
    #[error("Redis is absent: {why}")]
    Absent {
        /// The server.
        why: String,
        /// True if the call had been sent, so that it may have been carried out.
        may_be_done: bool,
    },
    /// The master has replied, and the replicas have not confirmed that they hold the data on which
    /// the reply rests.
    #[error("the replicas did not confirm the call to Redis: {0}")]
    Unconfirmed(String),
    /// Not sent: it could not be confirmed, since replicas are missing or the server may no longer
    /// be the master.
    #[error("no call to Redis can be confirmed: {0}")]
    Unconfirmable(String),
    /// No effect: the slot lacks the mark of the generation that the call named.
    #[error("the facts of the store are lost: {0}")]
    StoreLost(String),
    /// No effect: the server's clock and this process's differ by that many seconds.
    #[error("the clocks of Redis and of this machine are {0} s apart")]
    ClockSkew(u64),
    /// Not sent: the client is closed.
    #[error("the connection to Redis is being closed")]
    Closing,
}

impl CallError {
    /// Returns whether the call certainly had no effect on the server.
    #[must_use]
    pub fn did_nothing(&self) -> bool {
        !matches!(
            self,
            Self::OutcomeUnknown(_)
                | Self::Broken(_)
                | Self::Failed(_)
                | Self::Unconfirmed(_)
                | Self::Absent { may_be_done: true, .. }
        )
    }
}

/// The failure of one attempt.
#[derive(Debug, Clone)]
enum Failure {
    Overloaded(Overload),
    /// Not sent: there was no connection.
    NotSent(String),
    /// The server replied with an error.
    Server(ServerError),
    OutcomeUnknown(String),
    /// The connection was lost before the reply.
    Broken(String),
    /// The server is absent. `is_sent`: the call had been sent.
    Absent {
        is_sent: bool,
    },
    /// The master has replied, and the replicas have not confirmed it: the reason.
    Unconfirmed(String),
    /// Not sent, since it could not be confirmed: the reason.
    Unconfirmable(String),
    Closing,
}

/// A call that is not yet bound to a server.
struct PendingCall<'a> {
    script: usize,
    slot: u16,
    turn: Turn,
    command: Command<'a>,
}

/// The command of a call.
enum Command<'a> {
    /// One command for all servers.
    Fixed(Arc<Cmd>),
    /// Builds the command from the server's clock offset to that clock, in milliseconds.
    Timed(&'a (dyn Fn(i64) -> Cmd + Sync), &'a dyn Clock),
}

/// Arguments that depend on the clock of the server that runs the call.
#[derive(Clone, Copy)]
pub struct Timed<'a> {
    /// Adds the arguments to the command; its first parameter is by how many milliseconds the
    /// server's clock is ahead of `clock`.
    pub words: &'a (dyn Fn(i64, &mut Cmd) + Sync),
    /// This process's clock.
    pub clock: &'a dyn Clock,
}

/// A call that is ready to be sent.
struct Request {
    script: usize,
    turn: Turn,
    command: Arc<Cmd>,
}

/// A pool of supervised connections to one Redis of any topology.
pub struct Client {
    digests: Vec<String>,
    servers: Mutex<Option<Arc<Servers>>>,
    retries: RetryBudget,
    /// Observations of the store.
    known: Arc<Known>,
    /// The keys of the servers' generation marks.
    marks: Marks,
    /// Read-locked by calls, so that closing can wait for them.
    calls: RwLock<()>,
}

/// The timeout of a call, and its behaviour while its server does not answer.
#[derive(Debug, Clone, Copy)]
pub struct CallTimeout {
    /// The longest time that the call may take.
    pub within: Duration,
    /// True if the call fails fast when its server is absent.
    pub fail_fast: bool,
    /// True if the caller can divide the call: it is not sent again, or elsewhere, while the server
    /// holds only a part of its keys.
    pub is_divisible: bool,
}

impl CallTimeout {
    /// The timeout of a call that cannot be divided.
    #[must_use]
    pub const fn of(within: Duration, fail_fast: bool) -> Self {
        Self { within, fail_fast, is_divisible: false }
    }
}

impl From<Duration> for CallTimeout {
    fn from(within: Duration) -> Self {
        Self::of(within, false)
    }
}

impl Client {
    /// Connects and loads the scripts; returns an error with an explanation if that cannot work.
    pub async fn open(options: Options, scripts: Vec<Script>) -> Result<Self, OpenError> {
        let digests = scripts.iter().map(|script| script.digest.clone()).collect();
        let known = Arc::new(Known::default());
        let marks = Marks::new(matches!(options.topology, Topology::Cluster { .. }));
        let opening = open::open(options, scripts, known.clone(), marks.clone());
        let servers = Arc::new(opening.await?);
        Ok(Self {
            digests,
            servers: Mutex::new(Some(servers)),
            retries: RetryBudget::new(),
            known,
            marks,
            calls: RwLock::new(()),
        })
    }

    /// Calls `scripts[script]` on the server of the first key. All keys share a hash tag.
    pub async fn call(
        &self,
        script: usize,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
        timeout: impl Into<CallTimeout>,
    ) -> Result<Value, CallError> {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        self.call_with(script, &keys, &arguments, 1, timeout.into()).await
    }

    /// Calls `scripts[script]` like [`Self::call`], with borrowed keys and arguments. `subjects`:
    /// the number of users and groups that the call is about.
    pub async fn call_with(
        &self,
        script: usize,
        keys: &[&[u8]],
        arguments: &[&[u8]],
        subjects: usize,
        timeout: CallTimeout,
    ) -> Result<Value, CallError> {
        let deadline = Deadline::of(timeout);
        let Ok(_call) = self.calls.try_read() else { return Err(CallError::Closing) };
        let Some(servers) = self.servers() else { return Err(CallError::Closing) };
        let Some(digest) = self.digests.get(script) else {
            return Err(CallError::Refused(format!("unknown script {script}")));
        };
        let words = ARGUMENTS_BEFORE + keys.len() + arguments.len();
        let bytes = keys.iter().chain(arguments).map(|word| word.len()).sum::<usize>();
        let mut command = Cmd::with_capacity(words, BYTES_BEFORE + bytes);
        command.arg("EVALSHA").arg(digest).arg(keys.len());
        for word in keys.iter().chain(arguments) {
            command.arg(word);
        }
        let slot = keys.first().map_or(0, |key| slot(key));
        let turn = Turn { app: turn::app_of(keys), subjects };
        let pending =
            PendingCall { script, slot, turn, command: Command::Fixed(Arc::new(command)) };
        servers.call(pending, deadline, &self.retries).await.map(|(value, _)| value)
    }

    /// Calls a script with arguments that depend on the clock of the server that runs it.
    /// `subjects`: the number of users and groups that the call is about. Returns the reply, and
    /// the clock of the server that sent it.
    pub async fn call_timed(
        &self,
        script: usize,
        keys: &[&[u8]],
        Timed { words, clock }: Timed<'_>,
        subjects: usize,
        timeout: CallTimeout,
    ) -> Result<(Value, Arc<ServerClock>), CallError> {
        let deadline = Deadline::of(timeout);
        let Ok(_call) = self.calls.try_read() else { return Err(CallError::Closing) };
        let Some(servers) = self.servers() else { return Err(CallError::Closing) };
        let Some(digest) = self.digests.get(script) else {
            return Err(CallError::Refused(format!("unknown script {script}")));
        };
        let command = |offset_ms| {
            let bytes = keys.iter().map(|key| key.len()).sum::<usize>();
            let words_max = ARGUMENTS_BEFORE + keys.len() + ARGUMENTS_USUAL;
            let mut command = Cmd::with_capacity(words_max, BYTES_BEFORE + bytes + BYTES_USUAL);
            command.arg("EVALSHA").arg(digest).arg(keys.len());
            for key in keys {
                command.arg(*key);
            }
            words(offset_ms, &mut command);
            command
        };
        let slot = keys.first().map_or(0, |key| slot(key));
        let turn = Turn { app: turn::app_of(keys), subjects };
        let pending = PendingCall { script, slot, turn, command: Command::Timed(&command, clock) };
        servers.call(pending, deadline, &self.retries).await
    }

    /// Reads the clocks of all servers; returns those of the servers that answer in time.
    pub async fn read_clocks(&self, clock: &dyn Clock, within: Duration) -> Vec<ClockReading> {
        let nodes = self.servers().map(|servers| servers.nodes()).unwrap_or_default();
        let readings = nodes.iter().map(|node| node.read_clock(clock, Deadline::after(within)));
        futures_util::future::join_all(readings).await.into_iter().flatten().collect()
    }

    /// Returns the keys of the servers' generation marks.
    pub(crate) fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// Returns the observations of the store, which every new connection compares before it carries
    /// calls.
    pub(crate) fn known(&self) -> Arc<Known> {
        self.known.clone()
    }

    /// Compares the counts of every server with the observations.
    pub(crate) async fn compare(&self, within: Duration) {
        let deadline = Deadline::after(within);
        for node in self.servers().map(|servers| servers.nodes()).unwrap_or_default() {
            node.compare(deadline).await;
        }
    }

    /// Returns one slot of each server that serves calls; a higher `turn` selects another one. 0
    /// stands for a server without slots.
    pub fn sample_slots(&self, turn: usize) -> Vec<u16> {
        match self.servers().as_deref() {
            Some(Servers::Cluster(cluster)) => cluster.sample_slots(turn),
            Some(_) => vec![0],
            None => Vec::new(),
        }
    }

    /// Calls `scripts[script]`, without keys, on the server with that address among
    /// [`Self::nodes`].
    pub async fn call_at(
        &self,
        address: &str,
        script: usize,
        arguments: &[&[u8]],
        timeout: impl Into<CallTimeout>,
    ) -> Result<Value, CallError> {
        let deadline = Deadline::of(timeout.into());
        let Ok(_call) = self.calls.try_read() else { return Err(CallError::Closing) };
        let Some(servers) = self.servers() else { return Err(CallError::Closing) };
        let Some(digest) = self.digests.get(script) else {
            return Err(CallError::Refused(format!("unknown script {script}")));
        };
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(0);
        for word in arguments {
            command.arg(*word);
        }
        let request = Request { script, turn: Turn::SHARED, command: Arc::new(command) };
        servers.call_at(address, &request, deadline, &self.retries).await
    }

    /// Returns the state of every server that serves calls.
    pub fn nodes(&self) -> Vec<ServerState> {
        let nodes = self.servers().map(|servers| servers.nodes()).unwrap_or_default();
        let state = |node: &Arc<Node>| ServerState {
            address: node.address.to_string(),
            is_absent: node.is_absent(),
            refusal: node.refusal(),
            replication: node.replication(),
        };
        nodes.iter().map(state).collect()
    }

    /// Returns the calls in flight and waiting for each server, by address.
    pub fn loads(&self) -> Vec<(String, Load)> {
        let nodes = self.servers().map(|servers| servers.nodes()).unwrap_or_default();
        nodes.iter().map(|node| (node.address.to_string(), node.load())).collect()
    }

    /// Returns whether the server of that key is absent.
    pub fn is_absent(&self, key: &[u8]) -> bool {
        self.servers().is_some_and(|servers| servers.is_absent(slot(key)))
    }

    /// Returns the response time of the server of that key while it is idle, once it was measured.
    pub fn idle_response(&self, key: &[u8]) -> Option<Duration> {
        self.servers()?.node(slot(key), None)?.idle_response()
    }

    /// Returns the address of the server of that key.
    pub fn address_of(&self, key: &[u8]) -> Option<String> {
        self.servers()?.node(slot(key), None).map(|node| node.address.to_string())
    }

    fn servers(&self) -> Option<Arc<Servers>> {
        self.servers.lock().clone()
    }

    /// Waits for the calls in flight; later ones return [`CallError::Closing`].
    pub async fn close(&self) {
        let _all_done = self.calls.write().await;
        self.servers.lock().take();
    }
}
