//! Calls scripts at the right Redis server, and says truthfully what became of a call.
//!
//! The invariant: a call is sent again only after the server's own word that it did nothing.
//! When bytes may have reached a server and its reply is missing, the call is [`CallError::Lost`]
//! and the caller decides.
//!
//! Layout, from the wire up: `connect` greets a server, `inspect` compares what it counts with what
//! was seen before, `link` keeps one connection alive, `node` is one server with its turns (`turn`)
//! and its `clock`, `probe` finds out whether it is absent (`silence`), `refusals` keeps what it
//! refuses, `batch` lets replicas confirm, `confirmations` tracks which have to (`replicas`),
//! `acknowledgements` has them confirm at once, `sentinel` and `cluster` find the master and are
//! the `authority` that says whether it still is one, `open` refuses what cannot work,
//! `server_info` is what a server reports about itself, `advice` warns of settings, and this file
//! repeats what did nothing.

mod acknowledgements;
mod advice;
mod authority;
mod batch;
mod clock;
mod cluster;
mod confirmations;
mod connect;
mod inspect;
mod link;
mod node;
mod open;
mod pace;
mod password;
mod probe;
mod refusals;
mod replicas;
// Public for the fuzz targets alone.
#[doc(hidden)]
pub mod reply;
mod sentinel;
mod server_info;
mod servers;
mod silence;
mod slot;
mod turn;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, ServerError, Value};
use thiserror::Error;
use tokio::sync::RwLock;

pub use self::clock::{ClockReading, ServerClock};
use self::node::Node;
pub use self::open::OpenError;
use self::pace::{Deadline, Retries};
use self::servers::Servers;
pub(crate) use self::slot::{SLOTS, slot};
use super::known::Known;
use super::marks::Marks;
use super::options::{Options, Topology};
use super::script::Script;
use crate::clock::Clock;
use crate::ledger::fair::{Load, Turn};
use crate::ledger::{Overload, ServerState};

/// Words of a call before its keys: the command, the script's digest and the number of keys.
const WORDS_BEFORE: usize = 3;
/// Bytes of these words, no fewer.
const BYTES_BEFORE: usize = 56;

/// Words that usually follow the keys of a timed call.
const WORDS_USUAL: usize = 16;
/// Bytes of these words: most are the limits of an app that has none of its own, and group types.
const BYTES_USUAL: usize = 1024;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CallError {
    /// Nothing was sent: too much is waiting.
    #[error("{0}")]
    Overloaded(Overload),
    /// Nothing was done: the server refused it, or could not be reached in time.
    #[error("Redis did not do it: {0}")]
    Refused(String),
    /// It was sent, and the reply is missing: whether it was done is unknown.
    #[error("what Redis did is unknown: {0}")]
    Lost(String),
    /// It was sent, and the connection was lost before the reply came: whether it was done is
    /// unknown.
    #[error("the connection to Redis was lost: {0}")]
    Broken(String),
    /// The script broke off within the server; whether it was done in part is unknown.
    #[error("Redis could not carry it out: {0}")]
    Failed(String),
    /// The server is absent; `may_be_done`: it had been sent.
    #[error("Redis is absent: {why}")]
    Absent {
        /// Which server.
        why: String,
        /// Whether it may have been done.
        may_be_done: bool,
    },
    /// The master has replied, and the replicas have not confirmed that they hold what the reply
    /// rests on.
    #[error("the replicas did not confirm what Redis did: {0}")]
    Unconfirmed(String),
    /// Nothing was sent: it could not be confirmed, since replicas are missing or the master may be
    /// an old one.
    #[error("no answer can be confirmed: {0}")]
    Unconfirmable(String),
    /// Nothing was done: the slot lacks the mark of the generation that the call named.
    #[error("the facts of the store are lost: {0}")]
    StoreLost(String),
    /// Nothing was done: the server's clock and the caller's are so many seconds apart.
    #[error("the clocks of Redis and of this machine are {0} s apart")]
    ClockSkew(u64),
    /// Nothing was sent: the client is closed.
    #[error("the connection to Redis is being closed")]
    Closing,
}

impl CallError {
    /// Whether it is certain that the server did nothing.
    #[must_use]
    pub fn did_nothing(&self) -> bool {
        !matches!(
            self,
            Self::Lost(_)
                | Self::Broken(_)
                | Self::Failed(_)
                | Self::Unconfirmed(_)
                | Self::Absent { may_be_done: true, .. }
        )
    }
}

