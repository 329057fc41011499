//! Accepts connections, also after the system has run out of resources.
//!
//! A connection whose client does not send the HTTP/2 preface in time is closed, and one whose peer
//! has vanished is detected by the server's keepalive. `places` bounds the number of connections.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tracing::{debug, warn};

use super::listen::UnixSocket;
use super::places::{ConnectionState, PeerKey, Place, Places};
use crate::access::{Credential, Peer};
use crate::grpc::memory::ConnectionMemory;

/// Delay after a failed accept, so that a process without file descriptors does not spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Longest time for a client's HTTP/2 preface.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// Length of the HTTP/2 preface, which every client sends first.
const PREFACE_BYTES: usize = 24;

/// Longest time for a peer to close its side of a connection that was closed on this one. A socket
/// that is closed with unread bytes in it is reset, which can discard responses that the peer has
/// not read.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that are read and discarded at a time meanwhile.
const LINGER_BYTES: usize = 4 * 1024;
/// Most reads before other connections have their turn.
const LINGER_READS_MAX: usize = 16;

/// A listening socket.
pub trait Accept: Send + Sync + 'static {
    /// One connection.
    type Stream: Send + 'static;

    /// Accepts the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<Accepted<TcpStream>> {
        let (stream, address) = Self::accept(self).await?;
        let own = self.local_addr()?;
        // Responses are small and must not wait for each other.
        stream.set_nodelay(true)?;
        let peer = Peer {
            from: address.to_string().into(),
            proof: Credential::None,
            listener_is_local: own.ip().to_canonical().is_loopback(),
        };
        Ok(Accepted { stream, peer, key: address.ip().into() })
    }
}

impl Accept for UnixSocket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<Accepted<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        let path = self.path().display();
        let peer = match stream.peer_cred() {
            Ok(user) => Peer {
                from: format!("unix:{path} uid {}", user.uid()).into(),
                proof: Credential::User(user.uid()),
                listener_is_local: true,
            },
            Err(_) => Peer {
                from: format!("unix:{path}").into(),
                proof: Credential::None,
                listener_is_local: true,
            },
        };
        Ok(Accepted { stream, peer, key: PeerKey::Local })
    }
}

impl<T: Accept> Accept for Arc<T> {
    type Stream = T::Stream;

    fn accept(&self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send {
        T::accept(self)
    }
}

/// A connection from which nothing was read yet.
pub struct Accepted<S> {
    /// The connection.
    pub stream: S,
    /// The peer.
    pub peer: Peer,
    /// The key under which the peer's connections are counted.
    pub(super) key: PeerKey,
}

/// Accepts the next connection; retries while the system has no resources for one.
async fn accept<A: Accept>(listener: &A) -> Accepted<A::Stream> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                warn!(%error, "connection not accepted, retrying");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Returns the connections of a listener, each with its place. Never ends.
pub fn incoming<A: Accept>(
    listener: A,
    places: Arc<Places>,
) -> impl Stream<Item = (Accepted<A::Stream>, Place)> + Send {
    stream::unfold((listener, places), |(listener, places)| async move {
        loop {
            let accepted = accept(&listener).await;
            if let Some(place) = places.admit(accepted.key).await {
                return Some(((accepted, place), (listener, places)));
            }
            let peer = &accepted.peer.from;
            debug!(%peer, "connection refused: the peer has reached its share");
        }
    })
}

/// Returns the connections of a listener, at most `most` concurrently: each counts until its permit
/// is dropped. Never ends.
pub fn accept_up_to<A: Accept>(
    listener: A,
    most: usize,
) -> impl Stream<Item = (A::Stream, OwnedSemaphorePermit)> + Send {
    let free = Arc::new(Semaphore::new(most));
    stream::unfold((listener, free), |(listener, free)| async move {
        // The semaphore is never closed.
        let permit = free.clone().acquire_owned().await.ok()?;
        let accepted = accept(&listener).await;
        Some(((accepted.stream, permit), (listener, free)))
    })
}

/// A connection whose client has to send the HTTP/2 preface in time.
pub(super) struct Connection<S> {
    stream: S,
    preface: Option<Preface>,
    /// After this side is closed: the time that the peer has to close its side.
    linger: Option<Pin<Box<Sleep>>>,
    state: Arc<ConnectionState>,
    memory: Arc<ConnectionMemory>,
}

/// The missing part of the preface, and the time limit for it.
struct Preface {
    missing: usize,
    limit: Pin<Box<Sleep>>,
}

impl<S> Connection<S> {
    pub(super) fn new(
        stream: S,
        state: Arc<ConnectionState>,
        memory: Arc<ConnectionMemory>,
    ) -> Self {
        let limit = Box::pin(sleep(PREFACE_TIMEOUT));
        let preface = Some(Preface { missing: PREFACE_BYTES, limit });
        Self { stream, preface, linger: None, state, memory }
    }

    fn record_written(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(bytes)) if *bytes > 0) {
            self.state.progresses();
        }
    }

    /// Records the bytes that were read. Returns an error if the preface is late.
    fn record_read(&mut self, context: &mut Context<'_>, read: Option<usize>) -> io::Result<()> {
        let Some(preface) = &mut self.preface else { return Ok(()) };
        preface.missing = preface.missing.saturating_sub(read.unwrap_or(0));
        if preface.missing == 0 {
            self.preface = None;
            self.state.begins();
        } else if preface.limit.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client sent no HTTP/2 preface",
            ));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Discards what the peer sends until it has closed its side, or its time has passed.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER_TIMEOUT)));
        if linger.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut bytes = [0; LINGER_BYTES];
        for _ in 0..LINGER_READS_MAX {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer)?;
        let bytes = read.is_ready().then(|| buffer.filled().len() - before);
        self.record_read(context, bytes)?;
        read.map(Ok)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.record_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.record_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.memory.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        // The server does not wait for a peer that violated the protocol.
        if self.state.is_closing() {
            self.poll_linger(context).map(Ok)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}
