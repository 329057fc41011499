//! The probe of one server: a separate connection that carries nothing but a check whether the
//! server answers.
//!
//! Probes run on a separate thread, so that neither a full connection nor a busy worker thread
//! makes a server that answers appear silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::connect::Connector;
use super::reply;
use super::silence::Silence;
use super::slot::SLOTS;
use crate::clock::Stopwatch;
use crate::redis::options::Address;

/// Observations of silence within the allowed time.
const STEPS: u32 = 10;
/// Shortest and longest time between two observations.
const STEP_MIN: Duration = Duration::from_millis(2);
const STEP_MAX: Duration = Duration::from_millis(50);
/// Longest wait for a reply, in multiples of the allowed time: a new connection succeeds sooner
/// than one whose packets were lost.
const REPLY_WAITS_MAX: u32 = 2;

/// The thread on which probes run; it ends when this is dropped.
pub(super) struct ProbeThread {
    handle: Handle,
    _running: oneshot::Sender<()>,
}

impl ProbeThread {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("imquota-probe".into()).spawn(move || {
            // The sender is dropped, and nothing is ever sent.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, _running: running })
    }
}

/// The probe of one server; it ends when this is dropped.
pub(super) struct Probe {
    absent: watch::Receiver<bool>,
    /// The slot that the probe reads in a cluster; a number beyond the last slot means none yet.
    slot: Arc<AtomicU32>,
    task: AbortHandle,
}

impl Probe {
    /// Starts the probe.
    pub(super) fn start(address: Address, connector: &Arc<Connector>) -> Self {
        let (sender, absent) = watch::channel(false);
        let slot = Arc::new(AtomicU32::new(u32::MAX));
        let probing = Probing {
            address,
            connector: Arc::clone(connector),
            slot: Arc::clone(&slot),
            absent: sender,
            allowed: connector.options.silence_max,
            step: (connector.options.silence_max / STEPS).clamp(STEP_MIN, STEP_MAX),
        };
        let task = connector.probes.handle.spawn(probing.run()).abort_handle();
        Self { absent, slot, task }
    }

    /// Returns whether the server is absent.
    pub(super) fn is_absent(&self) -> bool {
        *self.absent.borrow()
    }

    /// Waits until the server is absent.
    pub(super) async fn absence(&self) {
        let mut absent = self.absent.clone();
        if absent.wait_for(|absent| *absent).await.is_err() {
            // The probe has ended, and detects no more.
            std::future::pending::<()>().await;
        }
    }

    /// Records that the server serves that slot.
    pub(super) fn serves(&self, slot: u16) {
        self.slot.store(slot.into(), Ordering::Relaxed);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Probing {
    address: Address,
    connector: Arc<Connector>,
    slot: Arc<AtomicU32>,
    absent: watch::Sender<bool>,
    allowed: Duration,
    step: Duration,
}

impl Probing {
    async fn run(self) {
        let mut silence = Silence::new(self.allowed, 2 * self.step);
        loop {
            let connecting = self.connector.plain(&self.address);
            let begun = Stopwatch::start();
            match self.watched(&mut silence, connecting).await {
                Some(Ok(connection)) => self.send_probes(&mut silence, connection).await,
                // A server that refuses the password answers.
                Some(Err(error)) if error.is_answer() => {
                    silence.answered(begun.elapsed());
                    self.publish(&silence);
                }
                Some(Err(_)) | None => {}
            }
            self.pause(&mut silence).await;
        }
    }

    /// Sends probes until the connection fails.
    async fn send_probes(&self, silence: &mut Silence, connection: MultiplexedConnection) {
        loop {
            let probe_command = self.probe_command();
            let mut connection = connection.clone();
            let sent = Stopwatch::start();
            let replying = connection.send_packed_command(&probe_command);
            match self.watched(silence, replying).await {
                Some(Ok(reply)) if is_answer(&reply) => {
                    silence.answered(sent.elapsed());
                    self.publish(silence);
                    sleep(2 * self.step).await;
                }
                Some(Ok(_)) => self.pause(silence).await,
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Returns the probe's command. In a cluster it is `EXISTS` on the mark of a slot that the
    /// server serves, since a cluster that is down still answers `PING`.
    fn probe_command(&self) -> Cmd {
        let slot = u16::try_from(self.slot.load(Ordering::Relaxed)).ok();
        match slot.filter(|slot| *slot < SLOTS && self.connector.is_cluster()) {
            Some(slot) => redis::cmd("EXISTS").arg(self.connector.marks.key(slot)).to_owned(),
            None => redis::cmd("PING"),
        }
    }

    /// Waits for `work` and counts the time as silence; `None` if it took too long.
    async fn watched<T>(&self, silence: &mut Silence, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let waiting = Stopwatch::start();
        loop {
            let step = Stopwatch::start();
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = sleep(self.step) => silence.waited(step.elapsed()),
            }
            self.publish(silence);
            let longest =
                self.connector.options.connect_timeout.max(REPLY_WAITS_MAX * self.allowed);
            if waiting.elapsed() > longest {
                return None;
            }
        }
    }

    /// Waits for the next attempt; the time counts as silence.
    async fn pause(&self, silence: &mut Silence) {
        for _ in 0..2 {
            let step = Stopwatch::start();
            sleep(self.step).await;
            silence.waited(step.elapsed());
            self.publish(silence);
        }
    }

    fn publish(&self, silence: &Silence) {
        let is_absent = silence.is_absent();
        let changed = self.absent.send_if_modified(|before| {
            let changed = *before != is_absent;
            *before = is_absent;
            changed
        });
        if changed && is_absent {
            let silent_ms = u64::try_from(self.allowed.as_millis()).unwrap_or(u64::MAX);
            let server = &self.address;
            tracing::warn!(%server, silent_ms, "circuit breaker opened: no reply to the probe");
        } else if changed {
            tracing::info!(server = %self.address, "circuit breaker closed");
        }
    }
}

/// Returns whether a reply shows that the server works. See [`super::silence`].
fn is_answer(reply: &Value) -> bool {
    !matches!(reply, Value::ServerError(error) if reply::is_absence(error.code()))
}
