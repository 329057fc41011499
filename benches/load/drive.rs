//! The load of this process: a closed loop, where each response makes room for the next operation,
//! or an open loop, where operations are due at instants that no response can move.
//!
//! All of it runs on one thread, so that the load uses as little of the machine as possible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::address::Address;
use super::mix::Plan;
use super::pacer::{self, Due};
use super::results::{Recorder, Results};
use super::stream::{self, Paced};
use super::unary::{self, Client};

/// The way in which operations are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rpc {
    /// One call per operation.
    Unary,
    /// One Apply stream per connection.
    Apply,
}

/// The times at which operations are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loop {
    /// A constant number of operations in flight.
    Closed { in_flight: usize },
    /// A number of operations per second, with a maximum in flight.
    Open { per_second: f64, in_flight_max: usize },
}

/// One run of one process.
#[derive(Debug, Clone)]
pub struct Run {
    pub address: Address,
    pub rpc: Rpc,
    pub pace: Loop,
    pub connections: usize,
    pub warm_up: Duration,
    pub measured: Duration,
}

/// The numbers of the operations of one process of several, from the first one on.
pub struct Numbers {
    first: u64,
    every: u64,
    taken: AtomicU64,
}

impl Numbers {
    /// Creates the numbers `first`, and each `every`-th after it.
    pub fn new(first: u64, every: u64) -> Self {
        Self { first, every, taken: AtomicU64::new(0) }
    }

    pub fn next(&self) -> u64 {
        self.first + self.every * self.taken.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the first number that was not taken.
    pub fn end(&self) -> u64 {
        self.first + self.every * self.taken.load(Ordering::Relaxed)
    }
}

/// State shared by all connections of a run.
pub struct Shared {
    pub plan: Plan,
    pub numbers: Numbers,
    pub stop: AtomicBool,
}

impl Shared {
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Drives the load; returns the results, and the number after the last operation.
pub async fn drive(run: &Run, plan: Plan, numbers: Numbers) -> Result<(Results, u64), String> {
    let shared = Arc::new(Shared { plan, numbers, stop: AtomicBool::new(false) });
    let recorders: Vec<_> = (0..run.connections).map(|_| Arc::new(Recorder::new())).collect();
    let mut tasks = JoinSet::new();
    match run.pace {
        Loop::Closed { in_flight } => {
            for (index, recorder) in recorders.iter().enumerate() {
                let client = run.address.quota().await?;
                let share =
                    in_flight / run.connections + usize::from(index < in_flight % run.connections);
                let (shared, recorder) = (shared.clone(), recorder.clone());
                match run.rpc {
                    Rpc::Unary => unary::closed(&mut tasks, &client, share, &shared, &recorder),
                    Rpc::Apply => {
                        tasks.spawn(stream::closed(client, share, shared, recorder));
                    }
                }
            }
        }
        Loop::Open { per_second, in_flight_max } => {
            let mut clients = Vec::new();
            for _ in &recorders {
                clients.push(run.address.quota().await?);
            }
            let due = pacer::start(per_second, shared.clone());
            let open =
                open(run.rpc, clients, due, in_flight_max, shared.clone(), recorders.clone());
            tasks.spawn(open);
        }
    }
    let take = || {
        let mut results = Results::default();
        for recorder in &recorders {
            results.add(&recorder.take());
        }
        results
    };
    tokio::time::sleep(run.warm_up).await;
    take();
    let begun = Instant::now();
    tokio::time::sleep(run.measured).await;
    let mut results = take();
    results.seconds = begun.elapsed().as_secs_f64();
    shared.stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    Ok((results, shared.numbers.end()))
}

/// Sends operations when they are due, over all connections in turn.
async fn open(
    rpc: Rpc,
    clients: Vec<Client>,
    mut due: tokio::sync::mpsc::UnboundedReceiver<Due>,
    in_flight_max: usize,
    shared: Arc<Shared>,
    recorders: Vec<Arc<Recorder>>,
) {
    let each = in_flight_max.div_ceil(clients.len());
    let lines = clients.into_iter().zip(recorders);
    match rpc {
        Rpc::Unary => {
            let lines: Vec<_> =
                lines.map(|(client, it)| unary::Paced::new(client, it, each)).collect();
            for line in (0..lines.len()).cycle() {
                let Some(due) = due.recv().await else { return };
                lines[line].send(due, &shared.plan);
            }
        }
        Rpc::Apply => {
            let lines: Vec<_> = lines.map(|(client, it)| Paced::new(client, it, each)).collect();
            for line in (0..lines.len()).cycle() {
                let Some(due) = due.recv().await else { return };
                lines[line].send(due, &shared.plan);
            }
        }
    }
}
