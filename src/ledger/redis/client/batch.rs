//! Calls that are answered only when a replica has them too.
//!
//! `WAIT` covers everything that the server had written when it came to the connection's last
//! command, of other connections too, so that an answer about what others have written is as safe.
//! It holds its connection up. So calls are sent in batches, each followed by one `WAIT`, and two
//! connections take turns: while one waits, the other collects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::link::{Lane, Link};
use super::node::LINK_PATIENCE;
use super::pace::{Deadline, Task};
use super::probe::Probe;
use super::{Failure, Request, reply};
use crate::ledger::fair::Places;

/// Most calls of one batch: a full one keeps a server busy for some milliseconds.
const BATCH_MAX: usize = 256;
/// Longest wait for a replica; one that is slower is as good as gone.
const REPLICA_PATIENCE: Duration = Duration::from_secs(1);
/// What is left of the callers' time for the answer that no replica has confirmed it.
const ANSWER_PATIENCE: Duration = Duration::from_millis(20);

const WAITING: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

struct Job {
    command: Arc<Cmd>,
    asking: bool,
    deadline: Deadline,
    stage: Arc<AtomicU8>,
    answer: oneshot::Sender<Result<Value, Failure>>,
    /// Held until it is answered, also where no one waits for that any more.
    places: Places,
}

type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Job>>>;

/// The batches of one server.
pub(super) struct Batches {
    // Bounded by the places of the server, of which every job holds some.
    queue: mpsc::UnboundedSender<Job>,
    lanes: [Lane; 2],
    _loops: [Task; 2],
}

impl Batches {
    /// Starts a loop on each lane.
    pub(super) fn new(lanes: [Lane; 2]) -> Self {
        let (queue, receiver) = mpsc::unbounded_channel();
        let receiver: Queue = Arc::new(Mutex::new(receiver));
        let loops =
            lanes.clone().map(|lane| Task::spawn(send_batches(lane, Arc::clone(&receiver))));
        Self { queue, lanes, _loops: loops }
    }

    /// Lets the call be part of a batch.
    pub(super) async fn call(
        &self,
        request: &Request,
        asking: bool,
        deadline: Deadline,
        places: Places,
        probe: &Probe,
    ) -> Result<Value, Failure> {
        let [first, second] = &self.lanes;
        if first.ready().is_none() && second.ready().is_none() {
            let up = first.link(LINK_PATIENCE.min(deadline.left())).await;
            up.map_err(Failure::Unsent)?;
        }
        let (answer, mut answered) = oneshot::channel();
        let stage = Arc::new(AtomicU8::new(WAITING));
        let command = Arc::clone(&request.command);
        let job = Job { command, asking, deadline, stage: Arc::clone(&stage), answer, places };
        self.queue.send(job).map_err(|_| Failure::Closing)?;
        loop {
            let patience = LINK_PATIENCE.min(deadline.left());
            let waited = tokio::select! {
                biased;
                answer = tokio::time::timeout(patience, &mut answered) => answer,
                () = probe.absence(), if deadline.hurried => {
                    return Err(Failure::Absent { is_sent: !withdraw(&stage) });
                }
            };
            match waited {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) if withdraw(&stage) => return Err(Failure::Closing),
                Ok(Err(_)) => return Err(Failure::Lost("the batch was given up".to_owned())),
                Err(_) => {}
            }
            let up = first.ready().is_some() || second.ready().is_some();
            if (deadline.is_over() || !up) && withdraw(&stage) {
                return Err(Failure::Unsent("it was not sent in time".to_owned()));
            }
            if deadline.is_over() {
                return Err(Failure::Lost("no reply in time".to_owned()));
            }
        }
    }

    /// Has connections made anew.
    pub(super) fn distrust(&self) {
        for link in self.lanes.iter().filter_map(Lane::ready) {
            link.give_up();
        }
    }
}

/// Takes a call back; `false` when it has been sent.
fn withdraw(stage: &AtomicU8) -> bool {
    stage.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire) != Err(SENT)
}

/// Takes a call to be sent; `false` when its caller has withdrawn it.
fn take(job: &Job) -> bool {
    let taken = job.stage.compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire);
    taken.is_ok()
}

async fn send_batches(lane: Lane, queue: Queue) {
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    loop {
        // Without a connection the other lane may have more luck.
        if lane.link(REPLICA_PATIENCE).await.is_err() {
            continue;
        }
        {
            let mut queue = queue.lock().await;
            if queue.recv_many(&mut jobs, BATCH_MAX).await == 0 {
                return;
            }
        }
        // The connection may have died while there was nothing to do.
        let link = match lane.link(LINK_PATIENCE).await {
            Ok(link) => link,
            Err(why) => {
                for job in jobs.drain(..).filter(take) {
                    let _ = job.answer.send(Err(Failure::Unsent(why.clone())));
                }
                continue;
            }
        };
        jobs.retain(take);
        send_batch(&link, &mut jobs).await;
    }
}

async fn send_batch(link: &Link, jobs: &mut Vec<Job>) {
    let Some(patience) = jobs.iter().map(|job| job.deadline.left()).max() else { return };
    let mut commands = redis::pipe();
    for job in jobs.iter() {
        if job.asking {
            commands.cmd("ASKING");
        }
        commands.add_command((*job.command).clone());
    }
    // Zero would be no limit at all.
    let replica_patience = patience.saturating_sub(ANSWER_PATIENCE).min(REPLICA_PATIENCE);
    let replica_ms = replica_patience.as_millis().max(1);
    commands.cmd("WAIT").arg(1).arg(replica_ms.to_string());
    let mut replies = match link.send_all(&commands, patience).await {
        Ok(replies) => replies,
        Err(failure) => {
            for job in jobs.drain(..) {
                let _ = job.answer.send(Err(failure.clone()));
            }
            return;
        }
    };
    let unconfirmed = match replies.pop() {
        Some(Value::Int(replicas)) if replicas >= 1 => None,
        Some(Value::ServerError(error)) => Some(format!("WAIT failed: {}", reply::words(&error))),
        _ => Some(format!("no replica confirmed it within {replica_ms} ms")),
    };
    let mut replies = replies.into_iter();
    for job in jobs.drain(..) {
        if job.asking {
            replies.next();
        }
        let answer = match (replies.next(), &unconfirmed) {
            (Some(Value::ServerError(error)), _) => Err(Failure::Server(error)),
            (Some(value), None) => Ok(value),
            (Some(value), Some(why)) => Err(Failure::Unconfirmed(value, why.clone())),
            (None, _) => Err(Failure::Lost("an empty reply".to_owned())),
        };
        job.places.answered();
        let _ = job.answer.send(answer);
    }
}
