//! Accepts connections, at most so many at once, and survives when the system has no more to give.
//!
//! Nobody holds a place for nothing: a connection that does not begin to speak in time is closed,
//! and one whose peer has vanished is found out by the server's keepalive.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;
use tracing::warn;

use super::listen::UnixSocket;
use crate::access::{Peer, Proof};

/// Most connections of a listener at once: IM servers keep a few each; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// Time before the next connection is accepted after one could not be, so that a process without
/// file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest time for a client's first words.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Length of those: what every HTTP/2 client says first.
const PREFACE_BYTES: usize = 24;

/// Something that accepts connections.
pub trait Accept: Send + Sync + 'static {
    /// One connection.
    type Stream: Send + 'static;

    /// The next connection, and who is at its other end.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = Self::accept(self).await?;
        let own = self.local_addr()?;
        // Answers are small and must not wait for each other.
        stream.set_nodelay(true)?;
        let peer = Peer {
            from: address.to_string().into(),
            proof: Proof::None,
            listener_is_local: own.ip().to_canonical().is_loopback(),
        };
        Ok((stream, peer))
    }
}

impl Accept for UnixSocket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let path = self.path().display();
        let peer = match stream.peer_cred() {
            Ok(user) => Peer {
                from: format!("unix:{path} uid {}", user.uid()).into(),
                proof: Proof::User(user.uid()),
                listener_is_local: true,
            },
            Err(_) => Peer {
                from: format!("unix:{path}").into(),
                proof: Proof::None,
                listener_is_local: true,
            },
        };
        Ok((stream, peer))
    }
}

impl<T: Accept> Accept for Arc<T> {
    type Stream = T::Stream;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send {
        T::accept(self)
    }
}

/// A connection before anything was said on it.
pub struct Accepted<S> {
    /// The connection.
    pub stream: S,
    /// Who is at its other end.
    pub peer: Peer,
    /// Its place among those of the listener.
    pub permit: OwnedSemaphorePermit,
}

/// The connections of a listener, at most [`CONNECTIONS_MAX`] at once. Never ends.
pub fn incoming<A: Accept>(listener: A) -> impl Stream<Item = Accepted<A::Stream>> + Send {
    accept_up_to(listener, CONNECTIONS_MAX)
}

/// The connections of a listener, at most `most` at once. Never ends.
pub fn accept_up_to<A: Accept>(
    listener: A,
    most: usize,
) -> impl Stream<Item = Accepted<A::Stream>> + Send {
    let free = Arc::new(Semaphore::new(most));
    stream::unfold((listener, free), |(listener, free)| async move {
        // The semaphore is never closed.
        let permit = free.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    return Some((Accepted { stream, peer, permit }, (listener, free)));
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A connection that counts until it is dropped.
pub struct Connection<S> {
    stream: S,
    peer: Peer,
    preface: Option<Preface>,
    _permit: OwnedSemaphorePermit,
}

/// What the client has yet to say, and until when.
struct Preface {
    missing: usize,
    limit: Pin<Box<Sleep>>,
}

impl<S> Connection<S> {
    /// Of a client that has to say the first words of HTTP/2 in time.
    pub fn http2(accepted: Accepted<S>) -> Self {
        let limit = Box::pin(sleep(PREFACE_TIMEOUT));
        let preface = Some(Preface { missing: PREFACE_BYTES, limit });
        Self { preface, ..Self::patient(accepted) }
    }

    /// Of a client that is timed elsewhere.
    pub fn patient(accepted: Accepted<S>) -> Self {
        let Accepted { stream, peer, permit } = accepted;
        Self { stream, peer, preface: None, _permit: permit }
    }

    /// Notes what was read, and whether there is still time.
    fn hear(&mut self, context: &mut Context<'_>, read: Option<usize>) -> io::Result<()> {
        let Some(preface) = &mut self.preface else { return Ok(()) };
        preface.missing = preface.missing.saturating_sub(read.unwrap_or(0));
        if preface.missing == 0 {
            self.preface = None;
        } else if preface.limit.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client said nothing"));
        }
        Ok(())
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
        self.hear(context, bytes)?;
        read.map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}