/// What became of one attempt.
#[derive(Debug, Clone)]
enum Failure {
    Overloaded(Overload),
    /// There was no connection to send it on.
    Unsent(String),
    /// The server's own word.
    Server(ServerError),
    Lost(String),
    /// The connection was lost before the reply came.
    Broken(String),
    /// The server is absent.
    Absent {
        is_sent: bool,
    },
    /// The master has replied, and the replicas have not confirmed it: why.
    Unconfirmed(String),
    /// Nothing was sent, since it could not be confirmed.
    Unconfirmable(String),
    Closing,
}

/// A call that is wanted, wherever it is sent.
struct Wanted<'a> {
    script: usize,
    slot: u16,
    turn: Turn,
    command: Command<'a>,
}

/// What is sent.
enum Command<'a> {
    /// The same to every server.
    Fixed(Arc<Cmd>),
    /// A command by how many milliseconds the server's clock is ahead of that one.
    Timed(&'a (dyn Fn(i64) -> Cmd + Sync), &'a dyn Clock),
}

/// Words that depend on the clock of the server that is to run a call.
#[derive(Clone, Copy)]
pub struct Timed<'a> {
    /// Adds them to the command, and is given by how many milliseconds that clock is ahead of
    /// `clock`.
    pub words: &'a (dyn Fn(i64, &mut Cmd) + Sync),
    /// This process's clock.
    pub clock: &'a dyn Clock,
}

/// A call, ready to be sent.
struct Request {
    script: usize,
    turn: Turn,
    command: Arc<Cmd>,
}

/// A pool of supervised connections to one Redis, of whichever topology.
pub struct Client {
    digests: Vec<String>,
    servers: Mutex<Option<Arc<Servers>>>,
    retries: Retries,
    /// What has been seen of the store.
    known: Arc<Known>,
    /// Where the marks of the servers lie.
    marks: Marks,
    /// Held for reading by calls, so that closing can wait for them.
    calls: RwLock<()>,
}

/// How long a call may take, and what becomes of it while its server does not answer.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The longest.
    pub within: Duration,
    /// Whether it fails at once where its server is absent.
    pub hurried: bool,
}

impl From<Duration> for Patience {
    fn from(within: Duration) -> Self {
        Self { within, hurried: false }
    }
}

impl Client {
    /// Connects and loads the scripts; refuses with a sentence what cannot work.
    pub async fn open(options: Options, scripts: Vec<Script>) -> Result<Self, OpenError> {
        let digests = scripts.iter().map(|script| script.digest.clone()).collect();
        let known = Arc::new(Known::default());
        let marks = Marks::new(matches!(options.topology, Topology::Cluster { .. }));
        let opening = open::open(options, scripts, known.clone(), marks.clone());
        let servers = Arc::new(opening.await?);
        Ok(Self {
            digests,
            servers: Mutex::new(Some(servers)),
            retries: Retries::new(),
            known,
            marks,
            calls: RwLock::new(()),
        })
    }

    /// Calls `scripts[script]` at the server of the keys, which share a hash tag; the first one
    /// decides.
    pub async fn call(
        &self,
        script: usize,
        keys: &[Vec<u8>],
        arguments: &[Vec<u8>],
        patience: impl Into<Patience>,
    ) -> Result<Value, CallError> {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        self.call_with(script, &keys, &arguments, 1, patience.into()).await
    }

    /// The same, with keys and arguments that need not lie together, about that number of
    /// users and groups.
    pub async fn call_with(
        &self,
        script: usize,
        keys: &[&[u8]],
        arguments: &[&[u8]],
        subjects: usize,
        patience: Patience,
    ) -> Result<Value, CallError> {
        let deadline = Deadline::of(patience);
        let Ok(_call) = self.calls.try_read() else { return Err(CallError::Closing) };
        let Some(servers) = self.servers() else { return Err(CallError::Closing) };
        let Some(digest) = self.digests.get(script) else {
            return Err(CallError::Refused(format!("there is no script {script}")));
        };
        let words = WORDS_BEFORE + keys.len() + arguments.len();
        let bytes = keys.iter().chain(arguments).map(|word| word.len()).sum::<usize>();
        let mut command = Cmd::with_capacity(words, BYTES_BEFORE + bytes);
        command.arg("EVALSHA").arg(digest).arg(keys.len());
        for word in keys.iter().chain(arguments) {
            command.arg(word);
        }
        let slot = keys.first().map_or(0, |key| slot(key));
        let turn = Turn { app: turn::app_of(keys), subjects };
        let wanted = Wanted { script, slot, turn, command: Command::Fixed(Arc::new(command)) };
        servers.call(wanted, deadline, &self.retries).await.map(|(value, _)| value)
    }

