//! Batches of calls whose replies are returned only after the replicas have confirmed them.
//!
//! A batch of calls is followed by three commands. `ROLE` returns the offset that the server has
//! written so far, by any connection, so that a reply that rests on other connections' writes is as
//! safe. `WAIT` has the replicas confirm immediately. A second `ROLE` returns which of them have:
//! `WAIT` alone returns a number, and the replica that is missing from it may be the one that is
//! promoted. `WAIT` does not have the replicas acknowledge what other connections have written: if
//! that is missing, their acknowledgement is requested (`acknowledgements`). `WAIT` blocks its
//! connection, so that two connections alternate: while one waits, the other collects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::confirmations::Confirmations;
use super::connection::{Connection, ManagedConnection};
use super::node::CONNECTION_WAIT_MAX;
use super::probe::Probe;
use super::replicas::Replica;
use super::reply::{self, ReplicationState};
use super::retry::Deadline;
use super::{Failure, Request};
use crate::store::fair::Places;

/// Most calls in one batch: a full one keeps a server busy for some milliseconds.
const BATCH_MAX: usize = 256;
/// Longest single wait of a loop for a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest single wait for the replicas, after which the required replicas are determined again.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Longest pause if as many replicas have confirmed as were waited for, but not the required
/// offset, or not the required replicas.
const WAIT_AGAIN_AFTER_MAX: Duration = Duration::from_millis(5);
/// The part of the callers' time that is kept for returning that the replicas have not confirmed.
const REPLY_RESERVE: Duration = Duration::from_millis(20);

const WAITING: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

struct Job {
    command: Arc<Cmd>,
    asking: bool,
    deadline: Deadline,
    stage: Arc<AtomicU8>,
    answer: oneshot::Sender<Result<Value, Failure>>,
    /// Held until the reply, even if no caller waits for it any more.
    places: Places,
}

type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Job>>>;

/// The batches of calls to one server.
pub(super) struct Batches {
    // Bounded by the server's permits, of which every job holds some.
    queue: mpsc::UnboundedSender<Job>,
    connections: [ManagedConnection; 2],
    confirmations: Arc<Confirmations>,
    _loops: [AbortOnDropHandle<()>; 2],
}

/// The connection slot that a loop sends on, and the replicas that have to confirm.
struct Sending {
    managed: ManagedConnection,
    confirmations: Arc<Confirmations>,
}

impl Batches {
    /// Starts a loop on each connection slot.
    pub(super) fn new(
        connections: [ManagedConnection; 2],
        confirmations: &Arc<Confirmations>,
    ) -> Self {
        let (queue, receiver) = mpsc::unbounded_channel();
        let receiver: Queue = Arc::new(Mutex::new(receiver));
        let loops = connections.clone().map(|managed| {
            let sending = Sending { managed, confirmations: Arc::clone(confirmations) };
            AbortOnDropHandle::new(tokio::spawn(send_batches(sending, Arc::clone(&receiver))))
        });
        Self { queue, connections, confirmations: Arc::clone(confirmations), _loops: loops }
    }

    /// Sends the call as part of a batch, and waits for its reply.
    pub(super) async fn call(
        &self,
        request: &Request,
        asking: bool,
        deadline: Deadline,
        places: Places,
        probe: &Probe,
    ) -> Result<Value, Failure> {
        let [first, second] = &self.connections;
        if first.ready().is_none() && second.ready().is_none() {
            let up = first.connection(CONNECTION_WAIT_MAX.min(deadline.left())).await;
            up.map_err(Failure::NotSent)?;
        }
        let (answer, mut answered) = oneshot::channel();
        let stage = Arc::new(AtomicU8::new(WAITING));
        let command = Arc::clone(&request.command);
        let job = Job { command, asking, deadline, stage: Arc::clone(&stage), answer, places };
        self.queue.send(job).map_err(|_| Failure::Closing)?;
        loop {
            let timeout = CONNECTION_WAIT_MAX.min(deadline.left());
            let waited = tokio::select! {
                biased;
                answer = tokio::time::timeout(timeout, &mut answered) => answer,
                () = probe.absence(), if deadline.fail_fast => {
                    return Err(Failure::Absent { is_sent: !withdraw(&stage) });
                }
            };
            match waited {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) if withdraw(&stage) => return Err(Failure::Closing),
                Ok(Err(_)) => {
                    return Err(Failure::OutcomeUnknown("the batch was given up".to_owned()));
                }
                Err(_) => {}
            }
            let up = first.ready().is_some() || second.ready().is_some();
            let closed = self.confirmations.closed();
            // Another server may be the master by now.
            if (deadline.is_over() || !up || closed.is_some()) && withdraw(&stage) {
                let late = || Failure::NotSent("not sent in time".to_owned());
                return Err(closed.map_or_else(late, Failure::Unconfirmable));
            }
            if deadline.is_over() {
                return Err(Failure::OutcomeUnknown("no reply in time".to_owned()));
            }
        }
    }

    /// Replaces the connections.
    pub(super) fn reconnect(&self) {
        for connection in self.connections.iter().filter_map(ManagedConnection::ready) {
            connection.give_up();
        }
    }
}

/// Withdraws a call; returns `false` if it has been sent.
fn withdraw(stage: &AtomicU8) -> bool {
    stage.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire) != Err(SENT)
}

/// Claims a call for sending; returns `false` if its caller has withdrawn it.
fn take(job: &Job) -> bool {
    let taken = job.stage.compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire);
    taken.is_ok()
}

