//! A TCP proxy that replaces the script of calls to Redis by another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes taken at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Replaces one digest by another in all requests, until it is dropped.
pub struct Rewriter {
    pub port: u16,
    rewritten: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Rewriter {
    /// A proxy to a loopback port; both digests have the same length.
    pub async fn start(target: u16, from: String, to: String) -> Self {
        assert!(from.len() == to.len() && from != to, "two digests");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let rewritten = Arc::new(AtomicUsize::new(0));
        let count = rewritten.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (from, to, count) = (from.clone(), to.clone(), count.clone());
                connections.spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", target)).await;
                    let server = server.expect("the server listens");
                    client.set_nodelay(true).ok();
                    server.set_nodelay(true).ok();
                    let (from_client, mut to_client) = client.into_split();
                    let (mut from_server, to_server) = server.into_split();
                    let digests = (from.as_bytes(), to.as_bytes());
                    // An error is the end of a connection.
                    let ((), _) = tokio::join!(
                        requests(from_client, to_server, digests, &count),
                        tokio::io::copy(&mut from_server, &mut to_client),
                    );
                });
            }
        });
        Self { port, rewritten, task }
    }

    /// The number of replaced digests.
    pub fn rewritten(&self) -> usize {
        self.rewritten.load(Ordering::Relaxed)
    }
}

impl Drop for Rewriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    (from, to): (&[u8], &[u8]),
    count: &AtomicUsize,
) {
    let (mut chunk, mut held) = (vec![0; CHUNK_BYTES], Vec::new());
    while let Ok(bytes @ 1..) = client.read(&mut chunk).await {
        held.extend_from_slice(&chunk[..bytes]);
        let mut at = 0;
        while let Some(found) = held[at..].windows(from.len()).position(|part| part == from) {
            at += found;
            held[at..at + to.len()].copy_from_slice(to);
            count.fetch_add(1, Ordering::Relaxed);
        }
        // A partial digest waits for its rest; no request ends with one.
        let whole = (1..from.len()).rev().find(|length| held.ends_with(&from[..*length]));
        let ready = held.len() - whole.unwrap_or(0);
        if server.write_all(&held[..ready]).await.is_err() {
            break;
        }
        held.drain(..ready);
    }
    server.shutdown().await.ok();
}

/// A script's text as the sidecar loads it: with shared parts, without comments.
pub fn composed(script: &str) -> String {
    let read = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/redis/scripts");
        std::fs::read_to_string(format!("{folder}/{name}.lua")).expect("a script")
    };
    let mut composed = String::new();
    for line in read(script).lines() {
        match line.strip_prefix("-- include ") {
            // A shared part may include others.
            Some(part) => composed.push_str(&self::composed(&format!("shared/{part}"))),
            None if line.starts_with("--") => {}
            None => {
                composed.push_str(line);
                composed.push('\n');
            }
        }
    }
    composed
}