    /// Calls a script with words that depend on the clock of the server that is to run it, about
    /// that number of users and groups. Returns the reply, and the clock of the server that gave
    /// it.
    pub async fn call_timed(
        &self,
        script: usize,
        keys: &[&[u8]],
        Timed { words, clock }: Timed<'_>,
        subjects: usize,
        patience: Patience,
    ) -> Result<(Value, Arc<ServerClock>), CallError> {
        let deadline = Deadline::of(patience);
        let Ok(_call) = self.calls.try_read() else { return Err(CallError::Closing) };
        let Some(servers) = self.servers() else { return Err(CallError::Closing) };
        let Some(digest) = self.digests.get(script) else {
            return Err(CallError::Refused(format!("there is no script {script}")));
        };
        let command = |offset_ms| {
            let bytes = keys.iter().map(|key| key.len()).sum::<usize>();
            let words_max = WORDS_BEFORE + keys.len() + WORDS_USUAL;
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
        let wanted = Wanted { script, slot, turn, command: Command::Timed(&command, clock) };
        servers.call(wanted, deadline, &self.retries).await
    }

    /// Reads the clocks of all servers, of those that answer in time.
    pub async fn read_clocks(&self, clock: &dyn Clock, within: Duration) -> Vec<ClockReading> {
        let nodes = self.servers().map(|servers| servers.nodes()).unwrap_or_default();
        let readings = nodes.iter().map(|node| node.read_clock(clock, Deadline::after(within)));
        futures_util::future::join_all(readings).await.into_iter().flatten().collect()
    }

    /// Where the marks of the servers lie.
    pub(crate) fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// What has been seen of the store; compared on each new connection before calls are sent.
    pub(crate) fn known(&self) -> Arc<Known> {
        self.known.clone()
    }

    /// Compares what every server counts with what has been seen.
    pub(crate) async fn compare(&self, within: Duration) {
        let deadline = Deadline::after(within);
        for node in self.servers().map(|servers| servers.nodes()).unwrap_or_default() {
            node.compare(deadline).await;
        }
    }

    /// A slot of each server that calls are sent to, another one each turn. A server without slots
    /// has none.
    pub fn sample_slots(&self, turn: usize) -> Vec<u16> {
        match self.servers().as_deref() {
            Some(Servers::Cluster(cluster)) => cluster.sample_slots(turn),
            Some(_) => vec![0],
            None => Vec::new(),
        }
    }

    /// Calls `scripts[script]`, without keys, at the server of that address among [`Self::nodes`].
    pub async fn call_at(
        &self,
        address: &str,
        script: usize,
        arguments: &[&[u8]],
        patience: impl Into<Patience>,
    ) -> Result<Value, CallError> {
        let deadline = Deadline::of(patience.into());
        let Ok(_call) = self.calls.try_read() else { return Err(CallError::Closing) };
        let Some(servers) = self.servers() else { return Err(CallError::Closing) };
        let Some(digest) = self.digests.get(script) else {
            return Err(CallError::Refused(format!("there is no script {script}")));
        };
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(0);
        for word in arguments {
            command.arg(*word);
        }
        let request = Request { script, turn: Turn::SHARED, command: Arc::new(command) };
        servers.call_at(address, &request, deadline, &self.retries).await
    }

    /// Every server that calls are sent to.
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

    /// How much each server is given at once, and how much waits for it, by address.
    pub fn loads(&self) -> Vec<(String, Load)> {
        let nodes = self.servers().map(|servers| servers.nodes()).unwrap_or_default();
        nodes.iter().map(|node| (node.address.to_string(), node.load())).collect()
    }

    /// Whether the server of that key is absent.
    pub fn is_absent(&self, key: &[u8]) -> bool {
        self.servers().is_some_and(|servers| servers.is_absent(slot(key)))
    }

    fn servers(&self) -> Option<Arc<Servers>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the calls in work; later ones answer [`CallError::Closing`].
    pub async fn close(&self) {
        let _all_done = self.calls.write().await;
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
