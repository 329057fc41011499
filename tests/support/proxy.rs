//! A TCP proxy between a client and a server that injects faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::redis::free_port;

/// Bytes taken at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The treatment of connections, old and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forwards.
    Pass,
    /// Keeps connections open and delays all bytes until the mode ends.
    BlackHole,
    /// Closes all connections; new ones are refused.
    Refuse,
}

/// A proxy with a port of its own, which forwards until it is dropped.
pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    losses: Arc<Losses>,
    gate: Arc<Gate>,
    task: JoinHandle<()>,
}

/// A gate that stops one request until it is released.
#[derive(Debug)]
struct Gate {
    /// The bytes that select requests, and the number of requests to pass before the stopped one.
    wanted: std::sync::Mutex<Option<(usize, Vec<u8>)>>,
    /// True while a request waits at the gate.
    is_closed: watch::Sender<bool>,
}

/// Replies that are still to be lost.
#[derive(Debug, Default)]
struct Losses {
    left: AtomicUsize,
    lost: AtomicUsize,
    /// The bytes that a request must contain; set before `left`.
    of: std::sync::Mutex<Vec<u8>>,
}

impl Proxy {
    /// A proxy to a loopback port.
    pub async fn start(target: u16) -> Self {
        let (mode, watched) = watch::channel(Mode::Pass);
        let losses = Arc::new(Losses::default());
        let is_closed = watch::Sender::new(false);
        let gate = Arc::new(Gate { wanted: std::sync::Mutex::default(), is_closed });
        let (listener, port) = loop {
            let port = free_port();
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
                break (listener, port);
            }
        };
        let of_connections = (losses.clone(), gate.clone());
        let task = tokio::spawn(serve(listener, port, target, watched, of_connections));
        Self { port, mode, losses, gate, task }
    }

    /// The port of the proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the mode.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Forwards the next `count` requests that contain `of` (such as `EVALSHA`; empty: all), and
    /// closes the connection in place of each reply.
    pub fn drop_replies(&self, count: usize, of: &str) {
        *self.losses.of.lock().expect("no poisoned lock") = of.as_bytes().to_vec();
        self.losses.left.store(count, Ordering::SeqCst);
    }

    /// Lets `after` requests that contain `of` through, and stops the next one.
    pub fn stop_request(&self, after: usize, of: &str) {
        let wanted = Some((after, of.as_bytes().to_vec()));
        *self.gate.wanted.lock().expect("no poisoned lock") = wanted;
    }

    /// Waits until a request has stopped.
    pub async fn stopped(&self) {
        let mut is_closed = self.gate.is_closed.subscribe();
        is_closed.wait_for(|is_closed| *is_closed).await.expect("the gate is alive");
    }

    /// Releases the stopped request.
    pub fn let_through(&self) {
        self.gate.is_closed.send_replace(false);
    }

    /// The number of dropped replies.
    pub fn dropped(&self) -> usize {
        self.losses.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Losses {
    /// Returns whether the reply to this request must be dropped.
    fn take(&self, request: &[u8]) -> bool {
        if self.left.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let of = self.of.lock().expect("no poisoned lock");
        let fits = of.is_empty() || request.windows(of.len()).any(|part| part == of.as_slice());
        let one_less = |left: usize| left.checked_sub(1);
        fits && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }
}

impl Gate {
    /// Waits until this request may be forwarded.
    async fn pass(&self, request: &[u8]) {
        let stops = {
            let mut wanted = self.wanted.lock().expect("no poisoned lock");
            let is_one = |of: &[u8]| request.windows(of.len()).any(|part| part == of);
            match wanted.as_mut() {
                Some((0, of)) if is_one(of) => wanted.take().is_some(),
                Some((after, of)) if is_one(of) => {
                    *after -= 1;
                    false
                }
                _ => false,
            }
        };
        if stops {
            self.is_closed.send_replace(true);
            let mut is_closed = self.is_closed.subscribe();
            // The sender lives as long as the gate.
            let _ = is_closed.wait_for(|is_closed| !is_closed).await;
        }
    }
}

async fn serve(
    listener: TcpListener,
    port: u16,
    target: u16,
    mut mode: watch::Receiver<Mode>,
    (losses, gate): (Arc<Losses>, Arc<Gate>),
) {
    let mut listener = Some(listener);
    // Aborts its tasks on drop, which closes the connections.
    let mut connections = JoinSet::new();
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Refuse {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            let again = TcpListener::bind(("127.0.0.1", port)).await;
            listener = Some(again.expect("the port is outside of the system's range"));
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            accepted = accept => if let Ok((client, _)) = accepted {
                let of_connection = (losses.clone(), gate.clone());
                connections.spawn(forward(client, target, mode.clone(), of_connection));
            },
        }
    }
}

async fn forward(
    client: TcpStream,
    target: u16,
    mode: watch::Receiver<Mode>,
    (losses, gate): (Arc<Losses>, Arc<Gate>),
) {
    let mut waiting = mode.clone();
    if waiting.wait_for(|mode| *mode != Mode::BlackHole).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    // Small requests must not wait for one another; on an error they do.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let lose = AtomicBool::new(false);
    tokio::join!(
        requests(from_client, to_server, mode.clone(), (&losses, &gate), &lose),
        replies(from_server, to_client, mode, &losses, &lose),
    );
}

/// Forwards requests until the client ends, or until a reply must be dropped.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    (losses, gate): (&Losses, &Gate),
    lose: &AtomicBool,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Some(bytes) = read(&mut from, &mut chunk, &mut mode).await {
        gate.pass(&chunk[..bytes]).await;
        if losses.take(&chunk[..bytes]) {
            lose.store(true, Ordering::SeqCst);
        }
        if to.write_all(&chunk[..bytes]).await.is_err() || lose.load(Ordering::SeqCst) {
            break;
        }
    }
    // The server reads the bytes that were sent before, and then ends the connection itself,
    // unless it has already.
    to.shutdown().await.ok();
}

/// Forwards replies until the server ends; only reads them once they must be dropped.
async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    losses: &Losses,
    lose: &AtomicBool,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Some(bytes) = read(&mut from, &mut chunk, &mut mode).await {
        let lost = lose.load(Ordering::SeqCst);
        if !lost && to.write_all(&chunk[..bytes]).await.is_err() {
            break;
        }
    }
    if lose.load(Ordering::SeqCst) {
        losses.lost.fetch_add(1, Ordering::SeqCst);
    }
    to.shutdown().await.ok();
}

/// The next bytes, delayed while nothing is forwarded; `None` at the end.
async fn read(
    from: &mut OwnedReadHalf,
    chunk: &mut [u8],
    mode: &mut watch::Receiver<Mode>,
) -> Option<usize> {
    let bytes = from.read(chunk).await.ok().filter(|bytes| *bytes > 0)?;
    mode.wait_for(|mode| *mode != Mode::BlackHole).await.ok()?;
    Some(bytes)
}
