//! A TCP proxy that delays each direction, as a network does: bytes arrive later, in order, and at
//! the same rate.
//!
//! Threads of its own sleep until bytes are due, since the runtime's timers tick in milliseconds.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A proxy on a port of its own; no further connections are accepted once it is dropped.
pub struct Delay {
    port: u16,
    is_over: Arc<AtomicBool>,
}

/// Bytes, and when they are due.
type Chunk = (Instant, Vec<u8>);

impl Delay {
    /// Starts a proxy to a loopback port, which adds this much to a round trip.
    pub fn start(target: u16, round_trip: Duration) -> Self {
        let (listener, port) = loop {
            let port = super::support::ports::free_port();
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                break (listener, port);
            }
        };
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = is_over.clone();
        std::thread::spawn(move || {
            sleep_precisely();
            for client in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let server = TcpStream::connect(("127.0.0.1", target));
                if let (Ok(client), Ok(server)) = (client, server) {
                    forward_both(&client, &server, round_trip / 2);
                }
            }
        });
        Self { port, is_over }
    }

    /// The proxy's port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Lets this thread, and those that it starts, sleep to the microsecond: by default Linux wakes a
/// thread up to 50 us late. Without the permission the delays are longer by that.
fn sleep_precisely() {
    let thread = std::fs::read_link("/proc/thread-self").ok();
    let id = thread.as_ref().and_then(|link| link.file_name());
    if let Some(id) = id {
        let slack = std::path::Path::new("/proc").join(id).join("timerslack_ns");
        std::fs::write(slack, "1").ok();
    }
}

fn forward_both(client: &TcpStream, server: &TcpStream, delay: Duration) {
    for (from, to) in [(client, server), (server, client)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        // Small requests must not wait for one another.
        to.set_nodelay(true).ok();
        let (sender, receiver) = channel();
        std::thread::spawn(move || read(from, delay, &sender));
        std::thread::spawn(move || write(to, &receiver));
    }
}

/// Reads until the connection ends.
fn read(mut from: TcpStream, delay: Duration, chunks: &Sender<Chunk>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if chunks.send((Instant::now() + delay, chunk[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Writes what is due, until the other end of the channel is gone.
fn write(mut to: TcpStream, chunks: &Receiver<Chunk>) {
    for (due, chunk) in chunks {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&chunk).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}