async fn send_batches(sending: Sending, queue: Queue) {
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    let managed = &sending.managed;
    loop {
        // Without a connection, the queue is left to the other slot.
        if managed.connection(CONNECTION_TIMEOUT).await.is_err() {
            continue;
        }
        {
            let mut queue = queue.lock().await;
            if queue.recv_many(&mut jobs, BATCH_MAX).await == 0 {
                return;
            }
        }
        // Calls that cannot be confirmed are not sent; their callers withdraw them.
        sending.confirmations.opened().await;
        // The connection may have been lost while the queue was empty.
        let connection = match managed.connection(CONNECTION_WAIT_MAX).await {
            Ok(connection) => connection,
            Err(why) => {
                for job in jobs.drain(..).filter(take) {
                    let _ = job.answer.send(Err(Failure::NotSent(why.clone())));
                }
                continue;
            }
        };
        jobs.retain(take);
        sending.send_batch(&connection, &mut jobs).await;
    }
}

impl Sending {
    async fn send_batch(&self, connection: &Connection, jobs: &mut Vec<Job>) {
        let Some(timeout) = jobs.iter().map(|job| job.deadline.left()).max() else { return };
        let deadline = Deadline::after(timeout);
        let mut commands = redis::pipe();
        for job in jobs.iter() {
            if job.asking {
                commands.cmd("ASKING");
            }
            commands.add_command((*job.command).clone());
        }
        let until = deadline.less(REPLY_RESERVE);
        commands.cmd("ROLE");
        self.add_wait(&mut commands, until);
        let sent_at = self.confirmations.now();
        let mut replies = match connection.send_all(&commands, timeout).await {
            Ok(replies) => replies,
            Err(failure) => {
                for job in jobs.drain(..) {
                    let _ = job.answer.send(Err(failure.clone()));
                }
                return;
            }
        };
        let answers = replies.len() - WAIT_COMMANDS - 1;
        let confirming = replies.split_off(answers);
        let unconfirmed = self.confirm(connection, confirming, sent_at, until).await.err();
        let mut replies = replies.into_iter();
        for job in jobs.drain(..) {
            if job.asking {
                replies.next();
            }
            let answer = match (replies.next(), &unconfirmed) {
                (Some(Value::ServerError(error)), _) => Err(Failure::Server(error)),
                (Some(value), None) => Ok(value),
                (Some(_), Some(why)) => Err(Failure::Unconfirmed(why.clone())),
                (None, _) => Err(Failure::OutcomeUnknown("an empty reply".to_owned())),
            };
            job.places.answered();
            let _ = job.answer.send(answer);
        }
    }

    /// Appends `WAIT`, with a bounded timeout, and `ROLE`.
    fn add_wait(&self, commands: &mut Pipeline, until: Deadline) {
        // A timeout of zero would mean none.
        let longest = until.left().min(WAIT_MAX).as_millis().max(1);
        let replicas = self.confirmations.required().max(1);
        commands.cmd("WAIT").arg(replicas).arg(longest.to_string());
        commands.cmd("ROLE");
    }

    /// Waits until the replicas have confirmed; returns the reason if they have not. `replies`:
    /// those to the `ROLE` behind the calls, to `WAIT` and to the second `ROLE`.
    async fn confirm(
        &self,
        connection: &Connection,
        replies: Vec<Value>,
        sent_at: Duration,
        until: Deadline,
    ) -> Result<(), String> {
        let [written, waited, listed] = replies.try_into().map_err(|_| NO_MASTER.to_owned())?;
        let offset = state_of(&written)?.offset;
        let (mut waited, mut listed) = (waited, listed);
        let waiting = Deadline::after(self.confirmations.lag_max().min(until.left()));
        let mut pause = Duration::ZERO;
        loop {
            if let Value::ServerError(error) = &waited {
                return Err(format!("WAIT failed: {}", reply::words(error)));
            }
            let state = state_of(&listed)?;
            let Err(late) = self.confirmations.confirm(offset, &state, sent_at) else {
                return Ok(());
            };
            if waiting.is_over() {
                let ms = self.confirmations.now().saturating_sub(sent_at).as_millis();
                return Err(format!("not confirmed within {ms} ms by {}", names(&late)));
            }
            self.confirmations.request_acknowledgements();
            tokio::time::sleep(pause).await;
            pause = (pause + Duration::from_millis(1)).min(WAIT_AGAIN_AFTER_MAX);
            let mut commands = redis::pipe();
            self.add_wait(&mut commands, until);
            let failed = |failure: Failure| format!("the connection was lost: {failure:?}");
            let replies = connection.send_all(&commands, until.left()).await.map_err(failed)?;
            [waited, listed] = replies.try_into().map_err(|_| NO_MASTER.to_owned())?;
        }
    }
}

/// The number of commands that [`Sending::add_wait`] appends.
const WAIT_COMMANDS: usize = 2;
/// The reason why a server that is no longer a master has no confirmation.
const NO_MASTER: &str = "the server is no longer a master";

fn state_of(role: &Value) -> Result<ReplicationState, String> {
    if let Value::ServerError(error) = role {
        return Err(format!("ROLE failed: {}", reply::words(error)));
    }
    reply::replication_state(role).ok_or_else(|| NO_MASTER.to_owned())
}

/// Formats the names of replicas for a sentence.
fn names(late: &[Replica]) -> String {
    match late {
        [] => "a replica: none is attached".to_owned(),
        late => format!("replica {}", late.join(", ")),
    }
}
