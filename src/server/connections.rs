//! Accepts connections, also after the system has run out of resources.
//!
//! A connection whose client does not send the HTTP/2 preface in time, or the rest of a head of
//! HTTP/1.1, is closed, and one whose peer has vanished is detected by the server's keepalive.
//! `places` bounds the number of connections.

use std::future::Future;
use std::io;
use std::net::IpAddr;
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

use super::keepalive;
use super::listen::UnixSocket;
use super::places::{ConnectionState, PeerKey, Place, Places};
use crate::access::{Credential, Peer};
use crate::grpc::memory::ConnectionMemory;

/// Delay after a failed accept, so that a process without file descriptors does not spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Longest time for a client's HTTP/2 preface, or for the first byte of HTTP/1.1.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// The HTTP/2 preface, which every client of it sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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
        keepalive::probe_silent(&stream)?;
        let peer = Peer {
            from: address.to_string().into(),
            proof: Credential::None,
            listener_is_local: own.ip().to_canonical().is_loopback(),
        };
        let connected_to = stream.local_addr()?.ip();
        Ok(Accepted { stream, peer, key: address.ip().into(), own: Some(connected_to) })
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
        Ok(Accepted { stream, peer, key: PeerKey::Local, own: None })
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
    /// The address that the client has connected to; `None` for a Unix socket.
    pub(super) own: Option<IpAddr>,
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

/// A connection whose client has to send the HTTP/2 preface, or each head of HTTP/1.1, in time.
pub(super) struct Connection<S> {
    stream: S,
    phase: Phase,
    head_timeout: Duration,
    /// After this side is closed: the time that the peer has to close its side.
    linger: Option<Pin<Box<Sleep>>>,
    state: Arc<ConnectionState>,
    memory: Arc<ConnectionMemory>,
}

/// The protocol of a connection, as far as its bytes have shown it.
enum Phase {
    /// So much of the HTTP/2 preface was read, and the time limit for it.
    Preface(usize, Pin<Box<Sleep>>),
    Http2,
    /// The time limit for the rest of a head, if one has begun.
    Http1(Option<Pin<Box<Sleep>>>),
}

fn late(missing: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, missing)
}

impl<S> Connection<S> {
    pub(super) fn new(
        stream: S,
        state: Arc<ConnectionState>,
        memory: Arc<ConnectionMemory>,
        head_timeout: Duration,
    ) -> Self {
        let phase = Phase::Preface(0, Box::pin(sleep(PREFACE_TIMEOUT)));
        Self { stream, phase, head_timeout, linger: None, state, memory }
    }

    fn record_written(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(bytes)) if *bytes > 0) {
            self.state.progresses();
        }
    }

    /// Records the bytes that were read. Returns an error if the preface or a head is late.
    fn record_read(&mut self, context: &mut Context<'_>, read: &[u8]) -> io::Result<()> {
        if let Phase::Preface(known, limit) = &mut self.phase {
            let expected = &PREFACE[*known..];
            let compared = expected.len().min(read.len());
            if read[..compared] != expected[..compared] {
                self.phase = Phase::Http1(None);
            } else if compared == expected.len() {
                self.state.begins();
                self.phase = Phase::Http2;
            } else if limit.as_mut().poll(context).is_ready() {
                return Err(late("the client sent no HTTP/2 preface"));
            } else {
                *known += compared;
            }
        }
        if let Phase::Http1(limit) = &mut self.phase {
            if self.state.idle().is_none() {
                // The head of the open call is complete.
                *limit = None;
            } else if limit.is_none() && !read.is_empty() {
                *limit = Some(Box::pin(sleep(self.head_timeout)));
            }
            if limit.as_mut().is_some_and(|limit| limit.as_mut().poll(context).is_ready()) {
                return Err(late("the client sent no complete head of a request"));
            }
        }
        Ok(())
    }

    /// Returns whether a peer that has not closed its side yet gets time for it: one of HTTP/1.1
    /// may still send a body that was refused.
    fn lingers(&self) -> bool {
        self.state.is_closing() || matches!(self.phase, Phase::Http1(_))
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
        self.record_read(context, &buffer.filled()[before..])?;
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
        if self.lingers() { self.poll_linger(context).map(Ok) } else { Poll::Ready(Ok(())) }
    }
}
